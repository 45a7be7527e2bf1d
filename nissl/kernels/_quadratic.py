"""The quadratic model of one block: coordinate descent, and steps on what is not zero.

Coordinate descent finds in a few passes which weights are not zero, but where neurons are nearly
collinear it needs thousands to settle them. There the weights that are not zero are solved for at
once, with a Cholesky factor, and coordinate descent goes on from there.
"""

from __future__ import annotations

import numpy as np

from nissl.kernels import _loops
from nissl.kernels._feature_sign import feature_sign

__all__ = ["minimise_quadratic"]

PASSES = 8
"""Passes of coordinate descent between steps on what is not zero."""

ROUNDS = 12
"""Such steps at most."""

SMALL = 10
"""With fewer weights a pass is so cheap that coordinate descent is left alone with them."""

MOST = 200
"""Passes at most there."""


def minimise_quadratic(
    H: np.ndarray, g: np.ndarray, w: np.ndarray, l1: float, penalised: int, tol: float
) -> np.ndarray:
    """Minimise g'δ + ½ δ'Hδ + λ₁ Σ_{j<penalised} |w_j + δ_j|; return w + δ, float32 (k,).

    Ends once no coordinate moves by more than ``tol`` of the first pass's largest move, each
    measured by √H_jj, that is, in units of the objective's square root.
    """
    cut, aim = np.float32(l1), -np.float32(tol)
    if len(g) < SMALL:
        return _loops.descend(H, g, w, cut, penalised, MOST, aim)[0]
    v, slope = w, g
    for _ in range(ROUNDS):
        v, slope, first, last = _loops.descend(H, slope, v, cut, penalised, PASSES, aim)
        if aim < 0:
            aim = np.float32(tol * first)
        if last <= aim:
            break
        feature_sign(H, slope, v, l1, penalised)
    return v
