"""Where a unit is "on": above zero, in its highest or lowest values, or in a range of them.

Network dissection (Bau et al. 2017) and compositional explanations (Mu & Andreas 2020, section 3)
turn a unit into a mask by one threshold at a high quantile, or above zero. La Rosa et al. (2023,
"Towards a fuller understanding of neurons with clustered compositional explanations") cut all
values of a unit into ranges. Thresholds are found on some tokens and may be used on others, so that
a formula can be tested where nothing was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from nissl.errors import InputError, SettingError, did_you_mean

__all__ = ["MASK_KINDS", "MASK_SIDES", "Thresholds", "unit_masks", "unit_thresholds"]

MASK_KINDS = ("quantile", "zero", "ranges", "clusters")
MASK_SIDES = ("high", "low", "both")

_Cut = tuple[str, float, float, int]
"""Side, lower bound (not in the mask), upper bound (in it), tokens tied at the wanted share."""


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Bounds of M masks over U units; a token is on where ``low < x <= high``.

    Attributes
    ----------
    unit
        Unit of each mask, (M,), ascending.
    side
        ``"high"``, ``"low"``, or ``"range i/k"``, lowest range first.
    low, high
        Bounds, float32 (M,), in the unit of the activations; infinite where open.
    sizes
        Tokens on, of those that the bounds were found on, (M,).
    tied
        Tokens that share the value at the wanted share and so are on, or off, together, (M,); 0
        where the mask has the wanted size.
    constant
        Units that never change; they have no mask. (U,)
    left_out
        Why a unit has no mask, or not all of them, and how often.
    """

    unit: Int[np.ndarray, " m"]
    side: tuple[str, ...]
    low: Float[np.ndarray, " m"]
    high: Float[np.ndarray, " m"]
    sizes: Int[np.ndarray, " m"]
    tied: Int[np.ndarray, " m"]
    constant: Bool[np.ndarray, " u"]
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.side)


def unit_thresholds(
    X: Float[np.ndarray, "n u"],
    *,
    kind: str = "quantile",
    share: float = 0.005,
    sides: str = "both",
    ranges: int = 5,
) -> Thresholds:
    """Find the bounds between which each unit is on.

    Parameters
    ----------
    X
        Activations, (n, U), read as float32.
    kind
        ``"quantile"``: the ``share`` of the tokens with the highest (lowest) values, the bound
        half-way to the next value. Tokens of one value are on together: whichever of with and
        without them is nearer to the share, but never none and never all.
        ``"zero"``: above (below) zero.
        ``"ranges"``: ``ranges`` parts of as many tokens each.
        ``"clusters"``: ``ranges`` clusters of values by Lloyd's algorithm, started at the middles
        of equal parts (a local optimum of k-means; La Rosa et al. 2023, section 3).
        Ranges and clusters leave exact zeros out of a unit that is never below zero: it is off
        there.
    share
        For ``"quantile"``, in (0, 1); 0.005 is that of Bau et al. and Mu & Andreas for vision.
    sides
        ``"high"``, ``"low"`` or ``"both"``; for ``"quantile"`` and ``"zero"``.
    ranges
        Number of ranges or clusters.

    Raises
    ------
    InputError
        No token, or a value that is not finite (unit and token are named).
    SettingError
        An unknown kind or side, an impossible share or number of ranges.
    """
    _check_settings(kind, share, sides, ranges)
    n, units = X.shape
    if n == 0:
        raise InputError("there is no token to find thresholds on")
    found: list[tuple[int, _Cut, int]] = []
    constant = np.zeros(units, dtype=bool)
    left_out: dict[str, int] = {}

    def leave(why: str, times: int = 1) -> None:
        if times:
            left_out[why] = left_out.get(why, 0) + times

    for u in range(units):
        x = np.ascontiguousarray(X[:, u], dtype=np.float32)
        if not np.isfinite(x).all():
            bad = int(np.flatnonzero(~np.isfinite(x))[0])
            raise InputError(f"unit {u} is {x[bad]} at token {bad}; activations must be finite")
        if x.min() == x.max():
            constant[u] = True
            leave("constant units")
            continue
        wanted = 0
        for side, low, high, tied in _cuts(x, kind, share, sides, ranges):
            size = int(((x > low) & (x <= high)).sum())
            wanted += 1
            if size in (0, n):
                leave(f"masks ({side}) of units {'always' if size else 'never'} on")
                continue
            found.append((u, (side, low, high, tied), size))
        if kind in ("ranges", "clusters"):
            leave("ranges that too few distinct values leave empty", ranges - wanted)
    return Thresholds(
        unit=np.array([u for u, _, _ in found], dtype=np.int64),
        side=tuple(cut[0] for _, cut, _ in found),
        low=np.array([cut[1] for _, cut, _ in found], dtype=np.float32),
        high=np.array([cut[2] for _, cut, _ in found], dtype=np.float32),
        sizes=np.array([size for _, _, size in found], dtype=np.int64),
        tied=np.array([cut[3] for _, cut, _ in found], dtype=np.int64),
        constant=constant,
        left_out=left_out,
    )


def unit_masks(X: Float[np.ndarray, "n u"], thresholds: Thresholds) -> Bool[np.ndarray, "m n"]:
    """Return where each mask of ``thresholds`` is on, bool (M, n), for these or other tokens.

    Raises
    ------
    InputError
        Another number of units than the thresholds were found on.
    """
    if X.shape[1] != len(thresholds.constant):
        raise InputError(
            f"there are {X.shape[1]} units, but thresholds of {len(thresholds.constant)}"
        )
    masks = np.empty((len(thresholds), len(X)), dtype=bool)
    for i, u in enumerate(thresholds.unit):
        x = np.ascontiguousarray(X[:, u], dtype=np.float32)
        np.logical_and(x > thresholds.low[i], x <= thresholds.high[i], out=masks[i])
    return masks


def _check_settings(kind: str, share: float, sides: str, ranges: int) -> None:
    for name, value, known in (("kind", kind, MASK_KINDS), ("sides", sides, MASK_SIDES)):
        if value not in known:
            raise SettingError(
                f'{name} of masks must be one of {", ".join(known)}, not "{value}".'
                f"{did_you_mean(value, known)}"
            )
    if not 0 < share < 1:
        raise SettingError(f"the share of tokens on is between 0 and 1, not {share}")
    if ranges < 2:
        raise SettingError(f"a unit is cut into 2 ranges or more, not {ranges}")


def _cuts(x: np.ndarray, kind: str, share: float, sides: str, ranges: int) -> Iterator[_Cut]:
    wanted = ("high", "low") if sides == "both" else (sides,)
    if kind == "zero":
        if "high" in wanted:
            yield "high", 0.0, np.inf, 0
        if "low" in wanted:
            # The upper bound is in the mask, and zero is not below zero.
            yield "low", -np.inf, float(np.nextafter(np.float32(0), np.float32(-1))), 0
        return
    if kind == "quantile":
        if "high" in wanted:
            bound, tied = _top(x, share)
            yield "high", bound, np.inf, tied
        if "low" in wanted:
            bound, tied = _top(-x, share)
            # x is on where -x > bound, so where x < -bound: no value lies at a bound but the
            # lower of two neighbours, which is off.
            yield "low", -np.inf, float(np.nextafter(np.float32(-bound), np.float32(-np.inf))), tied
        return
    rest = 0.0 if x.min() == 0 else -np.inf
    values = np.sort(x[x > rest])
    edges = _equal(values, ranges) if kind == "ranges" else _lloyd(values, ranges)
    bounds = [rest, *edges, np.inf]
    for i, (low, high) in enumerate(pairwise(bounds)):
        yield f"range {i + 1}/{len(bounds) - 1}", low, high, 0


def _top(x: np.ndarray, share: float) -> tuple[float, int]:
    """Return a bound that about ``share`` of the values exceed, and how many are tied there."""
    n = len(x)
    m = min(max(round(share * n), 1), n - 1)
    # The largest value that is off if exactly m are on, and the smallest that is on.
    off, on = np.partition(x, (n - m - 1, n - m))[[n - m - 1, n - m]]
    if off < on:
        return _between(off, on), 0
    above, tied = int((x > off).sum()), int((x == off).sum())
    without, along = m - above, above + tied - m
    if above and (without <= along or above + tied == n):
        return _between(off, x[x > off].min()), tied
    return _between(x[x < off].max(), off), tied


def _between(low: np.floating, high: np.floating) -> float:
    """Return a float32 in [low, high), half-way where there is room."""
    middle = np.float32((float(low) + float(high)) / 2)
    return float(middle) if middle < high else float(low)


def _equal(values: np.ndarray, parts: int) -> list[float]:
    """Bounds between parts of equally many sorted values; a tied value stays in one part."""
    at = np.round(np.arange(1, parts) * len(values) / parts).astype(np.int64)
    return _edges(values, at)


def _lloyd(values: np.ndarray, parts: int) -> list[float]:
    """Bounds between clusters of sorted values."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    at = np.round(np.arange(parts + 1) * len(values) / parts).astype(np.int64)
    while True:
        size = np.diff(at)
        keep = size > 0
        centres = np.diff(sums[at])[keep] / size[keep]
        middles = (centres[1:] + centres[:-1]) / 2
        new = np.concatenate([[0], np.searchsorted(values, middles, side="right"), [len(values)]])
        # Each step lowers the squared error and there are finitely many cuts, so this ends.
        if len(new) == len(at) and (new == at).all():
            return _edges(values, at[1:-1])
        at = new


def _edges(values: np.ndarray, at: np.ndarray) -> list[float]:
    """Bounds just below the values at some ranks, each once and none outside the values."""
    edges = []
    for rank in at.tolist():
        first = int(np.searchsorted(values, values[min(rank, len(values) - 1)], side="left"))
        if 0 < first < len(values):
            edges.append(_between(values[first - 1], values[first]))
    return sorted(set(edges))
