"""Checks that every kernel makes on its arrays, with errors that name the place."""

from __future__ import annotations

import numpy as np

from nissl.errors import InputError, LabelError, SettingError

__all__ = ["check_labels", "check_matrix", "check_penalty", "neuron_major"]


def neuron_major(X: np.ndarray) -> np.ndarray:
    """Return ``X.T`` as a C-contiguous float32 array (d, n); no copy when X is already so."""
    return np.ascontiguousarray(X.T, dtype=np.float32)


def check_matrix(X: np.ndarray) -> None:
    """Refuse an empty matrix or one with NaN or infinity, naming the first bad neuron.

    Raises
    ------
    InputError
    """
    if X.ndim != 2:
        raise InputError(f"X must have two dimensions (tokens, neurons), not {X.ndim}")
    n, d = X.shape
    if n == 0:
        raise InputError("X has no tokens (n = 0)")
    if d == 0:
        raise InputError("X has no neurons (d = 0)")
    # A sum is finite only if every term is (inf - inf is NaN): one pass, no mask.
    total = np.asarray(X).sum(axis=0, dtype=np.float64)
    if not np.isfinite(total).all():
        column = int(np.flatnonzero(~np.isfinite(total))[0])
        row = int(np.flatnonzero(~np.isfinite(X[:, column]))[0])
        raise InputError(
            f"neuron {column} is {X[row, column]} at token {row}; activations must be finite"
        )


def check_labels(y: np.ndarray, n: int, n_classes: int) -> np.ndarray:
    """Return labels as contiguous int64 after checking length and range.

    Raises
    ------
    LabelError
    """
    y = np.asarray(y)
    if y.ndim != 1 or len(y) != n:
        raise LabelError(f"labels have length {y.shape}, but there are {n} tokens")
    if y.dtype.kind not in "iu":
        raise LabelError(f"labels must be class indices (integers), not {y.dtype}")
    if n_classes < 2:
        raise LabelError("a probe needs two or more classes, but there is one")
    if y.min() < 0 or y.max() >= n_classes:
        raise LabelError(f"labels run from {y.min()} to {y.max()}, outside 0…{n_classes - 1}")
    return np.ascontiguousarray(y, dtype=np.int64)


def check_penalty(**values: float) -> None:
    """Refuse negative or non-finite penalties."""
    for name, value in values.items():
        if not np.isfinite(value) or value < 0:
            raise SettingError(f"{name} must be 0 or more, not {value}")
