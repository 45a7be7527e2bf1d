"""Checks that every kernel makes on its arrays, with errors that name the place."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

import numpy as np

from nissl.errors import InputError, LabelError, SettingError

__all__ = [
    "check_labels",
    "check_matrix",
    "check_penalty",
    "check_shape",
    "memory_left",
    "neuron_major",
]

TILE = 512
"""Tokens and neurons turned at a time."""


def neuron_major(X: Any) -> np.ndarray:
    """Return ``X.T`` as a C-contiguous float32 array (d, n).

    A float32 matrix in Fortran order is used as it is, a memory map too. Anything else (float16,
    bfloat16, float64, tokens first, a torch tensor) is converted in tiles; where the result would
    take more than half of the memory that is left, it is kept in a temporary file.
    """
    if isinstance(X, np.ndarray) and X.dtype == np.float32 and X.T.flags.c_contiguous:
        return X.T
    n, d = X.shape
    out = _room(d, n)
    for token in range(0, n, TILE):
        for neuron in range(0, d, TILE):
            tile = X[token : token + TILE, neuron : neuron + TILE]
            if not isinstance(tile, np.ndarray):
                tile = tile.detach().cpu().float().numpy()
            out[neuron : neuron + TILE, token : token + TILE] = tile.T
    return out


def _room(d: int, n: int) -> np.ndarray:
    """Allocate float32 (d, n), in memory or, when it would not fit, in a file without a name."""
    if 4 * d * n <= 0.5 * memory_left():
        return np.empty((d, n), dtype=np.float32)
    with tempfile.TemporaryFile(prefix="nissl-") as file:
        file.truncate(4 * d * n)
        return np.memmap(file, dtype=np.float32, mode="r+", shape=(d, n))


def memory_left() -> float:
    """Return the bytes of memory that this process may still use, as far as the system says."""
    left = float("inf")
    with contextlib.suppress(ValueError, OSError, AttributeError):
        left = float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
        with open("/proc/meminfo", encoding="ascii") as file:  # page cache can be given back
            left = next(1024.0 * int(row.split()[1]) for row in file if row[:13] == "MemAvailable:")
    with contextlib.suppress(ImportError, OSError, StopIteration):
        import resource

        soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
        if soft != resource.RLIM_INFINITY:
            with open("/proc/self/status", encoding="ascii") as file:
                used = next(1024.0 * int(row.split()[1]) for row in file if row[:7] == "VmData:")
            left = min(left, soft - used)
    return left


def check_shape(X: Any) -> None:
    """Refuse a matrix without tokens or without neurons.

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


def check_matrix(X: np.ndarray) -> None:
    """Refuse an empty matrix or one with NaN or infinity, naming the first bad neuron.

    Raises
    ------
    InputError
    """
    check_shape(X)
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
