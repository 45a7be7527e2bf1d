"""Elastic-net least squares with exact zeros and a certificate.

Objective: half the weighted mean of the squared errors, summed over targets, + λ₁ ‖W‖₁ +
(λ₂/2) ‖W‖², the intercepts free, on neurons that the caller has standardised. In scikit-learn's
terms ``ElasticNet(alpha=λ₁ + λ₂, l1_ratio=λ₁ / (λ₁ + λ₂))``, ``Lasso(alpha=λ₁)``,
``Ridge(alpha=n λ₂)``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from nissl.errors import InputError, NotConverged, SettingError
from nissl.kernels._ridge import solve_ridge
from nissl.kernels._square_descent import working_sets
from nissl.kernels._squares import Squares
from nissl.kernels.checks import check_matrix, check_penalty, neuron_major
from nissl.kernels.fit import Fit, one_thread
from nissl.kernels.problem import token_weights

__all__ = ["fit_least_squares", "least_squares_path"]

FLOOR = 1e-14
"""A gap below this share of the targets' variance is rounding, and as good as none."""


def fit_least_squares(
    X: Float[np.ndarray, "n d"],
    Y: Float[np.ndarray, "rows targets"],
    *,
    l1: float,
    l2: float,
    sample_weight: Float[np.ndarray, " weights"] | None = None,
    start: Fit | None = None,
    tol: float = 1e-3,
    max_iter: int = 200,
    time_limit: float | None = None,
) -> Fit:
    """Fit linear maps from neurons to targets to a certified relative duality gap.

    Working sets grow by the neurons that violate the optimality conditions most; on one, coordinate
    descent on its Gram matrix (Friedman et al. 2010) takes turns with feature-sign steps (Lee et
    al. 2007, Algorithm 1). Without λ₁ the normal equations are solved (``_ridge.py``).

    Parameters
    ----------
    X
        Standardised neurons (tokens, neurons); float32 in Fortran order is used without a copy.
    Y
        Targets (tokens, targets), in any unit: λ₁ is in that unit, the objective in its square.
    l1, l2
        Penalties of the absolute and of the squared weights, 0 or more. With both 0 the fit is
        least squares of minimum norm; its gap then leaves out directions along which neurons vary
        less than 1e-12 of the most (in variance).
    sample_weight
        Weight of each token, 0 or more, (tokens,); the loss is their weighted mean.
    start
        A fit to start from.
    tol
        Relative duality gap at which to stop.
    max_iter
        Working sets, or thousands of conjugate-gradient steps for a large ridge problem.
    time_limit
        CPU seconds after which the best point is returned with ``converged=False``. A ridge problem
        of up to 3000 neurons or tokens is solved in one go and does not look at the clock.

    Returns
    -------
    Fit
        ``coef`` (T, d), ``intercept`` (T,).

    Raises
    ------
    InputError
        NaN or infinity (the neuron or target, and the token, are named), no tokens, no neurons,
        no targets, wrong lengths.
    SettingError
        A penalty or tolerance that is negative or not finite.

    Warns
    -----
    NotConverged
        The gap is above ``tol`` at the end.
    """
    check_penalty(l1=l1, l2=l2, tol=tol)
    problem = _prepare(X, Y, sample_weight)
    return _fit(problem, l1, l2, start, tol=tol, max_iter=max_iter, time_limit=time_limit)


def least_squares_path(
    X: Float[np.ndarray, "n d"],
    Y: Float[np.ndarray, "rows targets"],
    *,
    grid: Sequence[tuple[float, float]],
    sample_weight: Float[np.ndarray, " weights"] | None = None,
    tol: float = 1e-3,
    max_iter: int = 200,
    time_limit: float | None = None,
) -> list[Fit]:
    """Fit a grid of (λ₁, λ₂), warm-started from strong to weak; return fits in the grid's order.

    Gram matrices are shared by the whole path. ``time_limit`` is for one fit; the rest as in
    :func:`fit_least_squares`.
    """
    pairs = [(float(a), float(b)) for a, b in grid]
    if not pairs:
        raise SettingError("the λ grid is empty")
    for a, b in pairs:
        check_penalty(l1=a, l2=b, tol=tol)
    problem = _prepare(X, Y, sample_weight)
    fits: dict[int, Fit] = {}
    last: Fit | None = None
    for i in sorted(range(len(pairs)), key=lambda i: (-pairs[i][0], -pairs[i][1])):
        last = _fit(problem, *pairs[i], last, tol=tol, max_iter=max_iter, time_limit=time_limit)
        fits[i] = last
    return [fits[i] for i in range(len(pairs))]


def _prepare(X: np.ndarray, Y: np.ndarray, sample_weight: np.ndarray | None) -> Squares:
    check_matrix(X)
    n = X.shape[0]
    if Y.ndim != 2:
        raise InputError(f"targets must have two dimensions (tokens, targets), not {Y.ndim}")
    if len(Y) != n:
        raise InputError(f"targets have length {len(Y)}, but there are {n} tokens")
    if Y.shape[1] == 0:
        raise InputError("there are no targets")
    bad = np.argwhere(~np.isfinite(Y))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"target {column} is {Y[row, column]} at token {row}; targets must be finite"
        )
    theta = token_weights(sample_weight, n)
    with one_thread():
        return Squares(neuron_major(X), np.ascontiguousarray(Y.T, dtype=np.float64), theta)


def _fit(
    problem: Squares,
    l1: float,
    l2: float,
    start: Fit | None,
    *,
    tol: float,
    max_iter: int,
    time_limit: float | None,
) -> Fit:
    began = time.thread_time()
    deadline = np.inf if time_limit is None else began + time_limit
    problem.gradients = 0.0
    W = np.zeros((problem.n_targets, len(problem.XT)))
    if start is not None:
        if start.coef.shape != W.shape:
            raise InputError(
                f"the start has weights of shape {start.coef.shape}, the problem {W.shape}"
            )
        W[:] = start.coef
        W[:, problem.constant] = 0.0
    enough = FLOOR * problem.power
    with one_thread():
        if l1 > 0:
            point, iterations = working_sets(
                problem, W, l1, l2, tol=tol, enough=enough, max_iter=max_iter, deadline=deadline
            )
            gap = point.gap
        else:
            point, iterations, gap = solve_ridge(
                problem, W, l2, tol=tol, enough=enough, most=1000 * max_iter, deadline=deadline
            )
    primal = float(point.primal.sum())
    if primal <= enough:
        gap = 0.0  # Everything is explained: primal and dual are both rounding.
    converged = gap <= tol or gap * primal <= enough
    if not converged:
        warnings.warn(
            f"least squares stopped at a relative gap of {gap:.2g}, above tol = {tol:g}: "
            "give more iterations or time, a larger tol, or a larger penalty",
            NotConverged,
            stacklevel=3,
        )
    return Fit(
        coef=point.W,
        intercept=problem.y_mean - point.W @ problem.mean,
        objective=primal,
        gap=float(gap),
        kkt=point.kkt,
        iterations=iterations,
        gradients=problem.gradients,
        seconds=time.thread_time() - began,
        converged=bool(converged),
    )
