"""What may be said of intervals: told apart or not, and whether a claim is borne out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "Claim", "apart", "extremes", "judged", "span"]


@dataclass(frozen=True)
class Claim:
    """A claim, and what the numbers do with it (``agree``, ``do not agree``, …)."""

    text: str
    verdict: str

    def sentence(self) -> str:
        """Return the claim with its verdict."""
        return f'On "{self.text}" these numbers {self.verdict}.'


@dataclass(frozen=True)
class Answer:
    """A question, what was found, and the claims it bears on."""

    question: str
    sentences: tuple[str, ...]
    claims: tuple[Claim, ...]

    def paragraph(self) -> str:
        """Return the answer as one paragraph."""
        return " ".join(
            (self.question, *self.sentences, *(claim.sentence() for claim in self.claims))
        )


def apart(a: tuple[float, float], b: tuple[float, float]) -> int:
    """Return −1 where interval ``a`` lies below ``b``, 1 where above, 0 where they overlap.

    An interval with an unknown end (NaN) is told apart from nothing.
    """
    return -1 if a[1] < b[0] else 1 if a[0] > b[1] else 0


def judged(yes: int, no: int, total: int) -> str:
    """Return the verdict on a claim that ``yes`` of ``total`` comparisons bear out."""
    counts = f"({yes} of {total} for it, {no} against)"
    if 2 * yes > total:
        return f"agree {counts}"
    if 2 * no > total:
        return f"do not agree {counts}"
    return f"do not decide {counts}"


def extremes(
    rows: Sequence[Mapping[str, Any]],
    name: str,
    shown: Callable[[float], str],
    least: str,
    most: str,
) -> tuple[str, bool]:
    """Say which models have the least and the most of a figure, and whether they are told apart.

    Parameters
    ----------
    rows
        One a model, with ``model`` and the columns ``name``, ``name_low`` and ``name_high``.
    """

    def said(row: Mapping[str, Any]) -> str:
        ends = f"{shown(row[f'{name}_low'])} to {shown(row[f'{name}_high'])}"
        known = all(math.isfinite(row[f"{name}_{end}"]) for end in ("low", "high"))
        return f"{row['model']} {shown(row[name])}{f' [{ends}]' if known else ''}"

    # A figure that is not known (NaN) is nobody's least or most.
    known = [row for row in rows if math.isfinite(row[name])]
    if not known:
        return "unknown", False
    low, high = (pick(known, key=lambda r: r[name]) for pick in (min, max))
    if len(known) == 1:
        return said(low), False
    if low[name] == high[name]:
        return f"all alike, {shown(low[name])}", False
    told = apart(*((r[f"{name}_low"], r[f"{name}_high"]) for r in (low, high))) < 0
    return (
        f"{least} {said(low)}, {most} {said(high)}, {'told' if told else 'not told'} apart",
        told,
    )


def span(values: Sequence[float | None], form: str = ".2f") -> str:
    """Return ``0.20 to 0.40``, or one number where all are alike when printed."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known:
        return "unknown"
    low, high = format(min(known), form), format(max(known), form)
    return low if low == high else f"{low} to {high}"
