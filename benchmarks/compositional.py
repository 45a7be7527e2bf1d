"""Compositional explanations: seconds a neuron, planted formulas, and the beam against the optimum.

The large problem is that of Mu & Andreas (2020) for sentence pairs: 4,091 concepts × 10,000
examples, length 5, beam 10, where their code takes about 173 CPU seconds a neuron. Concept sizes
fall as in a text. Everything runs in one process with one thread; seconds are CPU seconds.

The package compositional-explanations is compared on the same problem where it is installed (or
lies in the folder given by ``--peer``) and finishes in ``--peer-seconds``. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _compositional_data import INTERSECTIONS, PLANTED, flip, neurons, plant, text_concepts

from nissl.kernels.exhaustive import exhaustive_cost, exhaustive_formulas
from nissl.kernels.formulas import pack
from nissl.kernels.search import search_formulas
from nissl.parallel import set_threads

LARGE = (4091, 10_000)
"""Concepts and examples of the problem that the reference's seconds are known for."""
REFERENCE_S = 173.0
NOISE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer neurons; under a minute")
    parser.add_argument("--peer", help="folder that compositional-explanations is installed in")
    parser.add_argument("--peer-seconds", type=int, default=60, help="time limit of each search")
    args = parser.parse_args()
    set_threads(1)
    figures: dict[str, Any] = {"quick": args.quick}
    figures |= large(10 if args.quick else 40)
    figures |= planted(2 if args.quick else 8)
    figures |= against_exhaustive(40)
    figures |= corpus(8 if args.quick else 50)
    figures |= against_peer(args.peer, args.peer_seconds if not args.quick else 15)
    print()
    for key, value in figures.items():
        print(f"{key:34s} {value}")
    print(json.dumps(figures))


def large(units: int) -> dict[str, Any]:
    """Seconds a neuron: alone (packing the concepts included), and many with concepts packed."""
    concepts = text_concepts(*LARGE, seed=0)
    masks = neurons(concepts, units, seed=1)
    search_formulas(concepts[:9], masks[:1], length=3)  # compiles the loops
    alone = [
        cpu(lambda u=u: search_formulas(concepts, masks[u : u + 1], length=5))[0] for u in range(3)
    ]
    batched, found = cpu(lambda: search_formulas(pack(concepts), pack(masks), length=5))
    dense = np.random.default_rng(0).random(LARGE) < 0.5
    worst, _ = cpu(lambda: search_formulas(pack(dense), pack(masks[:5]), length=5))
    return {
        "concepts_examples": list(LARGE),
        "cpu_s_per_neuron": round(float(np.median(alone)), 4),
        "cpu_s_per_neuron_batched": round(batched / units, 4),
        "cpu_s_per_neuron_half_full": round(worst / 5, 4),
        "speedup_reference": round(REFERENCE_S / float(np.median(alone))),
        "speedup_reference_batched": round(REFERENCE_S / (batched / units)),
        "iou_by_length": [round(float(x), 4) for x in found.by_length.mean(axis=0)],
    }


def planted(seeds: int) -> dict[str, Any]:
    """Planted formulas, with and without noise: a table, and shares that are found exactly."""
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        concepts = text_concepts(600, 10_000, seed)
        given = pack(concepts)
        for name, ops in (PLANTED | INTERSECTIONS).items():
            hard = name in INTERSECTIONS
            formula = plant(concepts, ops, seed, *((0.05, 0.05) if hard else ()))
            mask = formula.mask(concepts)
            for kind in ("none", "mask", "off", "both"):
                wrong = mask if kind == "none" else flip(mask, NOISE, kind, seed)
                found = search_formulas(given, wrong[None], length=len(formula))
                best = found.formulas[0]
                rows.append(
                    {
                        "formula": name,
                        "noise": kind,
                        "hard": hard,
                        "iou": float(found.scores[0]),
                        "own": float((mask & wrong).sum() / (mask | wrong).sum()),
                        "same": best is not None and bool((best.mask(concepts) == mask).all()),
                    }
                )
    print("formula, labels wrong: IoU mean, sd, least over seeds; planted formula's own IoU; found")
    for name, noise in dict.fromkeys((r["formula"], r["noise"]) for r in rows):
        some = [r for r in rows if (r["formula"], r["noise"]) == (name, noise)]
        iou, own, same = (np.array([r[key] for r in some]) for key in ("iou", "own", "same"))
        print(
            f"{name:40s} {noise:5s} {iou.mean():.4f} {iou.std():.4f} {iou.min():.4f}   "
            f"{own.mean():.4f}   {same.sum()} of {len(same)}"
        )
    easy = [r for r in rows if not r["hard"]]
    noisy = {
        kind: np.array([r["iou"] for r in easy if r["noise"] == kind])
        for kind in ("mask", "off", "both")
    }
    return {
        "planted_seeds": seeds,
        "planted_exact_share": share(easy, "none"),
        "planted_exact_share_intersections": share([r for r in rows if r["hard"]], "none"),
        "noise_iou": {
            kind: {"mean": round(float(v.mean()), 4), "sd": round(float(v.std()), 4),
                   "min": round(float(v.min()), 4)}
            for kind, v in noisy.items()
        },
        "noise_iou_mean": round(float(noisy["mask"].mean()), 4),
        "noise_iou_min": round(float(noisy["mask"].min()), 4),
        "noisy_mask_recovered_share": round(
            float(np.mean([r["same"] for r in easy if r["noise"] != "none"])), 4
        ),
        "noisy_below_planted": sum(r["iou"] < r["own"] - 1e-12 for r in easy),
        "noisy_below_planted_intersections": sum(
            r["iou"] < r["own"] - 1e-12 for r in rows if r["hard"]
        ),
    }  # fmt: skip


def share(rows: list[dict[str, Any]], noise: str) -> float:
    """Share of the planted formulas whose IoU is 1."""
    return round(float(np.mean([r["iou"] == 1.0 for r in rows if r["noise"] == noise])), 4)


def against_exhaustive(units: int) -> dict[str, Any]:
    """Beam and optimum on 30 concepts, length 3; what it was said to cost, and what it did."""
    concepts = text_concepts(600, 10_000, seed=3)
    most = np.argsort(-concepts.sum(axis=1), kind="stable")
    concepts = concepts[most[2:32]]
    given, unpacked = pack(concepts), neurons(concepts, units, seed=4)
    masks = pack(unpacked)
    exhaustive_formulas(given, unpacked[:2])  # compiles
    alone = [
        cpu(lambda u=u: exhaustive_formulas(concepts, unpacked[u : u + 1]))[0] for u in range(5)
    ]
    many = pack(text_concepts(500, 10_000, seed=3))
    larger, _ = cpu(lambda: exhaustive_formulas(many, unpacked[:3]))
    said = exhaustive_cost(30, 10_000, units, concepts=given, masks=masks)
    took, best = cpu(lambda: exhaustive_formulas(given, masks))
    out: dict[str, Any] = {}
    for beam in (1, 5, 10):
        found = search_formulas(given, masks, beam=beam)
        assert (found.scores <= best.scores + 1e-12).all(), "a beam above the optimum"
        assert (found.bounds >= best.scores - 1e-12).all(), "a bound below the optimum"
        out[f"suboptimal_beams_{beam}"] = float(np.mean(found.scores < best.scores - 1e-12))
        if beam == 10:
            out["bound_minus_optimum"] = round(float((found.bounds - best.scores).mean()), 4)
    return {
        "exhaustive_s": round(float(np.median(alone)), 4),
        "exhaustive_s_500_concepts": round(larger / 3, 3),
        "exhaustive_s_batched": round(took / units, 5),
        "exhaustive_said_over_took": round(said.seconds / took, 2),
        "exhaustive_units": units,
        "suboptimal_beams": out["suboptimal_beams_10"],
    } | out


def corpus(units: int) -> dict[str, Any]:
    """1,000 concepts × 46,000 tokens: minutes for 2,688 neurons, from some."""
    concepts = text_concepts(1000, 46_000, seed=5)
    given, masks = pack(concepts), pack(neurons(concepts, units, seed=6))
    took = {n: cpu(lambda n=n: search_formulas(given, masks, length=n))[0] for n in (3, 5)}
    return {
        f"corpus_2688_neurons_cpu_min_length_{n}": round(s / units * 2688 / 60, 2)
        for n, s in took.items()
    }


def against_peer(folder: str | None, seconds: int) -> dict[str, Any]:
    """compositional-explanations on small problems: its beam, and its optimal search."""
    out: dict[str, Any] = {"peer": [], "speedup_peer": None, "speedup_peer_optimal": None}
    sizes = ((10, 1000, 3, 0), (30, 10_000, 3, 0), (30, 10_000, 3, 10), (300, 10_000, 3, 10))
    for count, tokens, length, beam in sizes:
        concepts = text_concepts(600, tokens, seed=3)
        most = np.argsort(-concepts.sum(axis=1), kind="stable")
        concepts = concepts[most[2 : 2 + count]]
        mask = neurons(concepts, 1, seed=7)
        search = exhaustive_formulas if beam == 0 else search_formulas
        options: dict[str, Any] = {} if beam == 0 else {"beam": beam}
        search(concepts[:5], mask, length=length, **options)
        mine, found = cpu(lambda s=search, c=concepts, m=mask, o=options: s(c, m, length=3, **o))
        row: dict[str, Any] = {
            "concepts": count,
            "tokens": tokens,
            "beam": beam or "optimal",
            "cpu_s": round(mine, 4),
            "iou": round(float(found.scores[0]), 4),
        }
        row |= peer_search(concepts, mask[0], length, beam, folder, seconds)
        if row["peer_cpu_s"] is not None:
            key = "speedup_peer" if beam else "speedup_peer_optimal"
            out[key] = round(row["peer_cpu_s"] / mine, 1)
        print(row)
        out["peer"].append(row)
    return out


def peer_search(
    concepts: np.ndarray, mask: np.ndarray, length: int, beam: int, folder: str | None, seconds: int
) -> dict[str, Any]:
    """Run the peer; say why not where it does not finish."""
    with tempfile.TemporaryDirectory() as room:
        file = Path(room) / "problem.npz"
        np.savez(file, concepts=concepts, mask=mask, length=length, beam=beam)
        script = str(Path(__file__).with_name("_compositional_peer.py"))
        command = [sys.executable, script, str(file), *([folder] if folder else [])]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            return {"peer_cpu_s": None, "why": f"not finished in {seconds} s"}
    if done.returncode:
        return {"peer_cpu_s": None, "why": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    found = json.loads(done.stdout.splitlines()[-1])
    return {"peer_cpu_s": round(found["cpu_s"], 3), "peer_iou": round(found["iou"], 4)}


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return CPU seconds and the result."""
    since = time.process_time()
    out = work()
    return time.process_time() - since, out


if __name__ == "__main__":
    main()
