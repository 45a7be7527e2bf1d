"""Find every fault of a store: nothing is believed, every byte is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from nissl.errors import NisslError, StoreError
from nissl.store.files import checksum_of, read_json, read_mark, shard_name
from nissl.store.manifest import (
    BESIDE_PLAN,
    TABLES,
    check_file,
    check_shard,
    open_manifest,
    sites_of,
)
from nissl.store.tensors import open_shard

__all__ = ["Fault", "verify_store"]


@dataclass(frozen=True)
class Fault:
    """Something wrong with a store: which file, and what."""

    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def verify_store(path: str | Path) -> list[Fault]:
    """Read a whole store and return its faults; an empty list means that it is as it was written.

    Checked are the manifest (its own checksum, names, order), the plan it rests on, size, checksum
    and head of each shard, its mark, both tables, and that no other shard lies there.

    Raises
    ------
    StoreError
        There is no store, or an unfinished one, or one of another format: nothing to verify.
    """
    folder = Path(path)
    try:
        manifest = open_manifest(folder)
    except StoreError as error:
        if not (folder / "manifest.json").is_file() or "has store format" in error.message:
            raise
        return [Fault("manifest.json", error.message)]
    return [*_plan(folder, manifest), *_shards(folder, manifest), *_tables(folder, manifest)]


def _plan(folder: Path, manifest: dict[str, Any]) -> Iterator[Fault]:
    try:
        plan = read_json(folder / "plan.json")
    except NisslError as error:
        yield Fault("plan.json", error.message)
        return
    for key in sorted({*plan, *manifest} - (BESIDE_PLAN - set(plan))):
        if key not in plan:
            yield Fault("plan.json", f"lacks {key!r}, which the manifest has")
        elif key not in manifest or _text(plan[key]) != _text(manifest[key]):
            yield Fault("plan.json", f"its {key!r} differs from the manifest's")


def _text(value: Any) -> str:
    """JSON of a value: Python takes 1 for true, and NaN for another than itself."""
    try:
        return json.dumps(value, sort_keys=True)
    except RecursionError:
        return "nested too deep"


def _shards(folder: Path, manifest: dict[str, Any]) -> Iterator[Fault]:
    sites = sites_of(manifest)
    names = set()
    for index, entry in enumerate(manifest["shards"]):
        name, mark_name = entry["file"], Path(entry["file"]).with_suffix(".json").name
        names |= {name, mark_name}
        rows = entry["rows"][1] - entry["rows"][0]
        try:
            check_file(folder, name, entry["bytes"])
            with open_shard(folder / shard_name(index)) as shard:
                check_shard(shard.path, shard.entries, sites, manifest["dtype"], rows)
            if checksum_of(folder / name) != entry["checksum"]:
                yield Fault(name, "is damaged (its checksum differs)")
        except StoreError as error:
            yield Fault(name, error.message)
        except OSError as error:
            yield Fault(name, f"cannot be read ({error.strerror})")
        try:
            mark = read_mark(folder / mark_name)
        except NisslError as error:
            yield Fault(mark_name, error.message)
        else:
            said = {"checksum": entry["checksum"], "bytes": entry["bytes"], "rows": rows}
            if any(mark.get(key) != value for key, value in said.items()):
                yield Fault(mark_name, "differs from the manifest")
    for path in sorted(folder.glob("shard-*")):
        if path.name not in names and path.suffix != ".part":
            yield Fault(path.name, "is not named in the manifest")
    for path in sorted(folder.glob("*.part")):
        yield Fault(path.name, "was left by an interrupted writer")


def _tables(folder: Path, manifest: dict[str, Any]) -> Iterator[Fault]:
    for name in TABLES:
        entry = manifest["tables"][name]
        try:
            check_file(folder, name, entry["bytes"])
            if checksum_of(folder / name) != entry["checksum"]:
                yield Fault(name, "is damaged (its checksum differs)")
                continue
            table = pl.read_parquet(folder / name)
        except StoreError as error:
            yield Fault(name, error.message)
            continue
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            first = (str(error).splitlines() or ["?"])[0]
            yield Fault(name, f"cannot be read ({first})")
            continue
        if name == "tokens.parquet":
            rows = manifest["shards"][-1]["rows"][1]
            if table.height != rows:
                yield Fault(name, f"has {table.height} rows, the shards {rows}")
            for label in manifest["labels"]:
                if label not in table.columns:
                    yield Fault(name, f"lacks the label column {label!r}")
