"""What a search for formulas found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nissl.kernels._bits import PackedMasks
from nissl.kernels._climb import Found
from nissl.kernels.formulas import Formula

__all__ = ["Gathered", "Searched"]

SLACK = 1e-12
"""Rounding that a score may be below its bound by and still be proved best."""


@dataclass(frozen=True, eq=False)
class Searched:
    """The best formula found for each of U neurons.

    A neuron that is on nowhere has no formula, nor has one for which no formula covers
    ``min_support`` tokens, or that a stopped search did not come to: ``None``, scores NaN, counts
    0.

    Attributes
    ----------
    formulas
        Formula of each neuron, or ``None``: of :attr:`best_by_length` the one with the highest
        score × penalty^(leaves − 1), the shorter one on ties.
    scores
        Its score, not penalised, float64 (U,).
    hits, support
        Tokens of neuron and formula, and of the formula, int64 (U,).
    sizes
        Tokens of the neuron, int64 (U,).
    by_length
        Best score with at most 1 … length leaves, not penalised, float64 (U, length).
    best_by_length
        The formulas of these scores; one that is no better than a shorter one is not taken.
    bounds
        No left-deep formula of at most ``length`` leaves has a score above, float64 (U,); 1.0 where
        nothing is proved.
    optimal
        Whether no left-deep formula of at most ``length`` leaves has a score above the last of
        ``by_length`` (which, without a penalty, is ``scores``), bool (U,).
    partial
        Whether the search was stopped before its end, by time or Ctrl-C, bool (U,).
    """

    formulas: tuple[Formula | None, ...]
    scores: np.ndarray
    hits: np.ndarray
    support: np.ndarray
    sizes: np.ndarray
    by_length: np.ndarray
    best_by_length: tuple[tuple[Formula | None, ...], ...]
    bounds: np.ndarray
    optimal: np.ndarray
    partial: np.ndarray

    @property
    def without(self) -> int:
        """Number of neurons that have no formula."""
        return sum(formula is None for formula in self.formulas)


class Gathered:
    """Best formulas of each length, filled neuron by neuron; starts as "nothing found"."""

    def __init__(self, wanted: PackedMasks, length: int, score: str) -> None:
        units = len(wanted)
        self.sizes = wanted.counts
        self.n, self.score, self.length = wanted.n, score, length
        self.done = np.zeros(units, dtype=bool)
        self.bounds = np.ones(units)
        self.best = np.full(units, -np.inf)
        self.found: list[list[tuple[float, int, int, Formula]]] = [[] for _ in range(units)]

    def offer(self, u: int, score: float, hits: int, support: int, formula: Formula) -> None:
        """Keep a formula that is better than all shorter ones; call in order of length."""
        if score > self.best[u]:
            self.best[u] = score
            self.found[u].append((score, hits, support, formula))

    def replace(self, u: int, found: Sequence[Found]) -> None:
        """Keep these formulas, of rising length, instead of those offered before."""
        self.best[u] = -np.inf
        self.found[u] = []
        for x in found:
            self.offer(u, x.score, x.hits, x.support, x.formula)

    def result(self, penalty: float) -> Searched:
        """Choose the length of each formula."""
        units = len(self.sizes)
        scores, hits, support = np.full(units, np.nan), *np.zeros((2, units), dtype=np.int64)
        by_length = np.full((units, self.length), np.nan)
        chosen: list[Formula | None] = [None] * units
        table: list[tuple[Formula | None, ...]] = []
        for u, found in enumerate(self.found):
            row: list[Formula | None] = [None] * self.length
            for value, _, _, formula in found:
                by_length[u, len(formula) - 1 :] = value
                row[len(formula) - 1 :] = [formula] * (self.length + 1 - len(formula))
            table.append(tuple(row))
            if found:
                # A score below 0 (Matthews) would gain by the penalty: it is left as it is.
                best = max(found, key=lambda x: x[0] * penalty ** ((len(x[3]) - 1) * (x[0] > 0)))
                scores[u], hits[u], support[u], chosen[u] = best
        return Searched(
            formulas=tuple(chosen),
            scores=scores,
            hits=hits,
            support=support,
            sizes=self.sizes,
            by_length=by_length,
            best_by_length=tuple(table),
            bounds=self.bounds,
            optimal=by_length[:, -1] >= self.bounds - SLACK,
            partial=~self.done,
        )
