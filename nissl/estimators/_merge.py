"""One order for the tokens of a fit, whatever order, repeats or weights they came in.

A token that is there three times, and a token of weight 3, are the same problem; but sums of floats
depend on their order, so that two solvers' runs on them would differ in the last bits. Tokens are
therefore brought into one order, equal ones merged into one with their summed weight. The fit is
then the same bits, and smaller where activations repeat (embeddings of the same subword).
"""

from __future__ import annotations

import numpy as np

__all__ = ["canonical_rows"]

BLOCK = 128
"""Neurons at a time."""

TOKENS = 4096
"""Tokens at a time: what is mixed over and over stays in the fastest cache."""

FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that no bits are lost: 2⁶⁴ divided by the golden ratio."""

HALF = np.uint64(32)


def canonical_rows(
    X: np.ndarray, code: np.ndarray, weight: np.ndarray | None, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return which rows of X to fit, in what order, and their weights.

    Rows are ordered by class, then by a fingerprint of the neurons' bits. Fingerprints that agree
    are compared in full before rows are merged.

    Parameters
    ----------
    X
        Neurons, (n, d), float of 16, 32 or 64 bits.
    code
        Class indices, (n,).
    weight
        Weight of each token, (n,); equal when ``None``.
    rows
        The rows of X that take part, (m,).

    Returns
    -------
    tuple
        Rows (m',) and weights (m',); the weights are ``None`` where they were and nothing repeats.
    """
    print_ = _fingerprints(X)[rows]
    order = np.lexsort((print_, code[rows]))
    rows, print_ = rows[order], print_[order]
    repeats = np.zeros(len(rows), dtype=bool)
    repeats[1:] = (print_[1:] == print_[:-1]) & (code[rows[1:]] == code[rows[:-1]])
    again = np.flatnonzero(repeats)
    repeats[again] = _equal(X, rows[again], rows[again - 1])
    if weight is None and not repeats.any():
        return rows, None
    held = np.ones(len(rows)) if weight is None else weight[rows]
    first = np.flatnonzero(~repeats)
    return rows[first], np.add.reduceat(held, first)


def _fingerprints(X: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each row's bits, (n,); no row's depends on where it stands."""
    n, d = X.shape
    bits = np.dtype(f"u{X.dtype.itemsize}")
    out = np.zeros(n, dtype=np.uint64)
    for start in range(0, n, TOKENS):
        part = out[start : start + TOKENS]
        high = np.empty_like(part)
        for first in range(0, d, BLOCK):
            block = X[start : start + TOKENS, first : first + BLOCK]
            for neuron in np.ascontiguousarray(block.T).view(bits):
                part ^= neuron
                part *= FACTOR
                # Products only carry upwards, and short floats have their bits at the top.
                np.right_shift(part, HALF, out=high)
                part ^= high
    return out


def _equal(X: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Which pairs of rows are equal, (m,)."""
    same = np.ones(len(one), dtype=bool)
    if len(one):
        for start in range(0, X.shape[1], BLOCK):
            block = X[:, start : start + BLOCK]
            same &= (block[one] == block[two]).all(axis=1)
    return same
