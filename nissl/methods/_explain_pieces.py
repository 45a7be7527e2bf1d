"""Finished blocks of an explanation on disk: a file each, whole or not there at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from nissl.errors import StoreError

__all__ = ["Pieces"]

HEAD = "explain.json"
LEFT_OUT = "left_out"


class Pieces:
    """Blocks that an earlier run finished; with no folder nothing is kept.

    Parameters
    ----------
    folder
        Where they lie; made if need be.
    identity
        Everything that decides a block's numbers.

    Raises
    ------
    StoreError
        The folder holds an explanation of something else, or is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, identity: Mapping[str, Any]) -> None:
        self._path = None if folder is None else Path(folder)
        if self._path is None:
            return
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot be used ({error.strerror})", where=str(folder)) from None
        head = self._path / HEAD
        # Settings may be NumPy's numbers, which JSON does not know.
        text = json.dumps(dict(identity), indent=1, sort_keys=True, default=lambda x: x.item())
        if not head.exists():
            _replace(head, text.encode("utf-8"))
            return
        try:
            there = json.loads(head.read_text(encoding="utf-8"))
            odd = [key for key, value in json.loads(text).items() if there.get(key) != value]
        except (UnicodeDecodeError, json.JSONDecodeError, AttributeError):
            raise StoreError(f"{HEAD} is damaged; choose another folder", where=str(head)) from None
        if odd:
            raise StoreError(
                f"holds an explanation with another {odd[0]}; choose another folder, or remove it",
                where=str(self._path),
            )

    def read(self, block: int) -> tuple[pl.DataFrame, dict[str, int]] | None:
        """Return a finished block and what it left out, or None.

        Raises
        ------
        StoreError
            Its file is damaged.
        """
        if self._path is None or not (path := self._file(block)).exists():
            return None
        try:
            return pl.read_parquet(path), json.loads(pl.read_parquet_metadata(path)[LEFT_OUT])
        except (pl.exceptions.PolarsError, OSError, KeyError, ValueError) as error:
            raise StoreError(
                f"is damaged ({error}); remove it and run again", where=str(path)
            ) from None

    def add(self, block: int, rows: pl.DataFrame, left_out: Mapping[str, int]) -> None:
        """Keep a finished block."""
        if self._path is not None:
            partial = self._file(block).with_suffix(".part")
            rows.write_parquet(partial, metadata={LEFT_OUT: json.dumps(dict(left_out))})
            partial.replace(self._file(block))

    def _file(self, block: int) -> Path:
        assert self._path is not None
        return self._path / f"block-{block:05d}.parquet"


def _replace(target: Path, data: bytes) -> None:
    partial = target.with_name(f"{target.name}.part")
    partial.write_bytes(data)
    partial.replace(target)
