"""Bytes to and from the disk without a copy in the system's cache.

A store is written once and may be larger than memory: kept in the cache, it would only push out
what is in use there, and fill memory that nobody reads. A checksum, too, is of what is on the disk,
not of the cache's copy. Where a system or a disk cannot do it, the usual way is taken.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any

__all__ = ["BLOCK", "DirectWriter", "read_blocks", "write_all"]

BLOCK = 1 << 22
"""Bytes moved at once; a multiple of every disk's block."""


class DirectWriter:
    """Writes a stream of bytes in whole aligned blocks, the rest at the end the usual way.

    Parameters
    ----------
    file
        Descriptor of an empty file opened to write; it stays open.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        # Such memory begins at a page, as direct writing demands.
        self._block = memoryview(mmap.mmap(-1, BLOCK))
        self._used = 0

    def __enter__(self) -> DirectWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            _set_direct(self.file, False)
            write_all(self.file, self._block[: self._used])

    def write(self, part: Any) -> None:
        """Take bytes, or an array that is contiguous; it may be changed afterwards."""
        left = as_bytes(part)
        while left.nbytes:
            taken = min(BLOCK - self._used, left.nbytes)
            self._block[self._used : self._used + taken] = left[:taken]
            self._used += taken
            left = left[taken:]
            if self._used == BLOCK:
                _set_direct(self.file, True)
                write_all(self.file, self._block)
                self._used = 0


def as_bytes(part: Any) -> memoryview:
    """Return a view of the bytes of something contiguous."""
    view = memoryview(part)
    # A view of nothing cannot be cast.
    return view.cast("B") if view.nbytes else memoryview(b"")


def write_all(file: int, part: memoryview) -> None:
    """Write all of it; where the disk refuses direct writing, the usual way."""
    while part.nbytes:
        try:
            part = part[os.write(file, part) :]
        except OSError as error:
            if error.errno != errno.EINVAL or not _set_direct(file, False):
                raise


def read_blocks(file: int) -> Iterator[memoryview]:
    """Yield a file's bytes from the descriptor's place to the end; each is overwritten by the next.

    Short files, which are most likely in the cache, are read through it.
    """
    block = memoryview(mmap.mmap(-1, BLOCK))
    if os.fstat(file).st_size > BLOCK:
        _set_direct(file, True)
    while True:
        try:
            got = os.readv(file, [block])
        except OSError as error:
            if error.errno != errno.EINVAL or not _set_direct(file, False):
                raise
            continue
        if not got:
            return
        if got % mmap.PAGESIZE:
            # The end, or an interruption: the next place is not one to read from directly.
            _set_direct(file, False)
        yield block[:got]


def _set_direct(file: int, on: bool) -> bool:
    """Turn direct reading and writing on or off; return whether that changed anything."""
    flag = getattr(os, "O_DIRECT", 0)
    if not flag:
        return False
    import fcntl

    old = fcntl.fcntl(file, fcntl.F_GETFL)
    new = old | flag if on else old & ~flag
    if new == old:
        return False
    try:
        fcntl.fcntl(file, fcntl.F_SETFL, new)
    except OSError:
        return False
    return True
