"""The four questions of Durrani et al. (2020), answered from tables in plain sentences.

Two figures are told apart only where their intervals do not overlap. That is stricter than a test
of their difference, so that a difference that is named is rarely one of chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from nissl.study.verdicts import Answer, Claim, apart, extremes, judged, span

if TYPE_CHECKING:
    from nissl.study.portrait import CrossFindings

__all__ = ["answer"]

SMALL = 25.0
"""Per cent of the neurons up to which a set is called small."""

WORDS = ("morphology", "lexical", "lexicon")
SYNTAX = ("syntax",)
MEANING = ("semantics",)

MOST = 3
"""Pairs of models that a sentence names."""

Row = Mapping[str, Any]


def answer(found: CrossFindings) -> tuple[Answer, ...]:
    """Answer how few, where, localised or distributed, and disjoint or shared."""
    rows = found.overview.to_dicts()
    return (_few(rows), _where(found, rows), _local(found, rows), _shared(found, rows))


def _few(rows: Sequence[Row]) -> Answer:
    n = len(rows)
    least, most = (pick(rows, key=lambda r: r["percent"]) for pick in (min, max))
    above = sum(apart(_ends(r, "set"), _ends(r, "random_set")) > 0 for r in rows)
    blank = [r for r in rows if r["random_weights"] is not None]
    trained = sum(apart((r["low"], r["high"]), _ends(r, "random_weights")) > 0 for r in blank)
    delta = rows[0]["delta"]
    said = [
        f"Over {n} pairs of model and property, the best neurons come within {delta:g} "
        f"point{'' if delta == 1 else 's'} of all neurons (dev) with {_size(least)} to "
        f"{_size(most)}.",
        f"On test the set does better than as many random neurons in {above} of {n} "
        "(intervals apart).",
    ]
    if blank:
        said.append(
            f"The trained model does better than the same architecture with random weights in "
            f"{trained} of {len(blank)}."
        )
    small = judged(
        sum(r["percent_high"] <= SMALL for r in rows),
        sum(r["percent_low"] > SMALL for r in rows),
        n,
    )
    claims = [Claim(f"small subsets of neurons suffice (here: surely at most {SMALL:g}%)", small)]
    for higher, text in ((SYNTAX, "syntax"), (MEANING, "semantics")):
        signs = [
            apart((low["k_low"], low["k_high"]), (high["k_low"], high["k_high"]))
            for low, high in _pairs(rows, WORDS, higher)
        ]
        if not signs:
            continue
        less, more = signs.count(-1), signs.count(1)
        said.append(
            f"Morphology (or lexical) against {text}, within a model: fewer neurons in {less} of "
            f"{len(signs)} comparisons, more in {more}, not told apart in {signs.count(0)}."
        )
        if higher is SYNTAX:
            claims.append(
                Claim("morphology needs fewer neurons than syntax", judged(less, more, len(signs)))
            )
    return Answer("How few neurons suffice?", tuple(said), tuple(claims))


def _where(found: CrossFindings, rows: Sequence[Row]) -> Answer:
    spans = {
        (model, name): _best_depths(found.layers, model, name)
        for model in found.models
        for name in found.properties
    }
    said = ["Depth runs from 0, the embedding, to 1, the last layer."]
    for name in found.properties:
        every = [spans[model, name] for model in found.models]
        ends = f"{min(low for _, low, _ in every):.2f} and {max(high for *_, high in every):.2f}"
        lie, chance = (
            span([_mean_depth(found.layers, model, name, column) for model in found.models])
            for column in ("selected", "expected")
        )
        said.append(
            f"{name}: a single layer does best at depth {span([best for best, _, _ in every])}, "
            f"and layers not told apart from it lie between {ends}; the neurons of the minimal "
            f"sets lie at mean depth {lie} (random ones: {chance})."
        )
    signs = [
        apart(spans[low["model"], low["property"]][1:], spans[high["model"], high["property"]][1:])
        for low, high in _pairs(rows, WORDS, SYNTAX)
    ]
    claims: tuple[Claim, ...] = ()
    if signs:
        lower, upper = signs.count(-1), signs.count(1)
        said.append(
            f"Morphology (or lexical) is read from lower layers than syntax in {lower} of "
            f"{len(signs)} comparisons within a model, from higher ones in {upper}, not told apart "
            f"in {signs.count(0)}."
        )
        claims = (
            Claim(
                "lower-level properties sit in lower layers than syntax",
                judged(lower, upper, len(signs)),
            ),
        )
    return Answer("Where do they sit?", tuple(said), claims)


def _local(found: CrossFindings, rows: Sequence[Row]) -> Answer:
    said = [
        f"Counted are the neurons that hold {found.mass:.0%} of a label's weight, median over "
        "labels; two models are told apart where both their number and their share of the model's "
        "neurons are, the same way."
    ]
    differ = 0
    for name in found.properties:
        here = [r for r in rows if r["property"] == name]
        known = [r for r in here if math.isfinite(r["label_neurons"])]
        ends = [pick(known, key=lambda r: r["label_neurons"]) for pick in (min, max) if known]
        below = [
            f"{a['model']} below {b['model']}"
            for a in known
            for b in known
            if apart(_ends(a, "label_neurons"), _ends(b, "label_neurons")) < 0
            and apart(_ends(a, "label_percent"), _ends(b, "label_percent")) < 0
        ]
        some = f" ({', '.join(below[:MOST])}{', …' if len(below) > MOST else ''})" if below else ""
        counts = " to ".join(dict.fromkeys(map(_label_size, ends))) or "unknown"
        said.append(
            f"{name}: {counts}; told apart in {len(below)} of "
            f"{len(here) * (len(here) - 1) // 2} pairs of models{some}."
        )
        differ += bool(below)
    uneven = [r["gini"] for r in rows]
    said.append(
        f"The Gini coefficient of the weight over neurons is {span(uneven)}, the entropy over "
        f"layers {span([r['layer_entropy'] for r in rows])} of that of an even spread."
    )
    return Answer(
        "Localised or distributed?",
        tuple(said),
        (_differ("architectures differ in how localised they are", differ, found),),
    )


def _shared(found: CrossFindings, rows: Sequence[Row]) -> Answer:
    said = ["Counted is the share of their best neurons that two labels have in common."]
    differ = 0
    for name in found.properties:
        here = [r for r in rows if r["property"] == name and r["pairs"]]
        if not here:
            continue
        sentence, told = extremes(
            here, "pair_share", lambda v: f"{v:.1%}", "most disjoint", "most shared"
        )
        more, pairs = sum(r["pairs_shared"] for r in here), sum(r["pairs"] for r in here)
        said.append(
            f"{name}: {sentence}; by chance {span([r['pair_expected'] for r in here], '.1%')}; "
            f"{more:,} of {pairs:,} pairs share more than chance (Holm)."
        )
        differ += told
    if found.overlaps.height:
        more = found.overlaps.filter(pl.col("p_holm") < 0.05).height
        shares, chance = (
            span(found.overlaps[c].to_list(), ".0%") for c in ("share", "expected_share")
        )
        said.append(
            f"Of {found.overlaps.height} pairs of properties {more} share more than chance: "
            f"{shares} of their neurons, where chance gives {chance}."
        )
    return Answer(
        "Disjoint or shared?",
        tuple(said),
        (_differ("architectures differ in how disjoint they are", differ, found),),
    )


def _differ(claim: str, differ: int, found: CrossFindings) -> Claim:
    """Judge a claim that models differ, by the properties that tell two of them apart."""
    total = len(found.properties)
    if len(found.models) < 2:
        return Claim(claim, "do not decide it: there is one model")
    if 2 * differ > total:
        return Claim(claim, f"agree (two models told apart on {differ} of {total} properties)")
    if differ:
        return Claim(
            claim, f"agree in part (two models told apart on {differ} of {total} properties)"
        )
    return Claim(claim, "do not agree (no two models told apart on any property)")


def _pairs(
    rows: Sequence[Row], lower: Sequence[str], higher: Sequence[str]
) -> list[tuple[Row, Row]]:
    """Return every pair of a lower and a higher property of one model."""
    return [
        (a, b)
        for a in rows
        for b in rows
        if a["model"] == b["model"]
        and (a["level"] or "").lower() in lower
        and (b["level"] or "").lower() in higher
    ]


def _ends(row: Row, name: str) -> tuple[float, float]:
    return row[f"{name}_low"], row[f"{name}_high"]


def _size(row: Row) -> str:
    return (
        f"{row['percent']:.1f}% of the neurons ({row['model']} on {row['property']}; the dev "
        f"tokens allow {row['percent_low']:.1f}% to {row['percent_high']:.1f}%)"
    )


def _label_size(row: Row) -> str:
    low, high = (round(end, 1) for end in _ends(row, "label_neurons"))
    return (
        f"{row['label_neurons']:,g} [{low:,g}, {high:,g}], {row['label_percent']:.2f}%, "
        f"in {row['model']}"
    )


def _best_depths(layers: pl.DataFrame, model: str, name: str) -> tuple[float, float, float]:
    """Return the depth of the best layer, and the least and largest not told apart from it."""
    rows = layers.filter((pl.col("model") == model) & (pl.col("property") == name)).to_dicts()
    best = max(rows, key=lambda r: r["accuracy"])
    alike = [r["depth"] for r in rows if r["high"] >= best["low"]]
    return best["depth"], min(alike), max(alike)


def _mean_depth(layers: pl.DataFrame, model: str, name: str, column: str) -> float:
    rows = layers.filter((pl.col("model") == model) & (pl.col("property") == name))
    weight = rows[column].to_numpy()
    total = weight.sum()
    return float(np.dot(rows["depth"].to_numpy(), weight) / total) if total else float("nan")
