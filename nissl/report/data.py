"""Data of the interactive parts: neurons, their words and contexts, and sentences to read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from nissl.methods.contexts import NeuronView
from nissl.study.outcome import StudyOutcome, TextView

__all__ = ["NeuronRow", "neuron_rows", "page_data", "to_json"]

NEURONS = 50
"""Best neurons of each property in the table."""

MOST_VALUES = 500_000
"""z-scores on a page; at about 4 characters each they stay near 2 MB."""

WORDS_IN_TABLE = 5
FIXED = {"sentence", "position", "form", "start", "end", "split", "head"}


@dataclass(frozen=True)
class NeuronRow:
    """One row of the table of neurons."""

    property: str
    index: int
    rank: int
    neuron: str
    layer: int
    label: str
    score: float
    high: tuple[str, ...]
    low: tuple[str, ...]


def neuron_rows(outcome: StudyOutcome) -> list[NeuronRow]:
    """Return the best neurons of each property, with their words where they were looked at."""
    views = {view.neuron: view for view in outcome.views}
    rows = []
    for index, (name, findings) in enumerate(outcome.properties.items()):
        for row in findings.ranking.frame().head(NEURONS).iter_rows(named=True):
            view = views.get(row["neuron"])
            rows.append(
                NeuronRow(
                    property=name,
                    index=index,
                    rank=row["rank"],
                    neuron=row["neuron"],
                    layer=int(row["layer"]),
                    label=str(row["label"]),
                    score=float(row["score"]),
                    high=_top(view, "+"),
                    low=_top(view, "-"),
                )
            )
    return rows


def _top(view: NeuronView | None, sign: str) -> tuple[str, ...]:
    if view is None:
        return ()
    return tuple(view.words.filter(pl.col("sign") == sign)["word"].head(WORDS_IN_TABLE))


def page_data(outcome: StudyOutcome) -> dict[str, Any]:
    """Return everything that the page's script reads."""
    budget = MOST_VALUES // max(1, len(outcome.texts))
    rankings = {name: found.ranking.ids(NEURONS) for name, found in outcome.properties.items()}
    return {
        "properties": [
            {"name": name, "corpus": found.corpus, "best": rankings[name]}
            for name, found in outcome.properties.items()
        ],
        "views": _views(outcome.views),
        "texts": [_text(view, budget) for view in outcome.texts],
    }


def _views(views: Iterable[NeuronView]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for view in views:
        out[view.neuron] = {
            "mean": _round(view.mean, 4),
            "sd": _round(view.sd, 4),
            "words": [
                [row["sign"], row["word"], _round(row["mean_z"]), row["count"]]
                for row in view.words.iter_rows(named=True)
            ],
            "contexts": [
                [row["sign"], _round(row["z"]), row["left"], row["word"], row["right"]]
                for row in view.contexts.iter_rows(named=True)
            ],
        }
    return out


def _text(view: TextView, budget: int) -> dict[str, Any]:
    """Return sentences by columns; z-scores are whole hundredths, which take half the space."""
    sentence = view.words["sentence"].to_numpy()
    # Sentences follow one another in the frame; a new one begins where the number changes.
    starts = np.flatnonzero(np.diff(sentence, prepend=sentence[:1] - 1) != 0)
    ends = np.append(starts[1:], len(sentence))
    room = max(1, budget // max(1, len(view.neurons)))
    shown = max(1, int((ends <= room).sum())) if len(starts) else 0
    stop = int(ends[shown - 1]) if shown else 0
    labels = [c for c in view.words.columns if c not in FIXED and view.words[c].dtype == pl.String]
    return {
        "corpus": view.corpus,
        "total": len(starts),
        "starts": starts[:shown].tolist(),
        "forms": view.words["form"].head(stop).to_list(),
        "labels": {name: _codes(view.words[name].head(stop).to_list()) for name in labels},
        "neurons": list(view.neurons),
        "hundredths": [_hundredths(view.z[:stop, i]) for i in range(len(view.neurons))],
    }


def _codes(values: Sequence[str | None]) -> dict[str, Any]:
    names = sorted({value for value in values if value is not None})
    index = {name: i for i, name in enumerate(names)}
    return {"names": names, "codes": [-1 if v is None else index[v] for v in values]}


def _hundredths(z: np.ndarray) -> list[int | None]:
    scaled = np.round(100 * z.astype(np.float64))
    return [int(value) if math.isfinite(value) else None for value in scaled.tolist()]


def _round(value: float, digits: int = 2) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def to_json(data: Mapping[str, Any]) -> str:
    """Return JSON that is safe inside a script element, whatever text it holds."""
    found = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in ("<", ">", "&", "\u2028", "\u2029"):
        found = found.replace(sign, f"\\u{ord(sign):04x}")
    return found
