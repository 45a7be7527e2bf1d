"""Write a store from arrays: for imports, merges and tests; extraction has its own way."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nissl.errors import LabelError, SettingError, StoreError, did_you_mean
from nissl.site import Site
from nissl.store.activations import Activations
from nissl.store.files import clear_partial, lock, shard_name, write_json, write_shard, write_table
from nissl.store.manifest import write_manifest
from nissl.store.tensors import DTYPES

__all__ = ["write_store"]


def write_store(
    folder: str | Path,
    *,
    model: str,
    corpus: str,
    sites: Sequence[Site],
    tokens: pl.DataFrame,
    sentences: pl.DataFrame,
    labels: Sequence[str],
    blocks: Iterable[Mapping[str, np.ndarray]],
    dtype: str = "float32",
    about: Mapping[str, Any] | None = None,
) -> Activations:
    """Write activations that are already computed as a store, a block at a time.

    Parameters
    ----------
    folder
        A new or empty folder.
    sites
        What the columns are.
    tokens, sentences
        Tables as a corpus has them: at least ``form`` and ``sentence`` of each token.
    labels
        Label columns of ``tokens``.
    blocks
        Runs of tokens in order; each is site name → float array (tokens of the run, width). A
        block becomes a shard and is the only one held.
    dtype
        ``float32``, ``float16`` or ``bfloat16``; a value that it cannot hold is refused.
    about
        Further fields of the manifest, as JSON has them: where it comes from, pooling, revision…

    Raises
    ------
    SettingError
        An unknown dtype, a site given twice or none, or an ``about`` that is not JSON or names a
        field of the store's own.
    LabelError
        A label that is no column of ``tokens``.
    StoreError
        The folder is in use or cannot be written to, a block has another width, a value is not
        finite or does not fit the dtype (the neuron and the row are named), rows and tokens differ
        in number, or there are none.
    """
    fields = _fields(model, sites, dtype, about)
    for label in labels:
        if label not in tokens.columns:
            raise LabelError(
                f'label "{label}" is no column of the tokens.{did_you_mean(label, tokens.columns)}'
            )
    target = Path(folder)
    if tokens.height == 0:
        raise StoreError("there is no token to write", where=str(target))
    try:
        target.mkdir(parents=True, exist_ok=True)
        foreign = [p.name for p in sorted(target.iterdir()) if p.name != ".lock"]
    except OSError as error:
        raise StoreError(f"cannot be used ({error.strerror})", where=str(target)) from None
    if foreign:
        raise StoreError(f"is not empty (it holds {foreign[0]}); name another", where=str(target))
    with lock(target):
        shards: list[dict[str, Any]] = []
        row = 0
        for index, block in enumerate(blocks):
            lines: dict[str, np.ndarray] = {}
            rows = {(np.shape(value) or (0,))[0] for value in block.values()}
            if set(block) != {site.name for site in sites} or len(rows) != 1:
                raise StoreError(
                    f"block {index} does not have every site once with as many rows",
                    where=str(target),
                )
            for site in sites:
                values = np.asarray(block[site.name])
                if values.ndim != 2 or values.shape[1] != site.width:
                    raise StoreError(
                        f"site {site.name} of block {index} has shape {values.shape}, not "
                        f"(tokens, {site.width})",
                        where=str(target),
                    )
                lines[site.name] = _bits(values, dtype, site.name, row, str(target))
            n = rows.pop()
            widths = {site.name: site.width for site in sites}
            mark = write_shard(target, index, widths, n, dtype, lines.values())
            shards.append(
                {
                    "file": shard_name(index),
                    "rows": [row, row + n],
                    "bytes": mark["bytes"],
                    "checksum": mark["checksum"],
                }
            )
            row += n
        if row != tokens.height:
            raise StoreError(f"{row} rows for {tokens.height} tokens", where=str(target))
        write_json(target / "plan.json", fields)
        checksums = [shard["checksum"] for shard in shards]
        whole = json.dumps([fields, checksums], sort_keys=True)
        manifest = {
            **fields,
            "corpus": corpus,
            "labels": list(labels),
            "shards": shards,
            "tables": {
                "tokens.parquet": write_table(target / "tokens.parquet", tokens),
                "sentences.parquet": write_table(target / "sentences.parquet", sentences),
            },
            "fingerprint": hashlib.sha256(whole.encode()).hexdigest(),
        }
        write_manifest(target, manifest)
        clear_partial(target)
    return Activations.open(target)


def _fields(
    model: str, sites: Sequence[Site], dtype: str, about: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the plan of a store, as JSON gives it back."""
    if dtype not in DTYPES:
        raise SettingError(
            f'dtype is one of {", ".join(DTYPES)}, not "{dtype}".{did_you_mean(str(dtype), DTYPES)}'
        )
    count = Counter(site.name for site in sites)
    if not count or max(count.values()) > 1:
        name = next((name for name, n in count.items() if n > 1), None)
        raise SettingError(f"site {name} is given twice" if name else "there is no site")
    if strange := next((name for name in count if not name.isprintable()), None):
        raise SettingError(f"a site cannot be named {strange!r}")
    own: dict[str, Any] = {
        "model": model,
        "sites": [asdict(site) for site in sites],
        "dtype": dtype,
        # Not a number: no extraction cuts its shards like this one, and none may go on here.
        "shard_tokens": "as written",
    }
    try:
        more = json.loads(json.dumps(dict(about or {})))
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingError(f"about must be what JSON can hold ({error})") from None
    written = {*own, "format", "checksum", "corpus", "labels", "shards", "tables", "fingerprint"}
    if taken := sorted(written & set(more)):
        raise SettingError(f'about may not have "{taken[0]}", which the store writes itself')
    return {**own, **more}


def _bits(values: np.ndarray, dtype: str, site: str, row: int, where: str) -> np.ndarray:
    """Return the values turned to (neurons, tokens), as bits of the dtype."""
    with np.errstate(over="ignore"):
        wide = np.ascontiguousarray(values.T, dtype=np.float32)
    if dtype == "float32":
        narrow = back = wide
    elif dtype == "float16":
        with np.errstate(over="ignore"):
            narrow = wide.astype(np.float16)
        back = narrow
    else:
        narrow, back = _to_bfloat16(wide)
    if not np.isfinite(back).all():
        neuron, token = (int(i) for i in np.argwhere(~np.isfinite(back))[0])
        raise StoreError(
            f"neuron {site}:{neuron} is {wide[neuron, token]} at row {row + token}, which {dtype} "
            "cannot hold",
            where=where,
        )
    return narrow.view(f"u{narrow.itemsize}")


def _to_bfloat16(wide: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round float32 to bfloat16 (to nearest, ties to even); return bits and values."""
    bits = wide.view(np.uint32)
    rounded = bits + (0x7FFF + ((bits >> 16) & 1))
    upper = (rounded >> 16).astype(np.uint16)
    # Rounding carries a NaN's bits away; what was not finite stays so.
    upper[~np.isfinite(wide)] = 0x7FC0
    return upper, (upper.astype(np.uint32) << 16).view(np.float32)
