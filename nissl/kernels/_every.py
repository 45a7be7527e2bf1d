"""Every formula of up to three concepts, for one neuron after the other."""

from __future__ import annotations

import time
from math import comb

import numpy as np

from nissl.kernels import _bit_loops as bits
from nissl.kernels import _exhaustive_loops as loops
from nissl.kernels._bits import PackedMasks
from nissl.kernels._formula_bounds import relaxed_bounds
from nissl.kernels.formula_scores import score_number, score_of_counts
from nissl.kernels.formulas import Formula, Op
from nissl.kernels.search import Beam
from nissl.kernels.searched import Gathered

__all__ = ["PAIRS", "TRIPLES", "Every", "nothing"]

_Form = tuple[tuple[int, ...], tuple[Op, ...]]

PAIRS: tuple[_Form, ...] = (
    ((0, 1), ("or",)),
    ((0, 1), ("and",)),
    ((0, 1), ("and not",)),
    ((1, 0), ("and not",)),
)
"""All formulas of two concepts: places of the concepts, and operators."""

_SPLIT = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
TRIPLES: tuple[_Form, ...] = (
    ((0, 1, 2), ("or", "or")),
    *((leaves, ("and", "or")) for leaves in _SPLIT),
    *(
        (leaves, ("and not", "or"))
        for leaves in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    ),
    *((leaves, ("or", "and")) for leaves in _SPLIT),
    ((0, 1, 2), ("and", "and")),
    *((leaves, ("or", "and not")) for leaves in _SPLIT),
    *((leaves, ("and", "and not")) for leaves in _SPLIT),
    *((leaves, ("and not", "and not")) for leaves in ((0, 1, 2), (1, 0, 2), (2, 0, 1))),
)
"""All left-deep formulas of three concepts that are not equal for all masks."""

SEEN = 2**26
"""Bytes up to which it is remembered which triples were tried: what is more is tried again."""


class Every:
    """Counts that all neurons share, and a beam search whose best score lets most be skipped."""

    def __init__(self, given: PackedMasks, length: int, min_support: int, score: str) -> None:
        count, width = given.words.shape
        self.given, self.length, self.least, self.score = given, length, min_support, score
        self.metric = score_number(score)
        self.m, self.b = np.zeros((2, width), dtype=np.uint64)
        self.room = np.zeros((2, 23), dtype=np.int64)
        self.pairs, self.inside = np.zeros((2, count, count) if length > 1 else (2, 0, 0), np.int32)
        self.f = np.zeros(count, dtype=np.int64)
        triples = comb(count, 3) if length > 2 else 0
        self.seen = np.zeros(triples // 64 + 1 if triples <= 8 * SEEN else 0, dtype=np.uint64)
        self.tried, self.rows = 0, 0  # triples, and pairs whose triples are done
        if length > 1:
            everything = np.full(width, ~np.uint64(0), dtype=np.uint64)
            loops.pair_counts(*given.lists, everything, self.pairs, self.m)
        self.beam = Beam(given, length, 10, min_support, score) if length > 2 else None

    def one(self, u: int, wanted: PackedMasks, gathered: Gathered, stop: float) -> None:
        """Try every formula for one neuron."""
        a, size, n = wanted.words[u], int(wanted.counts[u]), wanted.n
        if size == 0:
            gathered.done[u] = True
            return
        counts, lists = self.given.counts, self.given.lists
        rule = (self.metric, size, n, self.least)
        bits.all_counts(*lists, a, self.f)
        self._single(u, gathered, size, n)
        if self.length > 1:
            loops.pair_counts(*lists, a, self.inside, self.m)
            best, made = nothing()
            loops.best_pairs(self.f, counts, self.inside, self.pairs, *rule, best, made)
            _give(gathered, u, best, made, PAIRS)
        if self.beam is not None:
            bar = max(self.beam.score_of(a, n, stop), gathered.best[u])
            best, made = nothing()
            self.seen[:] = 0
            orders = (np.argsort(-x, kind="stable") for x in (self.f, counts - self.f))
            given = (*lists, a, *orders, self.f, counts, self.inside, self.pairs)
            for x in range(len(counts) - 1):
                self.tried += loops.best_triples(
                    *given, x, *rule, bar, best, made, self.m, self.b, *self.room, self.seen
                )
                self.rows += len(counts) - 1 - x
                if time.monotonic() > stop and x < len(counts) - 2:
                    _give(gathered, u, best, made, TRIPLES)
                    bounds = relaxed_bounds(self.f, counts, size, n, self.length, self.score)
                    gathered.bounds[u] = bounds[-1]
                    return
            _give(gathered, u, best, made, TRIPLES)
        gathered.done[u] = True
        if gathered.found[u]:
            gathered.bounds[u] = gathered.best[u]

    def _single(self, u: int, gathered: Gathered, size: int, n: int) -> None:
        counts = self.given.counts
        alone = score_of_counts(self.f, counts, np.full_like(counts, size), n, self.score)
        alone[counts < self.least] = -np.inf
        # Best score, then smallest support, then lowest number.
        k = int(np.lexsort((counts, -alone))[0])
        if counts[k] >= self.least:
            gathered.offer(u, float(alone[k]), int(self.f[k]), int(counts[k]), Formula((k,)))


def nothing() -> tuple[np.ndarray, np.ndarray]:
    return np.full(1, -np.inf), np.zeros(6, dtype=np.int64)


def _give(
    gathered: Gathered, u: int, best: np.ndarray, made: np.ndarray, forms: tuple[_Form, ...]
) -> None:
    """Write down the best formula of one length."""
    if best[0] > -np.inf:
        hits, support, form, *concepts = (int(x) for x in made)
        places, ops = forms[form]
        formula = Formula(tuple(concepts[i] for i in places), ops)
        gathered.offer(u, float(best[0]), hits, support, formula)
