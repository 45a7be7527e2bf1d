"""Sums, sums of squares and histograms by class, in one pass over a block of tokens."""

from __future__ import annotations

import numpy as np

from nissl.kernels._compiled import compiled


@compiled()
def add_block(XT, y, centre, scale, table, sums, squares, histogram):
    """Add a block of tokens to the sums (d, C), float64, and to the counts by bin (d, C, B).

    A value becomes z = (x − centre) · scale. Its bin is looked up by the upper half of the bits of
    float32 z, which rise with z; ``table`` is uint8 (65536,). An empty histogram is left alone.
    """
    d, n = XT.shape
    step = 2048
    z = np.empty(step, dtype=np.float32)
    bits = z.view(np.uint32)
    half = np.uint32(16)
    binned = histogram.shape[0] > 0
    for j in range(d):
        x = XT[j]
        for begin in range(0, n, step):
            m = min(step, n - begin)
            for i in range(m):
                # Adding 0 makes −0 into 0, which has other bits.
                z[i] = np.float32((x[begin + i] - centre[j]) * scale[j]) + np.float32(0)
            for i in range(m):
                c = y[begin + i]
                v = np.float64(z[i])
                sums[j, c] += v
                squares[j, c] += v * v
            if binned:
                for i in range(m):
                    histogram[j, y[begin + i], table[bits[i] >> half]] += 1
