"""Beam search for the logical formula whose mask is most like a neuron's.

Mu & Andreas 2020 (arXiv 2006.14032, section 2): formulas grow by one concept at a time, joined by
OR, AND or AND NOT, and the best few of each length are kept. Here all three unions of a formula and
a concept come from two counts of bits of packed masks, concepts that never meet the neuron stay
candidates (``noun AND NOT plural`` needs ``plural``), and no two formulas kept have the same mask.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool

from nissl.errors import InputError, SettingError
from nissl.kernels import _bit_loops as bits
from nissl.kernels import _formula_loops as loops
from nissl.kernels._bits import PackedMasks, pack, packed
from nissl.kernels._climb import Climb, Found
from nissl.kernels._formula_bounds import relaxed_bounds
from nissl.kernels.formula_scores import score_number, score_of_counts
from nissl.kernels.formulas import OPS, Formula
from nissl.kernels.searched import Gathered, Searched

__all__ = ["PackedMasks", "Searched", "pack", "search_formulas"]


def search_formulas(
    concepts: Bool[np.ndarray, "k n"] | PackedMasks,
    masks: Bool[np.ndarray, "u n"] | PackedMasks,
    *,
    length: int = 3,
    beam: int = 10,
    penalty: float = 1.0,
    min_support: int = 1,
    score: str = "iou",
    time_limit: float | None = None,
    progress: Callable[[int], None] | None = None,
    interruptible: bool = False,
) -> Searched:
    """Return the best formula that a beam search finds for each neuron.

    Formulas of one length compete with each other only: those kept differ in their masks from each
    other and from all shorter ones kept (masks are compared, not hashes). Half as many again are
    kept for what they could become, by hits / (size + 0.15 false ones): A OR B may be worse than
    either and (A OR B) AND NOT C be right, which no beam by the score alone finds.

    From the best formula of each length, leaves are then exchanged until no single exchange (one
    leaf out, the best one in, anywhere) is better, with a few larger steps where the score is 0.5
    or more; see :mod:`nissl.kernels._climb`. No length is worse for it. What a formula of many ANDs
    covers only together, with next to nothing in any part, can still be missed.

    Ties in the beam go to the shorter formula, then to the one with the smaller support, then OR
    before AND before AND NOT, then the better parent, then the lower number of the concept: the
    result does not depend on chance.

    Parameters
    ----------
    concepts
        Tokens of each concept, (K, N), or packed once with :func:`pack` for many calls.
    masks
        Tokens on which each neuron is on, (U, N).
    length
        Leaves of the longest formula.
    beam
        Formulas of each length that are kept by their score; half as many by what they could be.
    penalty
        Factor in (0, 1] on the score for each leaf beyond the first, when the length is chosen
        (Mu & Andreas 2020 use none; La Rosa et al. 2023 use 0.99 in their code).
    min_support
        Tokens that a formula must cover to be kept; its concepts may cover fewer, but a beam starts
        from those that cover as many, and finds nothing where no concept does.
    score
        One of :data:`nissl.kernels.formula_scores.SCORES`.
    time_limit
        Seconds (wall clock) after which what is found so far is returned; seen to after each
        level of each neuron.
    progress
        Called with 1 after each neuron.
    interruptible
        Whether Ctrl-C stops the search like the time limit instead of raising.

    Raises
    ------
    InputError
        Concepts and masks over different tokens, or no concepts.
    SettingError
        A setting out of range.
    """
    given, wanted = check_search(concepts, masks, length, penalty, min_support, score)
    if beam < 1:
        raise SettingError(f"beam must be 1 or more, not {beam}")
    stop = np.inf if time_limit is None else time.monotonic() + time_limit
    search = Beam(given, length, min(beam, _most(len(given))), min_support, score)
    gathered = Gathered(wanted, length, score)
    try:
        for u in range(len(wanted)):
            if time.monotonic() > stop:
                break
            search.one(u, wanted, gathered, stop)
            if progress is not None:
                progress(1)
    except KeyboardInterrupt:
        if not interruptible:
            raise
    return gathered.result(penalty)


class Beam:
    """Room and settings that all neurons share."""

    def __init__(
        self, concepts: PackedMasks, length: int, beam: int, min_support: int, score: str
    ) -> None:
        width = concepts.words.shape[1]
        room = length * (beam + beam // 2)
        self.concepts, self.length, self.beam, self.least = concepts, length, beam, min_support
        self.metric, self.score = score_number(score), score
        self.masks = np.zeros((room, width), dtype=np.uint64)
        self.counts = np.zeros((room, 2), dtype=np.int64)
        self.scores = np.zeros(room)
        self.made = np.zeros((room, 3), dtype=np.int64)
        self.inside = np.zeros(width, dtype=np.uint64)
        self.tally = np.zeros(2, dtype=np.int64)
        self.f_hits = np.zeros(len(concepts), dtype=np.int64)
        self.climb = Climb(concepts, length, self.metric, min_support)

    def one(self, u: int, wanted: PackedMasks, gathered: Gathered, stop: float) -> None:
        """Search for one neuron and write down what is found after each level."""
        a, size, n = wanted.words[u], int(wanted.counts[u]), wanted.n
        if size == 0:
            gathered.done[u] = True
            return
        counts = self.concepts.counts
        lists = self.concepts.lists
        kept = (self.masks, self.counts, self.scores, self.made)
        bits.all_counts(*lists, a, self.f_hits)
        bounds = relaxed_bounds(self.f_hits, counts, size, n, self.length, self.score)
        gathered.bounds[u] = bounds[-1]
        alone = score_of_counts(self.f_hits, counts, np.full_like(counts, size), n, self.score)
        order = np.argsort(-alone, kind="stable")
        rule = (size, n, self.least)
        start, end = 0, 0
        starts: list[int] = []
        for depth in range(self.length):
            if depth and time.monotonic() > stop:
                return
            first = end
            for metric, room in self._lists(depth):
                if depth == 0:
                    end += loops.singles(
                        lists[0], self.f_hits, counts, metric, *rule, *kept, end, room
                    )
                else:
                    end += loops.level(
                        *lists, order, self.f_hits, counts, a, metric, *rule,
                        *kept, start, first, end, room, self.inside, self.tally,
                    )  # fmt: skip
            if end == first:
                break
            starts.append(first)
            self._note(u, gathered, starts)
            # A bound that is reached ends the search: nothing longer can be better.
            if gathered.best[u] >= bounds[-1]:
                break
            start = first
        if gathered.found[u]:
            if time.monotonic() > stop:
                return
            found = [Found(*x) for x in gathered.found[u]]
            other = self._other(starts, size, n)
            gathered.replace(u, self.climb(found, other, a, size, self.f_hits, bounds))
        gathered.done[u] = True

    def score_of(self, a: np.ndarray, n: int, stop: float = np.inf) -> float:
        """Return the best score found for a packed mask of n tokens; -inf if there is none."""
        mask = PackedMasks(a[None], n)
        gathered = Gathered(mask, self.length, self.score)
        self.one(0, mask, gathered, stop)
        return float(gathered.best[0])

    def _lists(self, depth: int) -> tuple[tuple[int, int], ...]:
        """What formulas of a length are kept by, and how many; of the last length, the best."""
        if depth == self.length - 1:
            return ((self.metric, 1),)
        reserve = ((loops.REACH, self.beam // 2),) if self.beam > 1 else ()
        return (self.metric, self.beam), *reserve

    def _note(self, u: int, gathered: Gathered, starts: list[int]) -> None:
        """Offer the best formula of the last level."""
        place = starts[-1]
        hits, support = (int(x) for x in self.counts[place])
        formula = self._formula(place, len(starts))
        gathered.offer(u, float(self.scores[place]), hits, support, formula)

    def _other(self, starts: list[int], size: int, n: int) -> Found | None:
        """Return what of the last length but one could become most, to climb from besides."""
        if len(starts) < self.length or self.length == 1:
            return None
        place = starts[-2] + self.beam
        if place >= starts[-1]:
            return None
        hits, support = (int(x) for x in self.counts[place])
        score = float(loops.quality(self.metric, hits, support, size, n))
        return Found(score, hits, support, self._formula(place, self.length - 1))

    def _formula(self, place: int, length: int) -> Formula:
        """Follow the parents of a formula that was kept."""
        leaves, ops = [], []
        for depth in range(length, 0, -1):
            op, parent, k = (int(x) for x in self.made[place])
            leaves.append(k)
            if depth > 1:
                ops.append(OPS[op])
            place = parent
        return Formula(tuple(leaves[::-1]), tuple(ops[::-1]))


def check_search(
    concepts: np.ndarray | PackedMasks,
    masks: np.ndarray | PackedMasks,
    length: int,
    penalty: float,
    min_support: int,
    score: str,
) -> tuple[PackedMasks, PackedMasks]:
    """Return both packed; refuse what cannot be searched."""
    given, wanted = packed(concepts), packed(masks)
    if given.n != wanted.n:
        raise InputError(
            f"the concepts are over {given.n} tokens and the neurons' masks over {wanted.n}; take "
            "both from the same tokens"
        )
    if len(given) == 0:
        raise InputError("there are no concepts to explain with; give one or more")
    if length < 1:
        raise SettingError(f"length must be 1 or more, not {length}")
    if not 0 < penalty <= 1:
        raise SettingError(f"penalty must be above 0 and at most 1, not {penalty:g}")
    if not 1 <= min_support <= given.n:
        raise SettingError(f"min_support must be from 1 to the {given.n} tokens, not {min_support}")
    score_number(score)
    return given, wanted


def _most(concepts: int) -> int:
    """Formulas of one level can be no more than this many: room that a huge beam would waste."""
    return max(64, 3 * concepts * concepts)
