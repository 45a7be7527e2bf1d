"""Elastic-net multinomial regression with exact zeros and a certificate.

Objective: mean cross-entropy + λ₁ ‖W‖₁ + (λ₂/2) ‖W‖², the intercept free, on neurons that the
caller has standardised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from nissl.kernels.fit import Fit, predict_scores
from nissl.kernels.many import path_many, solve_many
from nissl.kernels.problem import Problem

__all__ = ["Fit", "elastic_net_path", "fit_elastic_net", "predict_scores"]


def fit_elastic_net(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    l1: float,
    l2: float,
    sample_weight: Float[np.ndarray, " n"] | None = None,
    start: Fit | None = None,
    tol: float = 1e-3,
    max_iter: int = 100,
    time_limit: float | None = None,
) -> Fit:
    """Fit one problem to a certified relative duality gap.

    Parameters
    ----------
    X
        Standardised neurons; float32 in Fortran order is used without a copy.
    y
        Class indices.
    l1, l2
        Penalties of the absolute and of the squared weights.
    sample_weight
        Weight of each token, 0 or more; the loss is their weighted mean.
    start
        A fit to start from (warm start).
    tol
        Relative duality gap at which to stop.
    max_iter
        Outer iterations of the block method; past them a quasi-Newton method takes over, and then
        blocks again, as many at most.
    time_limit
        CPU seconds after which the best point is returned with ``converged=False``.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong lengths, one class, negative penalties.
    """
    problem = Problem(y, n_classes, l1, l2, sample_weight, start)
    return solve_many(X, [problem], tol=tol, max_iter=max_iter, time_limit=time_limit)[0]


def elastic_net_path(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    grid: Sequence[tuple[float, float]],
    sample_weight: Float[np.ndarray, " n"] | None = None,
    tol: float = 1e-3,
    max_iter: int = 100,
    time_limit: float | None = None,
) -> list[Fit]:
    """Fit a grid of (λ₁, λ₂), warm-started from strong to weak; return fits in the grid's order."""
    problem = Problem(y, n_classes, 0.0, 0.0, sample_weight)
    return path_many(X, [problem], grid, tol=tol, max_iter=max_iter, time_limit=time_limit)[0]
