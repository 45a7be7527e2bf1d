"""The best of all formulas of up to three concepts, by trying all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
from jaxtyping import Bool

from nissl.errors import SettingError
from nissl.kernels import _exhaustive_loops as loops
from nissl.kernels._bits import PackedMasks, pack
from nissl.kernels._every import PAIRS, SEEN, TRIPLES, Every, nothing
from nissl.kernels.search import check_search
from nissl.kernels.searched import Gathered, Searched

__all__ = ["PAIRS", "TRIPLES", "Cost", "exhaustive_cost", "exhaustive_formulas"]


@dataclass(frozen=True)
class Cost:
    """What an exhaustive search will cost.

    Attributes
    ----------
    formulas
        Formulas tried, for all neurons.
    word_operations
        Words of 64 tokens that are met with another, at most.
    seconds
        Estimated CPU seconds of one thread on this machine.
    bytes
        Room for counts and masks, beyond the masks given.
    tried
        Whether ``seconds`` comes from trials with some of the neurons. If not, it is what the
        search would take if it could skip nothing: ten times too much and more, mostly.
    """

    formulas: int
    word_operations: int
    seconds: float
    bytes: int
    tried: bool = False

    def __str__(self) -> str:
        about = "about" if self.tried else "at most"
        return (
            f"{self.formulas:,} formulas, {about} {self.seconds:,.3g} CPU s and "
            f"{self.bytes / 2**20:,.0f} MiB"
        )


def exhaustive_cost(
    n_concepts: int,
    n_tokens: int,
    n_neurons: int = 1,
    length: int = 3,
    *,
    concepts: PackedMasks | None = None,
    masks: PackedMasks | None = None,
) -> Cost:
    """Return what :func:`exhaustive_formulas` will cost, without running it to the end.

    Parameters
    ----------
    n_concepts, n_tokens, n_neurons
        K, N and U.
    length
        Leaves of the longest formula, 1 to 3.
    concepts
        The packed concepts; with them, the estimate takes into account that rare concepts are
        counted from fewer words. Without them all words are expected to be counted, which for text
        is several times too much at thousands of words.

    Raises
    ------
    SettingError
        A length outside 1 … 3.
    """
    _check_length(length)
    formulas, operations, room = _work(n_concepts, n_tokens, n_neurons, length, concepts)
    if concepts is not None and masks is not None and len(masks):
        return Cost(formulas, operations, _trial(concepts, masks, n_neurons, length), room, True)
    per_word, per_formula = _rates()
    return Cost(formulas, operations, operations * per_word + formulas * per_formula, room)


def exhaustive_formulas(
    concepts: Bool[np.ndarray, "k n"] | PackedMasks,
    masks: Bool[np.ndarray, "u n"] | PackedMasks,
    *,
    length: int = 3,
    penalty: float = 1.0,
    min_support: int = 1,
    score: str = "iou",
    time_limit: float | None = None,
    progress: Callable[[int], None] | None = None,
    interruptible: bool = False,
) -> Searched:
    """Return the best formula of at most three concepts for each neuron: none is left out.

    All formulas of up to three leaves over OR, AND and AND NOT are covered, however they are
    bracketed, but two: A AND NOT (B AND C) and A AND NOT (B AND NOT C), which no left-deep formula
    of three leaves equals (and which the search of Mu & Andreas 2020 does not reach either). A
    concept that occurs twice never makes a new formula of three leaves. Formulas are skipped only
    if a bound says that they are below one that is known. The cost grows with K³ at worst: see
    :func:`exhaustive_cost`. Ties go to the shorter formula, then to the smaller support, then to
    the order of :data:`PAIRS` and :data:`TRIPLES`, then to the lower numbers of concepts.

    Parameters
    ----------
    concepts, masks, penalty, min_support, score, progress, interruptible
        As in :func:`nissl.kernels.search.search_formulas`.
    length
        1, 2 or 3.
    time_limit
        Seconds (wall clock) after which what is found so far is returned, marked partial.

    Returns
    -------
    Searched
        With ``optimal`` true and ``bounds`` equal to the best score for every neuron that was
        searched to the end and has a formula.

    Raises
    ------
    InputError, SettingError
        As in :func:`nissl.kernels.search.search_formulas`; a length outside 1 … 3.
    """
    _check_length(length)
    given, wanted = check_search(concepts, masks, length, penalty, min_support, score)
    stop = np.inf if time_limit is None else time.monotonic() + time_limit
    gathered = Gathered(wanted, length, score)
    every = Every(given, length, min_support, score)
    try:
        for u in range(len(wanted)):
            if time.monotonic() > stop:
                break
            every.one(u, wanted, gathered, stop)
            if progress is not None:
                progress(1)
    except KeyboardInterrupt:
        if not interruptible:
            raise
    return gathered.result(penalty)


def _work(
    concepts: int, tokens: int, neurons: int, length: int, masks: PackedMasks | None
) -> tuple[int, int, int]:
    """Formulas, words met, and bytes."""
    width = -(-tokens // 64)
    costs = np.full(concepts, width) if masks is None else masks.costs
    lowest = np.arange(concepts)
    # Concept z is counted once for each pair of lower numbers, and once for each lower one.
    per_pair = int((costs * lowest).sum())
    per_triple = int((costs * (lowest * (lowest - 1) // 2)).sum())
    formulas, operations, room = concepts, int(costs.sum()), 8 * concepts
    shared = 0
    if length > 1:
        formulas += len(PAIRS) * comb(concepts, 2)
        operations += per_pair
        shared += per_pair
        room += 8 * concepts**2
    if length > 2:
        formulas += len(TRIPLES) * comb(concepts, 3)
        operations += 2 * per_triple  # among the neuron's tokens, and among all
        room += min(comb(concepts, 3) // 8, SEEN)
    return neurons * formulas, neurons * operations + shared, room + 16 * width


def _trial(concepts: PackedMasks, masks: PackedMasks, neurons: int, length: int) -> float:
    """Extrapolate CPU seconds from three neurons that are on somewhere."""
    on = np.flatnonzero(masks.counts)
    if not len(on):
        return 0.0
    some = on[np.linspace(0, len(on) - 1, min(3, len(on))).astype(int)]
    wanted = PackedMasks(masks.words[some], masks.n)
    exhaustive_formulas(_first(concepts, 3), _first(wanted, 1), length=length)  # compiles
    since = time.process_time()
    every = Every(concepts, length, 1, "iou")
    shared = time.process_time() - since
    gathered = Gathered(wanted, length, "iou")
    each = []
    for u in range(len(wanted)):
        since, every.rows = time.process_time(), 0
        every.one(u, wanted, gathered, time.monotonic() + 0.5)
        share = every.rows / comb(len(concepts), 2) if every.rows else 1.0
        each.append((time.process_time() - since) / share)
    return shared + neurons * float(np.mean(each))


def _first(masks: PackedMasks, count: int) -> PackedMasks:
    return PackedMasks(masks.words[:count], masks.n)


@lru_cache(maxsize=1)
def _rates() -> tuple[float, float]:
    """Seconds a word and a formula, from counts of pairs on this machine."""
    rng = np.random.default_rng(0)
    took, work = [], []
    for tokens in (64 * 16, 64 * 512):
        given = pack(rng.random((60, tokens)) < 0.3)
        out, m = np.zeros((60, 60), dtype=np.int32), np.zeros(tokens // 64, dtype=np.uint64)
        each = []
        for _ in range(4):  # the first one compiles
            since = time.perf_counter()
            loops.pair_counts(*given.lists, given.words[0], out, m)
            each.append(time.perf_counter() - since)
        took.append(min(each))
        work.append(comb(60, 2) * tokens // 64)
    per_word = max(took[1] - took[0], 0.0) / (work[1] - work[0])
    counts = given.counts
    each = []
    for _ in range(4):
        since = time.perf_counter()
        loops.best_pairs(counts, counts, out, out, 0, 999, tokens, 1, *nothing())
        each.append(time.perf_counter() - since)
    return per_word, min(each) / (len(PAIRS) * comb(60, 2))


def _check_length(length: int) -> None:
    if length not in (1, 2, 3):
        raise SettingError(
            f"an exhaustive search has a length of 1, 2 or 3, not {length}; take the beam search"
        )
