"""Inner loops of sparse least squares, compiled once and cached."""

from __future__ import annotations

import numpy as np

from nissl.kernels._compiled import FAST, compiled


@compiled(fast=FAST)
def cycle(H, slope, w, l1, passes, tol):
    """Coordinate descent on slope'δ + ½ δ'Hδ + λ₁ ‖w + δ‖₁; changes ``slope`` and ``w`` in place.

    ``slope`` is the gradient of the smooth part at ``w`` and stays so. Full passes find the
    coordinates that move, passes over the non-zero ones settle them; the end is a full pass in
    which every coordinate lowers the objective by less than ``tol``, or ``passes`` are over.
    Covariance updates: Friedman, Hastie and Tibshirani (2010), section 2.2.
    """
    k = w.shape[0]
    full = True
    for _ in range(passes):
        largest = 0.0
        for j in range(k):
            old = w[j]
            if not full and old == 0.0:
                continue
            h = H[j, j]
            if h > 0.0:
                z = old - slope[j] / h
                t = l1 / h
                if z > t:
                    z -= t
                elif z < -t:
                    z += t
                else:
                    z = 0.0
            else:
                # Without curvature (and so without slope) only the penalty is left.
                z = 0.0
            move = z - old
            if move != 0.0:
                w[j] = z
                row = H[j]
                for i in range(k):
                    slope[i] += row[i] * move
                size = 0.5 * h * move * move
                if size > largest:
                    largest = size
        if largest <= tol:
            if full:
                break
            full = True
        else:
            full = False


def _products(XT, V, out):
    """The same by NumPy, a neuron at a time."""
    for j, x in enumerate(XT):
        out[:, j] = V @ x.astype(np.float64)


@compiled(fast=FAST, plain=_products)
def products(XT, V, out):
    """out[t, j] = Σ_i V[t, i] XT[j, i], float32 neurons summed in float64."""
    n = XT.shape[1]
    for j in range(XT.shape[0]):
        x = XT[j]
        for t in range(V.shape[0]):
            v = V[t]
            total = 0.0
            for i in range(n):
                total += x[i] * v[i]
            out[t, j] = total
