"""Formulas of a CNN's units over shapes, colours and textures whose pixels are known.

Images are drawn by code, so that every pixel's concepts are exact. Maps of EfficientNet-Lite0
(ImageNet weights; ``python tools/models/efficientnet.py`` makes them) are enlarged to the concepts'
masks and cut at their top 0.5 %, as in Mu & Andreas (2020, section 3); formulas and thresholds are
found on some images and measured on others, against masks moved round by whole images. Without the
weights a small network is trained on the spot. Two planted units check that the same path finds
what is there. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from _shapes import Scenes, make_scenes
from _vision_models import efficientnet, maps_of, small_network

from nissl.kernels.activation_maps import map_pixels
from nissl.kernels.formulas import Formula
from nissl.methods.concepts import Concepts, concepts_from_masks
from nissl.methods.explain_masks import explain_masks
from nissl.methods.explanation import Explanation
from nissl.parallel import set_threads
from nissl.progress import set_quiet

SHARE = 0.005
CELLS = 32
NOISE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images and units")
    parser.add_argument("--model", type=Path, help="folder of the converted weights")
    parser.add_argument("--small", action="store_true", help="the small network, weights or none")
    parser.add_argument("--images", type=int, help="by default 400, 120 if quick")
    parser.add_argument("--units", type=int, help="of each site at most; 96, 16 if quick")
    parser.add_argument("--length", type=int, default=3)
    parser.add_argument("--page", type=Path, help="write the explanation as a page")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    set_threads(1)
    set_quiet(True)
    began = time.process_time()
    result = measure(args)
    print(json.dumps(result | {"cpu_s": round(time.process_time() - began, 1)}))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Draw images, find formulas of all sites, check the planted units."""
    count = args.images or (120 if args.quick else 400)
    layers = None if args.small else efficientnet(args.model)
    name = "EfficientNet-Lite0"
    scenes = make_scenes(count, 224 if layers else 64, CELLS, args.seed)
    if layers is None:
        name = "small network"
        print("the weights are not used or not there: figures are about a small trained network")
        layers = small_network(scenes, 150 if args.quick else 400, args.seed)
    groups = np.repeat(np.arange(count), CELLS * CELLS)
    concepts = concepts_from_masks(
        scenes.names, scenes.masks, families=scenes.families, min_count=200
    )
    most = args.units or (16 if args.quick else 96)
    maps = maps_of(layers, scenes.images, CELLS, most, args.seed)
    settings: dict[str, Any] = {
        "permutations": 1000,
        "n_boot": 50 if args.quick else 200,
        "seed": args.seed,
    }
    found = explain_masks(
        concepts,
        {site: (lambda m=m: map_pixels(m, (CELLS, CELLS))) for site, m in maps.items()},
        groups,
        model=name,
        share=SHARE,
        length=args.length,
        noise=3 if args.quick else 10,
        **settings,
    )
    print(f"{name}, {count} images, {len(concepts)} concepts, {CELLS} × {CELLS} pixels each")
    print("\n".join(found.summary()))
    layers_of = found.layers()
    for row in layers_of.iter_rows(named=True):
        print(
            f"{row['site']:8s} {row['beyond']:4d} of {row['neurons']:4d} beyond chance "
            f"({row['share']:.0%} [{row['low']:.0%}, {row['high']:.0%}]); IoU "
            f"{row['iou_train']:.3f} training, {row['iou']:.3f} held out, "
            f"{row['chance']:.3f} shifted (medians)"
        )
    show(found)
    if args.page:
        from nissl.report.explain import write_explain

        write_explain(found, args.page, title=f"Units of {name} on drawn shapes")
    best = found.best()
    return {
        "model": name,
        "images": count,
        "concepts": len(concepts),
        "units": best.height,
        "units_beyond_chance": round(float(best["beyond"].to_numpy().mean()), 4),
        "units_beyond_chance_by_layer": {
            row["site"]: round(row["share"], 4) for row in layers_of.iter_rows(named=True)
        },
        "iou_train_median": median(found, "iou_train"),
        "iou_median": median(found, "iou"),
        "iou_shifted_median": median(found, "chance"),
        "iou_search_on_shifted": round(float(np.median(found.noise["score"].to_numpy())), 4),
        **planted(scenes, concepts, groups, settings),
    }


def show(found: Explanation) -> None:
    """Print the three best-explained units of each site, by training score."""
    for row in found.top(3).iter_rows(named=True):
        print(
            f"{row['neuron']:12s} {row['iou']:.3f} [{row['low']:.3f}, {row['high']:.3f}] shifted "
            f"{row['chance']:.3f} q {row['q']:.3f}  {row['formula']}"
        )


def median(found: Explanation, column: str) -> float:
    return round(float(np.nanmedian(found.best()[column].to_numpy())), 4)


def planted(
    scenes: Scenes, concepts: Concepts, groups: np.ndarray, settings: dict[str, Any]
) -> dict[str, Any]:
    """Check a colour detector made by hand of pixels, and a formula with 5 % of pixels flipped."""
    step = scenes.images.shape[2] // CELLS
    pixels = scenes.images[:, :, step // 2 :: step, step // 2 :: step]
    # Of grey a third is red; a texture darkens a pixel without changing its hue.
    redness = pixels[:, 0] / pixels.sum(axis=1) - 0.7
    names = list(concepts.names)
    a, b, c = (names.index(n) for n in ("colour=red", "colour=blue", "shape=circle"))
    truth = Formula((a, b, c), ("or", "and not")).mask(concepts.masks())
    rng = np.random.default_rng(settings["seed"])
    noisy = truth ^ (rng.random(truth.shape) < NOISE)
    X = np.stack([redness.reshape(-1), np.where(truth, 1, -1), np.where(noisy, 1, -1)], axis=1)
    found = explain_masks(
        concepts,
        {"planted": np.asfortranarray(X, dtype=np.float32)},
        groups,
        mask="zero",
        penalty=1.0,
        noise=0,
        **settings,
    )
    detector, exact, flipped = found.best().sort("index").iter_rows(named=True)
    for row in (detector, exact, flipped):
        print(f"{row['neuron']:9s} {row['iou']:.4f} held out, p {row['p']:.4f}  {row['formula']}")
    masks = concepts.masks()

    def recovered(row: dict[str, Any], wanted: np.ndarray) -> bool:
        formula = found.formula(row["neuron"])
        return formula is not None and bool((formula.mask(masks) == wanted).all())

    return {
        "planted_detector_iou": round(detector["iou"], 4),
        "planted_detector_recovered": recovered(detector, masks[a]),
        "planted_formula_iou": round(exact["iou"], 4),
        "planted_formula_recovered": recovered(exact, truth),
        "planted_noisy_iou": round(flipped["iou"], 4),
        "planted_noisy_recovered": recovered(flipped, truth),
    }


if __name__ == "__main__":
    main()
