"""One shard: a safetensors file of site → neuron × token, written and read without copies.

Neurons come first because readers want them first: a probe takes neuron × token, and a few neurons
over all tokens are a few contiguous runs (benchmarks/layout.py measures the three reads). Any
safetensors library reads the file; ours reads only the lines asked for, straight into their place.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from nissl.errors import StoreError

__all__ = ["DTYPES", "Shard", "header_of", "load_json", "open_shard"]

DTYPES = {"float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2)}
"""Our name of a dtype → its name in safetensors, bytes a value."""
NAMES = {code: (name, size) for name, (code, size) in DTYPES.items()}
MAX_HEADER = 100_000_000
"""Longest header that safetensors allows."""
RUN = 512
"""Lines read by one system call (systems allow 1,024 places)."""
BLOCK = 1 << 22
"""Bytes held at once while lines are converted or thinned."""


@dataclass(frozen=True)
class Entry:
    """Where a site's values lie: dtype, neurons, tokens, first byte."""

    dtype: str
    width: int
    rows: int
    start: int


def header_of(
    widths: Mapping[str, int], rows: int, dtype: str, metadata: Mapping[str, str]
) -> bytes:
    """Return the head of a shard: eight bytes of length, then JSON padded to eight bytes.

    Parameters
    ----------
    widths
        Site → number of neurons, in the order of the values that follow.
    rows
        Tokens of the shard.
    """
    code, size = DTYPES[dtype]
    head: dict[str, Any] = {"__metadata__": dict(metadata)}
    start = 0
    for site, width in widths.items():
        stop = start + width * rows * size
        head[site] = {"dtype": code, "shape": [width, rows], "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def load_json(raw: bytes) -> Any:
    """Read JSON as every parser would: UTF-8, and no key twice, of which parsers keep another one.

    Raises
    ------
    ValueError
        It is not such JSON, or nested too deep.
    """
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def parse_header(raw: bytes, total: int) -> dict[str, Entry]:
    """Return site → entry of a shard's head.

    Parameters
    ----------
    raw
        The file's first bytes, at least the whole head.
    total
        Size of the file in bytes.

    Raises
    ------
    ValueError
        Anything that does not fit: the values must follow each other and end where the file ends.
    """
    if total < 8 or len(raw) < 8:
        raise ValueError("it is shorter than a head")
    length = int.from_bytes(raw[:8], "little")
    if length > MAX_HEADER or 8 + length > total:
        raise ValueError(f"its head would take {length:,} bytes of {total:,}")
    try:
        head = load_json(raw[8 : 8 + length])
    except ValueError as error:
        raise ValueError(f"its head is not JSON: {str(error)[:80]}") from None
    if not isinstance(head, dict):
        raise ValueError("its head is not a JSON object")
    head.pop("__metadata__", None)
    entries: dict[str, Entry] = {}
    for site, value in head.items():
        if not isinstance(value, dict):
            raise ValueError(f"the head says nothing of {site[:80]!r}")
        code, shape, span = (value.get(key) for key in ("dtype", "shape", "data_offsets"))
        if not isinstance(code, str) or code not in NAMES:
            shown = code[:40] if isinstance(code, str) else type(code).__name__
            raise ValueError(f"{site[:80]!r} has dtype {shown!r}")
        if not (_naturals(shape) and _naturals(span)):
            raise ValueError(f"{site[:80]!r} has no shape or no place")
        name, size = NAMES[code]
        if span[1] - span[0] != shape[0] * shape[1] * size:
            raise ValueError(f"the place of {site[:80]!r} does not fit its shape")
        entries[site] = Entry(name, shape[0], shape[1], 8 + length + span[0])
    end = 8 + length
    for site, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].width)):
        if entry.start != end:
            raise ValueError(f"the values of {site[:80]!r} overlap others or leave a hole")
        end += entry.width * entry.rows * DTYPES[entry.dtype][1]
    if end != total:
        raise ValueError(f"it has {total:,} bytes, its head speaks of {end:,}")
    return entries


def _naturals(value: Any) -> TypeGuard[list[int]]:
    """Whether this is a list of two whole numbers, 0 or more and none absurd."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(item) is int and 0 <= item < 2**62 for item in value)
    )


class Shard:
    """An open shard. Use :func:`open_shard`."""

    def __init__(self, file: int, path: Path, entries: dict[str, Entry]) -> None:
        self._file = file
        self.path = path
        self.entries = entries

    def read(
        self, site: str, out: np.ndarray, columns: np.ndarray | None, rows: np.ndarray | None
    ) -> None:
        """Read lines of a site as float32 into ``out``.

        Parameters
        ----------
        site
            Its name.
        out
            Float32 (neurons, tokens), contiguous along tokens; a view into a larger array will do.
        columns
            Neurons wanted, in order of ``out``; all when ``None``.
        rows
            Tokens of the shard wanted, in order of ``out``; all when ``None``.
        """
        entry = self.entries[site]
        size = DTYPES[entry.dtype][1]
        wanted = np.arange(entry.width) if columns is None else columns
        straight = rows is None and entry.dtype == "float32" and out.strides[1] == 4
        block = RUN if straight else max(1, min(RUN, BLOCK // max(1, entry.rows * size)))
        for first, last in _runs(wanted, block):
            offset = entry.start + int(wanted[first]) * entry.rows * size
            if straight:
                self._fill([memoryview(out[i]).cast("B") for i in range(first, last)], offset)
                continue
            raw = np.empty((last - first, entry.rows), f"u{size}")
            self._fill([raw.data.cast("B")], offset)
            values = raw if rows is None else np.take(raw, rows, axis=1)
            out[first:last] = as_float32(values, entry.dtype)

    def _fill(self, places: Sequence[memoryview], offset: int) -> None:
        """Read the file's bytes from ``offset`` into the places, one after the other."""
        left = [place for place in places if place.nbytes]
        while left:
            try:
                got = os.preadv(self._file, left, offset)
            except OSError as error:
                raise StoreError(
                    f"cannot be read ({error.strerror})", where=str(self.path)
                ) from None
            if got == 0:
                raise StoreError(
                    "ends too early; run nissl store repair on its folder", where=str(self.path)
                )
            offset += got
            while left and got >= left[0].nbytes:
                got -= left[0].nbytes
                left.pop(0)
            if got:
                left[0] = left[0][got:]


def as_float32(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Return the values of raw bits: ``float32`` and ``float16`` as they are, ``bfloat16`` widened.

    A bfloat16 is the upper half of the float32 of the same value.
    """
    if dtype == "bfloat16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.view(dtype)


def _runs(wanted: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Cut positions into runs of consecutive numbers, none longer than ``most``."""
    if not len(wanted):
        return
    breaks = np.flatnonzero(np.diff(wanted) != 1) + 1
    for first, last in zip([0, *breaks], [*breaks, len(wanted)], strict=True):
        for start in range(int(first), int(last), most):
            yield start, min(start + most, int(last))


@contextlib.contextmanager
def open_shard(path: Path) -> Iterator[Shard]:
    """Open a shard and read its head.

    Raises
    ------
    StoreError
        It is missing or its head does not fit; says what is wrong.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise StoreError(
            f"is missing or damaged ({error.strerror}); run nissl store repair on its folder",
            where=str(path),
        ) from None
    try:
        try:
            total = os.fstat(file).st_size
            raw = os.pread(file, 1 << 16, 0)
            length = int.from_bytes(raw[:8], "little")
            if len(raw) < 8 + length <= min(total, 8 + MAX_HEADER):
                raw = os.pread(file, 8 + length, 0)
            entries = parse_header(raw, total)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"is missing or damaged ({error}); run nissl store repair on its folder",
                where=str(path),
            ) from None
        yield Shard(file, path, entries)
    finally:
        os.close(file)
