"""Mean and standard deviation of neurons, in float64 over blocks; standardised copies."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from nissl.errors import InputError
from nissl.kernels.checks import check_matrix
from nissl.kernels.problem import token_weights

__all__ = ["constant", "moments", "standardise"]

BLOCK = 128
"""Neurons at a time: bounds the float64 copies to 128 × n."""


def moments(
    X: Float[np.ndarray, "n d"], *, weight: Float[np.ndarray, " n"] | None = None
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Return mean and (population) standard deviation of each neuron, float64, two passes.

    A neuron whose spread is below the resolution of float32 at its mean is constant: its standard
    deviation is returned as exactly 0.

    Parameters
    ----------
    X
        Neurons, (n, d), any float type and memory order.
    weight
        Weight of each token, 0 or more, (n,); equal by default. A whole weight of k is the same as
        the token k times, and a token of weight 0 counts for nothing.

    Raises
    ------
    InputError
        No tokens, no neurons, a value that is NaN or infinite (the neuron is named), or weights
        that do not fit.
    """
    check_matrix(X)
    theta = None if weight is None else token_weights(weight, X.shape[0])
    XT = X.T
    d = XT.shape[0]
    mean = np.empty(d)
    sd = np.empty(d)
    for start in range(0, d, BLOCK):
        block = XT[start : start + BLOCK].astype(np.float64)
        mean[start : start + BLOCK] = block.mean(axis=1) if theta is None else block @ theta
        block -= mean[start : start + BLOCK, None]
        if theta is None:
            variance = np.einsum("ij,ij->i", block, block) / block.shape[1]
        else:
            block *= block
            variance = block @ theta
        sd[start : start + BLOCK] = np.sqrt(variance)
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
