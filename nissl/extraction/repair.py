"""Make a damaged store whole again: what is lost is computed anew from the store's own text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nissl.corpus import Corpus
from nissl.errors import StoreError
from nissl.extraction.finish import about_corpus, about_shards
from nissl.extraction.settings import ShardPlan, batch_size, check_text
from nissl.extraction.task import ShardMaker, check_same
from nissl.model import LoadedModel, load_model
from nissl.store.files import (
    checksum_of,
    clear_partial,
    digest_of,
    finished,
    lock,
    read_json,
    write_json,
    write_table,
)
from nissl.store.manifest import TABLES, open_manifest, write_manifest
from nissl.store.verify import Fault, verify_store

__all__ = ["Repair", "repair"]


@dataclass(frozen=True)
class Repair:
    """What a repair found and did.

    Attributes
    ----------
    faults
        What was wrong before.
    made
        Files that were made anew.
    changed
        Shards that were made anew but not with the bytes they had: another version or machine
        rounds otherwise. The store's fingerprint is another one then.
    left
        Faults that remain: files in the folder that are not the store's own.
    """

    faults: tuple[Fault, ...]
    made: tuple[str, ...]
    changed: tuple[str, ...]
    left: tuple[Fault, ...] = ()


def repair(
    path: str | Path,
    *,
    model: LoadedModel | str | None = None,
    corpus: Corpus | None = None,
    batch_tokens: int | None = None,
    progress: bool = True,
) -> Repair:
    """Find a store's faults and mend them.

    Damaged shards are computed anew from the text in the store's tables; only then is the model
    loaded. Damaged tables are taken from ``corpus``, which must have the same text.

    Parameters
    ----------
    path
        Folder of the store.
    model
        The model, where it is no longer found by the name in the manifest.
    corpus
        The corpus it was made from; needed when a table is damaged.

    Raises
    ------
    StoreError
        The manifest is damaged or missing (extract again into the same folder: whole shards are
        kept), a table is damaged and no corpus given, the corpus has another text, or the store
        was not made by extraction.
    ModelError
        The model cannot be loaded, or is another one.
    """
    folder = Path(path)
    with lock(folder) if folder.is_dir() else _nothing(folder):
        return _repair(folder, model, corpus, batch_tokens, progress)


def _nothing(folder: Path) -> Any:
    open_manifest(folder)  # says what is wrong with the name
    raise AssertionError("a store is a folder")


def _repair(
    folder: Path,
    model: LoadedModel | str | None,
    corpus: Corpus | None,
    batch_tokens: int | None,
    progress: bool,
) -> Repair:
    faults = tuple(verify_store(folder))
    if not faults:
        return Repair((), (), ())
    if any(fault.file == "manifest.json" for fault in faults):
        raise StoreError(
            "is damaged; run the extraction again with the same corpus and options: remove the "
            "manifest first, whole shards are kept",
            where=str(folder / "manifest.json"),
        )
    manifest = open_manifest(folder)
    clear_partial(folder)
    made: list[str] = []
    names = {fault.file for fault in faults}
    if lost := sorted(names & set(TABLES)):
        manifest = _mend_tables(folder, manifest, corpus, lost)
        made += lost
    if "plan.json" in names:
        write_json(folder / "plan.json", _plan_of(folder, manifest))
        made.append("plan.json")
    changed: list[str] = []
    if lost := [i for i, shard in enumerate(manifest["shards"]) if _lost(shard["file"], names)]:
        whole = [i for i in lost if manifest["shards"][i]["file"] not in names]
        marked = [i for i in whole if _mend_mark(folder, manifest, i)]
        made += [_mark_of(manifest["shards"][i]["file"]) for i in marked]
        if lost := [i for i in lost if i not in marked]:
            changed = _mend_shards(folder, manifest, lost, model, batch_tokens, progress)
            made += [manifest["shards"][i]["file"] for i in lost]
    own = {"plan.json", *TABLES}
    own |= {name for s in manifest["shards"] for name in (s["file"], _mark_of(s["file"]))}
    left = [f for f in faults if f.file not in own and not f.file.endswith(".part")]
    return Repair(faults, tuple(made), tuple(changed), tuple(left))


def _lost(file: str, names: set[str]) -> bool:
    return file in names or _mark_of(file) in names


def _mark_of(file: str) -> str:
    return Path(file).with_suffix(".json").name


def _extracted(manifest: Mapping[str, Any]) -> bool:
    """Whether extraction made a store: what is imported or merged was cut otherwise."""
    return isinstance(manifest.get("shard_tokens"), int) and "model_fingerprint" in manifest


def _mend_mark(folder: Path, manifest: Mapping[str, Any], index: int) -> bool:
    """Write the mark of a shard that is whole, from the manifest; whether that could be done."""
    entry = manifest["shards"][index]
    path = folder / entry["file"]
    notes: dict[str, Any] = {}
    if _extracted(manifest):
        if manifest.get("windows", {}).get("count") != 0:
            return False  # only the text and the tokenizer tell how many are this shard's
        notes = {"windows": 0}
    try:
        if checksum_of(path) != entry["checksum"]:
            return False
    except OSError:
        return False
    rows = entry["rows"][1] - entry["rows"][0]
    mark = {"checksum": entry["checksum"], "bytes": entry["bytes"], "rows": rows, **notes}
    mark["mark"] = digest_of(mark, "mark")
    write_json(folder / _mark_of(entry["file"]), mark)
    return True


def _plan_of(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan that a manifest rests on: what it says beside the corpus and the files."""
    other = {"format", "checksum", "corpus", "corpus_fingerprint", "labels", "left_out"}
    other |= {"shards", "tables", "windows", "fingerprint", "device", "versions"}
    try:
        keys = set(read_json(folder / "plan.json")) & set(manifest)
    except StoreError:
        keys = set()
    keys |= set(manifest) - other
    return {key: manifest[key] for key in manifest if key in keys}


def _mend_tables(
    folder: Path, manifest: dict[str, Any], corpus: Corpus | None, lost: list[str]
) -> dict[str, Any]:
    if corpus is None:
        raise StoreError(
            "is damaged, and only the corpus can make it anew: give it (--corpus)",
            where=str(folder / lost[0]),
        )
    check_text(folder, manifest, corpus, "give the corpus it was made from")
    tables = {
        "tokens.parquet": write_table(folder / "tokens.parquet", corpus.tokens),
        "sentences.parquet": write_table(folder / "sentences.parquet", corpus.sentences),
    }
    manifest = {**manifest, **about_corpus(corpus), "tables": tables}
    write_manifest(folder, manifest)
    return open_manifest(folder)


def _mend_shards(
    folder: Path,
    manifest: dict[str, Any],
    lost: list[int],
    model: LoadedModel | str | None,
    batch_tokens: int | None,
    progress: bool,
) -> list[str]:
    from nissl.progress import bar

    if not _extracted(manifest):
        raise StoreError(
            "was not made by extraction but imported or merged; make it again from what it was "
            "made of",
            where=str(folder),
        )
    corpus = _corpus_of(folder, manifest)
    plans = _plans(corpus, manifest)
    marks = {p.index: finished(folder, p.index, p.n_rows) for p in plans}
    before = [shard["checksum"] for shard in manifest["shards"]]
    todo = [plans[index] for index in lost]
    loaded = model if isinstance(model, LoadedModel) else _load(manifest, model)
    check_same(loaded, manifest)
    total = sum(plan.n_rows for plan in todo)
    with (
        bar(total, "repair" if progress else None, unit="tokens") as advance,
        ShardMaker(folder, loaded, manifest, batch_size(loaded, batch_tokens)) as maker,
    ):
        for plan in todo:
            sentences = corpus.read(*plan.sentences)
            marks[plan.index] = maker.make(plan.index, sentences, advance).result()
    whole = [marks[plan.index] for plan in plans]
    shards = about_shards(manifest, plans, [mark for mark in whole if mark is not None])
    write_manifest(folder, {**manifest, **shards})
    return [
        s["file"] for s, old in zip(shards["shards"], before, strict=True) if s["checksum"] != old
    ]


def _corpus_of(folder: Path, manifest: Mapping[str, Any]) -> Corpus:
    """Return the corpus that a store's tables hold."""
    return Corpus(
        name=manifest["corpus"],
        tokens=pl.read_parquet(folder / "tokens.parquet"),
        sentences=pl.read_parquet(folder / "sentences.parquet"),
        labels=tuple(manifest["labels"]),
        left_out=dict(manifest.get("left_out", {})),
    )


def _plans(corpus: Corpus, manifest: Mapping[str, Any]) -> list[ShardPlan]:
    """Return the shards as they are cut, whatever cut them."""
    plans = []
    for index, shard in enumerate(manifest["shards"]):
        first, last = (int(i) for i in np.searchsorted(corpus.bounds, shard["rows"]))
        plans.append(ShardPlan(index, (first, last), (shard["rows"][0], shard["rows"][1])))
    return plans


def _load(manifest: Mapping[str, Any], model: str | None) -> LoadedModel:
    return load_model(
        model or manifest["model"],
        revision=manifest.get("revision") if model is None else None,
        dtype=manifest.get("model_dtype", "auto"),
        random_init=bool(manifest.get("random_init")),
        seed=int(manifest.get("seed") or 0),
    )
