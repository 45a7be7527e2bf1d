"""The matrix of neurons as the solvers want it: float32, neuron-major, checked in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from nissl.errors import InputError
from nissl.kernels import _loops
from nissl.kernels.checks import check_shape, neuron_major

BLOCK = 256
"""Neurons copied at a time where a product wants only some of them."""

SPARSE = 4
"""Where each class uses fewer than one in so many of the neurons used at all, sums of rows are
cheaper than a dense product."""


class Neurons:
    """Standardised neurons, one contiguous row each, and their root mean square.

    Attributes
    ----------
    XT
        float32 (d, n), C order; may be a memory map.
    rms
        Root mean square of each neuron, (d,).
    """

    def __init__(self, XT: np.ndarray, rms: np.ndarray) -> None:
        self.XT, self.rms = XT, rms
        self.d, self.n = XT.shape

    @classmethod
    def of(cls, X: Any) -> Neurons:
        """Take X (n, d) in any layout; refuse NaN and infinity, naming neuron and token."""
        check_shape(X)
        XT = neuron_major(X)
        squares = np.empty(len(XT))
        _loops.squares(XT, squares)
        if not np.isfinite(squares).all():
            neuron = int(np.flatnonzero(~np.isfinite(squares))[0])
            bad = np.flatnonzero(~np.isfinite(XT[neuron]))
            if len(bad):
                raise InputError(
                    f"neuron {neuron} is {XT[neuron, bad[0]]} at token {int(bad[0])}; "
                    "activations must be finite"
                )
        return cls(XT, np.sqrt(squares / XT.shape[1]))

    def take(self, tokens: np.ndarray) -> Neurons:
        """Return a copy with only some tokens."""
        XT = np.empty((self.d, len(tokens)), dtype=np.float32)
        _loops.gather(self.XT, np.arange(self.d), tokens, XT)
        return Neurons(XT, self.rms)

    def back(self, R: np.ndarray) -> np.ndarray:
        """Return R X, (C, d): the gradient of residuals R (C, n)."""
        return R @ self.XT.T

    def forward(self, W: np.ndarray) -> np.ndarray:
        """Return W Xᵀ, (C, n), reading only neurons that have a weight."""
        used = np.flatnonzero(W.any(axis=0))
        out = np.zeros((len(W), self.n), dtype=np.float32)
        if SPARSE * np.count_nonzero(W) < W.shape[0] * len(used):
            for c in range(len(W)):
                some = np.flatnonzero(W[c])
                _loops.combine(self.XT, some, W[c, some], np.float32(0), out[c])
            return out
        if 2 * len(used) > self.d:
            return np.matmul(W, self.XT, out=out)
        for start in range(0, len(used), BLOCK):
            some = used[start : start + BLOCK]
            out += np.ascontiguousarray(W[:, some]) @ self.XT[some]
        return out
