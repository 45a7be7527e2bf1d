"""Correlation of each neuron with a number: rankings for targets such as depth or frequency."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from nissl.errors import InputError, LabelError
from nissl.kernels._blocks import neuron_blocks
from nissl.kernels._rank_loops import rank_products
from nissl.kernels.checks import check_matrix, neuron_major

__all__ = ["pearson", "spearman"]

BLOCK = 64
"""Neurons at a time: bounds the float64 copies to 64 × n."""


def pearson(
    X: Float[np.ndarray, "n d"], target: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " d"]:
    """Return the linear correlation of each neuron with the target, (d,), in [−1, 1].

    Parameters
    ----------
    X
        Neurons, (n, d); centred here in float64, so any scale will do.
    target
        A number for each token, (n,).

    Returns
    -------
    ndarray
        0 for a constant neuron, and everywhere for a constant target.

    Raises
    ------
    InputError, LabelError
        Values that are not finite, fewer than two tokens, a target of another length.
    """
    t = _target(X, target)
    t = t - t.mean()
    XT = X.T
    out = np.empty(XT.shape[0])
    for start in range(0, len(out), BLOCK):
        part = XT[start : start + BLOCK].astype(np.float64)
        mean = part.mean(axis=1, keepdims=True)
        part -= mean
        square = np.einsum("ij,ij->i", part, part)
        square[square <= 1e-14 * part.shape[1] * mean[:, 0] ** 2] = 0.0  # rounding only
        out[start : start + BLOCK] = _ratio(part @ t, square, float(t @ t))
    return out


def spearman(
    X: Float[np.ndarray, "n d"], target: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " d"]:
    """Return the rank correlation of each neuron with the target, (d,); equal values share ranks.

    Parameters, zeros and errors are as for :func:`pearson`; neurons are read as float32.
    """
    ranks = rankdata(_target(X, target))
    ranks -= ranks.mean()
    n, d = X.shape
    if n >= 2**32:
        raise InputError(f"{n} tokens are more than the 4,294,967,295 that can be sorted at once")
    cross, square = np.zeros(d), np.zeros(d)
    tokens = np.arange(n, dtype=np.uint32)
    for here, part in neuron_blocks(neuron_major(X)):
        rank_products(part, tokens, ranks, cross[here], square[here])
    return _ratio(cross, square, float(ranks @ ranks))


def _target(X: np.ndarray, target: np.ndarray) -> np.ndarray:
    check_matrix(X)
    t = np.asarray(target, dtype=np.float64)
    if t.ndim != 1 or len(t) != X.shape[0]:
        raise LabelError(f"the target has shape {t.shape}, but there are {X.shape[0]} tokens")
    if len(t) < 2:
        raise InputError("a correlation needs two or more tokens")
    if not np.isfinite(t).all():
        bad = int(np.flatnonzero(~np.isfinite(t))[0])
        raise LabelError(f"the target is {t[bad]} at token {bad}; targets must be finite")
    # A constant may not sum to itself exactly.
    return t if np.ptp(t) > 0 else np.zeros_like(t)


def _ratio(cross: np.ndarray, square: np.ndarray, target: float) -> np.ndarray:
    size = np.sqrt(square * target)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 0, np.clip(cross / size, -1.0, 1.0), 0.0)
