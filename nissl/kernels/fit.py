"""What a solver returns, and the certificate that says how good it is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

__all__ = ["Fit", "certify", "log_softmax", "one_thread", "predict_scores"]

BLOCK = 256


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """Give BLAS one thread inside the block.

    The solvers call it often on small arrays, where a second thread mostly waits (a 2-core machine
    with other work spent 6 times the CPU for no gain), and the bits of a result must not depend on
    the number of threads. Whole fits run side by side instead.
    """
    return _controller().limit(limits=1, user_api="blas")


@dataclass(frozen=True, eq=False)
class Fit:
    """A linear multinomial model and how far it is from the optimum.

    Attributes
    ----------
    coef
        Weights, float64 (C, d), exact zeros.
    intercept
        float64 (C,).
    objective
        Mean cross-entropy + λ₁‖W‖₁ + (λ₂/2)‖W‖², evaluated in float64.
    gap
        (primal − dual) / primal, an upper bound on the relative distance to the optimum,
        evaluated in float64; infinite when no dual point is known (λ₁ = λ₂ = 0).
    kkt
        Largest violation of the optimality conditions.
    iterations
        Outer iterations.
    gradients
        Work in units of one full gradient (both matrix products).
    seconds
        CPU seconds.
    converged
        Whether the tolerance was reached.
    """

    coef: np.ndarray
    intercept: np.ndarray
    objective: float
    gap: float
    kkt: float
    iterations: int
    gradients: float
    seconds: float
    converged: bool


def predict_scores(X: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Return logits (n, C) in float32; only neurons with a weight are read."""
    used = np.flatnonzero((coef != 0).any(axis=0))
    W = np.ascontiguousarray(coef[:, used], dtype=np.float32)
    XT = X.T if len(used) == X.shape[1] else X.T[used]
    logits = W @ XT.astype(np.float32, copy=False)
    logits += intercept.astype(np.float32)[:, None]
    return logits.T


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log probabilities of class-major logits (C, n)."""
    out = logits - logits.max(axis=0)
    out -= np.log(np.exp(out).sum(axis=0))
    return out


def certify(
    XT: np.ndarray,
    y: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    *,
    l1: float,
    l2: float,
    weight: np.ndarray,
) -> tuple[float, float, float, np.ndarray]:
    """Return primal, dual, KKT violation and the intercept polished for the given weights.

    All in float64. With q the predicted probabilities and θ the token weights (summing to 1), the
    dual of the objective is Σ θᵢ H(qᵢ) − Σ_cj (|Σᵢ θᵢ (qᵢ − yᵢ)_c x_ij| − λ₁)₊² / (2 λ₂) over all
    q whose weighted class totals equal those of y. The totals are met exactly by mixing q with a
    constant distribution; with λ₂ = 0, q is also shrunk towards y until no entry exceeds λ₁.

    Parameters
    ----------
    XT
        Standardised neurons, float32 (d, n).
    weight
        Token weights, (n,), summing to 1.
    """
    n_classes, d = coef.shape
    n = XT.shape[1]
    theta = weight.astype(np.float64)
    target = np.bincount(y, weights=theta, minlength=n_classes)
    if (target == 0).any():
        return _certify_without_empty(XT, y, coef, intercept, l1, l2, theta, target > 0)
    logits = _logits(XT, coef)
    intercept = _polish(logits, np.asarray(intercept, dtype=np.float64), target, theta)
    logits += intercept[:, None]
    logp = log_softmax(logits)
    q = np.exp(logp)
    token = np.arange(n)
    loss = -float(theta @ logp[y, token])
    primal = loss + l1 * float(np.abs(coef).sum()) + 0.5 * l2 * float((coef**2).sum())
    residual = q * theta
    residual[y, token] -= theta
    gradient = np.empty((n_classes, d))
    for start in range(0, d, BLOCK):
        gradient[:, start : start + BLOCK] = residual @ XT[start : start + BLOCK].T.astype(
            np.float64
        )
    slope = gradient + l2 * coef
    kkt = np.where(coef != 0, np.abs(slope + l1 * np.sign(coef)), np.maximum(np.abs(slope) - l1, 0))
    worst = max(float(kkt.max()), float(np.abs(residual.sum(axis=1)).max()))
    # Mix q with a constant distribution a so that the class totals are exact.
    total = q @ theta
    excess = np.where(total > 0, (total - target) / np.maximum(total, 1e-300), 0.0)
    share = min(1.0, max(0.0, float(excess.max())) * (1 + 1e-9) + 1e-15)
    a = np.maximum(total + (target - total) / share, 0.0)
    a /= a.sum()
    mixed = (1 - share) * q + share * a[:, None]
    lean = share * (_outer_sums(XT, theta, a) - _mass(gradient, XT, y, theta, n_classes))
    U = gradient + lean
    if l2 > 0:
        over = np.maximum(np.abs(U) - l1, 0)
        penalty = float((over**2).sum()) / (2 * l2)
    else:
        largest = float(np.abs(U).max())
        if l1 == 0 and largest > 0:
            return primal, -np.inf, worst, intercept
        shrink = min(1.0, l1 / largest) if largest > 0 else 1.0
        mixed *= shrink
        mixed[y, token] += 1 - shrink
        penalty = 0.0
    entropy = -np.where(mixed > 0, mixed * np.log(np.maximum(mixed, 1e-300)), 0.0).sum(axis=0)
    return primal, float(theta @ entropy) - penalty, worst, intercept


def _certify_without_empty(
    XT: np.ndarray,
    y: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    l1: float,
    l2: float,
    theta: np.ndarray,
    present: np.ndarray,
) -> tuple[float, float, float, np.ndarray]:
    """Certificate of a problem in which some classes have no (weight of) tokens.

    Such a class only adds to the loss, so the infimum is that of the problem without it: its
    weights at 0 and its intercept at minus infinity. Here the intercept is put so low, but finite,
    that the class has no more than e⁻⁴⁰ of any token.
    """
    some = theta > 0
    number = np.cumsum(present) - 1
    _, dual, kkt, kept = certify(
        XT,
        # Tokens without weight may be of a class that is gone; any other label serves.
        np.where(some, number[y], 0),
        coef[present],
        np.asarray(intercept, dtype=np.float64)[present],
        l1=l1,
        l2=l2,
        weight=theta,
    )
    logits = _logits(XT, coef)
    full = np.empty(len(coef))
    full[present] = kept
    floor = (logits[present] + kept[:, None]).max(axis=0).min()
    full[~present] = floor - logits[~present].max(axis=1) - 40.0
    logp = log_softmax(logits + full[:, None])
    loss = -float(theta[some] @ logp[y[some], np.flatnonzero(some)])
    primal = loss + l1 * float(np.abs(coef).sum()) + 0.5 * l2 * float((coef**2).sum())
    left = coef[~present]
    kkt = max(kkt, float(np.where(left != 0, np.abs(l2 * left) + l1, 0.0).max()))
    return primal, dual, kkt, full


def _logits(XT: np.ndarray, coef: np.ndarray) -> np.ndarray:
    """Logits without intercepts, float64 (C, n)."""
    used = np.flatnonzero((coef != 0).any(axis=0))
    logits = np.zeros((len(coef), XT.shape[1]))
    for start in range(0, len(used), BLOCK):
        picked = used[start : start + BLOCK]
        logits += coef[:, picked] @ XT[picked].astype(np.float64)
    return logits


def _outer_sums(XT: np.ndarray, theta: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Σᵢ θᵢ a x_iᵀ: what the constant distribution adds, (C, d)."""
    means = np.concatenate(
        [XT[s : s + BLOCK].astype(np.float64) @ theta for s in range(0, len(XT), BLOCK)]
    )
    return np.outer(a, means)


def _mass(
    gradient: np.ndarray, XT: np.ndarray, y: np.ndarray, theta: np.ndarray, n_classes: int
) -> np.ndarray:
    """Σᵢ θᵢ qᵢ x_iᵀ = gradient + Σᵢ θᵢ yᵢ x_iᵀ, (C, d)."""
    sums = np.empty_like(gradient)
    member = np.zeros((n_classes, len(y)))
    member[y, np.arange(len(y))] = theta
    for s in range(0, len(XT), BLOCK):
        sums[:, s : s + BLOCK] = member @ XT[s : s + BLOCK].T.astype(np.float64)
    return gradient + sums


def _polish(
    logits: np.ndarray, intercept: np.ndarray, target: np.ndarray, theta: np.ndarray
) -> np.ndarray:
    """Newton steps on the intercepts alone (they are not penalised), by halving if needed."""
    b = intercept.copy()
    best = np.inf
    step = np.zeros_like(b)
    for _ in range(30):
        logp = log_softmax(logits + b[:, None])
        q = np.exp(logp)
        totals = q @ theta
        error = totals - target
        size = float(np.abs(error).max())
        if not size < best:
            # Rounding floor, or the step was too long: go half-way back once, then stop.
            if best < 1e-12:
                return b - step
            b -= 0.5 * step
            step *= 0.5
            if float(np.abs(step).max(initial=0.0)) < 1e-14:
                return b
            continue
        best = size
        if size < 1e-15:
            return b
        hessian = np.diag(totals) - (q * theta) @ q.T
        hessian[np.diag_indices_from(hessian)] += 1e-12 + 1e-9 * totals
        # A class with no token has its optimum at minus infinity: bound the step.
        step = np.clip(-np.linalg.lstsq(hessian, error, rcond=1e-13)[0], -2, 2)
        b += step
    return b
