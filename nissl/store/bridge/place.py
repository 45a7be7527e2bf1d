"""Results that are whole or absent: made beside their place, moved there when they are finished."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nissl.errors import StoreError
from nissl.store.files import read_json, sync_folder, write_json
from nissl.store.manifest import open_manifest, write_manifest

__all__ = ["annotate", "publishing"]


@contextlib.contextmanager
def publishing(out: str | Path, *, empty_ok: bool = False) -> Iterator[Path]:
    """Yield a path to make a file or a folder at; it becomes ``out`` when the block ends well.

    Otherwise what was made is removed.

    Parameters
    ----------
    out
        The place. Nothing may be there.
    empty_ok
        Whether an empty folder may be there.

    Raises
    ------
    StoreError
        Something is there, or it cannot be written. An ``OSError`` of the block counts as the
        latter: a block that reads other files must name them itself.
    """
    target = Path(out)
    _refuse(target, empty_ok)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _sync(partial)
        # A long export leaves time for somebody else to take the place.
        _refuse(target, empty_ok)
        os.replace(partial, target)
        sync_folder(target.parent)
    except OSError as error:
        _remove(partial)
        # HDF5 puts its whole report into the text and leaves the system's words empty.
        why = str(error.strerror or error).splitlines()[0][:200]
        raise StoreError(f"cannot be written ({why})", where=str(target)) from None
    except BaseException as error:
        _remove(partial)
        if isinstance(error, StoreError) and error.where == str(partial):
            raise StoreError(error.message, where=str(target)) from None
        raise


def annotate(folder: Path, fields: Mapping[str, Any], *, plan: Mapping[str, Any]) -> None:
    """Add fields to a store that was just written; its fingerprint stays, they decide no value.

    Parameters
    ----------
    fields
        What a manifest may say beside the plan: :data:`~nissl.store.manifest.BESIDE_PLAN`.
    plan
        Anything else; it is added to the plan too, which must have it.
    """
    path = folder / "plan.json"
    write_json(path, {**read_json(path), **plan})
    write_manifest(folder, {**open_manifest(folder), **plan, **fields})


def _refuse(target: Path, empty_ok: bool) -> None:
    """Refuse a place that is taken; a link that leads nowhere takes it too."""
    if not os.path.lexists(target):
        return
    if empty_ok and target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        return
    raise StoreError("is there already; remove it or name another", where=str(target))


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Make a file, or the files of a folder, durable before a name points at them."""
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if item.is_dir():
            sync_folder(item)
        else:
            with item.open("rb") as file:
                os.fsync(file.fileno())
