"""The manifest: what made a store and which files belong to it. Checked before it is believed."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import xxhash
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from nissl.errors import StoreError, did_you_mean
from nissl.site import Site
from nissl.store.files import METHOD, read_json, shard_name, write_json
from nissl.store.tensors import DTYPES, Entry

__all__ = ["FORMAT", "TABLES", "check_shard", "open_manifest", "sites_of", "write_manifest"]

FORMAT = 2
TABLES = ("tokens.parquet", "sentences.parquet")

Text = Annotated[StrictStr, Field(min_length=1)]
Count = Annotated[StrictInt, Field(ge=0, lt=2**62)]
Natural = Annotated[StrictInt, Field(ge=1, lt=2**62)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class SiteEntry(_Part):
    kind: Text
    layer: Count
    module: StrictStr
    point: Text
    width: Natural
    stack: StrictStr = ""
    part: StrictStr = ""
    call: Count = 0


class FileEntry(_Part):
    checksum: Text
    bytes: Count


class ShardEntry(FileEntry):
    file: Text
    rows: list[Count] = Field(min_length=2, max_length=2)


class Manifest(_Part):
    """The fields that reading a store depends on; others are kept as they are."""

    model: Text
    corpus: Text
    sites: list[SiteEntry] = Field(min_length=1)
    dtype: Text
    labels: list[StrictStr]
    shards: list[ShardEntry] = Field(min_length=1)
    tables: dict[str, FileEntry]
    fingerprint: Text
    random_init: StrictBool = False


def write_manifest(folder: Path, fields: Mapping[str, Any]) -> None:
    """Write a store's manifest, with its format and a checksum of its own content."""
    manifest = {"format": FORMAT, **{k: v for k, v in fields.items() if k != "checksum"}}
    write_json(folder / "manifest.json", {**manifest, "checksum": _digest(manifest)})


def _digest(manifest: Mapping[str, Any]) -> str:
    """Checksum of what a manifest says, however it is laid out."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True)
    return f"{METHOD}:{xxhash.xxh3_128_hexdigest(text.encode())}"


def open_manifest(folder: Path) -> dict[str, Any]:
    """Read and check a store's manifest.

    Raises
    ------
    StoreError
        Not a store, unfinished, of another format, damaged, or naming files that are not its own.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        if not folder.is_dir():
            near = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
            raise StoreError(
                f"no such store.{did_you_mean(folder.name, near)}", where=str(folder)
            )
        if (folder / "plan.json").is_file():
            raise StoreError(
                "the extraction is unfinished; run it again to go on", where=str(folder)
            )
        raise StoreError("is not an activation store (no manifest.json)", where=str(folder))
    manifest = read_json(path)
    if manifest.get("format") != FORMAT:
        raise StoreError(
            f"has store format {str(manifest.get('format'))[:40]}, this version reads {FORMAT}; "
            "extract again, or read it with the version of Nissl that made it",
            where=str(folder),
        )
    try:
        Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(item) for item in first["loc"])
        raise _damaged(path, f"{place[:80]}: {first['msg']}") from None
    _check(path, manifest)
    if manifest.get("checksum") != _digest(manifest):
        raise _damaged(path, "it says something else than what was written")
    return manifest


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"is damaged ({why}); run nissl store repair on its folder", where=str(path)
    )


def _check(path: Path, manifest: dict[str, Any]) -> None:
    """Check what types cannot say: names, places, order."""
    if manifest["dtype"] not in DTYPES:
        raise _damaged(path, f"dtype: {manifest['dtype'][:40]!r} is none of {', '.join(DTYPES)}")
    names = [site.name for site in sites_of(manifest)]
    if len(set(names)) < len(names):
        raise _damaged(path, "sites: one is named twice")
    if set(manifest["tables"]) != set(TABLES):
        raise _damaged(path, f"tables: they must be {' and '.join(TABLES)}")
    shards = manifest["shards"]
    for index, shard in enumerate(shards):
        # A name is checked against the only one it can be, so that no name leads elsewhere.
        if shard["file"] != shard_name(index):
            raise _damaged(
                path,
                f"shards.{index}.file: {shard['file'][:80]!r} is not {shard_name(index)}, the "
                "only name that this shard can have",
            )
        if shard["rows"][0] > shard["rows"][1]:
            raise _damaged(path, f"shards.{index}.rows: they run backwards")
    if shards[0]["rows"][0] != 0 or any(
        one["rows"][1] != two["rows"][0] for one, two in itertools.pairwise(shards)
    ):
        raise _damaged(path, "shards: their rows do not follow each other from 0")


def sites_of(manifest: dict[str, Any]) -> tuple[Site, ...]:
    """Return the sites that a manifest or a plan names."""
    keys = SiteEntry.model_fields
    return tuple(Site(**{k: v for k, v in s.items() if k in keys}) for s in manifest["sites"])


def check_file(folder: Path, name: str, size: int) -> None:
    """Check that a file is there, is a file of this folder, and has its size.

    Raises
    ------
    StoreError
        It is missing, a link that leads out of the folder, no file, or of another size.
    """
    path = folder / name
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            if path.resolve().parent != folder.resolve():
                raise StoreError(
                    "is a link that leads out of the store; copy the file here", where=str(path)
                )
            found = path.stat()
    except (OSError, RuntimeError):
        raise StoreError(
            "is missing; run nissl store repair on its folder", where=str(path)
        ) from None
    if not stat.S_ISREG(found.st_mode):
        raise StoreError("is not a file; run nissl store repair on its folder", where=str(path))
    if found.st_size != size:
        raise StoreError(
            f"has {found.st_size:,} bytes in place of {size:,}; run nissl store repair on its "
            "folder",
            where=str(path),
        )


def check_shard(
    path: Path, entries: dict[str, Entry], sites: tuple[Site, ...], dtype: str, rows: int
) -> None:
    """Check that a shard's head says what the manifest says.

    Raises
    ------
    StoreError
        It has other sites, widths, rows or another dtype.
    """
    want = {site.name: (dtype, site.width, rows) for site in sites}
    have = {name: (e.dtype, e.width, e.rows) for name, e in entries.items()}
    if want == have:
        return
    for name in [*want, *have]:
        if want.get(name) != have.get(name):
            raise StoreError(
                f"does not belong to the manifest ({name[:80]}: {have.get(name, 'missing')} in "
                f"place of {want.get(name, 'nothing')}); run nissl store repair on its folder",
                where=str(path),
            )
