"""One step for all weights that are not zero of a quadratic with an ℓ1 penalty."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

__all__ = ["feature_sign"]


def feature_sign(
    H: np.ndarray, slope: np.ndarray, w: np.ndarray, l1: float, penalised: int | None = None
) -> bool:
    """Go from ``w`` towards the optimum for its signs, to the best point on the way.

    Lee, Battle, Raina and Ng (2007), Algorithm 1, steps 3 and 4, with an exact line search.
    ``slope`` and ``w`` (k,) change in place. Weights from ``penalised`` on bear no penalty.
    Returns whether a weight came to 0 on the way, so that another step is worth its price.
    """
    free = np.zeros(len(w), dtype=np.bool_)
    free[len(w) if penalised is None else penalised :] = True
    some = np.flatnonzero((w != 0) | free)
    if not len(some):
        return False
    A = H[np.ix_(some, some)]
    # Weights on neurons that repeat each other can be shifted at no cost in error; the hair on the
    # diagonal turns that into a long step, which ends where the first of them is 0.
    A[np.diag_indices(len(A))] *= 1 + max(1e-9, 4 * float(np.finfo(A.dtype).eps))
    try:
        factor = cho_factor(A, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return False
    old = w[some]
    cost = np.where(free[some], 0.0, l1)
    tilt = slope[some] + (cost * np.sign(old)).astype(w.dtype)
    move = cho_solve(factor, -tilt, check_finite=False)
    change = H[:, some] @ move
    t, crossing = _best_length(old, move, float(tilt @ move), float(move @ change[some]), cost)
    if not 0 < t <= 1:
        return False
    w[some] = old + w.dtype.type(t) * move
    ended = crossing == t
    w[some[ended]] = 0.0
    slope += slope.dtype.type(t) * change
    return bool(ended.any())


def _best_length(
    old: np.ndarray, move: np.ndarray, tilt: float, rise: float, cost: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the t in [0, 1] at which old + t · move is best, and where each weight crosses 0.

    The derivative starts at ``tilt``, grows by ``rise`` a unit of t, and jumps by 2 cost |move|
    where a weight changes its sign.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = np.where((move * old < 0) & (cost > 0), -old / move, np.inf)
    for j in np.argsort(crossing, kind="stable"):
        at = float(crossing[j])
        if at >= 1 or tilt + at * rise >= 0:
            break
        tilt += 2 * float(cost[j]) * abs(float(move[j]))
        if tilt + at * rise >= 0:
            return at, crossing
    return (min(1.0, -tilt / rise) if rise > 0 else 0.0), crossing
