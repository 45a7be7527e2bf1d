"""Files that are whole or absent: temporary name, fsync, rename; checksums; one writer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nissl.errors import StoreError

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "finished_shard",
    "lock",
    "read_json",
    "sha256_of",
    "shard_name",
    "write_json",
    "write_shard",
    "write_table",
]


def shard_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{index:05d}.safetensors"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def publish(partial: Path, target: Path) -> None:
    """Make a finished temporary file appear under its name, durably."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_shard(folder: Path, index: int, tensors: Mapping[str, Any]) -> str:
    """Write one shard of site → tensor (rows, width); return its SHA-256.

    The checksum is written beside it first: a shard without one is not counted as done.
    """
    from safetensors.torch import save_file

    target = folder / shard_name(index)
    partial = target.with_suffix(".part")
    save_file(dict(tensors), partial)
    checksum = sha256_of(partial)
    mark = target.with_suffix(".sha256")
    mark_partial = target.with_suffix(".sha256.part")
    mark_partial.write_text(checksum + "\n", encoding="ascii")
    publish(mark_partial, mark)
    publish(partial, target)
    return checksum


def finished_shard(folder: Path, index: int) -> str | None:
    """Return the checksum of a shard that is whole, or None when it must be made (again)."""
    target = folder / shard_name(index)
    mark = target.with_suffix(".sha256")
    if not (target.is_file() and mark.is_file()):
        return None
    checksum = mark.read_bytes().strip()
    return checksum.decode() if sha256_of(target).encode() == checksum else None


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    partial = path.with_suffix(path.suffix + ".part")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    publish(partial, path)


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a table as Parquet, atomically."""
    partial = path.with_suffix(path.suffix + ".part")
    table.write_parquet(partial)
    publish(partial, path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or say what is wrong with the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StoreError(f"is damaged ({error}); extract again", where=str(path)) from None
    if not isinstance(value, dict):
        raise StoreError("does not hold a JSON object; extract again", where=str(path))
    return value


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep a second writer out of a store's folder while the block runs."""
    import fcntl

    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                "another process is writing here; wait for it or use another folder",
                where=str(folder),
            ) from None
        yield
