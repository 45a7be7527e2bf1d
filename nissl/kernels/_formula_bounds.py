"""An upper bound on every formula of a length, from each concept's two counts alone.

A formula is known here only by (H, P): at most H tokens of the neuron, at least P others. Joining
concept (f, q) gives OR (min(a, H + f), max(P, q)), AND (min(H, f), max(0, P + q − (n − a))) and
AND NOT (min(H, a − f), max(0, P − q)). All three are monotone, and so are the scores, so that only
pairs that no other pair beats in both need be kept. What comes out is never below the true best; it
is far above where concepts overlap much.
"""

from __future__ import annotations

import numpy as np

from nissl.kernels.formula_scores import score_of_counts

__all__ = ["relaxed_bounds"]

KEPT = 256
"""Pairs kept after each join; neighbours are merged (to the better of both) above that."""


def relaxed_bounds(
    f: np.ndarray, counts: np.ndarray, size: int, n: int, length: int, score: str
) -> np.ndarray:
    """Return an upper bound on the score of any left-deep formula of at most 1 … length leaves.

    Parameters
    ----------
    f
        Tokens of the neuron that each concept covers, int64 (K,).
    counts
        Tokens that each concept covers, int64 (K,).
    size, n
        Tokens of the neuron, and all tokens.

    Returns
    -------
    float64 (length,), never above 1.
    """
    q = counts - f
    good = _frontier(f, q)
    bad_f, bad_q = _frontier(-f, -q)
    f_and, q_and = good
    f_not, q_not = -bad_f, -bad_q
    most, least = good
    out = np.empty(length)
    for i in range(length):
        if i > 0:
            h, p = most[:, None], least[:, None]
            most, least = _frontier(
                np.concatenate(
                    [
                        np.minimum(size, h + f_and).ravel(),
                        np.minimum(h, f_and).ravel(),
                        np.minimum(h, size - f_not).ravel(),
                    ]
                ),
                np.concatenate(
                    [
                        np.maximum(p, q_and).ravel(),
                        np.maximum(0, p + q_and - (n - size)).ravel(),
                        np.maximum(0, p - q_not).ravel(),
                    ]
                ),
            )
        sizes = np.full(len(most), size)
        out[i] = score_of_counts(most, most + least, sizes, n, score).max()
    return np.minimum(np.maximum.accumulate(out), 1.0)


def _frontier(most: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep pairs that no other has both more hits and fewer false ones than; merge if too many."""
    order = np.lexsort((least, -most))
    most, least = most[order], least[order]
    keep = np.ones(len(least), dtype=bool)
    keep[1:] = least[1:] < np.minimum.accumulate(least)[:-1]
    most, least = most[keep], least[keep]
    if len(most) > KEPT:
        # Along the frontier hits fall and false ones fall: first hits and last false ones of each
        # stretch are a pair that beats the whole stretch.
        edges = np.linspace(0, len(most), KEPT + 1).astype(np.int64)
        most, least = most[edges[:-1]], least[edges[1:] - 1]
    return most, least
