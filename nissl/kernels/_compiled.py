"""The one way in which inner loops are compiled.

Without numba, or with ``NISSL_NO_NUMBA=1``, the same functions run as plain Python, or as the NumPy
version that is named for them: right, but slow.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection
from typing import Any

try:
    from numba import njit
except ImportError:
    njit = None
if os.environ.get("NISSL_NO_NUMBA", "0") not in ("", "0"):
    njit = None

__all__ = ["FAST", "compiled"]

FAST = frozenset({"reassoc", "contract", "nsz", "arcp"})
"""Liberties for sums of finite numbers: order, fused multiply-add, signs of zero, reciprocals."""

_Function = Callable[..., Any]


def compiled(
    *, fast: Collection[str] = (), plain: _Function | None = None
) -> Callable[[_Function], _Function]:
    """Compile the decorated function without the interpreter lock, cached on disk.

    An import hook that checks shapes (as in our tests) may have wrapped the function in one that
    numba can neither compile nor cache, so it is unwrapped first.

    Parameters
    ----------
    fast
        LLVM's fast-math flags; none: arithmetic exactly as written.
    plain
        What runs in its place without numba; by default the function itself.
    """

    def make(fn: _Function) -> _Function:
        if njit is None:
            return fn if plain is None else plain
        return njit(cache=True, nogil=True, fastmath=set(fast) or False)(inspect.unwrap(fn))

    return make
