"""Inputs made of units' formulas: what the network answers before, after, and with random words."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import polars as pl
from _nli_model import CLASSES, PairModel

from nissl.errors import InputError
from nissl.methods.concepts import Concepts
from nissl.methods.copy_paste import CopyPaste, copy_paste
from nissl.methods.explanation import Explanation
from nissl.methods.pair_concepts import Pair

__all__ = ["FEWEST", "edited"]

FEWEST = 20
"""Held-out pairs that can be edited, for a unit to count."""


def edited(
    found: Explanation,
    model: PairModel,
    alive: np.ndarray,
    weights: np.ndarray,
    concepts: Concepts,
    pairs: list[Pair],
    gold: np.ndarray,
    held: np.ndarray,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Switch on formulas of units beyond chance, the strongest of each class in turn."""
    best = found.best().filter(pl.col("beyond"))
    weight = weights - weights.mean(axis=0)
    strength = np.array([float(weight[:, u].max()) for u in best["index"]])
    towards = np.array([int(weight[:, u].argmax()) for u in best["index"]])
    wanted = args.edited_units or (6 if args.quick else 21)
    rows: list[dict[str, Any]] = []
    for i in turns(strength, towards, best["formula"].to_list()):
        if len(rows) == wanted:
            break
        row = best.row(i, named=True)
        formula = found.formula(row["neuron"])
        if formula is None or not any(
            ":" in name for leaf in formula.leaves for name in concepts.same[leaf]
        ):
            continue
        target = int(towards[i])
        try:
            change = copy_paste(
                model.probabilities,
                pairs,
                formula,
                concepts,
                target,
                rows=np.flatnonzero(held),
                gold=gold,
                classes=CLASSES,
                most=150 if args.quick else 400,
                draws=5,
                seed=args.seed,
            )
        except InputError as error:
            print(f"{row['neuron']}: {error}")
            continue
        if change.pairs < FEWEST:
            continue
        mine, other, more = (change.at(k) for k in ("edited", "random words", "difference"))
        rows.append(
            {
                "unit": row["neuron"],
                "target": change.target,
                "pairs": change.pairs,
                "before": mine["before"],
                "after": mine["share"],
                "random": other["share"],
                "difference": more["change"],
                "unit_before": share_on(model, change, row, alive, pairs, before=True),
                "unit_after": share_on(model, change, row, alive, pairs, before=False),
                "low": more["low"],
                "high": more["high"],
                "probability": more["probability"],
                "accuracy_before": mine["accuracy_before"],
                "accuracy": mine["accuracy"],
                "accuracy_random": other["accuracy"],
                "formula": change.formula,
            }
        )
        if len(rows) <= 3:
            print("\n".join(change.summary()))
            for x in change.examples.head(2).iter_rows(named=True):
                print(f"  {x['edits']}: {x['hypothesis']} ({x['before']} → {x['after']})")
    if not rows:
        return {"copy_paste_effect": None, "copy_paste_control": None}
    table = pl.DataFrame(rows)
    print("answers with the unit's class, before, after, with random words (held-out pairs)")
    for r in rows:
        print(
            f"{r['unit']:9s} {r['target']:13s} {r['before']:.3f} → {r['after']:.3f} (random "
            f"{r['random']:.3f}), difference {r['difference']:+.3f} [{r['low']:+.3f}, "
            f"{r['high']:+.3f}]; accuracy {r['accuracy_before']:.3f} → {r['accuracy']:.3f} (random "
            f"{r['accuracy_random']:.3f}); unit on {r['unit_before']:.0%} → {r['unit_after']:.0%}  "
            f"{r['formula']}"
        )
    rng = np.random.default_rng(args.seed)
    gain = (table["after"] - table["before"]).to_numpy()
    control = (table["random"] - table["before"]).to_numpy()
    draws = rng.integers(0, len(rows), (2000, len(rows)))
    low, high = np.percentile((gain - control)[draws].mean(axis=1), [2.5, 97.5])
    significant = float((table["low"].to_numpy() > 0).mean())
    return {
        "copy_paste_units": len(rows),
        "copy_paste_unit_on": [
            round(float(table[k].to_numpy().mean()), 4) for k in ("unit_before", "unit_after")
        ],
        "copy_paste_effect": round(float(gain.mean()), 4),
        "copy_paste_control": round(float(control.mean()), 4),
        "copy_paste_difference_interval": [round(float(low), 4), round(float(high), 4)],
        "copy_paste_units_above_control": round(significant, 4),
        "copy_paste_units_below_control": round(float((table["high"].to_numpy() < 0).mean()), 4),
        "copy_paste_accuracy": [
            round(float(table[k].to_numpy().mean()), 4)
            for k in ("accuracy_before", "accuracy", "accuracy_random")
        ],
    }


def share_on(
    model: PairModel,
    change: CopyPaste,
    row: dict[str, Any],
    alive: np.ndarray,
    pairs: list[Pair],
    *,
    before: bool,
) -> float:
    """Share of edited pairs that the unit itself is on for (above its bound)."""
    frame = change.examples
    texts = zip(frame["premise"], frame["hypothesis"], strict=True)
    some = [Pair(tuple(a.split()), tuple(b.split())) for a, b in texts]
    if before:
        some = [pairs[i] for i in frame["pair"]]
    values = model.activations(some)[:, np.flatnonzero(alive)[row["index"]]]
    return float((values > row["above"]).mean())


def turns(strength: np.ndarray, towards: np.ndarray, formulas: list[str]) -> list[int]:
    """Return units by output weight, class by class in turn, each formula of a class once."""
    queues: dict[int, list[int]] = {}
    seen: set[tuple[int, str]] = set()
    for i in np.argsort(-strength, kind="stable").tolist():
        key = (int(towards[i]), formulas[i])
        if key not in seen:
            seen.add(key)
            queues.setdefault(key[0], []).append(i)
    out: list[int] = []
    for place in range(max((len(q) for q in queues.values()), default=0)):
        out += [queue[place] for _, queue in sorted(queues.items()) if place < len(queue)]
    return out
