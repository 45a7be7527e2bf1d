"""The loops of ``_loops.py`` in plain NumPy, for machines without numba: right, but slow."""

from __future__ import annotations

import math

import numpy as np


def descend(H, g, w, l1, penalised, max_passes, tol):
    """Coordinate descent on g'δ + ½ δ'Hδ + λ₁ Σ_{j<penalised} |w_j + δ_j|; see ``_loops``."""
    k = len(g)
    slope, v = g.copy(), w.copy()
    everything = active = np.arange(k)
    full, first, last = True, 0.0, math.inf
    for sweep in range(max_passes):
        largest = 0.0
        for j in everything if full else active:
            h = H[j, j]
            if h <= 0:
                continue
            z = v[j] - slope[j] / h
            if j < penalised:
                z = math.copysign(max(abs(z) - l1 / h, 0.0), z)
            move = v.dtype.type(z) - v[j]
            if move != 0:
                v[j] += move
                slope += H[j] * move
                largest = max(largest, abs(move) * math.sqrt(h))
        if sweep == 0:
            first = largest
            tol = -tol * first if tol < 0 else tol
        last = largest if full else math.inf
        if largest <= tol:
            if full:
                break
            full = True
        elif full:
            active = np.flatnonzero((v != 0) | (everything >= penalised))
            full = False
    return v, slope, first, last


def gather_scaled(XT, neurons, rows, scale, out):
    """out[a] = XT[neurons[a], rows] · scale; the last row of out is scale (the intercept)."""
    for a, neuron in enumerate(neurons):
        out[a] = XT[neuron][rows] * scale
    out[len(neurons)] = scale


def gather(XT, neurons, rows, out):
    """out[a] = XT[neurons[a], rows]."""
    for a, neuron in enumerate(neurons):
        out[a] = XT[neuron][rows]


def squares(XT, out):
    """out[j] = XT[j] · XT[j], summed in float64."""
    for j in range(len(XT)):
        x = XT[j].astype(np.float64)
        out[j] = x @ x


def products(XT, neurons, r, out):
    """out[a] = XT[neurons[a]] · r."""
    for a, neuron in enumerate(neurons):
        out[a] = XT[neuron] @ r


def combine(XT, neurons, delta, shift, out):
    """out = shift + Σ_a delta[a] XT[neurons[a]]."""
    out[:] = shift
    for a in np.flatnonzero(delta):
        out += delta[a] * XT[neurons[a]]


def step_change(p, move, y, c, theta, t):
    """Change of the weighted cross-entropy when the logits of class c move by t · move."""
    x = t * move.astype(np.float64)
    small = np.minimum(x, 30.0)
    u = p * np.expm1(small)
    change = np.where(u > -0.999999, np.log1p(np.maximum(u, -0.999999)), -13.8)
    change = np.where(x < 30.0, change, np.log(p + 1e-30) + x)
    return float(theta @ (change - x * (y == c)))


def apply_step(E, lse, c, p, move, t):
    """Add t · move to row c of the logits and bring their log-sum-exp up to date."""
    E[c] += t * move
    top = E.max(axis=0)
    lse[:] = top + np.log(np.exp(E - top).sum(axis=0))
