"""Formulas of the units of a sentence-pair network, its accuracy where they fire, and inputs made
from them (Mu & Andreas 2020, sections 4 to 6).

A small network learns SNLI's development pairs from scratch, but for a held-out part in which no
premise of the others occurs. Formulas are chosen on the pairs that it learned and measured on the
held-out ones, as are accuracies, and the words put into sentences. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from _nli_edits import edited
from _nli_model import PairModel, generated_pairs, read_pairs
from scipy.stats import rankdata

from nissl.methods.concepts import Concepts
from nissl.methods.explain_masks import explain_masks
from nissl.methods.explanation import Explanation
from nissl.methods.pair_concepts import Pair, pair_concepts
from nissl.parallel import set_threads
from nissl.progress import set_quiet

HELD_OUT = 0.25
STRONG = 0.1
"""Share of pairs that a unit is on for where words are taken from its formula: a unit that is above
0 for most pairs has a formula of nearly all pairs."""
ALIVE = 0.01
"""Share of the learned pairs that a unit must be above 0 for."""
FEWEST = 20
"""Held-out pairs that a unit must be on for, for its accuracy to count."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer pairs, units and epochs")
    parser.add_argument("--data", type=Path, help="folder of the pairs")
    parser.add_argument("--encoder", choices=("gru", "bag"), help="gru; bag if quick")
    parser.add_argument("--edited-units", type=int, help="units that inputs are made for")
    parser.add_argument("--page", type=Path, help="write the explanation as a page")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    set_threads(1)
    set_quiet(True)
    began = time.process_time()
    result = measure(args)
    print(json.dumps(result | {"cpu_s": round(time.process_time() - began, 1)}))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Train, explain, correlate, edit."""
    quick = args.quick
    read = read_pairs(args.data)
    source = "SNLI dev"
    if read is None:
        source = "generated pairs"
        print("SNLI's pairs are not there: pairs are made up, and figures are about those")
        read = generated_pairs(3000, args.seed)
    most = 4000 if quick else None
    pairs, gold, groups = by_premise(read[0][:most], read[1][:most])
    rng = np.random.default_rng(args.seed)
    known = np.unique(groups)
    held = np.isin(groups, rng.permutation(known)[: round(HELD_OUT * len(known))])
    encoder = args.encoder or ("bag" if quick else "gru")
    width, units = (48, 64) if quick else (64, 128)
    model = PairModel(encoder, width, units, args.seed)
    model.fit([p for p, h in zip(pairs, held, strict=True) if not h], gold[~held], epochs=6)
    X, answer = model.activations(pairs), model.probabilities(pairs).argmax(axis=1)
    right = answer == gold
    print(
        f"{source}: {len(pairs):,} pairs, {held.sum():,} held out; {encoder}, {X.shape[1]} units; "
        f"accuracy {right[~held].mean():.4f} learned, {right[held].mean():.4f} held out"
    )
    rate = (X[~held] > 0).mean(axis=0)
    alive = rate >= ALIVE
    print(
        f"{(~alive).sum()} of {len(alive)} units are above 0 for less than {ALIVE:.0%} of the "
        f"pairs learned, and left out; the median of the others is for {np.median(rate[alive]):.0%}"
    )
    X, weights = X[:, alive], model.output_weights[:, alive]
    concepts = pair_concepts(pairs, min_count=10, max_count=len(pairs) * 9 // 10)
    fired = formulas(concepts, X, groups, held, args, mask="zero")
    strong = formulas(concepts, X, groups, held, args, mask="quantile", share=STRONG)
    for name, found in (("on above 0", fired), (f"on in their top {STRONG:.0%}", strong)):
        print(f"\nunits {name}")
        print("\n".join(found.summary()))
        show(found, weights)
    print()
    correlation = accuracy_and_iou(fired, X, right, held, args.seed)
    edits = edited(strong, model, alive, weights, concepts, pairs, gold, held, args)
    if args.page:
        from nissl.report.explain import write_explain

        write_explain(strong, args.page, title="Units of a sentence-pair network")
    return {
        "source": source,
        "encoder": encoder,
        "pairs": len(pairs),
        "concepts": len(concepts),
        "nli_accuracy": round(float(right[held].mean()), 4),
        "nli_accuracy_learned": round(float(right[~held].mean()), 4),
        **figures(fired, ""),
        **figures(strong, "_top_tenth"),
        **correlation,
        **edits,
    }


def formulas(
    concepts: Concepts,
    X: np.ndarray,
    groups: np.ndarray,
    held: np.ndarray,
    args: argparse.Namespace,
    **on: Any,
) -> Explanation:
    """Search formulas on the pairs that the network learned, and measure them on the others."""
    quick = args.quick
    return explain_masks(
        concepts,
        {"mlp": X},
        groups,
        model="sentence-pair network",
        item="pair",
        group="premise",
        length=3 if quick else 5,
        min_support=20,
        held_out=held,
        permutations=200 if quick else 1000,
        n_boot=100 if quick else 500,
        noise=10 if quick else 40,
        seed=args.seed,
        **on,
    )


def figures(found: Explanation, suffix: str) -> dict[str, Any]:
    """Share of units beyond chance, and medians of IoU."""
    best = found.best()
    medians = {
        f"{name}_median{suffix}": round(float(np.nanmedian(best[column].to_numpy())), 4)
        for name, column in (("iou_train", "iou_train"), ("iou", "iou"), ("iou_shifted", "chance"))
    }
    share = float(best["beyond"].to_numpy().mean())
    counts = {f"units{suffix}": best.height, f"units_beyond_chance{suffix}": round(share, 4)}
    return counts | medians


def by_premise(pairs: list[Pair], gold: np.ndarray) -> tuple[list[Pair], np.ndarray, np.ndarray]:
    """Sort pairs so that those of a premise stand together, and return its number for each."""
    place: dict[tuple[str, ...], int] = {}
    groups = np.array([place.setdefault(pair.premise, len(place)) for pair in pairs])
    order = np.argsort(groups, kind="stable")
    return [pairs[i] for i in order.tolist()], gold[order], groups[order]


def show(found: Explanation, weights: np.ndarray) -> None:
    """Print the best-explained units, by training score, with held-out figures."""
    print("unit      held-out IoU  shifted  q  output weights (ent, neu, con)  formula")
    for row in found.top(10).iter_rows(named=True):
        w = weights[:, row["index"]]
        print(
            f"{row['neuron']:9s} {row['iou']:.3f} [{row['low']:.3f}, {row['high']:.3f}]  "
            f"{row['chance']:.3f}  {row['q']:.4f}  {w[0]:+.2f} {w[1]:+.2f} {w[2]:+.2f}  "
            f"{row['formula']}"
        )


def accuracy_and_iou(
    found: Explanation, X: np.ndarray, right: np.ndarray, held: np.ndarray, seed: int
) -> dict[str, Any]:
    """Correlate, over units, held-out accuracy where the unit is on with its held-out IoU.

    A unit that is on nearly always has the accuracy of the model, and a high IoU with a large
    formula; ``partial`` is the rank correlation with the number of pairs that it is on for removed.
    """
    best = found.best()
    on = X[held] > 0
    rows = [
        (score, float(right[held][on[:, u]].mean()), int(on[:, u].sum()))
        for u, score in zip(best["index"], best["iou"], strict=True)
        if on[:, u].sum() >= FEWEST and np.isfinite(score)
    ]
    x, y, size = np.array(rows).T
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(x), len(x)) for _ in range(2000)]
    out: dict[str, Any] = {"iou_accuracy_units": len(x)}
    for name, measure_of in (("spearman", spearman), ("pearson", pearson), ("partial", partial)):
        value = measure_of(x, y, size)
        spread = np.array([measure_of(x[i], y[i], size[i]) for i in draws])
        low, high = np.nanpercentile(spread, [2.5, 97.5])
        key = "iou_accuracy_interval" if name == "spearman" else f"iou_accuracy_{name}_interval"
        out[f"iou_accuracy_{name}"] = round(value, 4)
        out[key] = [round(float(low), 4), round(float(high), 4)]
        print(f"accuracy and IoU over {len(x)} units, {name}: {value:.3f} [{low:.3f}, {high:.3f}]")
    return out


def pearson(x: np.ndarray, y: np.ndarray, _: np.ndarray) -> float:
    a, b = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 1e-12 else 0.0


def spearman(x: np.ndarray, y: np.ndarray, size: np.ndarray) -> float:
    return pearson(rankdata(x), rankdata(y), size)


def partial(x: np.ndarray, y: np.ndarray, size: np.ndarray) -> float:
    a, b, c = (rankdata(v) - (len(v) + 1) / 2 for v in (x, y, size))
    a, b = (v - c * (v @ c) / max(c @ c, 1e-12) for v in (a, b))
    return pearson(a, b, c)


if __name__ == "__main__":
    main()
