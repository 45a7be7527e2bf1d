"""Accelerated proximal gradients with restarts, for probes with few zeros.

Where Gram matrices would outgrow the matrix of neurons, gradients need none. Monotone FISTA (Beck
& Teboulle 2009) with restarts by the gradient's direction (O'Donoghue & Candès 2015) and a step
length that is searched. The intercepts are minimised out at every point by a few Newton steps, so
that the dual point that comes with a gradient is (nearly) feasible.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from nissl.kernels._drive import Clock, Request
from nissl.kernels._newton import State, logsumexp

STEPS = 3000
"""Steps at most."""


def accelerate(
    state: State, l1: float, l2: float, tol: float, clock: Clock
) -> Generator[Request, np.ndarray, int]:
    """Move the state until its estimated relative gap is below ``tol``; return the steps taken."""
    neurons, theta = state.neurons, state.theta
    own = state.y, state.token

    def settled(E: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        P, lse = state.settle(E, b)
        return P, lse, float(theta @ (lse - E[own]).astype(np.float64))

    W, b, E = state.W, state.b.copy(), state.E.copy()
    best = settled(E, b)[2] + _penalty(W, l1, l2)
    # Where the search begins; a step that is too long is halved, and steps grow again slowly.
    L = max(1e-3, 0.02 * float(np.sum(neurons.rms**2)) / max(1, min(neurons.n, neurons.d) ** 0.5))
    V, bv, EV, t = W, b.copy(), E.copy(), 1.0
    step = stalled = 0
    while step < STEPS:
        step += 1
        P, lse, loss_v = settled(EV, bv)
        entropy = float(theta @ (lse - np.einsum("cn,cn->n", P, EV)).astype(np.float64))
        P *= state.theta32
        P[own] -= state.theta32
        G = yield Request(neurons, P)
        state.work += 2.0 * P.size * neurons.d
        if _gap(G, entropy, best, l1, l2) <= tol or clock.late():
            break
        while True:
            new = _shrunk(V - (G / np.float32(L)), l1 / L, 1 / (1 + l2 / L))
            En = neurons.forward(new)
            bn = bv.copy()
            En += bn.astype(np.float32)[:, None]
            state.work += 2.0 * En.size * int(new.any(axis=0).sum())
            loss = settled(En, bn)[2]
            D = (new - V).astype(np.float64)
            model = float((G * D).sum()) + 0.5 * L * float((D**2).sum())
            if loss - loss_v <= model + 1e-7 * abs(loss_v) or L > 1e30:
                break
            L *= 2
        value = loss + _penalty(new, l1, l2)
        if value > best:
            V, bv, EV, t = W, b.copy(), E.copy(), 1.0
            stalled += 1
            if stalled > 3:
                break  # the rounding floor
            continue
        if float(((V - new) * (new - W)).sum()) > 0:
            t = 1.0  # momentum has turned uphill
        grown = 0.5 * (1 + np.sqrt(1 + 4 * t * t))
        beta = (t - 1) / grown
        V = new + np.float32(beta) * (new - W)
        bv = bn + beta * (bn - b)
        EV = En + np.float32(beta) * (En - E)
        W, b, E, best, t, stalled = new, bn, En, value, grown, 0
        L *= 0.97
    state.W, state.b, state.E, state.lse = W, b, E, logsumexp(E)
    state.grams.clear()
    return step


def _shrunk(Z: np.ndarray, cut: float, scale: float) -> np.ndarray:
    return np.sign(Z) * np.maximum(np.abs(Z) - np.float32(cut), 0) * np.float32(scale)


def _penalty(W: np.ndarray, l1: float, l2: float) -> float:
    W = W.astype(np.float64)
    return l1 * float(np.abs(W).sum()) + 0.5 * l2 * float((W**2).sum())


def _gap(G: np.ndarray, entropy: float, value: float, l1: float, l2: float) -> float:
    if l2 <= 0:
        return np.inf
    over = np.maximum(np.abs(G) - np.float32(l1), 0).astype(np.float64)
    return (value - entropy + float((over**2).sum()) / (2 * l2)) / max(value, 1e-300)
