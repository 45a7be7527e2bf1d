"""Least squares without λ₁: normal equations, in whichever of neurons and tokens are fewer."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh

from nissl.kernels._squares import BLOCK, Point, Squares

__all__ = ["solve_ridge"]

DIRECT = 3000
"""Up to so many neurons or tokens the equations are solved at once; beyond, step by step."""

CUT = 1e-12
"""Directions with less than this share of the largest variance are rounding."""


def solve_ridge(
    problem: Squares,
    W: np.ndarray,
    l2: float,
    *,
    tol: float,
    enough: float,
    most: int,
    deadline: float,
) -> tuple[Point, int, float]:
    """Return the optimum (λ₂ > 0) or the least squares of minimum norm, iterations, and the gap.

    With λ₂ = 0 the dual bound is void for any residual that is not exactly orthogonal to all
    neurons. There, with g the gradient and μ the smallest variance of a direction that is kept,
    the distance to the optimum is at most ‖g‖² / (2μ) (Polyak and Łojasiewicz), which gives the
    gap; by conjugate gradients μ is unknown and the gap infinite.

    Parameters
    ----------
    W
        Where conjugate gradients start, (T, d); the direct solution needs no start.
    tol, enough
        Relative and absolute gap that suffice.
    most
        Conjugate-gradient steps at most.
    deadline
        CPU clock at which conjugate gradients stop.
    """
    if min(problem.XT.shape) > DIRECT:
        return _conjugate_gradients(problem, W, l2, tol, enough, most, deadline)
    direct = _by_neurons if len(problem.XT) <= problem.XT.shape[1] else _by_tokens
    point, smallest = direct(problem, l2)
    if l2 > 0:
        return point, 1, point.gap
    slack = float((point.gradient**2).sum()) / (2 * smallest) if smallest > 0 else 0.0
    primal = float(point.primal.sum())
    return point, 1, min(1.0, slack / primal) if primal > 0 else 0.0


def _by_neurons(problem: Squares, l2: float) -> tuple[Point, float]:
    solve, smallest = _solver(problem.block(np.arange(len(problem.XT)), l2), l2)
    point = problem.at(np.zeros((problem.n_targets, len(problem.XT))), 0.0, l2)
    for _ in range(2):  # The second time mends what rounding left.
        step = solve(-(point.gradient + l2 * point.W).T).T
        step[:, problem.constant] = 0.0
        point = problem.at(point.W + step, 0.0, l2)
    return point, smallest


def _by_tokens(problem: Squares, l2: float) -> tuple[Point, float]:
    """The optimum is a combination of the tokens, W = A X, with (X Xᵀ + λ₂) Aᵀ = Yᵀ."""
    n = len(problem.theta)
    K = np.zeros((n, n))
    for s in range(0, len(problem.XT), BLOCK):
        block = problem.centred(slice(s, s + BLOCK))
        K += block.T @ block
    problem.gradients += n / (2 * problem.n_targets)
    K[np.diag_indices(n)] += l2
    solve, smallest = _solver(K, l2)
    some = problem.root > 0
    A = np.zeros_like(problem.Y)
    point = problem.at(np.zeros((problem.n_targets, len(problem.XT))), 0.0, l2)
    for _ in range(2):
        A += solve((point.residual * problem.root - l2 * A).T).T
        R = np.where(some, A, 0.0) / np.where(some, problem.root, 1.0)
        R -= (R @ problem.theta)[:, None]
        point = problem.at(problem.transposed(R), 0.0, l2)
    return point, smallest


def _solver(A: np.ndarray, l2: float) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """Return a function that solves A x = b, and the smallest eigenvalue that it does not cut."""
    if l2 > 0:
        try:
            factor = cho_factor(A, lower=True, check_finite=False)
            return lambda b: cho_solve(factor, b, check_finite=False), l2
        except LinAlgError:
            pass  # λ₂ is below the rounding of A.
    value, vector = eigh(A, check_finite=False)
    kept = value > CUT * value[-1]
    value, vector = value[kept], vector[:, kept]
    smallest = float(value[0]) if len(value) else 0.0
    return lambda b: vector @ ((vector.T @ b) / value[:, None]), smallest


def _conjugate_gradients(
    problem: Squares,
    W: np.ndarray,
    l2: float,
    tol: float,
    enough: float,
    most: int,
    deadline: float,
) -> tuple[Point, int, float]:
    """All targets at once, each with steps of its own (Hestenes and Stiefel 1952)."""
    W = W.copy()
    R = problem.Y - problem.predictions(W)
    g = problem.transposed(R) - l2 * W
    p, square = g.copy(), (g * g).sum(axis=1)
    first = float(square.sum())
    steps = 0
    while steps < most and time.thread_time() <= deadline:
        primal = 0.5 * float(((R * R) @ problem.theta).sum() + l2 * (W * W).sum())
        left = float(square.sum())
        # ‖g‖² / (2 λ₂) bounds the distance to the optimum; without λ₂ there is no such bound.
        if l2 > 0 and left <= l2 * max(tol * primal, enough):
            break
        if left <= 1e-6 * tol**2 * first * (l2 == 0):
            break
        q = problem.predictions(p)
        curvature = (q * q) @ problem.theta + l2 * (p * p).sum(axis=1)
        length = np.where(curvature > 0, square / np.where(curvature > 0, curvature, 1.0), 0.0)
        W += length[:, None] * p
        R -= length[:, None] * q
        g = problem.transposed(R) - l2 * W
        before, square = square, (g * g).sum(axis=1)
        p = g + np.where(before > 0, square / np.where(before > 0, before, 1.0), 0.0)[:, None] * p
        steps += 1
    point = problem.at(W, 0.0, l2)
    return point, steps, point.gap if l2 > 0 else np.inf
