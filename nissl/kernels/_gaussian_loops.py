"""Inner loop of the Gaussian probe: label scores of a block of candidates, compiled and cached."""

from __future__ import annotations

import numpy as np

from nissl.kernels._compiled import compiled

PRODUCT = 32
"""Sums over classes that are multiplied before a logarithm; 1e9 classes would not overflow."""

# Written out so that the compiler turns it into vector instructions; math.exp stays scalar.
_LOG2E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_HALF, _ONE, _LEAST = np.float32(0.5), np.float32(1.0), np.float32(-87.0)
_C2, _C3, _C4 = np.float32(1 / 2), np.float32(1 / 6), np.float32(1 / 24)
_C5, _C6, _C7 = np.float32(1 / 120), np.float32(1 / 720), np.float32(1 / 5040)
_BIAS = np.int32(127)
_SHIFT = np.int32(23)
_NEVER = np.float32(-1e30)
_ZERO = np.float32(0.0)


# No "reassoc": it would undo the two steps in which _exp takes off multiples of ln 2.
_FAST = {"contract", "nnan", "nsz", "arcp"}


@compiled(fast=_FAST)
def _exp(x):
    """Exponential of a float32 from -87 to 0, relative error below 3e-7; less counts as -87."""
    x = max(x, _LEAST)
    whole = np.int32(x * _LOG2E - _HALF)
    n = np.float32(whole)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = _C6 + r * _C7
    p = _C5 + r * p
    p = _C4 + r * p
    p = _C3 + r * p
    p = _C2 + r * p
    p = _ONE + r * p
    p = _ONE + r * p
    return p * np.int32((whole + _BIAS) << _SHIFT).view(np.float32)


@compiled(fast=_FAST)
def score_block(R, x, mean, scale, constant, base, y, out):
    """Add to ``out`` what each candidate of a block makes of some tokens.

    Parameters
    ----------
    R
        What the selected neurons predict of each candidate's distance to the class mean, float32
        (C, B, T); overwritten.
    x
        The candidates, (B, T).
    mean, scale, constant
        Of each class and candidate, (C, B): mean, 1/√(2 variance), and −½ log variance.
    base
        Log joint probability of class and selected neurons, less its maximum over classes, (C, T).
    y
        Classes of the tokens, (T,).
    out
        Sums over tokens, float64 (2, B): log-probability of the label; Σ_c p log p.
    """
    n_classes, n_block, n_tokens = R.shape
    top = np.empty(n_tokens, np.float32)
    total = np.empty(n_tokens, np.float32)
    mixed = np.empty(n_tokens, np.float32)
    for b in range(n_block):
        top[:] = _NEVER
        for c in range(n_classes):
            m, s, k = mean[c, b], scale[c, b], constant[c, b]
            for t in range(n_tokens):
                r = (x[b, t] - m - R[c, b, t]) * s
                a = base[c, t] + k - r * r
                R[c, b, t] = a
                top[t] = max(top[t], a)
        total[:] = _ZERO
        mixed[:] = _ZERO
        for c in range(n_classes):
            for t in range(n_tokens):
                a = R[c, b, t] - top[t]
                e = _exp(a)
                total[t] += e
                mixed[t] += e * max(a, _LEAST)
        own = 0.0
        plogp = 0.0
        logs = 0.0
        product = 1.0
        for t in range(n_tokens):
            own += R[y[t], b, t] - top[t]
            plogp += mixed[t] / total[t]
            product *= total[t]
            if (t + 1) % PRODUCT == 0:
                logs += np.log(product)
                product = 1.0
        logs += np.log(product)
        out[0, b] += own - logs
        out[1, b] += plogp - logs
