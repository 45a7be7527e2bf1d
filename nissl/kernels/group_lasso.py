"""Group lasso and sparse-group lasso probes: a neuron has weights for every class, or for none.

Objective: weighted mean cross-entropy + λ_g Σ_j ‖W_·j‖₂ + λ₁ ‖W‖₁ + (λ₂/2) ‖W‖², the intercept
free, on neurons that the caller has standardised (Yuan & Lin 2006; Simon, Friedman, Hastie &
Tibshirani 2013 for λ₁ > 0).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import InputError, NotConverged, SettingError
from nissl.kernels._group_certificate import certify_groups, group_excess
from nissl.kernels._group_descent import descend_groups
from nissl.kernels.checks import check_labels, check_matrix, check_penalty, neuron_major
from nissl.kernels.fit import Fit, one_thread
from nissl.kernels.problem import token_weights

__all__ = ["GroupPath", "fit_group_lasso", "group_lasso_path", "largest_group_penalty"]

ROUNDS = 50
"""Times at most that the set of neurons under work grows."""
PRECISE = 3e-5
"""Below this relative gap steps are made in float64."""


def fit_group_lasso(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    group: float,
    l1: float = 0.0,
    l2: float = 0.0,
    sample_weight: Float[np.ndarray, " n"] | None = None,
    start: Fit | None = None,
    tol: float = 1e-3,
    max_iter: int = 2000,
) -> Fit:
    """Fit one probe whose weights are 0 for whole neurons, to a certified relative duality gap.

    Proximal gradients with momentum and restarts (Beck & Teboulle 2009; O'Donoghue & Candès 2015)
    on the neurons that have weights or violate their optimality condition, until none does.

    Parameters
    ----------
    X
        Standardised neurons (n, d); float32 in Fortran order is used without a copy.
    y
        Class indices, (n,).
    group, l1, l2
        Penalties λ_g of each neuron's weight norm, λ₁ of absolute and λ₂ of squared weights.
    sample_weight
        Weight of each token, 0 or more.
    start
        A fit to start from, such as that of a stronger penalty.
    tol
        Relative duality gap, in float64, at which to stop.
    max_iter
        Proximal steps at most, over all rounds.

    Returns
    -------
    Fit
        ``coef`` (C, d) with exact zero columns; ``kkt`` is the largest violation of a neuron's
        optimality condition.

    Warns
    -----
    NotConverged
        ``max_iter`` or float32 ran out first.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong lengths, one class, negative penalties.
    """
    check_penalty(group=group, l1=l1, l2=l2)
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    theta = token_weights(sample_weight, len(y))
    if start is not None and start.coef.shape != (n_classes, X.shape[1]):
        raise InputError(
            f"the start has weights of shape {start.coef.shape}, the problem "
            f"{(n_classes, X.shape[1])}"
        )
    fit = _fit(neuron_major(X), y, n_classes, theta, group, l1, l2, start, tol, max_iter)
    if not fit.converged:
        warnings.warn(
            f"the group-lasso probe stopped at a relative gap of {fit.gap:.1e} instead of "
            f"{tol:.1e}; give more steps (max_iter), or a larger tol",
            NotConverged,
            stacklevel=2,
        )
    return fit


def _fit(
    XT: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    theta: np.ndarray,
    group: float,
    l1: float,
    l2: float,
    start: Fit | None,
    tol: float,
    max_iter: int,
) -> Fit:
    began = time.thread_time()
    d = len(XT)
    # A class without weight only adds to the loss: the infimum has it at probability 0.
    share = np.bincount(y, weights=theta, minlength=n_classes)
    present = np.flatnonzero(share > 0)
    used = np.flatnonzero(theta > 0) if (theta == 0).any() else None
    if used is not None:
        XT, y, theta = np.ascontiguousarray(XT[:, used]), y[used], theta[used]
    codes = np.searchsorted(present, y)
    W = np.zeros((len(present), d)) if start is None else start.coef[present].copy()
    b = np.log(share[present]) if start is None else start.intercept[present]
    steps, work = 0, 0.0
    settings = {"group": group, "l1": l1, "l2": l2}
    goal = tol
    primal, gap, gradient = np.inf, np.inf, np.zeros_like(W)
    with one_thread():
        for turn in range(ROUNDS + 1):
            primal, dual, b, gradient = certify_groups(XT, codes, W, b, theta, **settings)
            gap = (primal - dual) / primal if primal > 0 else 0.0
            work += 1.0
            if gap <= tol or steps >= max_iter or turn == ROUNDS:
                break
            inside = W.any(axis=0)
            out = np.where(inside, 0.0, group_excess(gradient, l1) - group)
            worst = np.argsort(-out)[: max(10, int(inside.sum()))]
            active = np.union1d(np.flatnonzero(inside), worst[out[worst] > 0])
            if not len(active):
                break
            # Where no neuron violates any more, only a closer solution on these can help.
            goal = 0.3 * goal if not (out > 0).any() else min(goal, 0.5 * tol)
            # Float32 losses cannot tell steps apart any more where little is left to gain.
            part, b, taken = descend_groups(
                XT[active].astype(np.float64 if goal < PRECISE else np.float32),
                codes,
                W[:, active],
                b,
                theta,
                tol=goal,
                max_iter=max_iter - steps,
                **settings,
            )
            W[:, active] = part
            steps += taken
            work += taken * len(active) / d
    inside = W.any(axis=0)
    excess = group_excess(gradient + l2 * W, l1) - group
    kkt = float(np.where(inside, _slope(W, gradient, **settings), np.maximum(excess, 0)).max())
    coef, intercept = np.zeros((n_classes, d)), np.full(n_classes, -40.0 + float(b.min()))
    coef[present], intercept[present] = W, b
    return Fit(
        coef=coef,
        intercept=intercept,
        objective=float(primal),
        gap=float(gap),
        kkt=kkt,
        iterations=steps,
        gradients=work,
        seconds=time.thread_time() - began,
        converged=bool(gap <= tol),
    )


def _slope(W: np.ndarray, G: np.ndarray, *, group: float, l1: float, l2: float) -> np.ndarray:
    """Norm of the smallest subgradient of each neuron that has weights, (d,)."""
    norm = np.sqrt((W * W).sum(axis=0))
    smooth = G + l2 * W + group * W / np.maximum(norm, 1e-300)
    sub = np.where(W != 0, smooth + l1 * np.sign(W), np.maximum(np.abs(smooth) - l1, 0))
    return np.sqrt((sub**2).sum(axis=0))


@dataclass(frozen=True, eq=False)
class GroupPath:
    """Fits from strong to weak penalty, and the order in which neurons enter.

    Attributes
    ----------
    group
        Penalties λ_g, falling, (m,).
    fits
        One :class:`Fit` each.
    order
        Neurons by the first penalty at which they have weights; among those that enter together,
        and among those that never do, by ‖S(g_j, λ₁)‖₂ at the last fit before. (d,)
    entered
        Index of that penalty for each neuron, m where it never enters, (d,).
    """

    group: np.ndarray
    fits: tuple[Fit, ...]
    order: np.ndarray
    entered: np.ndarray


def largest_group_penalty(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    l1: float = 0.0,
    sample_weight: Float[np.ndarray, " n"] | None = None,
) -> float:
    """Return the smallest λ_g at which no neuron has weights."""
    check_penalty(l1=l1)
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    theta = token_weights(sample_weight, len(y))
    return float(group_excess(_null_gradient(neuron_major(X), y, n_classes, theta), l1).max())


def _null_gradient(XT: np.ndarray, y: np.ndarray, n_classes: int, theta: np.ndarray) -> np.ndarray:
    share = np.bincount(y, weights=theta, minlength=n_classes)
    R = np.outer(share, theta)
    R[y, np.arange(len(y))] -= theta
    return (R.astype(np.float32) @ XT.T).astype(np.float64)


def group_lasso_path(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    group: Sequence[float] | None = None,
    steps: int = 30,
    smallest: float = 0.01,
    enough: int | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    sample_weight: Float[np.ndarray, " n"] | None = None,
    tol: float = 1e-2,
    max_iter: int = 500,
) -> GroupPath:
    """Fit a path of penalties and return the order in which neurons enter.

    Parameters
    ----------
    X, y, n_classes, l1, l2, sample_weight, tol, max_iter
        As in :func:`fit_group_lasso`; ``max_iter`` is for each penalty.
    group
        Penalties; by default ``steps`` of them, evenly spaced in the logarithm, from the smallest
        one without weights down to ``smallest`` times it.
    enough
        Stop once so many neurons have weights.

    Raises
    ------
    InputError, LabelError, SettingError
        As in :func:`fit_group_lasso`, or an empty path.

    Warns
    -----
    NotConverged
        Some fits stopped early.
    """
    check_penalty(l1=l1, l2=l2)
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    theta = token_weights(sample_weight, len(y))
    XT = neuron_major(X)
    excess = group_excess(_null_gradient(XT, y, n_classes, theta), l1)
    if group is None:
        if steps < 2 or not 0 < smallest < 1:
            raise SettingError(
                f"a path needs steps ≥ 2 and smallest in (0, 1), not {steps} and {smallest}"
            )
        group = (float(excess.max()) * np.geomspace(1, smallest, steps)).tolist()
    falling = np.sort(np.asarray(group, dtype=np.float64))[::-1]
    if not len(falling):
        raise SettingError("a path needs one penalty (group) or more")
    check_penalty(group=float(falling[0]))
    check_penalty(group=float(falling[-1]))
    entered = np.full(X.shape[1], len(falling))
    key = excess.copy()
    fits: list[Fit] = []
    short = 0
    for i, strength in enumerate(falling):
        start = fits[-1] if fits else None
        fit = _fit(XT, y, n_classes, theta, float(strength), l1, l2, start, tol, max_iter)
        short += not fit.converged
        new = fit.coef.any(axis=0) & (entered == len(falling))
        entered[new] = i
        fits.append(fit)
        # Those still out are compared by their excess here, when the next ones enter.
        still = entered == len(falling)
        if still.any():
            key[still] = _excess_at(XT, y, fit, theta, l1)[still]
        if enough is not None and int((~still).sum()) >= enough:
            break
    if short:
        warnings.warn(
            f"{short} of {len(fits)} group-lasso fits stopped before a relative gap of {tol:g}; "
            "give more steps (max_iter), or a larger tol",
            NotConverged,
            stacklevel=2,
        )
    return GroupPath(
        group=falling[: len(fits)],
        fits=tuple(fits),
        order=np.lexsort((np.arange(len(key)), -key, entered)),
        entered=np.minimum(entered, len(fits)),
    )


def _excess_at(XT: np.ndarray, y: np.ndarray, fit: Fit, theta: np.ndarray, l1: float) -> np.ndarray:
    used = np.flatnonzero(fit.coef.any(axis=0))
    P = fit.coef[:, used].astype(np.float32) @ XT[used] + fit.intercept.astype(np.float32)[:, None]
    P -= P.max(axis=0)
    np.exp(P, out=P)
    P *= (theta / P.sum(axis=0)).astype(np.float32)
    P[y, np.arange(len(y))] -= theta.astype(np.float32)
    return group_excess(P @ XT.T, l1)
