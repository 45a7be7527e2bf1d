"""Blocks of neurons for compiled loops, which are compiled for arrays that may be written to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["neuron_blocks"]


def neuron_blocks(XT: np.ndarray, size: int = 64) -> Iterator[tuple[slice, np.ndarray]]:
    """Go through neurons (d, n), some at a time; copy those that are read-only, as maps may be.

    To the compiler a read-only array is another type, for which it would compile all loops again
    (some 10 s at the first call).
    """
    for start in range(0, len(XT), size):
        here = slice(start, min(start + size, len(XT)))
        part = np.asarray(XT[here])
        yield here, part if part.flags.writeable else part.copy()
