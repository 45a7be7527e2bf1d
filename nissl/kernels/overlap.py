"""How much sets and rankings of neurons agree: overlaps, rank correlations, votes of methods.

Agreement is not truth. Methods that make the same mistake agree on it: two rankings that are both
drawn to neurons with a large scale overlap without either being right. Read these numbers as "how
far does the choice of method matter", never as "how good is the method"; for that, take the
accuracy on held-out text, or planted neurons.

The tests of overlaps against chance are in :mod:`nissl.kernels.overlap_tests`, the corrections for
many tests in :mod:`nissl.kernels.multiple_tests`; both are importable from here too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import kendalltau

from nissl.errors import InputError, SettingError
from nissl.kernels.multiple_tests import holm
from nissl.kernels.overlap_tests import expected_overlap, hypergeometric_overlap

__all__ = [
    "average_overlap",
    "expected_overlap",
    "holm",
    "hypergeometric_overlap",
    "kendall",
    "neuron_vote",
    "rank_biased_overlap",
    "spearman",
    "top_jaccard",
    "votes",
]


def top_jaccard(orders: Int[np.ndarray, "m d"], k: int) -> Float[np.ndarray, "m m"]:
    """Return |A ∩ B| / |A ∪ B| of the k best neurons of each pair of orders, float64 (m, m).

    Random orders share k²/d neurons on average: the chance level is about k / (2 d − k).

    Parameters
    ----------
    orders
        Neurons best first, one order a row; each row a permutation of 0 … d − 1.
    k
        Neurons taken from each order.

    Raises
    ------
    InputError
        A row that is no permutation.
    SettingError
        k outside 1 … d.
    """
    _check(orders, k)
    return _jaccard(orders[:, :k], orders[:, :k], orders.shape[1])


def spearman(orders: Int[np.ndarray, "m d"]) -> Float[np.ndarray, "m m"]:
    """Return Spearman's ρ of each pair of orders, float64 (m, m).

    ρ = 1 − 6 Σ (difference of ranks)² / (d (d² − 1)), as total orders have no ties. It weighs the
    (many, unimportant) worst neurons like the best; see :func:`rank_biased_overlap`.

    Raises
    ------
    InputError
        A row that is no permutation, or fewer than two neurons.
    """
    ranks = _ranks(orders).astype(np.float64)
    d = ranks.shape[1]
    if d < 2:
        raise InputError("a rank correlation needs two or more neurons, and there is one")
    ranks -= (d - 1) / 2
    return np.clip(ranks @ ranks.T * (12.0 / (d * (d * d - 1.0))), -1.0, 1.0)


def kendall(orders: Int[np.ndarray, "m d"]) -> Float[np.ndarray, "m m"]:
    """Return Kendall's τ of each pair of orders, float64 (m, m).

    τ = (pairs of neurons in the same order − pairs in the opposite one) / all pairs.

    Raises
    ------
    InputError
        A row that is no permutation, or fewer than two neurons.
    """
    ranks = _ranks(orders)
    if ranks.shape[1] < 2:
        raise InputError("a rank correlation needs two or more neurons, and there is one")
    out = np.eye(len(ranks))
    for i in range(len(ranks)):
        for j in range(i):
            found: Any = kendalltau(ranks[i], ranks[j])
            out[i, j] = out[j, i] = float(found.statistic)
    return out


def rank_biased_overlap(
    orders: Int[np.ndarray, "m d"], *, persistence: float = 0.98, depth: int | None = None
) -> Float[np.ndarray, "m m"]:
    """Return the extrapolated rank-biased overlap of each pair of orders, float64 (m, m).

    A reader goes down both lists and stops after each rank with probability 1 − p; the measure is
    the expected share A_r = |best r of both| / r at the rank where she stops, with A taken to stay
    what it is past ``depth`` (Webber, Moffat & Zobel 2010, equation 30):
    RBO = (1 − p)/p Σ_{r ≤ depth} A_r p^r + A_depth p^depth. Here the best neurons count most.

    Parameters
    ----------
    orders
        Neurons best first, one order a row; each row a permutation of 0 … d − 1.
    persistence
        p, in (0, 1); the reader sees 1 / (1 − p) neurons on average.
    depth
        Ranks looked at, all d by default.

    Raises
    ------
    InputError
        A row that is no permutation.
    SettingError
        A persistence or depth out of range.
    """
    last = orders.shape[1] if depth is None else depth
    _check(orders, last)
    if not 0 < persistence < 1:
        raise SettingError(f"persistence must lie between 0 and 1, not {persistence:g}")
    ranks = _ranks(orders)
    at = np.arange(1, last + 1)
    weight = (1 - persistence) / persistence * persistence**at
    out = np.eye(len(orders))
    for i in range(len(orders)):
        for j in range(i):
            # A neuron is in both prefixes from the later of its two ranks on.
            later = np.maximum(ranks[i], ranks[j])
            both = np.cumsum(np.bincount(later, minlength=last)[:last])
            share = both / at
            out[i, j] = out[j, i] = (weight * share).sum() + share[-1] * persistence**last
    return np.minimum(out, 1.0)


def average_overlap(orders: Int[np.ndarray, "m d"], k: int) -> Float[np.ndarray, " m"]:
    """Return AvgOverlap of each method: its mean Jaccard overlap with the others, float64 (m,).

    Fan et al. 2023 (AvgOverlap): the overlap of two methods is |A ∩ B| / |A ∪ B| of their k best
    neurons, and a method's value is the mean over all other methods.

    **Agreement is not truth**: a method that shares a bias with the others scores high, and one
    that alone finds what they miss scores low. The value also depends on which other methods are
    in the comparison; near-copies of a method raise it.

    Parameters
    ----------
    orders
        Neurons best first, one method a row; each row a permutation of 0 … d − 1.
    k
        Neurons taken from each method.

    Raises
    ------
    InputError
        Fewer than two methods, or a row that is no permutation.
    SettingError
        k outside 1 … d.
    """
    _several(orders)
    overlap = top_jaccard(orders, k)
    return (overlap.sum(axis=1) - overlap.diagonal()) / (len(orders) - 1)


def votes(orders: Int[np.ndarray, "m d"], *, depth: int | None = None) -> Float[np.ndarray, "m d"]:
    """Return the Borda points that each method gives each neuron, float64 (m, d).

    The neuron at place r (0, 1, …) of a ballot of ``depth`` neurons gets depth − r points, and
    neurons further down get none (de Borda 1781). ``depth`` is d by default.

    Raises
    ------
    InputError
        A row that is no permutation.
    SettingError
        A depth outside 1 … d.
    """
    places = orders.shape[1] if depth is None else depth
    _check(orders, places)
    return np.maximum(places - _ranks(orders), 0).astype(np.float64)


def neuron_vote(
    orders: Int[np.ndarray, "m d"], k: int, *, depth: int | None = None
) -> Float[np.ndarray, " m"]:
    """Return NeuronVote of each method: its overlap with what the others elect, float64 (m,).

    Fan et al. 2023 (NeuronVote): each of the other methods is a voter that ranks the neurons; the k
    neurons with the most Borda points are elected (lowest index on ties); the method's value is the
    Jaccard overlap of its own k best with them. A method does not vote on itself.

    **Agreement is not truth**: see :func:`average_overlap`.

    Parameters
    ----------
    orders
        Neurons best first, one method a row; each row a permutation of 0 … d − 1.
    k
        Neurons elected, and taken from each method.
    depth
        Places on a ballot: all d by default; the authors' code uses 100.

    Raises
    ------
    InputError
        Fewer than two methods, or a row that is no permutation.
    SettingError
        k or depth outside 1 … d.
    """
    _several(orders)
    _check(orders, k)
    points = votes(orders, depth=depth)
    others = points.sum(axis=0) - points
    elected = np.argsort(-others, axis=1, kind="stable")[:, :k]
    return _jaccard(orders[:, :k], elected, orders.shape[1]).diagonal().copy()


def _jaccard(a: np.ndarray, b: np.ndarray, d: int) -> np.ndarray:
    """Jaccard of each row of neurons of a (i, k) with each of b (j, k), (i, j)."""
    left, right = np.zeros((len(a), d)), np.zeros((len(b), d))
    np.put_along_axis(left, a, 1.0, axis=1)
    np.put_along_axis(right, b, 1.0, axis=1)
    both = left @ right.T
    return both / (left.sum(axis=1)[:, None] + right.sum(axis=1)[None, :] - both)


def _ranks(orders: np.ndarray) -> np.ndarray:
    """Rank of each neuron, 0 the best, (m, d)."""
    d = orders.shape[1]
    if d == 0 or (np.sort(orders, axis=1) != np.arange(d)).any():
        raise InputError(f"each order must hold each of the neurons 0 … {d - 1} once")
    return np.argsort(orders, axis=1)


def _several(orders: np.ndarray) -> None:
    if len(orders) < 2:
        raise InputError(f"agreement needs two or more methods, not {len(orders)}")


def _check(orders: np.ndarray, k: int) -> None:
    _ranks(orders)
    if not 1 <= k <= orders.shape[1]:
        raise SettingError(f"{k} neurons cannot be taken from {orders.shape[1]}")
