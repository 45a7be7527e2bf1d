"""Sparse least squares on working sets that grow by the neurons that violate optimality most."""

from __future__ import annotations

import time

import numpy as np

from nissl.kernels import _square_loops
from nissl.kernels._feature_sign import feature_sign
from nissl.kernels._squares import Point, Squares

__all__ = ["working_sets"]

FIRST = 64
"""Neurons that may join a working set at first; later as many as it has weights."""

STEPS = 2_000_000
"""Feature-sign steps in a row are at most this over the squared number of weights."""


def working_sets(
    problem: Squares,
    W: np.ndarray,
    l1: float,
    l2: float,
    *,
    tol: float,
    enough: float,
    max_iter: int,
    deadline: float,
) -> tuple[Point, int]:
    """Solve on working sets, target by target, until the gap over all neurons is small enough.

    Parameters
    ----------
    W
        Where to start, (T, d).
    l1
        Above 0.
    tol, enough
        Relative and absolute gap that suffice.
    max_iter
        Rounds of working sets at most.
    deadline
        CPU clock at which to stop.

    Returns
    -------
    tuple
        The best point (no step raises the objective) and the number of rounds.
    """
    strict = 1.0
    point = problem.at(W, l1, l2)
    for iteration in range(max_iter):
        aim = max(tol * float(point.primal.sum()), enough) / len(W)
        excess = point.primal - point.dual
        if excess.sum() <= aim * len(W) or time.thread_time() > deadline:
            return point, iteration
        W = point.W.copy()
        grown = False
        for t in np.flatnonzero(excess > 0.5 * aim):
            inside = np.flatnonzero(W[t])
            over = np.abs(point.gradient[t]) - l1
            over[inside] = -np.inf
            outside = np.flatnonzero(over > 0)
            most = max(FIRST, len(inside))
            if len(outside) > most:
                outside = outside[np.argsort(-over[outside], kind="stable")[:most]]
            grown |= len(outside) > 0
            chosen = np.sort(np.concatenate([inside, outside]))
            if not len(chosen):
                continue
            # While neurons are missing, a working set need not be solved better than the whole.
            wanted = strict * max(0.2 * aim, 0.05 * float(excess[t]))
            half = 0.5 * float((point.residual[t] ** 2) @ problem.theta)
            W[t, chosen] = _descend(
                problem.block(chosen, l2),
                point.gradient[t, chosen],
                W[t, chosen],
                half,
                l1,
                l2,
                tol=wanted,
                deadline=deadline,
            )
        after = problem.at(W, l1, l2)
        if not grown:
            # No new neuron, and no descent that float64 could see: this is as good as it gets.
            if strict < 1e-6 and after.primal.sum() >= point.primal.sum():
                return point, iteration + 1
            strict *= 0.1
        point = after
    return point, max_iter


def _descend(
    H: np.ndarray,
    gradient: np.ndarray,
    w: np.ndarray,
    half: float,
    l1: float,
    l2: float,
    *,
    tol: float,
    deadline: float,
) -> np.ndarray:
    """Return the optimum on one working set, to an absolute duality gap of ``tol`` on it.

    Cycles over coordinates take turns with steps for all of them at once.

    Parameters
    ----------
    H
        Gram matrix + λ₂, (k, k).
    gradient
        Of the halved mean square at ``w``, (k,).
    half
        Halved mean square at ``w``.
    """
    slope = gradient + l2 * w
    start, w = w, w.copy()
    fine = 0.1 * tol / len(w)
    for _ in range(60):
        _square_loops.cycle(H, slope, w, l1, 20, fine)
        for _ in range(max(1, min(50, STEPS // max(1, np.count_nonzero(w) ** 2)))):
            if not feature_sign(H, slope, w, l1):
                break
        now = slope - l2 * w
        # The halved mean square is quadratic: its change is the mean slope times the way.
        left = half + 0.5 * float((gradient + now) @ (w - start))
        if _gap(now, w, left, l1, l2) <= tol or time.thread_time() > deadline:
            break
        fine *= 0.3
    return w


def _gap(gradient: np.ndarray, w: np.ndarray, half: float, l1: float, l2: float) -> float:
    """Absolute duality gap of one target on a working set; see ``Squares.at``.

    With the residual r, Σ θ r y = Σ θ r² − <gradient, w>.
    """
    size = np.abs(gradient)
    penalty = l1 * float(np.abs(w).sum())
    largest = float(size.max())
    scale = min(1.0, l1 / largest) if largest > 0 else 1.0
    product = float(gradient @ w)
    scaled = half + penalty + 0.5 * l2 * float(w @ w)
    scaled -= scale * (2 * half - product) - scale**2 * half
    if l2 == 0:
        return scaled
    over = np.maximum(size - l1, 0.0)
    plain = product + penalty + 0.5 * l2 * float(w @ w) + float(over @ over) / (2 * l2)
    return min(plain, scaled)
