"""A scan's finished pieces on disk: a file each, whole or not there at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nissl.errors import StoreError

__all__ = ["ScanFolder"]


class ScanFolder:
    """Finished pieces of a scan; with no folder they are kept in memory.

    A piece is what some units of a site do to the targets of one batch. It is written under
    another name and renamed, so an interrupted scan leaves a folder that can be gone on with.

    Raises
    ------
    StoreError
        The folder holds a scan of something else, or is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, identity: Mapping[str, Any]) -> None:
        self._path = None if folder is None else Path(folder)
        self._memory: dict[tuple[str, int], list[tuple[np.ndarray, np.ndarray]]] = {}
        if self._path is None:
            return
        self._path.mkdir(parents=True, exist_ok=True)
        head = self._path / "scan.json"
        text = json.dumps(dict(identity), indent=1, sort_keys=True)
        if head.exists():
            try:
                there = json.loads(head.read_text(encoding="utf-8"))
            except (UnicodeDecodeError, json.JSONDecodeError):
                raise StoreError(
                    "scan.json is damaged; choose another folder", where=str(head)
                ) from None
            odd = [key for key in identity if there.get(key) != json.loads(text)[key]]
            if odd:
                raise StoreError(
                    f"holds a scan of other {odd[0]}; choose another folder, or remove it",
                    where=str(self._path),
                )
            return
        self._replace(head, text.encode("utf-8"))

    def pieces(self, site: str, batch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return finished pieces, each units (n,) and values (n, targets).

        Raises
        ------
        StoreError
            A file is damaged.
        """
        if self._path is None:
            return self._memory.get((site, batch), [])
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        found = []
        for path in sorted(self._path.glob(f"{_slug(site)}-{batch:05d}-*.safetensors")):
            try:
                part = load_file(path)
                found.append((part["units"], part["values"]))
            except (SafetensorError, KeyError, OSError) as error:
                raise StoreError(
                    f"is damaged ({error}); remove it and run the scan again", where=str(path)
                ) from None
        return found

    def add(self, site: str, batch: int, units: np.ndarray, values: np.ndarray) -> None:
        """Keep a finished piece."""
        if self._path is None:
            self._memory.setdefault((site, batch), []).append((units, values))
            return
        from safetensors.numpy import save

        name = f"{_slug(site)}-{batch:05d}-{int(units[0]):06d}.safetensors"
        self._replace(
            self._path / name,
            save({"units": units.astype(np.int64), "values": np.ascontiguousarray(values)}),
        )

    def _replace(self, target: Path, data: bytes) -> None:
        partial = target.with_name(f"{target.name}.part")
        partial.write_bytes(data)
        partial.replace(target)


def _slug(site: str) -> str:
    return "".join(c if c.isalnum() or c in "._" else "_" for c in site)
