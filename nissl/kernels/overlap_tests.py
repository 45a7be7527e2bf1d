"""Overlap of neuron sets of any sizes against chance: exact hypergeometric tests, in logarithms."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma, log1p

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import gammaln, logsumexp

from nissl.errors import InputError, SettingError
from nissl.kernels.multiple_tests import benjamini_hochberg, holm

__all__ = [
    "PairTests",
    "expected_overlap",
    "hypergeometric_overlap",
    "log_hypergeometric_overlap",
    "pair_tests",
]


@dataclass(frozen=True, eq=False)
class PairTests:
    """Exact overlap tests of all pairs of sets; one entry a pair, in the order (0, 1), (0, 2), …

    Attributes
    ----------
    a, b
        Numbers of the two sets, int64 (pairs,).
    overlap
        Neurons in both, int64 (pairs,).
    expected
        Mean overlap of random sets of these sizes, float64 (pairs,).
    log_p
        Natural logarithm of P(overlap ≥ observed), float64 (pairs,); finite where p underflows.
    p, p_holm, p_bh
        That probability, and adjusted for all pairs by Holm and by Benjamini–Hochberg.
    """

    a: np.ndarray
    b: np.ndarray
    overlap: np.ndarray
    expected: np.ndarray
    log_p: np.ndarray
    p: np.ndarray
    p_holm: np.ndarray
    p_bh: np.ndarray


def expected_overlap(total: int, a: int, b: int) -> float:
    """Return the mean overlap of random sets of sizes a and b among ``total`` neurons, a b / total.

    Raises
    ------
    SettingError
        Sets that cannot be drawn from so few neurons.
    """
    _check(total, a, b)
    return a * b / total


def log_hypergeometric_overlap(total: int, a: int, b: int, observed: int) -> float:
    """Return log P(overlap ≥ observed) of random sets of sizes a and b (natural logarithm).

    With the first set fixed, the second is one of C(total, b) equally likely ones, and
    C(a, k) C(total − a, b − k) of them share k neurons with the first: the sum over k ≥ observed is
    the one-sided test of Fisher (1935). The shorter tail is summed, so that nothing cancels.

    Parameters
    ----------
    total
        Number of neurons that both sets were chosen from.
    a, b
        Sizes of the sets; they may differ.
    observed
        Number of neurons in both.

    Raises
    ------
    SettingError
        A size or overlap that is impossible.
    """
    _check(total, a, b)
    low, high = max(0, a + b - total), min(a, b)
    if not 0 <= observed <= high:
        raise SettingError(f"an overlap of {observed} is impossible for sets of {a} and {b}")
    if observed <= low:
        return 0.0
    if observed * total > a * b:
        upper = float(logsumexp(_log_pmf(total, a, b, observed, high)))
        return min(upper, 0.0)
    # Below the mean the other tail is the small one, and 1 − tail is at least about a half.
    lower = float(logsumexp(_log_pmf(total, a, b, low, observed - 1)))
    return log1p(-min(exp(lower), 1.0))


def hypergeometric_overlap(total: int, a: int, b: int, observed: int) -> float:
    """Return the exact P(overlap ≥ observed) of random sets of sizes a and b.

    See :func:`log_hypergeometric_overlap`, whose exponential this is.

    Raises
    ------
    SettingError
        A size or overlap that is impossible.
    """
    return exp(log_hypergeometric_overlap(total, a, b, observed))


def pair_tests(members: Bool[np.ndarray, "s d"]) -> PairTests:
    """Test every pair of sets against chance.

    Parameters
    ----------
    members
        Which neurons (columns) each set (rows) holds, bool (s, d). All sets must have been chosen
        from the same d neurons: a set that was chosen from some of them only (say, one layer)
        overlaps more or less than the test believes.

    Raises
    ------
    InputError
        Fewer than two sets.
    """
    if len(members) < 2:
        raise InputError(f"overlaps need two or more sets of neurons, not {len(members)}")
    total = members.shape[1]
    size = members.sum(axis=1)
    a, b = np.triu_indices(len(members), k=1)
    # float64 counts are exact far beyond any number of neurons, and use the fast product.
    counts = members.astype(np.float64)
    overlap = (counts @ counts.T)[a, b].astype(np.int64)
    log_p = np.array(
        [
            log_hypergeometric_overlap(total, int(size[i]), int(size[j]), int(both))
            for i, j, both in zip(a, b, overlap, strict=True)
        ]
    )
    p = np.exp(log_p)
    return PairTests(
        a=a.astype(np.int64),
        b=b.astype(np.int64),
        overlap=overlap,
        expected=size[a] * size[b] / total,
        log_p=log_p,
        p=p,
        p_holm=holm(p),
        p_bh=benjamini_hochberg(p),
    )


def _log_pmf(total: int, a: int, b: int, first: int, last: int) -> Float[np.ndarray, " k"]:
    """Log probabilities of overlaps ``first`` … ``last``."""
    k: Int[np.ndarray, " k"] = np.arange(first, last + 1)
    ways = _log_choose(a, k) + _log_choose(total - a, b - k)
    return ways - (lgamma(total + 1) - lgamma(b + 1) - lgamma(total - b + 1))


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _check(total: int, a: int, b: int) -> None:
    if total < 1 or not (0 <= a <= total and 0 <= b <= total):
        raise SettingError(f"sets of {a} and {b} neurons cannot be drawn from {total}")
