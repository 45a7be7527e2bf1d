"""Ridge multinomial regression by L-BFGS: the retraining of probes on few neurons."""

from __future__ import annotations

import contextlib
import time
import warnings

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize

from nissl.errors import InputError, NotConverged
from nissl.kernels.checks import check_labels, check_penalty, neuron_major
from nissl.kernels.fit import Fit, certify, one_thread
from nissl.kernels.problem import token_weights

__all__ = ["fit_dense", "minimise_ridge", "minimise_split"]


SMALL_L2 = 1e-5
"""Below this the duality gap says too little to stop by it."""


class _Enough(Exception):
    """Leaves the minimiser once the gap is small enough."""


class _Best:
    """The best point seen, with the squared norm of its gradient."""

    def __init__(self, z: np.ndarray) -> None:
        self.z, self.value, self.slope = z, np.inf, np.inf


class _Loss:
    """Weighted mean cross-entropy and its gradient; buffers are allocated once."""

    def __init__(self, XT: np.ndarray, y: np.ndarray, n_classes: int, theta: np.ndarray) -> None:
        self.XT, self.y, self.theta = XT, y, theta
        self.theta32 = theta.astype(np.float32)
        self.token = np.arange(XT.shape[1])
        self.E = np.empty((n_classes, XT.shape[1]), dtype=np.float32)
        self.calls = 0

    def __call__(self, W: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return loss, gradient of W (C, d) and of b (C,), float64."""
        E = self.E
        self.calls += 1
        np.matmul(W.astype(np.float32), self.XT, out=E)
        E += b.astype(np.float32)[:, None]
        E -= E.max(axis=0)
        own = E[self.y, self.token]
        np.exp(E, out=E)
        total = E.sum(axis=0)
        loss = float(self.theta @ (np.log(total) - own).astype(np.float64))
        E *= self.theta32 / total
        # Denormal numbers would slow the matrix product several times.
        E[E < 1e-25] = 0
        E[self.y, self.token] -= self.theta32
        return loss, (E @ self.XT.T).astype(np.float64), E.sum(axis=1, dtype=np.float64)


def fit_dense(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    l2: float,
    start: Fit | None = None,
    tol: float = 1e-3,
    max_iter: int = 500,
    weight: Float[np.ndarray, " n"] | None = None,
    certificate: bool = True,
    time_limit: float | None = None,
) -> Fit:
    """Minimise weighted mean cross-entropy + (l2/2) ‖W‖² over standardised neurons.

    Parameters
    ----------
    X
        float32 in Fortran order is used without a copy.
    start
        A fit of the same shape to start from.
    tol
        Relative duality gap at which to stop. The gap of a ridge fit is ‖∇‖² / (2 l2) once the
        intercepts have settled, so it is bounded at every step. With a very small ``l2`` it is out
        of reach, and the fit also stops once a step changes the objective by less than a
        thousandth of ``tol``.
    weight
        Token weights; equal by default.
    certificate
        Whether to evaluate objective and gap in float64 at the end; otherwise both come from the
        last gradient (float32 products), which is enough to compare accuracies.
    time_limit
        CPU seconds of this thread after which the best point so far is returned; at least one
        gradient is evaluated.

    Warns
    -----
    NotConverged
        The time, the iterations or the precision of float32 ran out before ``tol``.

    Raises
    ------
    InputError, LabelError, SettingError
        Wrong lengths or shapes, one class, labels out of range, bad weights, a negative penalty.
    """
    check_penalty(l2=l2, **({} if time_limit is None else {"time_limit": time_limit}))
    y = check_labels(y, X.shape[0], n_classes)
    XT = neuron_major(X)
    if len(XT) == 0:
        raise InputError("X has no neurons (d = 0)")
    if start is not None and start.coef.shape != (n_classes, len(XT)):
        raise InputError(f"the start has shape {start.coef.shape}, not {(n_classes, len(XT))}")
    fit, short = minimise_ridge(
        XT,
        y,
        n_classes,
        token_weights(weight, len(y)),
        l2=l2,
        start=start,
        tol=tol,
        max_iter=max_iter,
        certificate=certificate,
        time_limit=time_limit,
    )
    if short:
        warnings.warn(
            f"a ridge probe on {len(XT)} neurons stopped at a relative gap of {fit.gap:.1e}, above "
            f"its tolerance of {tol:g}: {short}",
            NotConverged,
            stacklevel=2,
        )
    return fit


def minimise_ridge(
    XT: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    theta: np.ndarray,
    *,
    l2: float,
    start: Fit | None,
    tol: float,
    max_iter: int = 500,
    certificate: bool = True,
    time_limit: float | None = None,
) -> tuple[Fit, str]:
    """Do what :func:`fit_dense` does, on checked arrays and without warning.

    Parameters
    ----------
    XT
        Neurons, float32 (d, n), C order.
    theta
        Token weights that sum to 1, (n,).

    Returns
    -------
    Fit, str
        The fit, and what ran out before the tolerance was reached (empty: nothing).
    """
    # The clock of this thread: fits run side by side, and each is to know its own cost.
    began = time.thread_time()
    d = len(XT)
    loss = _Loss(XT, y, n_classes, theta)
    # The minimiser sees the intercepts in units that give them a curvature like that of the
    # strongest directions of the weights (which grow with d); else they settle last, and slowly.
    stretch = max(1.0, np.sqrt(d) / 7)
    if start is None:
        flat = np.zeros(n_classes * (d + 1))
        flat[n_classes * d :] = np.log(np.bincount(y, weights=theta, minlength=n_classes) + 1e-6)
        flat[n_classes * d :] /= stretch
    else:
        flat = np.concatenate([start.coef.ravel(), start.intercept / stretch])

    size = n_classes * d
    best = _Best(flat)
    short = ""

    def evaluate(z: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal short
        W = z[:size].reshape(n_classes, d)
        value, gW, gb = loss(W, stretch * z[size:])
        value += 0.5 * l2 * float(z[:size] @ z[:size])
        gW += l2 * W
        if value < best.value:
            best.value, best.z = value, z.copy()
            # Settling the intercepts would move the gradient of every neuron a little.
            best.slope = float((gW**2).sum()) + d * float((gb**2).sum())
            if best.slope <= 2 * l2 * tol * value:
                raise _Enough
        if time_limit is not None and time.thread_time() - began >= time_limit:
            short = f"its {time_limit:.3g} CPU seconds are over"
            raise _Enough
        return value, np.concatenate([gW.ravel(), stretch * gb])

    options = {
        "maxiter": max_iter,
        "maxfun": 2 * max_iter,
        "ftol": tol * 1e-3 if l2 < SMALL_L2 else 1e-9,
        "gtol": 1e-9,
        "maxcor": 20,
    }
    with one_thread(), contextlib.suppress(_Enough):
        ended = minimize(evaluate, flat, jac=True, method="L-BFGS-B", options=options)
        if ended.status == 1:
            short = f"its {max_iter} iterations are over"
        elif l2 >= SMALL_L2:
            short = "rounding in float32 hides further progress"
    coef = best.z[:size].reshape(n_classes, d)
    intercept = stretch * best.z[size:]
    if certificate:
        with one_thread():
            primal, dual, kkt, intercept = certify(
                XT, y, coef, intercept, l1=0.0, l2=l2, weight=theta
            )
        gap = (primal - dual) / primal if primal > 0 else 0.0
    else:
        primal = best.value
        gap = best.slope / (2 * l2 * primal) if l2 > 0 and primal > 0 else np.inf
        kkt = float(np.sqrt(best.slope))
    converged = bool(gap <= tol)
    fit = Fit(
        coef=coef,
        intercept=intercept,
        objective=float(primal),
        gap=float(gap),
        kkt=float(kkt),
        iterations=loss.calls,
        gradients=float(loss.calls),
        seconds=time.thread_time() - began,
        converged=converged,
    )
    return fit, "" if converged else short


def minimise_split(
    XT: np.ndarray,
    y: np.ndarray,
    theta: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    *,
    l1: float,
    l2: float,
    tol: float = 0.0,
    max_iter: int = 1000,
    deadline: float | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Minimise the elastic net as a smooth problem in W⁺ − W⁻ ≥ 0, from a given point.

    Stops at a relative duality gap of ``tol`` (estimated from float32 products), or when the CPU
    clock passes ``deadline``. Returns weights with exact zeros (both parts at their bound), the
    intercept, and the number of gradients used.
    """
    n_classes, d = coef.shape
    loss = _Loss(XT, y, n_classes, theta)
    size = n_classes * d
    flat = np.concatenate([np.maximum(coef, 0).ravel(), np.maximum(-coef, 0).ravel(), intercept])
    best = _Best(flat)

    def evaluate(z: np.ndarray) -> tuple[float, np.ndarray]:
        W = (z[:size] - z[size : 2 * size]).reshape(n_classes, d)
        value, gW, gb = loss(W, z[2 * size :])
        l1_part, l2_part = l1 * float(z[: 2 * size].sum()), 0.5 * l2 * float((W**2).sum())
        value += l1_part + l2_part
        if value < best.value:
            best.value, best.z = value, z.copy()
            over = np.maximum(np.abs(gW) - l1, 0)
            excess = float((over**2).sum()) / (2 * l2) if l2 > 0 else np.inf
            # Cross-entropy minus entropy of the predictions is <gradient, weights>.
            gap = float((gW * W).sum()) + l1_part + l2_part + excess
            late = deadline is not None and time.thread_time() > deadline
            if late or (gap <= tol * value and float(np.abs(gb).max()) <= 1e-5):
                raise _Enough
        g = (gW + l2 * W).ravel()
        return value, np.concatenate([g + l1, l1 - g, gb])

    bounds = [(0, None)] * (2 * size) + [(None, None)] * n_classes
    options = {
        "maxiter": max_iter,
        "maxfun": 2 * max_iter,
        "ftol": 1e-9,
        "gtol": 1e-9,
        "maxcor": 20,
    }
    with contextlib.suppress(_Enough):
        minimize(evaluate, flat, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    W = (best.z[:size] - best.z[size : 2 * size]).reshape(n_classes, d)
    return W, best.z[2 * size :], float(loss.calls)
