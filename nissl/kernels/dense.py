"""Ridge multinomial regression by L-BFGS: the retraining of probes on few neurons."""

from __future__ import annotations

import time

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize

from nissl.errors import InputError
from nissl.kernels.checks import check_labels, check_penalty, neuron_major
from nissl.kernels.fit import Fit, certify

__all__ = ["fit_dense", "minimise_split"]


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
) -> Fit:
    """Minimise weighted mean cross-entropy + (l2/2) ‖W‖² over standardised neurons.

    Parameters
    ----------
    X
        float32 in Fortran order is used without a copy.
    start
        A fit of the same shape to start from.
    tol
        Relative change of the objective at which L-BFGS stops, times 1e-3; also the relative
        duality gap under which the fit counts as converged.
    weight
        Token weights; equal by default.
    """
    began = time.process_time()
    check_penalty(l2=l2)
    y = check_labels(y, X.shape[0], n_classes)
    XT = neuron_major(X)
    d, n = XT.shape
    if d == 0:
        raise InputError("X has no neurons (d = 0)")
    theta = np.full(n, 1 / n) if weight is None else weight / weight.sum()
    loss = _Loss(XT, y, n_classes, theta)
    flat = np.zeros(n_classes * (d + 1))
    if start is None:
        flat[n_classes * d :] = np.log(np.bincount(y, weights=theta, minlength=n_classes) + 1e-6)
    else:
        if start.coef.shape != (n_classes, d):
            raise InputError(f"the start has shape {start.coef.shape}, not {(n_classes, d)}")
        flat = np.concatenate([start.coef.ravel(), start.intercept])

    def evaluate(z: np.ndarray) -> tuple[float, np.ndarray]:
        W = z[: n_classes * d].reshape(n_classes, d)
        value, gW, gb = loss(W, z[n_classes * d :])
        value += 0.5 * l2 * float(z[: n_classes * d] @ z[: n_classes * d])
        return value, np.concatenate([(gW + l2 * W).ravel(), gb])

    options = {"maxiter": max_iter, "maxfun": 2 * max_iter, "ftol": tol * 1e-3, "gtol": 1e-7, "maxcor": 20}
    found = minimize(evaluate, flat, jac=True, method="L-BFGS-B", options=options)
    coef = found.x[: n_classes * d].reshape(n_classes, d)
    primal, dual, kkt, intercept = certify(
        XT, y, coef, found.x[n_classes * d :], l1=0.0, l2=l2, weight=theta
    )
    gap = (primal - dual) / primal if primal > 0 else 0.0
    return Fit(
        coef=coef,
        intercept=intercept,
        objective=primal,
        gap=float(gap),
        kkt=kkt,
        iterations=int(found.nit),
        gradients=float(loss.calls),
        seconds=time.process_time() - began,
        converged=bool(found.success or gap <= tol),
    )


def minimise_split(
    XT: np.ndarray,
    y: np.ndarray,
    theta: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    *,
    l1: float,
    l2: float,
    max_iter: int = 1000,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Minimise the elastic net as a smooth problem in W⁺ − W⁻ ≥ 0, from a given point.

    Returns weights with exact zeros (both parts at their bound), the intercept, and the number of
    gradients used.
    """
    n_classes, d = coef.shape
    loss = _Loss(XT, y, n_classes, theta)
    size = n_classes * d

    def evaluate(z: np.ndarray) -> tuple[float, np.ndarray]:
        W = (z[:size] - z[size : 2 * size]).reshape(n_classes, d)
        value, gW, gb = loss(W, z[2 * size :])
        value += l1 * float(z[: 2 * size].sum()) + 0.5 * l2 * float((W**2).sum())
        g = (gW + l2 * W).ravel()
        return value, np.concatenate([g + l1, l1 - g, gb])

    flat = np.concatenate([np.maximum(coef, 0).ravel(), np.maximum(-coef, 0).ravel(), intercept])
    bounds = [(0, None)] * (2 * size) + [(None, None)] * n_classes
    options = {"maxiter": max_iter, "maxfun": 2 * max_iter, "ftol": 1e-9, "gtol": 1e-9, "maxcor": 20}
    found = minimize(evaluate, flat, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    W = (found.x[:size] - found.x[size : 2 * size]).reshape(n_classes, d)
    return W, found.x[2 * size :], float(loss.calls)
