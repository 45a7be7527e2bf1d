"""Forward selection and thinning out for least squares: which few neurons tell a number best.

Objective on a set of neurons: half the mean squared error + (λ₂/2) ‖w‖², the intercept free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve

from nissl.errors import InputError, LabelError, SettingError
from nissl.kernels._square_loops import products
from nissl.kernels._squares import BLOCK
from nissl.kernels.checks import check_matrix, check_penalty, neuron_major
from nissl.kernels.correlation import pearson
from nissl.kernels.fit import one_thread

__all__ = ["ForwardSquares", "forward_squares", "thin_out_squares"]

LEAST = 1e-9
"""A neuron with less than this share of its variance outside the chosen ones adds nothing."""


@dataclass(frozen=True, eq=False)
class ForwardSquares:
    """Neurons in the order in which they were added.

    Attributes
    ----------
    order
        Positions, (m,); fewer than asked for where nothing was left to add.
    objective
        The smallest objective on the first 1…m of them, in the square of the target's unit, (m,).
    """

    order: Int[np.ndarray, " m"]
    objective: Float[np.ndarray, " m"]


def forward_squares(
    X: Float[np.ndarray, "n d"],
    target: Float[np.ndarray, " n"],
    *,
    k_max: int,
    l2: float = 1e-3,
) -> ForwardSquares:
    """Add, one by one, the neuron that lowers the objective most once all weights are refitted.

    Orthogonal least squares (Chen, Billings and Luo 1989) with ridge: λ₂ is a row √(nλ₂) of its own
    for each neuron below the tokens. The chosen columns are kept as an orthonormal basis; with each
    new one every other neuron's rest outside the basis, and its product with the residual, are
    brought up to date by one product with the data, so that no candidate is refitted and the gain
    is exact.

    Parameters
    ----------
    X
        Standardised neurons, (n, d); centred here.
    target
        A number for each token, (n,).
    k_max
        Neurons to choose, 1…d.
    l2
        λ₂, 0 or more.

    Raises
    ------
    InputError, LabelError, SettingError
        Values that are not finite, another length, an impossible size or penalty.
    """
    XT, y, mean = _prepare(X, target, l2)
    d, n = XT.shape
    if not 1 <= k_max <= d:
        raise SettingError(f"k_max must be 1 to {d} neurons, not {k_max}")
    with one_thread():
        rest = _variance(XT, mean) + n * l2
        whole = rest.copy()
        slope = _products(XT, y)
        objective = 0.5 * float(y @ y) / n
        # Token part of the basis, and its product with every neuron (ridge rows included).
        basis, along = np.empty((k_max, n)), np.empty((k_max, d))
        free = rest > 0
        order: list[int] = []
        values: list[float] = []
        for m in range(k_max):
            usable = free & (rest > LEAST * whole)
            if not usable.any():
                break
            gain = np.full(d, -1.0)
            gain[usable] = slope[usable] ** 2 / rest[usable]
            j = int(gain.argmax())
            root = np.sqrt(rest[j])
            q = XT[j].astype(np.float64) - mean[j] - along[:m, j] @ basis[:m]
            basis[m] = q / root
            # Ridge rows of the basis are 0 for all neurons but the chosen ones.
            along[m] = _products(XT, basis[m])
            free[j] = False
            step = slope[j] / root
            slope -= along[m] * step
            rest -= along[m] ** 2
            objective -= 0.5 * step * step / n
            order.append(j)
            values.append(max(objective, 0.0))
    return ForwardSquares(order=np.array(order, dtype=np.int64), objective=np.array(values))


def thin_out_squares(
    X: Float[np.ndarray, "n d"],
    target: Float[np.ndarray, " n"],
    *,
    pool: int = 512,
    keep: float = 0.8,
    l2: float = 1e-3,
) -> Int[np.ndarray, " d"]:
    """Order neurons by adaptive thresholding (Gurnee et al. 2023, section 3, for a number).

    The ``pool`` neurons that correlate most with the target are fitted by ridge; those with the
    smallest weights go until the share ``keep`` is left; refit; until one is left.

    Returns
    -------
    ndarray
        All neurons, best first: the last one left, those dropped (last first), the rest by
        absolute correlation, (d,).

    Raises
    ------
    InputError, LabelError, SettingError
        Values that are not finite, another length, impossible settings.
    """
    if not 0 < keep < 1 or pool < 1 or not l2 > 0:
        raise SettingError(
            "adaptive thresholding needs 0 < keep < 1, a pool of 1 or more and l2 above 0, not "
            f"keep={keep}, pool={pool}, l2={l2}"
        )
    XT, y, mean = _prepare(X, target, l2)
    n = XT.shape[1]
    first = np.argsort(-np.abs(pearson(X, target)), kind="stable")
    left = first[:pool]
    with one_thread():
        Z = XT[left].astype(np.float64) - mean[left, None]
        gram, cross = Z @ Z.T / n, Z @ y / n
    at = np.arange(len(left))
    gone: list[int] = []
    while True:
        A = gram[np.ix_(at, at)] + l2 * np.eye(len(at))
        size = np.abs(cho_solve(cho_factor(A), cross[at]))
        if len(at) == 1:
            break
        stay = max(1, min(len(at) - 1, int(keep * len(at))))
        out = np.argsort(size, kind="stable")[: len(at) - stay]
        gone += left[at[out]].tolist()
        at = np.delete(at, out)
    return np.concatenate([left[at], np.array(gone[::-1], dtype=np.int64), first[pool:]])


def _prepare(
    X: np.ndarray, target: np.ndarray, l2: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return neurons (d, n), the centred target, and the neurons' means, float64."""
    check_penalty(l2=l2)
    check_matrix(X)
    y = np.asarray(target, dtype=np.float64)
    if y.shape != (X.shape[0],):
        raise LabelError(f"the target has shape {y.shape}, but there are {X.shape[0]} tokens")
    if len(y) < 2:
        raise InputError("least squares need two or more tokens")
    if not np.isfinite(y).all():
        bad = int(np.flatnonzero(~np.isfinite(y))[0])
        raise LabelError(f"the target is {y[bad]} at token {bad}; targets must be finite")
    XT = neuron_major(X)
    return XT, y - y.mean(), XT.mean(axis=1, dtype=np.float64)


def _variance(XT: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Sum of squares of each centred neuron, (d,); 0 where it is rounding only."""
    out = np.empty(len(XT))
    for start in range(0, len(XT), BLOCK):
        here = slice(start, start + BLOCK)
        part = XT[here].astype(np.float64) - mean[here, None]
        out[here] = np.einsum("ij,ij->i", part, part)
    out[out <= XT.shape[1] * (1e-7 * mean) ** 2] = 0.0
    return out


def _products(XT: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Products of every neuron with v of mean 0, (d,): neurons need no centring."""
    out = np.empty((1, len(XT)))
    products(XT, v[None], out)
    return out[0]
