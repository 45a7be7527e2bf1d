"""How far second-order knockoffs may lie from their neurons: the vector s of the covariance.

Knockoffs X~ have the neurons' correlations Σ among themselves, and Σ − diag(s) with the neurons.
The larger s_j, the easier neuron j is told from its knockoff. All s with diag(s) ⪯ 2 Σ and
0 ≤ s ≤ 1 are allowed (Candès, Fan, Janson & Lv 2018, section 3.4.1).

Large is not all. At the largest s some neuron is a linear function of knockoffs and other neurons,
and a probe may use these in its stead: power can fall to nothing (Spector & Janson 2022, who call
it reconstructability). The largest entropy keeps away from that, costs least, and is the default.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve, eigvalsh, get_blas_funcs

from nissl.errors import InputError, NotConverged, SettingError

__all__ = ["entropy_spread", "equicorrelated_spread", "sdp_bound", "sdp_spread"]


def entropy_spread(
    corr: Float[np.ndarray, "d d"], *, tol: float = 1e-2, max_sweeps: int = 200
) -> Float[np.ndarray, " d"]:
    """Return the s of the knockoffs of largest entropy, float64 (d,).

    It maximises Σ log s_j + log det(2 Σ − diag s), up to constants the entropy of neurons and
    knockoffs together (Gimenez & Zou 2019; Spector & Janson 2022, section 3.2). With
    B = (2 Σ − diag s)⁻¹ the others leave s_j the room up to u = s_j + 1 / B_jj, and log s + log(u −
    s) is largest at u / 2: no barrier is needed, and a sweep takes d³ operations.

    Parameters
    ----------
    corr
        Correlations, positive definite, ones on the diagonal.
    tol
        Largest |s_j B_jj − 1|, which is 0 at the optimum.
    max_sweeps
        Sweeps over all neurons.

    Raises
    ------
    InputError
        Something that is no positive definite correlation matrix.
    SettingError
        A tolerance outside (0, 1).

    Warns
    -----
    NotConverged
        The sweeps end before the tolerance; s is valid, but not the best.
    """
    s = _start(corr, tol)
    off = np.inf
    for sweep in range(max_sweeps):
        B = _inverse(2 * corr - np.diag(s))
        off = float(np.abs(s * B.diagonal() - 1).max())
        if off <= tol:
            return s
        _sweep(B, s, _directions(len(s), sweep), lambda now, room: (now + room) / 2)
    _warn("optimality", off, tol)
    return s


def equicorrelated_spread(corr: Float[np.ndarray, "d d"]) -> Float[np.ndarray, " d"]:
    """Return s_j = min(1, 2 λ_min(Σ)) for all j, float64 (d,) (Barber & Candès 2015, eq. 2.3).

    One pair of almost equal neurons makes λ_min, and so every s_j, almost 0; :func:`sdp_spread`
    lets only that pair suffer.

    Raises
    ------
    InputError
        Something that is no correlation matrix.
    """
    _check(corr)
    smallest = float(eigvalsh(corr, subset_by_index=[0, 0])[0])
    return np.full(len(corr), min(1.0, max(0.0, 2 * smallest)))


def sdp_spread(
    corr: Float[np.ndarray, "d d"], *, tol: float = 5e-2, max_sweeps: int = 200
) -> Float[np.ndarray, " d"]:
    """Return the s of largest sum, to a certified relative gap ``tol``; float64 (d,).

    Coordinate ascent on the semidefinite program with a log-determinant barrier (Askari, Rebjock,
    d'Aspremont & El Ghaoui 2022): plain coordinate ascent stops at the first face it meets. With
    B = (2 Σ − diag s)⁻¹ the largest s_j that the others allow is s_j + 1 / B_jj, so that a step is
    a lookup and a rank-one change of B: d² operations, d³ a sweep.

    Parameters
    ----------
    corr
        Correlations, positive definite, ones on the diagonal.
    tol
        Relative gap to the upper bound of :func:`sdp_bound`.
    max_sweeps
        Sweeps over all neurons.

    Raises
    ------
    InputError
        Something that is no positive definite correlation matrix.
    SettingError
        A tolerance outside (0, 1).

    Warns
    -----
    NotConverged
        The sweeps end before the tolerance; s is valid, but its sum could be larger.
    """
    s = _start(corr, tol)
    d, barrier, gap = len(s), 0.5, np.inf
    for sweep in range(max_sweeps):
        before = s.copy()

        def best(now: float, room: float, barrier: float = barrier) -> float:
            # With next to no barrier, rounding must not carry s across the face.
            return min(1.0, max(0.0, now + room - barrier), now + 0.999 * room)

        _sweep(_inverse(2 * corr - np.diag(s)), s, _directions(d, sweep), best)
        gap = 1 - s.sum() / sdp_bound(corr, s, barrier)
        if gap <= tol:
            return s
        # Less barrier only once the sweeps have settled: else coordinates run into a corner.
        # At its optimum a barrier costs about d · barrier, so less than this is never needed.
        if np.abs(s - before).max() <= 0.3 * barrier:
            barrier = max(0.5 * barrier, 0.3 * tol * s.sum() / d)
    _warn("gap", gap, tol)
    return s


def sdp_bound(corr: Float[np.ndarray, "d d"], s: Float[np.ndarray, " d"], barrier: float) -> float:
    """Return an upper bound on the sum of every allowed s, from weak duality.

    For any positive definite Z, diag(s) ⪯ 2 Σ gives Σ_j Z_jj s_j ≤ 2 tr(Z Σ), and s_j ≤ 1 gives
    the rest: Σ s ≤ 2 tr(Z Σ) + Σ_j max(0, 1 − Z_jj). Where s maximises Σ s + barrier · log det(2 Σ
    − diag s) the best is Z = barrier · (2 Σ − diag s)⁻¹, and Z_jj = 1 wherever 0 < s_j < 1; before
    that it is scaled to be so.
    """
    Z = barrier * _inverse(2 * corr - np.diag(s))
    scale = 1 / np.sqrt(Z.diagonal())
    scale[(s >= 1) & (Z.diagonal() < 1)] = 1.0
    Z *= scale
    Z *= scale[:, None]
    return float(2 * np.einsum("ij,ij->", Z, corr) + np.maximum(0.0, 1 - Z.diagonal()).sum())


def _sweep(
    B: np.ndarray, s: np.ndarray, places: range, best: Callable[[float, float], float]
) -> None:
    """Set each s_j in turn to ``best(s_j, room)`` given the others; s in place, B is used up.

    The inverse is made anew for each sweep, as rank-one changes add up rounding errors; only its
    lower triangle is kept up to date.
    """
    B = np.asfortranarray(B)
    add_square: Any = get_blas_funcs("syr", (B,))
    for j in places:
        room = 1 / B[j, j]
        step = best(float(s[j]), float(room)) - s[j]
        if step == 0.0:
            continue
        column = np.concatenate((B[j, :j], B[j:, j]))
        B = add_square(step / (1 - step * column[j]), column, a=B, lower=1, overwrite_a=1)
        s[j] += step


def _directions(d: int, sweep: int) -> range:
    """Forth and back in turn: neighbouring layers are correlated, and one way alone is slow."""
    return range(d) if sweep % 2 == 0 else range(d - 1, -1, -1)


def _start(corr: np.ndarray, tol: float) -> np.ndarray:
    _check(corr)
    if not 0 < tol < 1:
        raise SettingError(f"tol must lie between 0 and 1, not {tol:g}")
    smallest = float(eigvalsh(corr, subset_by_index=[0, 0])[0])
    if smallest <= 1e-10:
        raise InputError("the correlations are singular; shrink them, or drop repeated neurons")
    return np.full(len(corr), min(1.0, smallest))


def _warn(what: str, reached: float, tol: float) -> None:
    warnings.warn(
        f"the spread of the knockoffs stopped at a relative {what} of {reached:.1e} instead of "
        f"{tol:.1e}; give more sweeps, or a larger tol",
        NotConverged,
        stacklevel=3,
    )


def _inverse(A: np.ndarray) -> np.ndarray:
    return cho_solve(cho_factor(A, lower=True), np.eye(len(A)))


def _check(corr: np.ndarray) -> None:
    d = len(corr)
    if corr.shape != (d, d) or not np.isfinite(corr).all():
        raise InputError(f"correlations are a square matrix of finite numbers, not {corr.shape}")
    if np.abs(corr.diagonal() - 1).max() > 1e-6 or np.abs(corr - corr.T).max() > 1e-6:
        raise InputError("a correlation matrix is symmetric with ones on its diagonal")
