"""Elastic-net multinomial regression with exact zeros and a certificate.

Objective: mean cross-entropy + λ₁ ‖W‖₁ + (λ₂/2) ‖W‖², the intercept free, on neurons that the
caller has standardised.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import InputError, SettingError
from nissl.kernels._newton import State
from nissl.kernels.checks import check_labels, check_matrix, check_penalty, neuron_major
from nissl.kernels.dense import fit_dense, minimise_split
from nissl.kernels.fit import Fit, certify, one_thread, predict_scores

__all__ = ["Fit", "elastic_net_path", "fit_elastic_net", "predict_scores"]

CONTINUATION = 0.3
"""Ratio of successive λ₁ on the way down from the smallest one that gives no weights."""


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
    state = _prepare(X, y, n_classes, sample_weight, l1=l1, l2=l2)
    with one_thread():
        return _solve(state, l1, l2, start=start, tol=tol, max_iter=max_iter, time_limit=time_limit)


def elastic_net_path(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    grid: Sequence[tuple[float, float]],
    sample_weight: Float[np.ndarray, " n"] | None = None,
    tol: float = 1e-3,
    max_iter: int = 100,
) -> list[Fit]:
    """Fit a grid of (λ₁, λ₂), warm-started from strong to weak; return fits in the grid's order."""
    pairs = [(float(a), float(b)) for a, b in grid]
    if not pairs:
        raise SettingError("the λ grid is empty")
    for a, b in pairs:
        check_penalty(l1=a, l2=b)
    state = _prepare(X, y, n_classes, sample_weight, l1=pairs[0][0], l2=pairs[0][1])
    fits: dict[int, Fit] = {}
    last: Fit | None = None
    for i in sorted(range(len(pairs)), key=lambda i: (-pairs[i][0], -pairs[i][1])):
        with one_thread():
            last = _solve(state, *pairs[i], start=last, tol=tol, max_iter=max_iter, time_limit=None)
        fits[i] = last
    return [fits[i] for i in range(len(pairs))]


def _prepare(
    X: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    sample_weight: np.ndarray | None,
    *,
    l1: float,
    l2: float,
) -> State:
    check_penalty(l1=l1, l2=l2)
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    n = len(y)
    if sample_weight is None:
        theta = np.full(n, 1 / n)
    else:
        theta = np.asarray(sample_weight, dtype=np.float64)
        if theta.shape != (n,):
            raise InputError(f"{theta.size} sample weights for {n} tokens")
        if not np.isfinite(theta).all() or (theta < 0).any() or theta.sum() <= 0:
            raise InputError("sample weights must be finite, 0 or more, and not all 0")
        theta = theta / theta.sum()
    return State(neuron_major(X), y, n_classes, theta)


def _solve(
    state: State,
    l1: float,
    l2: float,
    *,
    start: Fit | None,
    tol: float,
    max_iter: int,
    time_limit: float | None,
) -> Fit:
    began = time.process_time()
    state.gradients = 0.0
    if start is not None:
        if start.coef.shape != state.W.shape:
            raise InputError(
                f"the start has weights of shape {start.coef.shape}, the problem {state.W.shape}"
            )
        state.start(start.coef, start.intercept)
    if l1 == 0:
        # Nothing is sparse: the dense method is at home here.
        fit = fit_dense(
            state.XT.T, state.y, state.n_classes, l2=l2, start=start, tol=tol, weight=state.theta
        )
        state.start(fit.coef, fit.intercept)
        return fit
    if start is None:
        _descend_lambda(state, l1, l2)
    deadline = None if time_limit is None else began + time_limit
    fit = _blocks(state, l1, l2, 0, max_iter, began, deadline, tol)
    if fit.converged or _late(deadline):
        return fit
    # At very small λ₁ the classes couple and blocks stall: go on with quasi-Newton steps.
    coef, intercept, work = minimise_split(
        state.XT,
        state.y,
        state.theta,
        fit.coef,
        fit.intercept,
        l1=l1,
        l2=l2,
        tol=0.5 * tol,
        deadline=deadline,
    )
    state.start(coef, intercept)
    state.gradients += work
    # These end at the rounding floor of the objective, which is above a tight tolerance: the
    # blocks, whose steps are judged by differences, have the last word.
    other = _blocks(state, l1, l2, fit.iterations, max_iter, began, deadline, tol)
    return other if other.objective < fit.objective else fit


def _blocks(
    state: State,
    l1: float,
    l2: float,
    before: int,
    most: int,
    began: float,
    deadline: float | None,
    tol: float,
) -> Fit:
    """Sweep over the classes up to ``most`` times, until the certified gap is below ``tol``."""
    aim = tol
    iterations = 0
    while iterations < most:
        gradient = state.gradient()
        value = state.objective(l1, l2)
        if value - state.dual(gradient, l1, l2) <= aim * value or (l2 == 0 and iterations % 5 == 4):
            fit = _finish(state, l1, l2, before + iterations, began, tol)
            if fit.converged:
                return fit
            # The running logits carry rounding: start them afresh and ask for more.
            state.reset_logits()
            aim *= 0.5
        if _late(deadline):
            break
        inner = 0.05 if before + iterations < 6 else 0.01
        state.sweep(gradient, l1, l2, cap=64, tol=inner)
        iterations += 1
    return _finish(state, l1, l2, before + iterations, began, tol)


def _late(deadline: float | None) -> bool:
    return deadline is not None and time.process_time() > deadline


def _descend_lambda(state: State, l1: float, l2: float) -> None:
    """One sweep each at λ₁ going down to ``l1``, from the smallest that keeps all weights at 0."""
    gradient = state.gradient()
    strong = float(np.abs(gradient).max())
    level = strong * CONTINUATION
    while level > l1 * 1.2:
        state.sweep(gradient, level, l2, cap=64, tol=0.1)
        gradient = state.gradient()
        level *= CONTINUATION


def _finish(state: State, l1: float, l2: float, iterations: int, began: float, tol: float) -> Fit:
    coef = state.W.astype(np.float64)
    primal, dual, kkt, intercept = certify(
        state.XT, state.y, coef, state.b, l1=l1, l2=l2, weight=state.theta
    )
    gap = (primal - dual) / primal if primal > 0 else 0.0
    return Fit(
        coef=coef,
        intercept=intercept,
        objective=primal,
        gap=float(gap),
        kkt=kkt,
        iterations=iterations,
        gradients=state.gradients,
        seconds=time.process_time() - began,
        converged=bool(gap <= tol),
    )
