"""Proximal gradients with momentum for group-sparse probes on a set of neurons."""

from __future__ import annotations

import numpy as np

from nissl.kernels._group_certificate import group_excess, group_penalty, soften

__all__ = ["descend_groups", "shrink_groups"]


def shrink_groups(Z: np.ndarray, group: float, l1: float, scale: float = 1.0) -> np.ndarray:
    """Proximal map of λ_g Σ_j ‖w_j‖₂ + λ₁ ‖W‖₁ for columns, times ``scale`` (Simon et al. 2013)."""
    out = soften(Z, l1) if l1 else Z
    norm = np.sqrt((out * out).sum(axis=0))
    keep = np.maximum(1 - group / np.maximum(norm, 1e-300), 0.0) * scale
    return out * keep


def descend_groups(
    XT: np.ndarray,
    y: np.ndarray,
    W: np.ndarray,
    b: np.ndarray,
    theta: np.ndarray,
    *,
    group: float,
    l1: float,
    l2: float,
    tol: float,
    max_iter: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Lower the objective on these neurons until its estimated relative gap is below ``tol``.

    Parameters
    ----------
    XT
        Neurons, (k, n), float32, or float64 for gaps below about 1e-5.
    W, b
        Where to start, (C, k) and (C,); every class has tokens.
    theta
        Token weights that sum to 1, (n,).

    Returns
    -------
    ndarray, ndarray, int
        Weights with exact zero columns, intercepts, steps taken.
    """
    token, weight = np.arange(len(y)), theta.astype(XT.dtype)
    noise = 2e-7 if XT.dtype == np.float32 else 1e-14
    target = np.bincount(y, weights=theta, minlength=len(b))

    def at(V: np.ndarray, c: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Cross-entropy, its residuals (C, n) times θ, and log-probabilities' class totals."""
        E = V.astype(XT.dtype) @ XT
        E += c.astype(XT.dtype)[:, None]
        E -= E.max(axis=0)
        own = E[y, token]
        np.exp(E, out=E)
        total = E.sum(axis=0)
        loss = float(theta @ (np.log(total) - own).astype(np.float64))
        E *= weight / total
        E[E < 1e-25] = 0  # denormal numbers slow the products several times
        E[y, token] -= weight
        return loss, E, E.sum(axis=1, dtype=np.float64)

    # The intercepts move with the weights, in units that give each class a curvature of its own.
    unit = np.sqrt(1 / np.maximum(target * (1 - target), 1e-6))
    unit = np.minimum(unit / unit.min(), 30.0)
    L, t = 0.05, 1.0
    V, c = W.copy(), b.copy()
    best = np.inf
    last_gap, steps, stalled = np.inf, 0, 0
    while steps < max_iter:
        steps += 1
        loss, R, gb = at(V, c)
        G = (R @ XT.T).astype(np.float64)
        smooth = loss + 0.5 * l2 * float((V * V).sum())
        gradient = G + l2 * V
        while True:
            new = shrink_groups(V - gradient / L, group / L, l1 / L)
            shift = -(unit**2) * gb / L
            D = new - V
            model = float((gradient * D).sum()) + float(gb @ shift)
            model += 0.5 * L * (float((D * D).sum()) + float((shift**2 / unit**2).sum()))
            value, _, _ = at(new, c + shift)
            moved = value + 0.5 * l2 * float((new * new).sum())
            if moved <= smooth + model + noise * abs(smooth) or L > 1e12:
                break
            L *= 2
        total = value + group_penalty(new, group, l1, l2)
        if steps % 5 == 1:
            last_gap = _gap(V, G, gb, loss, group, l1, l2)
            if last_gap <= tol and total <= best + noise:
                W, b = new, c + shift
                break
        if total > best + noise:
            V, c, t = W.copy(), b.copy(), 1.0  # momentum has overshot: go on from the best point
            stalled += 1
            if stalled > 8:
                break  # the rounding floor of float32
            continue
        uphill = float(((V - new) * (new - W)).sum())
        uphill -= float((shift * (c + shift - b) / unit**2).sum())
        if uphill > 0:
            t = 1.0  # momentum points against the last step
        grown = 0.5 * (1 + np.sqrt(1 + 4 * t * t))
        beta = (t - 1) / grown
        moved_b = c + shift
        V, c = new + beta * (new - W), moved_b + beta * (moved_b - b)
        stalled = 0 if total < best - 0.1 * noise * abs(best) else stalled
        W, b, t, best = new, moved_b, grown, total
        L *= 0.95
    return W, b, steps


def _gap(
    W: np.ndarray,
    G: np.ndarray,
    gb: np.ndarray,
    loss: float,
    group: float,
    l1: float,
    l2: float,
) -> float:
    """Relative gap between objective and dual where the class totals hold, from float32 products.

    Cross-entropy minus entropy of the predictions is ⟨G, W⟩ at W, so only penalties remain. Without
    a ridge the excess counts times the weights' total norm, which bounds it near the optimum.
    """
    value = loss + group_penalty(W, group, l1, l2)
    over = np.maximum(group_excess(G, l1) - group, 0)
    if l2 > 0:
        bound = float((over**2).sum()) / (2 * l2)
    else:
        bound = float(over.max(initial=0.0)) * float(np.sqrt((W * W).sum(axis=0)).sum())
    inner = float((G * W).sum()) + group_penalty(W, group, l1, l2) + bound
    return (abs(inner) + float(np.abs(gb).sum())) / max(value, 1e-300)
