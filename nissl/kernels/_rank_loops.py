"""Sums over midranks for rank correlation, one neuron at a time."""

from __future__ import annotations

import numpy as np

from nissl.kernels._compiled import compiled
from nissl.kernels._sort_loops import sort_packed, unpack


@compiled()
def rank_products(XT, tokens, target, cross, square):
    """cross[j] = Σ (rank − mean rank) · target and square[j] = Σ (rank − mean rank)², float64.

    Equal values share the mean of their ranks. ``tokens`` is 0…n − 1, uint32.
    """
    d, n = XT.shape
    packed = np.empty(n, dtype=np.uint64)
    spare = np.empty(n, dtype=np.uint64)
    digits = np.empty((3, 2048), dtype=np.int64)
    values = np.empty(n, dtype=np.float32)
    who = np.empty(n, dtype=np.uint32)
    middle = 0.5 * (n + 1)
    for j in range(d):
        sort_packed(XT[j], tokens, spare, packed, digits)
        unpack(packed, values, who)
        a = 0.0
        b = 0.0
        i = 0
        while i < n:
            end = i + 1
            while end < n and values[end] == values[i]:
                end += 1
            rank = 0.5 * (i + 1 + end) - middle
            b += (end - i) * rank * rank
            for t in range(i, end):
                a += rank * target[who[t]]
            i = end
        cross[j] = a
        square[j] = b
