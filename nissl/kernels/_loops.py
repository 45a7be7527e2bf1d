"""Inner loops of the sparse solver, compiled once and cached.

Without numba, or with ``NISSL_NO_NUMBA=1``, the same functions come from ``_loops_numpy.py``:
right, but slow.
"""

from __future__ import annotations

import math

import numpy as np

from nissl.kernels import _loops_numpy as plain
from nissl.kernels._compiled import FAST, compiled


@compiled(fast=FAST, plain=plain.descend)
def descend(H, g, w, l1, penalised, max_passes, tol):
    """Coordinate descent on g'δ + ½ δ'Hδ + λ₁ Σ_{j<penalised} |w_j + δ_j|.

    Full passes find the coordinates that move, passes over the non-zero ones settle them. A
    coordinate's move is measured by √H_jj, that is, in units of the objective's square root. Ends
    after a full pass whose largest move is at most ``tol``, or −``tol`` of the first pass's largest
    where ``tol`` is negative.

    Returns w + δ, the slope g + Hδ, and the largest move of the first and of the last pass; the
    last counts as infinite unless it was a full one.
    """
    k = g.shape[0]
    slope = g.copy()
    v = w.copy()
    active = np.arange(k)
    n_active = k
    full = True
    first = 0.0
    last = np.inf
    for sweep in range(max_passes):
        largest = 0.0
        count = k if full else n_active
        for a in range(count):
            j = a if full else active[a]
            h = H[j, j]
            if h <= 0.0:
                continue
            old = v[j]
            z = old - slope[j] / h
            if j < penalised:
                t = l1 / h
                if z > t:
                    z -= t
                elif z < -t:
                    z += t
                else:
                    z = 0.0
            move = z - old
            if move != 0.0:
                v[j] = z
                row = H[j]
                for i in range(k):
                    slope[i] += row[i] * move
                size = abs(move) * math.sqrt(h)
                if size > largest:
                    largest = size
        if sweep == 0:
            first = largest
            if tol < 0.0:
                tol = -tol * first
        last = largest if full else np.inf
        if largest <= tol:
            if full:
                break
            full = True
        elif full:
            n_active = 0
            for j in range(k):
                if v[j] != 0.0 or j >= penalised:
                    active[n_active] = j
                    n_active += 1
            full = False
    return v, slope, first, last


@compiled(fast=FAST, plain=plain.gather_scaled)
def gather_scaled(XT, neurons, rows, scale, out):
    """out[a] = XT[neurons[a], rows] · scale; the last row of out is scale (the intercept)."""
    for a in range(neurons.shape[0]):
        x = XT[neurons[a]]
        for i in range(rows.shape[0]):
            out[a, i] = x[rows[i]] * scale[i]
    last = neurons.shape[0]
    for i in range(rows.shape[0]):
        out[last, i] = scale[i]


@compiled(fast=FAST, plain=plain.products)
def products(XT, neurons, r, out):
    """out[a] = XT[neurons[a]] · r."""
    n = r.shape[0]
    for a in range(neurons.shape[0]):
        x = XT[neurons[a]]
        total = np.float32(0)
        for i in range(n):
            total += x[i] * r[i]
        out[a] = total


@compiled(fast=FAST, plain=plain.combine)
def combine(XT, neurons, delta, shift, out):
    """out = shift + Σ_a delta[a] XT[neurons[a]]."""
    n = out.shape[0]
    out[:] = shift
    for a in range(neurons.shape[0]):
        t = delta[a]
        if t != 0.0:
            x = XT[neurons[a]]
            for i in range(n):
                out[i] += t * x[i]


@compiled(fast=FAST, plain=plain.squares)
def squares(XT, out):
    """out[j] = XT[j] · XT[j], summed in float64."""
    for j in range(XT.shape[0]):
        x = XT[j]
        total = 0.0
        for i in range(x.shape[0]):
            total += np.float64(x[i]) * np.float64(x[i])
        out[j] = total


@compiled(fast=FAST, plain=plain.gather)
def gather(XT, neurons, rows, out):
    """out[a] = XT[neurons[a], rows]."""
    for a in range(neurons.shape[0]):
        x = XT[neurons[a]]
        for i in range(rows.shape[0]):
            out[a, i] = x[rows[i]]


@compiled(fast=FAST, plain=plain.step_change)
def step_change(p, move, y, c, theta, t):
    """Change of the weighted cross-entropy when the logits of class c move by t · move."""
    total = 0.0
    for i in range(p.shape[0]):
        x = t * move[i]
        if x < 30.0:
            u = p[i] * math.expm1(x)
            change = math.log1p(u) if u > -0.999999 else -13.8
        else:
            change = math.log(p[i] + 1e-30) + x
        if y[i] == c:
            change -= x
        total += theta[i] * change
    return total


@compiled(fast=FAST, plain=plain.apply_step)
def apply_step(E, lse, c, p, move, t):
    """Add t · move to row c of the logits and bring their log-sum-exp up to date."""
    n_classes = E.shape[0]
    row = E[c]
    for i in range(lse.shape[0]):
        x = t * move[i]
        if x == 0.0:
            continue
        row[i] += x
        if p[i] < 0.9 and x < 30.0:
            lse[i] += math.log1p(p[i] * math.expm1(x))
        else:
            # 1 − p is not known well enough from p alone: sum afresh.
            top = E[0, i]
            for k in range(1, n_classes):
                if E[k, i] > top:
                    top = E[k, i]
            total = 0.0
            for k in range(n_classes):
                total += math.exp(E[k, i] - top)
            lse[i] = top + math.log(total)
