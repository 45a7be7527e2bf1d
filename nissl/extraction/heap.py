"""Gives memory back to the system that the allocator holds in gaps.

A model's passes ask for blocks of ever new sizes. The C library keeps what is freed, in gaps that
the next sizes do not fit, and so the process grows by tens of MB although nothing more is held.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

__all__ = ["Heap"]


FIELDS = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _Info(ctypes.Structure):
    """``struct mallinfo2`` of the GNU C library."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


@cache
def _library() -> Any:
    """Return the GNU C library; None where there is another one."""
    try:
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _Info
        library.malloc_trim.argtypes = [ctypes.c_size_t]
    except (AttributeError, OSError, TypeError):
        return None
    return library


class Heap:
    """Watches the gaps from shard to shard.

    Giving all of them back each time would cost the next shard as many first uses of memory. What
    the first shard left is taken as what passes need; more than ``SLACK`` beyond it is given back.
    """

    SLACK = 12 << 20

    def __init__(self) -> None:
        self._usual: int | None = None

    def settle(self) -> bool:
        """Give gaps back if they have grown since the first call; return whether."""
        library = _library()
        if library is None:
            return False
        free: int = library.mallinfo2().fordblks
        usual = self._usual if self._usual is not None else free
        self._usual = usual
        if free <= usual + self.SLACK:
            return False
        library.malloc_trim(0)
        return True
