"""Statistics of one neuron at a time against the classes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from nissl.kernels.checks import check_labels, check_matrix

__all__ = ["class_means", "f_statistic", "mean_difference"]


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
