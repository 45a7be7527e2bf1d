"""The certificate of group-sparse probes: primal and dual value in float64, from the data alone."""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from nissl.kernels.fit import _logits, _polish, _token_blocks, log_softmax

__all__ = ["certify_groups", "group_excess", "group_penalty", "soften"]

BLOCK = 128
"""Neurons turned to float64 at a time."""


def soften(G: np.ndarray, cut: float) -> np.ndarray:
    """Move every entry towards 0 by ``cut``, to an exact 0 where it is smaller."""
    return np.sign(G) * np.maximum(np.abs(G) - cut, 0)


def group_penalty(W: np.ndarray, group: float, l1: float, l2: float) -> float:
    """λ_g Σ_j ‖W_·j‖₂ + λ₁ ‖W‖₁ + (λ₂/2) ‖W‖², in float64."""
    W = W.astype(np.float64, copy=False)
    square = (W * W).sum(axis=0)
    value = group * float(np.sqrt(square).sum()) + 0.5 * l2 * float(square.sum())
    return value + (l1 * float(np.abs(W).sum()) if l1 else 0.0)


def group_excess(G: np.ndarray, l1: float) -> np.ndarray:
    """‖S(g_j, λ₁)‖₂ of each neuron, (d,): it enters once this exceeds λ_g."""
    return np.sqrt((soften(G, l1) ** 2).sum(axis=0))


def certify_groups(
    XT: np.ndarray,
    y: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    theta: np.ndarray,
    *,
    group: float,
    l1: float,
    l2: float,
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Return primal, dual, the intercept polished for the weights, and the gradient (C, d).

    With q the predicted probabilities and g_j = Σᵢ θᵢ (qᵢ − yᵢ) x_ij, the dual is Σ θᵢ H(qᵢ) −
    Σ_j (‖S(g_j, λ₁)‖₂ − λ_g)₊² / (2 λ₂) over all q with the class totals of y (the conjugate of
    the sparse-group penalty of Simon et al. 2013, eq. 3, plus a ridge). The totals are met exactly
    by mixing q with a constant distribution; with λ₂ = 0, q is shrunk towards y until no neuron
    exceeds λ_g. Classes without tokens must have been taken out before.

    Parameters
    ----------
    XT
        float32 (d, n), neuron-major.
    coef, intercept
        (C, d) and (C,).
    theta
        Token weights that sum to 1, (n,).
    """
    n_classes, d = coef.shape
    n = XT.shape[1]
    target = np.bincount(y, weights=theta, minlength=n_classes)
    held = _logits(XT, coef)
    intercept, _ = _polish(held, np.asarray(intercept, dtype=np.float64), target, theta)
    loss, total = 0.0, np.zeros(n_classes)
    for part in _token_blocks(n, n_classes):
        logp = log_softmax(held[:, part] + intercept[:, None])
        loss -= float(theta[part] @ logp[y[part], np.arange(logp.shape[1])])
        held[:, part] = np.exp(logp)
        total += held[:, part] @ theta[part]
    primal = loss + group_penalty(coef, group, l1, l2)
    share = min(1.0, max(0.0, float((1 - target / total).max())) * (1 + 1e-9) + 1e-15)
    constant = np.maximum(target - (1 - share) * total, 0.0)
    constant /= constant.sum()
    gradient, mixed = np.empty((n_classes, d)), np.empty((n_classes, d))
    own = np.zeros((n_classes, n))
    own[y, np.arange(n)] = theta
    held *= theta
    for start in range(0, d, BLOCK):
        part = slice(start, start + BLOCK)
        X = XT[part].astype(np.float64).T
        truth = own @ X
        gradient[:, part] = held @ X - truth
        mixed[:, part] = (1 - share) * (gradient[:, part] + truth) - truth
        mixed[:, part] += share * np.outer(constant, theta @ X)
    shrink = 1.0
    if l2 > 0:
        over = np.maximum(group_excess(mixed, l1) - group, 0)
        penalty = float((over**2).sum()) / (2 * l2)
    else:
        penalty, shrink = 0.0, _shrink(mixed, group, l1)
    entropy = 0.0
    some = theta > 0
    for part in _token_blocks(n, n_classes):
        weight = theta[part][some[part]]
        q = held[:, part][:, some[part]] / weight * (1 - share) + share * constant[:, None]
        q *= shrink
        q[y[part][some[part]], np.arange(len(weight))] += 1 - shrink
        entropy -= float(weight @ xlogy(q, q).sum(axis=0))
    return primal, entropy - penalty, intercept, gradient


def _shrink(G: np.ndarray, group: float, l1: float) -> float:
    """Return the largest factor ≤ 1 (within 1e-12, from below) at which no neuron exceeds λ_g."""
    if not (group_excess(G, l1) > group).any():
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = 0.5 * (low + high)
        if (group_excess(middle * G, l1) <= group).all():
            low = middle
        else:
            high = middle
    return low
