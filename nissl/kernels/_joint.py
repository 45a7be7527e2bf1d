"""A Newton step on all classes at once, over the weights that are not zero.

Blocks see one class at a time, so what two classes share is settled slowly. Here the quadratic
model has the full softmax Hessian; it is minimised by conjugate gradients, preconditioned by the
classes' own Gram matrices: on the tokens that matter to each class, packed once, or where that
would take too much memory on all of them, two products over the matrix a step. Weights that would
change sign become 0, and the step is checked on the true objective.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from nissl.kernels import _loops
from nissl.kernels._newton import LAG, Gram, State, heavy_tokens, logsumexp, ridged

STEPS = 12
"""Conjugate-gradient steps at most."""

MORE = 40
"""And where Gram matrices are so large that steps are cheap beside them."""

ENOUGH = 0.1
"""Stop once the preconditioned residual has shrunk to this share."""

ROOM = 0.4
"""Packed tokens may take this share of the matrix of neurons."""


@dataclass
class _Class:
    """One class's active neurons, factor of its Gram matrix and place in the vector."""

    c: int
    neurons: np.ndarray
    factor: tuple[np.ndarray, bool]
    at: slice
    tokens: np.ndarray
    p: np.ndarray


class _Product(Protocol):
    """Hessian of the loss times v."""

    def __call__(self, v: np.ndarray) -> np.ndarray: ...


def joint_step(state: State, gradient: np.ndarray, l1: float, l2: float) -> bool:
    """Take the step; return whether it was taken.

    ``gradient`` (C, d) is that of the loss at the state's weights.
    """
    classes = _active(state, l2)
    if classes is None:
        return False
    room = ROOM * state.neurons.XT.size
    packed = sum(len(k.neurons) * len(k.tokens) for k in classes) <= room
    product = _packed(state, classes) if packed else _whole(state, classes)
    size = classes[-1].at.stop
    slope = np.empty(size)
    weights = np.zeros(size)
    for k in classes:
        w = state.W[k.c, k.neurons].astype(np.float64)
        weights[k.at.start : k.at.stop - 1] = w
        slope[k.at.start : k.at.stop - 1] = gradient[k.c, k.neurons] + l2 * w + l1 * np.sign(w)
        slope[k.at.stop - 1] = 0.0  # the intercepts have settled
    ridge = np.full(size, l2)
    ridge[[k.at.stop - 1 for k in classes]] = 1e-9
    step = _conjugate_gradients(product, classes, -slope, ridge, STEPS if packed else MORE)
    penalised = np.ones(size, dtype=np.bool_)
    penalised[[k.at.stop - 1 for k in classes]] = False
    ends = weights + step
    ends[penalised & (weights * ends < 0)] = 0.0
    step = ends - weights
    descent = float(slope @ step)
    if not descent < 0:
        return False
    return _search_line(state, classes, weights, step, penalised, descent, l1, l2)


def _active(state: State, l2: float) -> list[_Class] | None:
    """Gather the classes that have weights; nothing where Gram matrices are missing or old."""
    ready: list[tuple[int, np.ndarray, np.ndarray, np.ndarray, Gram]] = []
    for c in range(state.n_classes):
        inside = np.flatnonzero(state.W[c])
        if not len(inside):
            continue
        kept = state.grams.get(c)
        if kept is None or len(np.setdiff1d(inside, kept.neurons, assume_unique=True)):
            return None
        p = np.exp(state.E[c] - state.lse)
        np.minimum(p, 1, out=p)
        curvature = p * (1 - p) * state.theta32
        if kept.moved(curvature) > 2 * LAG:
            return None
        ready.append((c, inside, curvature, p, kept))
    out: list[_Class] = []
    at = 0
    for c, inside, curvature, p, kept in ready:
        H = ridged(kept.of(inside), max(l2, 1e-6))
        H[-1, -1] *= np.float32(1.001)
        try:
            factor = cho_factor(H, lower=True, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        stop = at + len(inside) + 1
        out.append(
            _Class(c, inside, factor, slice(at, stop), heavy_tokens(curvature, state.reach[c]), p)
        )
        at = stop
    return out or None


def _packed(state: State, classes: list[_Class]) -> _Product:
    """Products on the tokens of each class; others count as not moved by it."""
    packs = []
    for k in classes:
        X = np.empty((len(k.neurons), len(k.tokens)), dtype=np.float32)
        _loops.gather(state.neurons.XT, k.neurons, k.tokens, X)
        packs.append((X, k.p[k.tokens]))

    def product(v: np.ndarray) -> np.ndarray:
        moved = []
        mean = np.zeros(state.neurons.n, dtype=np.float32)
        for k, (X, p) in zip(classes, packs, strict=True):
            part = v[k.at].astype(np.float32)
            z = part[:-1] @ X
            z += part[-1]
            z *= p
            mean[k.tokens] += z
            moved.append(z)
        out = np.empty_like(v)
        for k, (X, p), z in zip(classes, packs, moved, strict=True):
            r = (z - p * mean[k.tokens]) * state.theta32[k.tokens]
            out[k.at.start : k.at.stop - 1] = X @ r
            out[k.at.stop - 1] = r.sum(dtype=np.float64)
            state.work += 4.0 * X.size
        return out

    return product


def _whole(state: State, classes: list[_Class]) -> _Product:
    """Products on all tokens, two over the matrix of neurons."""
    P = np.exp(state.E - state.lse)
    P[P < 1e-20] = 0
    D = np.zeros_like(state.W)

    def product(v: np.ndarray) -> np.ndarray:
        shift = np.zeros(state.n_classes, dtype=np.float32)
        for k in classes:
            D[k.c, k.neurons] = v[k.at][:-1]
            shift[k.c] = v[k.at.stop - 1]
        Z = state.neurons.forward(D)
        Z += shift[:, None]
        Z *= P
        Z -= P * Z.sum(axis=0)
        Z *= state.theta32
        G = state.neurons.back(Z)
        state.work += 4.0 * Z.size * state.neurons.d
        out = np.empty_like(v)
        for k in classes:
            out[k.at.start : k.at.stop - 1] = G[k.c, k.neurons]
            out[k.at.stop - 1] = Z[k.c].sum(dtype=np.float64)
        return out

    return product


def _conjugate_gradients(
    product: _Product, classes: list[_Class], right: np.ndarray, ridge: np.ndarray, steps: int
) -> np.ndarray:
    x = np.zeros_like(right)
    r = right.copy()
    z = _precondition(classes, r)
    p, rz = z, float(r @ z)
    goal = ENOUGH**2 * rz
    for _ in range(steps):
        if rz <= goal:
            break
        Hp = product(p) + ridge * p
        bend = float(p @ Hp)
        if bend <= 0:
            break
        a = rz / bend
        x += a * p
        r -= a * Hp
        z = _precondition(classes, r)
        rz, before = float(r @ z), rz
        p = z + (rz / before) * p
    return x


def _precondition(classes: list[_Class], r: np.ndarray) -> np.ndarray:
    out = np.empty_like(r)
    for k in classes:
        out[k.at] = cho_solve(k.factor, r[k.at].astype(np.float32), check_finite=False)
    return out


def _search_line(
    state: State,
    classes: list[_Class],
    weights: np.ndarray,
    step: np.ndarray,
    penalised: np.ndarray,
    descent: float,
    l1: float,
    l2: float,
) -> bool:
    """Halve the step until the objective falls; then move the state."""
    D = np.zeros_like(state.W)
    shift = np.zeros(state.n_classes)
    for k in classes:
        D[k.c, k.neurons] = step[k.at][:-1]
        shift[k.c] = step[k.at.stop - 1]
    move = state.neurons.forward(D)
    state.work += 2.0 * move.size * int(D.any(axis=0).sum())
    move += shift.astype(np.float32)[:, None]
    w, dw = weights[penalised], step[penalised]
    before = state.loss() + l1 * float(np.abs(w).sum()) + 0.5 * l2 * float(w @ w)
    t = 1.0
    for _ in range(5):
        E = state.E + np.float32(t) * move
        lse = logsumexp(E)
        loss = float(state.theta @ (lse - E[state.y, state.token]).astype(np.float64))
        after = w + t * dw
        value = loss + l1 * float(np.abs(after).sum()) + 0.5 * l2 * float(after @ after)
        if value - before <= 0.01 * t * descent:
            break
        t *= 0.5
    else:
        return False
    state.E, state.lse = E, lse
    for k in classes:
        new = weights[k.at] + t * step[k.at]
        state.W[k.c, k.neurons] = new[:-1].astype(np.float32)
        state.b[k.c] += t * step[k.at.stop - 1]
    return True
