"""Statistics of one neuron at a time against the classes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from nissl.kernels.checks import check_labels, check_matrix
from nissl.kernels.class_stats import ClassStats, class_stats

__all__ = [
    "class_means",
    "f_of_stats",
    "f_statistic",
    "mean_difference",
    "probeless",
    "probeless_of_stats",
    "selectivity",
    "selectivity_of_stats",
]


def _class_sums(X: np.ndarray, y: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums (C, d) in float64 over float32 products of row blocks, and counts (C,)."""
    n, d = X.shape
    sums = np.zeros((n_classes, d))
    step = 4096
    for start in range(0, n, step):
        part = y[start : start + step]
        member = np.zeros((n_classes, len(part)), dtype=np.float32)
        member[part, np.arange(len(part))] = 1
        sums += member @ X[start : start + step].astype(np.float32, copy=False)
    return sums, np.bincount(y, minlength=n_classes).astype(np.float64)


def class_means(
    X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], n_classes: int
) -> Float[np.ndarray, "c d"]:
    """Return the mean of each neuron in each class, float64 (C, d); NaN for an empty class."""
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    sums, counts = _class_sums(X, y, n_classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / counts[:, None]


def mean_difference(
    X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], n_classes: int
) -> Float[np.ndarray, "c d"]:
    """Return mean inside minus mean outside each class, float64 (C, d); 0 for an empty class."""
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    sums, counts = _class_sums(X, y, n_classes)
    total, n = sums.sum(axis=0), float(len(y))
    inside = sums / np.maximum(counts, 1)[:, None]
    outside = (total - sums) / np.maximum(n - counts, 1)[:, None]
    return np.where(((counts > 0) & (counts < n))[:, None], inside - outside, 0.0)


def f_statistic(
    X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], n_classes: int
) -> Float[np.ndarray, " d"]:
    """Return the one-way analysis-of-variance F of each neuron, float64 (d,).

    Constant neurons get 0; a neuron without spread inside the classes gets a very large value.
    """
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    n, d = X.shape
    # Centring first keeps the difference of sums of squares accurate for neurons with large means.
    centre = X.mean(axis=0, dtype=np.float64)
    sums, counts = _class_sums(X, y, n_classes)
    used = counts > 0
    means = sums[used] / counts[used, None] - centre
    between = (counts[used, None] * means**2).sum(axis=0)
    total = np.empty(d)
    XT = X.T
    for start in range(0, d, 128):
        block = XT[start : start + 128].astype(np.float64) - centre[start : start + 128, None]
        total[start : start + 128] = np.einsum("ij,ij->i", block, block)
    within = np.maximum(total - between, 0.0)
    k = int(used.sum())
    if k < 2 or n <= k:
        return np.zeros(d)
    tiny = np.finfo(np.float64).tiny
    floor = np.maximum(total * 1e-14, tiny)
    f = (between / (k - 1)) / (np.maximum(within, floor) / (n - k))
    return np.where(total > tiny, f, 0.0)


def f_of_stats(stats: ClassStats) -> Float[np.ndarray, " d"]:
    """Return :func:`f_statistic` from statistics, float64 (d,).

    Between and within are told apart by a difference of sums of squares, which is accurate for
    neurons that were centred; give :func:`~nissl.kernels.class_stats.collect_stats` the means of
    raw ones.
    """
    used = stats.counts > 0
    n, k, d = stats.n_tokens, int(used.sum()), stats.sums.shape[1]
    if k < 2 or n <= k:
        return np.zeros(d)
    counts = stats.counts[used, None]
    mean = stats.sums.sum(axis=0) / n
    between = (counts * (stats.sums[used] / counts - mean) ** 2).sum(axis=0)
    total = n * stats.spread**2
    tiny = np.finfo(np.float64).tiny
    within = np.maximum(total - between, np.maximum(total * 1e-14, tiny))
    return np.where(total > tiny, (between / (k - 1)) / (within / (n - k)), 0.0)


def probeless(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    standardised: bool = True,
) -> Float[np.ndarray, "c d"]:
    """Return the Probeless scores of each neuron, float64 (C, d).

    A neuron's Probeless score is the sum over pairs of classes of the absolute difference of its
    class means (Antverg & Belinkov 2022, "On the Pitfalls of Analyzing Individual Neurons in
    Language Models", section 2). Here class c gets the sum over all other classes; half of the sum
    over c is the score of the paper, and the order of neurons for the whole property goes by it.

    Parameters
    ----------
    X
        Neurons, (n, d).
    y
        Class of each token, (n,). Classes without tokens take no part and get 0.
    n_classes
        Number of classes.
    standardised
        Whether to divide by the neuron's standard deviation, so that its scale does not decide;
        the paper does not. Changes nothing for neurons that are standardised already.

    Raises
    ------
    InputError, LabelError
    """
    stats = class_stats(X, y, n_classes, histograms=False)
    return probeless_of_stats(stats, standardised=standardised)


def probeless_of_stats(stats: ClassStats, *, standardised: bool = True) -> Float[np.ndarray, "c d"]:
    """Return :func:`probeless` from statistics; time C log C for each neuron, not C²."""
    used = np.flatnonzero(stats.counts > 0)
    means = stats.means[used]
    order = np.argsort(means, axis=0)
    rising = np.take_along_axis(means, order, axis=0)
    place = np.arange(len(used), dtype=np.float64)[:, None]
    below = np.cumsum(rising, axis=0) - rising
    above = rising.sum(axis=0) - below - rising
    distance = rising * place - below + above - rising * (len(used) - 1 - place)
    out = np.zeros_like(stats.sums)
    np.put_along_axis(means, order, np.maximum(distance, 0.0), axis=0)
    out[used] = means
    return _by_spread(out, stats) if standardised else out


def selectivity(
    X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], n_classes: int
) -> Float[np.ndarray, "c d"]:
    """Return mean inside minus mean outside each class in standard deviations, float64 (C, d).

    The sign says on which side the class lies; a ranking goes by the absolute value. This is
    :func:`mean_difference` divided by the neuron's standard deviation.
    """
    return selectivity_of_stats(class_stats(X, y, n_classes, histograms=False))


def selectivity_of_stats(stats: ClassStats) -> Float[np.ndarray, "c d"]:
    """Return :func:`selectivity` from statistics; 0 for a class without tokens."""
    counts, n = stats.counts[:, None].astype(np.float64), float(stats.n_tokens)
    inside = stats.sums / np.maximum(counts, 1)
    outside = (stats.sums.sum(axis=0) - stats.sums) / np.maximum(n - counts, 1)
    return _by_spread(np.where((counts > 0) & (counts < n), inside - outside, 0.0), stats)


def _by_spread(scores: np.ndarray, stats: ClassStats) -> np.ndarray:
    spread = stats.spread
    return np.where(spread > 0, scores / np.where(spread > 0, spread, 1.0), 0.0)
