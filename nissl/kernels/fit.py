"""What a solver returns, and the certificate that says how good it is."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import xlogy
from threadpoolctl import ThreadpoolController

from nissl.errors import NotConverged
from nissl.kernels import _loops

__all__ = [
    "Fit",
    "certify",
    "log_softmax",
    "one_thread",
    "predict_scores",
    "warn_not_converged",
]


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


def warn_not_converged(fit: Fit, tol: float, why: str) -> None:
    """Say that a fit stopped early, why, and how good it is."""
    warnings.warn(
        f"the probe stopped at a relative gap of {fit.gap:.1e} instead of {tol:.1e} ({why}); "
        "give more time, or a larger tol",
        NotConverged,
        stacklevel=4,
    )


def certify(
    XT: np.ndarray,
    y: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    *,
    l1: float,
    l2: float,
    weight: np.ndarray,
    rms: np.ndarray | None = None,
) -> tuple[float, float, float, np.ndarray]:
    """Return primal, dual, KKT violation and the intercept polished for the given weights.

    All in float64. With q the predicted probabilities and θ the token weights (summing to 1), the
    dual of the objective is Σ θᵢ H(qᵢ) − Σ_cj (|Σᵢ θᵢ (qᵢ − yᵢ)_c x_ij| − λ₁)₊² / (2 λ₂) over all
    q whose weighted class totals equal those of y. The totals are met exactly by mixing q with a
    constant distribution, whose part in the sums over tokens is bounded by Cauchy and Schwarz; with
    λ₂ = 0, q is also shrunk towards y until no sum exceeds λ₁.

    Parameters
    ----------
    XT
        Standardised neurons, float32 (d, n).
    weight
        Token weights, (n,), summing to 1.
    rms
        Root mean square of each neuron, (d,), where it is known.
    """
    n_classes, d = coef.shape
    n = XT.shape[1]
    theta = weight.astype(np.float64)
    target = np.bincount(y, weights=theta, minlength=n_classes)
    if (target == 0).any():
        return _certify_without_empty(XT, y, coef, intercept, l1, l2, theta, target > 0, rms)
    rms = _root_mean_squares(XT) if rms is None else rms
    held = _logits(XT, coef)
    intercept, total = _polish(held, np.asarray(intercept, dtype=np.float64), target, theta)
    loss = 0.0
    for part in _token_blocks(n, n_classes):
        logp = log_softmax(held[:, part] + intercept[:, None])
        own = y[part], np.arange(logp.shape[1])
        loss -= float(theta[part] @ logp[own])
        residual = np.exp(logp, out=logp)
        residual *= theta[part]
        residual[own] -= theta[part]
        held[:, part] = residual
    primal = loss + l1 * float(np.abs(coef).sum()) + 0.5 * l2 * float((coef**2).sum())
    gradient = np.empty((n_classes, d))
    step = _neurons_at_once(n)
    for start in range(0, d, step):
        gradient[:, start : start + step] = held @ XT[start : start + step].T.astype(np.float64)
    slope = gradient + l2 * coef
    kkt = np.where(coef != 0, np.abs(slope + l1 * np.sign(coef)), np.maximum(np.abs(slope) - l1, 0))
    worst = max(float(kkt.max()), float(np.abs(total - target).max()))
    # Mix q with a constant distribution a so that the class totals are exact.
    excess = np.where(total > 0, (total - target) / np.maximum(total, 1e-300), 0.0)
    share = min(1.0, max(0.0, float(excess.max())) * (1 + 1e-9) + 1e-15)
    a = np.maximum(total + (target - total) / share, 0.0)
    a /= a.sum()
    lean = share * np.outer(a + np.sqrt(total), rms) * np.sqrt(n * theta.max())
    U = np.abs(gradient) + lean
    shrink = 1.0
    if l2 > 0:
        penalty = float((np.maximum(U - l1, 0) ** 2).sum()) / (2 * l2)
    else:
        penalty, largest = 0.0, float(U.max())
        if l1 == 0 and largest > 0:
            return primal, -np.inf, worst, intercept
        shrink = min(1.0, l1 / largest) if largest > 0 else 1.0
    entropy = 0.0
    for part in _token_blocks(n, n_classes):
        weights = theta[part]
        some = weights > 0
        mixed = held[:, part][:, some] / weights[some]
        own = y[part][some], np.arange(mixed.shape[1])
        mixed[own] += 1.0
        mixed = np.maximum(mixed, 0.0) * (1 - share) + share * a[:, None]
        if shrink < 1:
            mixed *= shrink
            mixed[own] += 1 - shrink
        entropy -= float(weights[some] @ xlogy(mixed, mixed).sum(axis=0))
    return primal, entropy - penalty, worst, intercept


def _certify_without_empty(
    XT: np.ndarray,
    y: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    l1: float,
    l2: float,
    theta: np.ndarray,
    present: np.ndarray,
    rms: np.ndarray | None,
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
        rms=rms,
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


def _root_mean_squares(XT: np.ndarray) -> np.ndarray:
    out = np.empty(len(XT))
    _loops.squares(XT, out)
    return np.sqrt(out / XT.shape[1])


def _token_blocks(n: int, n_classes: int) -> list[slice]:
    """Blocks of tokens whose float64 probabilities take 16 MB."""
    size = max(256, 2_000_000 // n_classes)
    return [slice(start, min(n, start + size)) for start in range(0, n, size)]


def _neurons_at_once(n: int) -> int:
    """Neurons whose float64 copies take 32 MB."""
    return max(16, min(256, 4_000_000 // n))


def _logits(XT: np.ndarray, coef: np.ndarray) -> np.ndarray:
    """Logits without intercepts, float64 (C, n)."""
    used = np.flatnonzero((coef != 0).any(axis=0))
    logits = np.zeros((len(coef), XT.shape[1]))
    step = _neurons_at_once(XT.shape[1])
    for start in range(0, len(used), step):
        picked = used[start : start + step]
        logits += coef[:, picked] @ XT[picked].astype(np.float64)
    return logits


def _polish(
    logits: np.ndarray, intercept: np.ndarray, target: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Newton steps on the intercepts alone (they are not penalised), halved where they overshoot.

    Returns the intercepts and the class totals that they give. The Hessian is kept while it serves:
    it costs far more than the totals where there are many classes.
    """
    best, best_total, size = intercept.copy(), target, np.inf
    b, step, hessian = best, np.zeros_like(best), None
    for _ in range(40):
        total, fresh = _totals(logits, b, theta, want_hessian=hessian is None)
        hessian = fresh if hessian is None else hessian
        now = float(np.abs((total - target) / target).max())
        if not now < size:
            # The rounding floor, or a step too long.
            if size < 1e-9 or float(np.abs(step).max(initial=0.0)) < 1e-14:
                break
            step = 0.5 * step
            hessian = None
        else:
            slow = now > 0.2 * size
            best, best_total, size = b, total, now
            if size < 1e-11:
                break
            if slow and fresh is None:
                hessian = _totals(logits, b, theta, want_hessian=True)[1]
            assert hessian is not None
            damped = hessian + np.diag(1e-12 + 1e-9 * total)
            # A class with next to no token has its optimum far away: bound the step.
            step = np.clip(-np.linalg.solve(damped, total - target), -2, 2)
        b = best + step
    return best, best_total


def _totals(
    logits: np.ndarray, b: np.ndarray, theta: np.ndarray, *, want_hessian: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    n_classes, n = logits.shape
    total = np.zeros(n_classes)
    pairs = np.zeros((n_classes, n_classes)) if want_hessian else None
    for part in _token_blocks(n, n_classes):
        q = np.exp(log_softmax(logits[:, part] + b[:, None]))
        total += q @ theta[part]
        if pairs is not None:
            # With many classes float32 is precise enough for a Newton direction.
            kind = np.float32 if n_classes > 64 else np.float64
            small = q.astype(kind, copy=False)
            pairs += (small * theta[part].astype(kind)) @ small.T
    return total, None if pairs is None else np.diag(total) - pairs
