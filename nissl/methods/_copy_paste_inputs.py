"""Which pairs are edited, and what their right classes are; looked at before any are counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nissl.errors import InputError

__all__ = ["gold_of", "rows_of"]


def rows_of(rows: Sequence[int] | np.ndarray | None, n: int) -> np.ndarray:
    """Return the numbers of the pairs to edit."""
    if rows is None:
        return np.arange(n)
    where = np.asarray(rows)
    if where.dtype == bool and where.shape == (n,):
        return np.flatnonzero(where)
    if where.ndim != 1 or (where.size and where.dtype.kind not in "iu"):
        raise InputError(
            f"rows are numbers of pairs, or a boolean for each of {n:,} pairs, not "
            f"{where.dtype} {where.shape}"
        )
    if odd := [i for i in where.tolist() if not 0 <= i < n]:
        raise InputError(f"rows name pair {odd[0]}, and pairs run from 0 to {n - 1}")
    if len(np.unique(where)) < len(where):
        raise InputError("rows name a pair more than once")
    return where.astype(np.int64)


def gold_of(gold: np.ndarray, kept: Sequence[int], classes: int) -> np.ndarray:
    """Return the right class of each edited pair."""
    right = np.asarray(gold)[list(kept)]
    for i, each in zip(kept, right.tolist(), strict=True):
        if each not in range(classes):
            raise InputError(
                f"gold of pair {i} is {each!r}, and the classes are the numbers from 0 to "
                f"{classes - 1}; leave out pairs without a right class"
            )
    return right
