"""Information that two labelings of the same tokens share, normalised to [0, 1]."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Shaped

from nissl.errors import InputError, SettingError

__all__ = ["nmi"]

Average = Literal["arithmetic", "geometric", "min", "max"]


def nmi(
    a: Shaped[np.ndarray, " n"],
    b: Shaped[np.ndarray, " m"],
    *,
    average: Average = "arithmetic",
) -> float:
    """Return the normalised mutual information of two labelings, always in [0, 1].

    NMI = I(A; B) / average(H(A), H(B)), all from the one table of counts of pairs, so that I can
    exceed neither entropy (Vinh, Epps & Bailey 2010, section 2). Two labelings with one label each
    are the same partition: 1. If only one of them is constant there is nothing to share: 0.

    NMI is not adjusted for chance: many labels on few tokens give a high value without any
    relation. Compare with permuted labels (:func:`nissl.kernels.permutation.permutation_test`).

    Parameters
    ----------
    a, b
        Label of each token: integers or strings, (n,).
    average
        How the two entropies are averaged; ``min`` gives the largest value, ``max`` the smallest.

    Raises
    ------
    InputError
        Different lengths, or no tokens.
    SettingError
        An unknown average.
    """
    if len(a) != len(b) or len(a) == 0:
        raise InputError(f"labelings of {len(a)} and {len(b)} tokens cannot be compared")
    if average not in ("arithmetic", "geometric", "min", "max"):
        raise SettingError(
            f'average must be "arithmetic", "geometric", "min" or "max", not "{average}"'
        )
    _, first = np.unique(a, return_inverse=True)
    _, second = np.unique(b, return_inverse=True)
    n_first, n_second = int(first.max()) + 1, int(second.max()) + 1
    if n_first == n_second == 1:
        return 1.0
    if n_first == 1 or n_second == 1:
        return 0.0
    n = float(len(a))
    # Only pairs that occur: a full table of two fine labelings would not fit into memory.
    pairs, counts = np.unique(first * np.int64(n_second) + second, return_counts=True)
    joint = counts / n
    left, right = np.bincount(first) / n, np.bincount(second) / n
    h_left, h_right = _entropy(left), _entropy(right)
    ratio = np.log(joint) - np.log(left[pairs // n_second]) - np.log(right[pairs % n_second])
    shared = float((joint * ratio).sum())
    # Rounding alone can carry the sum below 0 or above an entropy.
    shared = min(max(shared, 0.0), h_left, h_right)
    scale = {
        "arithmetic": (h_left + h_right) / 2,
        "geometric": float(np.sqrt(h_left * h_right)),
        "min": min(h_left, h_right),
        "max": max(h_left, h_right),
    }[average]
    return min(shared / scale, 1.0)


def _entropy(p: np.ndarray) -> float:
    """Entropy in nats of probabilities above 0."""
    return float(-(p * np.log(p)).sum())
