"""Better formulas next to those that the beam found.

A beam never takes a leaf back: a concept that is the best start of a short formula may be no part
of the best long one. So each length's formula is changed by one leaf at a time (out, and the best
one in, anywhere and with any operator) until that raises no score, and lengths are gone through
upward, and downward again where a shorter formula is met that is better than the one known
(floating search, Pudil et al. 1994). Scores only rise, so it ends; what is left is a local optimum.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nissl.kernels import _climb_loops as loops
from nissl.kernels._bits import PackedMasks
from nissl.kernels.formulas import OPS, Formula

__all__ = ["Climb", "Found"]


WORTH = 0.5
"""Score from which two leaves at a time are tried: bounds skip most there, and truth is near."""


@dataclass(frozen=True)
class Found:
    """A formula, its score and its counts."""

    score: float
    hits: int
    support: int
    formula: Formula


class Climb:
    """Room that all neurons share."""

    def __init__(self, concepts: PackedMasks, length: int, metric: int, least: int) -> None:
        width = concepts.words.shape[1]
        self.concepts, self.length, self.metric, self.least = concepts, length, metric, least
        self.everything = np.full(width, ~np.uint64(0), dtype=np.uint64)
        if concepts.n % 64:
            self.everything[-1] = np.uint64((1 << (concepts.n % 64)) - 1)
        self.chains = np.zeros((6, length + 1), dtype=np.int64)
        self.room = [np.zeros((length + 1, width), dtype=np.uint64) for _ in range(3)]
        self.inside, self.outside = np.zeros((2, width), dtype=np.uint64)
        self.best, self.short = np.zeros((2, 1))
        self.made, self.short_made = np.zeros((2, 5), dtype=np.int64)

    def __call__(
        self,
        found: Sequence[Found],
        other: Found | None,
        a: np.ndarray,
        size: int,
        f_hits: np.ndarray,
        bounds: np.ndarray,
    ) -> list[Found]:
        """Return formulas of rising length and score, none worse than those of the same length.

        Parameters
        ----------
        found
            The beam's, of rising length and score; at least one.
        other
            A formula of one leaf less than the longest, of any score, to start from besides.
        a, size
            The neuron's packed mask, and how many tokens it has.
        f_hits
            Tokens of the neuron that each concept covers, int64 (K,).
        bounds
            Upper bound on the score of each length, float64 (length,).
        """
        f_false = self.concepts.counts - f_hits
        by_hits, by_false = (np.argsort(-x, kind="stable") for x in (f_hits, f_false))
        self.given = (
            *self.concepts.lists, by_hits, by_false, f_hits, f_false, a,
            self.metric, size, self.concepts.n, self.least,
        )  # fmt: skip
        self.known = {len(x.formula): x for x in found}
        first = min(self.known) + 1
        length = first
        while length <= self.length:
            if self._below(length + 1).score >= bounds[length - 1]:
                length += 1
                continue
            besides, other = (other, None) if length == self.length else (None, other)
            down = self._raise(length, besides) or self._jump(length)
            length = max(length - 1, first) if down else length + 1
        return [self.known[m] for m in sorted(self.known)]

    def _below(self, length: int) -> Found:
        """Return the best formula of fewer leaves."""
        return max((x for m, x in self.known.items() if m < length), key=lambda x: x.score)

    def _raise(self, length: int, other: Found | None) -> bool:
        """Improve one length; return whether a better formula of one leaf less was met."""
        below, known = self._below(length), self.known.get(length)
        if known is not None and known.score <= below.score:
            known = None
        top = below if known is None else known
        self.down = False
        moved = len(below.formula) == length - 1 and self._from(length, below, top.score)
        if not moved and known is not None:
            self._from(length, known, known.score)
        if other is not None:
            self._from(length, other, other.score)
        return self.down

    def _jump(self, length: int) -> bool:
        """Take two leaves out, any two, and put the two best in one after the other; climb then.

        Returns whether a better formula of one leaf less was met.
        """
        while length > 2 and length in self.known and self.known[length].score >= WORTH:
            known = self.known[length]
            for i, j in itertools.combinations(range(length), 2):
                less = _less(_less(known.formula, j), i)
                # The best there is of one leaf more, be it worse: the second is to make up for it.
                start = self._added(less, -np.inf)
                if start is not None and self._from(length, start, known.score):
                    break
            else:
                return False
            if self.down:
                return True
        return False

    def _added(self, formula: Formula, bar: float) -> Found | None:
        """Return the best formula above ``bar`` that has one leaf more."""
        leaves, ops, g_leaves, g_ops = self.chains[:4]
        g = len(formula)
        self.best[0] = bar
        _write(formula, g_leaves, g_ops)
        loops.prepare(self.given[0], g_leaves, g_ops, g, self.everything, *self.room)
        if not loops.best_insertion(
            *self.given, g_ops, g, *self.room, self.inside, self.outside, self.best, self.made
        ):
            return None
        loops.insert(g_leaves, g_ops, g, *self.made[:3], leaves, ops)
        return _read(self.best, self.made, leaves, ops, g + 1)

    def _from(self, length: int, start: Found, bar: float) -> bool:
        """Climb from a formula; one of a leaf less gets the best one first, if that is above."""
        leaves, ops, g_leaves, g_ops, s_leaves, s_ops = self.chains
        room = (*self.room, self.inside, self.outside, self.best, self.made)
        if len(start.formula) < length:
            added = self._added(start.formula, bar)
            if added is None:
                return False
            start = added
        _write(start.formula, leaves, ops)
        self.best[0] = start.score
        self.made[3:] = start.hits, start.support
        self.short[0] = self._below(length).score
        loops.climb(
            *self.given, self.everything, leaves, ops, length, g_leaves, g_ops, *room,
            self.short, self.short_made, s_leaves, s_ops,
        )  # fmt: skip
        if self.best[0] > self._below(length + 1).score:
            self.known[length] = _read(self.best, self.made, leaves, ops, length)
        if length > 2 and self.short[0] > self._below(length).score:
            self.known[length - 1] = _read(self.short, self.short_made, s_leaves, s_ops, length - 1)
            self.down = True
        return True


def _less(formula: Formula, i: int) -> Formula:
    """Return the formula without leaf i."""
    leaves, ops = formula.leaves, formula.ops
    return Formula(leaves[:i] + leaves[i + 1 :], ops[: max(i - 1, 0)] + ops[max(i, 1) :])


def _read(
    score: np.ndarray, made: np.ndarray, leaves: np.ndarray, ops: np.ndarray, length: int
) -> Found:
    formula = Formula(
        tuple(int(k) for k in leaves[:length]), tuple(OPS[int(op)] for op in ops[1:length])
    )
    return Found(float(score[0]), int(made[3]), int(made[4]), formula)


def _write(formula: Formula, leaves: np.ndarray, ops: np.ndarray) -> None:
    leaves[: len(formula)] = formula.leaves
    ops[1 : len(formula)] = [OPS.index(op) for op in formula.ops]
