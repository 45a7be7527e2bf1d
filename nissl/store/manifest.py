"""The manifest: what made a store and which files belong to it. Checked before it is believed."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from nissl.errors import StoreError, did_you_mean
from nissl.site import Site
from nissl.store.files import digest_of, read_json, shard_name, write_json
from nissl.store.tensors import DTYPES, Entry

__all__ = [
    "BESIDE_PLAN",
    "FORMAT",
    "TABLES",
    "check_shard",
    "open_manifest",
    "sites_of",
    "write_manifest",
]

FORMAT = 2
TABLES = ("tokens.parquet", "sentences.parquet")
BESIDE_PLAN = frozenset(
    [
        "format",
        "checksum",
        "corpus",
        "corpus_fingerprint",
        "labels",
        "left_out",
        "shards",
        "tables",
        "windows",
        "fingerprint",
        "device",
        "versions",
    ]
)
"""What a manifest says beside the plan; every other field must be in ``plan.json`` too."""

Text = Annotated[StrictStr, Field(min_length=1)]
Count = Annotated[StrictInt, Field(ge=0, lt=2**62)]
Small = Annotated[StrictInt, Field(ge=0, lt=2**31)]
Natural = Annotated[StrictInt, Field(ge=1, lt=2**31)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class SiteEntry(_Part):
    kind: Text
    layer: Small
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
    # As a reader will have it: a checksum over other types than JSON's would not be found again.
    manifest = json.loads(json.dumps({**fields, "format": FORMAT}))
    manifest["checksum"] = digest_of(manifest, "checksum")
    write_json(folder / "manifest.json", manifest)


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
            raise StoreError(f"no such store.{did_you_mean(folder.name, near)}", where=str(folder))
        if (folder / "plan.json").is_file():
            raise StoreError(
                "the extraction is unfinished; run it again to go on", where=str(folder)
            )
        raise StoreError("is not an activation store (no manifest.json)", where=str(folder))
    manifest = read_json(path)
    if manifest.get("format") != FORMAT:
        raise StoreError(
            f"has store format {_shown(manifest.get('format'))}, this version reads {FORMAT}; "
            "extract again, or read it with the version of Nissl that made it",
            where=str(folder),
        )
    try:
        Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(item) for item in first["loc"])
        raise _damaged(path, f"{_plain(place)}: {first['msg']}") from None
    _check(path, manifest)
    try:
        whole = manifest.get("checksum") == digest_of(manifest, "checksum")
    except RecursionError:
        raise _damaged(path, "nested too deep") from None
    if not whole:
        raise _damaged(path, "it says something else than what was written")
    return manifest


def _shown(value: Any) -> str:
    """Show a value of a foreign file in a message: short, and nothing a terminal would obey."""
    if isinstance(value, str | int | float | None):
        return repr(value)[:40]
    return f"a {type(value).__name__}"


def _plain(text: str) -> str:
    """Show a name of a foreign file in a message, without quotes."""
    return repr(text[:80])[1:-1]


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(f"is damaged ({why}); run nissl store repair on its folder", where=str(path))


def _check(path: Path, manifest: dict[str, Any]) -> None:
    """Check what types cannot say: names, places, order."""
    if manifest["dtype"] not in DTYPES:
        raise _damaged(path, f"dtype: {manifest['dtype'][:40]!r} is none of {', '.join(DTYPES)}")
    names = [site.name for site in sites_of(manifest)]
    if strange := next((name for name in names if not name.isprintable()), None):
        raise _damaged(path, f"sites: {_plain(strange)} cannot be a name")
    if len(set(names)) < len(names):
        raise _damaged(path, "sites: one is named twice")
    if set(manifest["tables"]) != set(TABLES):
        raise _damaged(path, f"tables: they must be {' and '.join(TABLES)}")
    shards = manifest["shards"]
    line = sum(site["width"] for site in manifest["sites"]) * DTYPES[manifest["dtype"]][1]
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
        # What is claimed must fit into the file, before anyone makes room for it.
        if (shard["rows"][1] - shard["rows"][0]) * line > shard["bytes"]:
            raise _damaged(path, f"shards.{index}: its rows do not fit into its bytes")
    if shards[0]["rows"][0] != 0 or any(
        one["rows"][1] != two["rows"][0] for one, two in itertools.pairwise(shards)
    ):
        raise _damaged(path, "shards: their rows do not follow each other from 0")
    if shards[-1]["rows"][1] == 0:
        raise _damaged(path, "shards: they hold no token")


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
                f"does not belong to the manifest ({_plain(name)}: {have.get(name, 'missing')} in "
                f"place of {want.get(name, 'nothing')}); run nissl store repair on its folder",
                where=str(path),
            )
