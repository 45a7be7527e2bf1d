"""Files that are whole or absent: temporary name, fsync, rename; checksums; one writer."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from nissl.errors import StoreError
from nissl.store.direct import DirectWriter, read_blocks, write_all
from nissl.store.tensors import header_of, load_json

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "checksum_of",
    "clear_partial",
    "digest_of",
    "finished",
    "lock",
    "read_json",
    "read_mark",
    "shard_name",
    "write_json",
    "write_shard",
    "write_table",
]

CURE = "run nissl store repair on its folder"
METHOD = "xxh3-128"
"""The checksum: it finds damage, not malice, at the speed of memory."""


def shard_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{index:05d}.safetensors"


def checksum_of(path: Path) -> str:
    """Return the checksum of a file."""
    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        for block in read_blocks(file.fileno()):
            digest.update(block)
    return f"{METHOD}:{digest.hexdigest()}"


def digest_of(fields: Mapping[str, Any], but: str) -> str:
    """Return the checksum of what a JSON object says beside one key, however it is laid out."""
    rest = {key: value for key, value in fields.items() if key != but}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True)
    return f"{METHOD}:{xxhash.xxh3_128_hexdigest(text.encode())}"


@contextlib.contextmanager
def _publishing(target: Path) -> Iterator[int]:
    """Yield a file to write; it appears under its name, durably, when the block ends well.

    The temporary name is the writer's own: two that write the same file (a worker that outlived
    its master, say) do not meet.
    """
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            yield file
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(partial, target)
        sync_folder(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreError(
                f"cannot be written ({error.strerror}); what is finished is kept: make room and "
                "run again",
                where=str(target),
            ) from None
        raise StoreError(f"cannot be written ({error.strerror})", where=str(target)) from None
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def clear_partial(folder: Path) -> None:
    """Remove what an interrupted writer left; only the holder of the lock may."""
    for path in folder.glob("*.part"):
        with contextlib.suppress(OSError):
            path.unlink()


def write_shard(
    folder: Path,
    index: int,
    widths: Mapping[str, int],
    rows: int,
    dtype: str,
    lines: Iterable[Any],
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write one shard and the mark beside it; return the mark.

    The mark (``shard-00000.json``: checksum, size, notes, and ``mark``, a checksum of itself)
    appears first: a shard without a fitting one is not counted as done.

    Parameters
    ----------
    widths
        Site → number of neurons.
    rows
        Number of tokens.
    lines
        For each site in turn a contiguous array (neurons, tokens) of 2- or 4-byte values, as bits
        of ``dtype``; each is done with when the next is asked for.
    notes
        What else is to be remembered of the shard.

    Raises
    ------
    StoreError
        The disk is full, or the file cannot be written for another reason.
    """
    target = folder / shard_name(index)
    head = header_of(widths, rows, dtype, {"made_by": "nissl", "layout": "neuron,token"})
    digest, size = xxhash.xxh3_128(), 0
    with _publishing(target) as file:
        with DirectWriter(file) as out:
            for part in chain([head], lines):
                digest.update(part)
                out.write(part)
                size += memoryview(part).nbytes
        mark = {
            "checksum": f"{METHOD}:{digest.hexdigest()}",
            "bytes": size,
            "rows": rows,
            **(notes or {}),
        }
        mark["mark"] = digest_of(mark, "mark")
        write_json(target.with_suffix(".json"), mark)
    return mark


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair, as in the name of a file that is not UTF-8.
        raw = (json.dumps(value, indent=1) + "\n").encode()
    with _publishing(path) as file:
        write_all(file, memoryview(raw))


def write_table(path: Path, table: pl.DataFrame) -> dict[str, Any]:
    """Write a table as Parquet, atomically; return its checksum and size."""
    from polars.exceptions import PolarsError

    with _publishing(path) as file:
        try:
            with os.fdopen(os.dup(file), "wb") as stream:
                # Parts of a size: a long table is not held a second time, encoded.
                table.write_parquet(stream, row_group_size=32_768)
        except PolarsError as error:
            # It keeps of the system's error only the text.
            if found := re.search(r"\(os error (\d+)\)", str(error)):
                raise OSError(int(found[1]), os.strerror(int(found[1]))) from None
            raise
        size = os.fstat(file).st_size
    return {"checksum": checksum_of(path), "bytes": size}


def read_json(path: Path, *, cure: str = CURE) -> dict[str, Any]:
    """Read a JSON object, or say what is wrong with the file and what to do."""
    if not path.is_file():
        raise StoreError(f"is missing or no file; {cure}", where=str(path))
    try:
        value = load_json(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot be read ({error.strerror})", where=str(path)) from None
    except ValueError as error:
        raise StoreError(f"is damaged ({str(error)[:200]}); {cure}", where=str(path)) from None
    if not isinstance(value, dict):
        raise StoreError(f"does not hold a JSON object; {cure}", where=str(path))
    return value


def read_mark(path: Path) -> dict[str, Any]:
    """Read the mark of a shard and check that it says what was written."""
    mark = read_json(path)
    try:
        whole = mark.get("mark") == digest_of(mark, "mark")
    except RecursionError:
        whole = False
    if not whole:
        raise StoreError(
            f"is damaged (it says something else than what was written); {CURE}", where=str(path)
        )
    return mark


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep a second writer out of a store's folder while the block runs."""
    from filelock import FileLock, Timeout

    held = FileLock(folder / ".lock", timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise StoreError(
            "another process is writing here; wait for it or use another folder",
            where=str(folder),
        ) from None
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or error
        raise StoreError(f"cannot be written to ({why})", where=str(folder)) from None
    try:
        yield
    finally:
        held.release()


def finished(folder: Path, index: int, rows: int) -> dict[str, Any] | None:
    """Return the mark of a shard of so many tokens that is whole, or None: it must be made."""
    target = folder / shard_name(index)
    mark_path = target.with_suffix(".json")
    if not (target.is_file() and mark_path.is_file()):
        return None
    try:
        mark = read_mark(mark_path)
    except StoreError:
        return None
    if mark.get("bytes") != target.stat().st_size or mark.get("rows") != rows:
        return None
    return mark if checksum_of(target) == mark.get("checksum") else None
