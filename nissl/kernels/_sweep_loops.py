"""All neurons in turn: sort each once, then take what is wanted from its sorted tokens."""

from __future__ import annotations

import numpy as np

from nissl.kernels._compiled import compiled
from nissl.kernels._curve_loops import precision_pass, rank_pass, threshold_pass
from nissl.kernels._knn_loops import neighbour_pass
from nissl.kernels._sort_loops import fold, sort_packed, unpack


@compiled()
def sweep(XT, y, counts, curves, wanted, k, psi, ranks, precision, on, hits, shares):
    """Fill the arrays that are wanted, neuron by neuron; only the sort is common to all.

    Parameters
    ----------
    XT
        Neurons, float32 (d, n), each contiguous.
    y
        Classes, uint32 (n,).
    counts
        Tokens of each class, int64 (C,).
    curves
        Whether to fill ``ranks`` (d, C) and ``precision`` (d, 3, C): high, low, outer.
    wanted
        Tokens to switch on for each class, (C,), or empty for no thresholds: fills ``on`` and
        ``hits``, int64 (d, 3, C).
    k
        Neighbours, or 0 for none: fills ``shares`` (d, C), with ``psi`` the digamma of 0…n.
    """
    d, n = XT.shape
    packed = np.empty(n, dtype=np.uint64)
    spare = np.empty(n, dtype=np.uint64)
    digits = np.empty((3, 2048), dtype=np.int64)
    values = np.empty(n, dtype=np.float32)
    labels = np.empty(n, dtype=np.uint32)
    score = np.empty(n, dtype=np.float64)
    folded = np.empty(n, dtype=np.uint32)
    place = np.empty(n if k else 0, dtype=np.int32)
    own = np.empty(n if k else 0, dtype=np.float32)
    start = np.empty(counts.shape[0] + 1, dtype=np.int64)
    room = np.empty(counts.shape[0], dtype=np.int64)
    thresholds = wanted.shape[0] > 0
    for j in range(d):
        sort_packed(XT[j], y, spare, packed, digits)
        unpack(packed, values, labels)
        if k:
            neighbour_pass(values, labels, counts, k, psi, place, own, start, shares[j])
        if curves:
            rank_pass(values, labels, ranks[j])
        for end in range(3 if curves or thresholds else 0):
            if end == 2:
                fold(values, labels, score, folded)
            else:
                for i in range(n):
                    t = n - 1 - i if end == 0 else i
                    score[i] = values[t]
                    folded[i] = labels[t]
            if curves:
                precision_pass(score, folded, room, precision[j, end])
            if thresholds:
                threshold_pass(score, folded, wanted, on[j, end], hits[j, end])
