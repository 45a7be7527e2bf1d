"""Mean and standard deviation of neurons, in float64 over blocks; standardised copies."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from nissl.errors import InputError
from nissl.kernels.checks import check_matrix

__all__ = ["constant", "moments", "standardise"]

BLOCK = 128
"""Neurons at a time: bounds the float64 copies to 128 × n."""


def moments(
    X: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Return mean and (population) standard deviation of each neuron, float64, two passes.

    A neuron whose spread is below the resolution of float32 at its mean is constant: its standard
    deviation is returned as exactly 0.

    Raises
    ------
    InputError
        No tokens, no neurons, or a value that is NaN or infinite (the neuron is named).
    """
    check_matrix(X)
    XT = X.T
    d = XT.shape[0]
    mean = np.empty(d)
    sd = np.empty(d)
    for start in range(0, d, BLOCK):
        block = XT[start : start + BLOCK].astype(np.float64)
        mean[start : start + BLOCK] = block.mean(axis=1)
        block -= mean[start : start + BLOCK, None]
        sd[start : start + BLOCK] = np.sqrt(np.einsum("ij,ij->i", block, block) / block.shape[1])
    sd[sd <= 1e-7 * np.abs(mean)] = 0.0
    return mean, sd


def constant(sd: Float[np.ndarray, " d"]) -> Bool[np.ndarray, " d"]:
    """Return which neurons never change."""
    return sd == 0


def standardise(
    X: Float[np.ndarray, "n d"],
    mean: Float[np.ndarray, " d"],
    sd: Float[np.ndarray, " d"],
    out: Float[np.ndarray, "n d"] | None = None,
) -> Float[np.ndarray, "n d"]:
    """Return (X − mean) / sd as float32 in Fortran order; constant neurons become exactly 0.

    ``out`` may be X itself (float32, Fortran order) to work in place.
    """
    n, d = X.shape
    if len(mean) != d or len(sd) != d:
        raise InputError(f"moments of {len(mean)} neurons do not fit a matrix of {d}")
    if out is None:
        out = np.empty((n, d), dtype=np.float32, order="F")
    scale = np.where(sd > 0, sd, 1.0)
    XT, target = X.T, out.T
    for start in range(0, d, BLOCK):
        stop = start + BLOCK
        block = XT[start:stop].astype(np.float64)
        block -= mean[start:stop, None]
        block /= scale[start:stop, None]
        block[sd[start:stop] == 0] = 0.0
        target[start:stop] = block
    return out
