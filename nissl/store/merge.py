"""Stores put together: sites of one text side by side, or texts one after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nissl.errors import StoreError
from nissl.site import Site
from nissl.store.activations import Activations
from nissl.store.bridge.place import annotate, publishing
from nissl.store.manifest import BESIDE_PLAN
from nissl.store.write import write_store

__all__ = ["merge_stores"]

TEXT = ("form", "sentence", "position")
SAME = {
    "model": "model",
    "model_fingerprint": "model's weights",
    "random_init": "random weights",
    "tokenizer": "tokenizer",
    "pooling": "pooling",
    "on_long": "way with long sentences",
    "dtype": "dtype",
}
"""Fields that one store has one of, and their names: stores that differ in one do not merge."""
OWN = {"model", "sites", "dtype", "shard_tokens", "merged_from"}
"""Fields of a plan that a merged store has its own of."""


def merge_stores(
    stores: Sequence[Activations], out: str | Path, *, name: str | None = None
) -> Activations:
    """Put stores together in a new one; its values are theirs, bit by bit.

    Stores of the same text get their sites side by side and their label columns together. Stores
    of the same sites get their sentences one after the other; a label that one lacks is null
    there. Splits are kept. In both cases model, pooling and dtype must agree.

    One shard of each store is held in memory.

    Parameters
    ----------
    stores
        Two or more, in the order in which sites or sentences are wanted.
    out
        A new or empty folder.
    name
        Name of the merged corpus; by default the first store's, or all of them joined by ``+``
        where sentences follow each other.

    Returns
    -------
    Activations
        Its manifest's ``merged_from`` has fingerprint, corpus and model of each store.

    Raises
    ------
    StoreError
        Fewer than two stores; they have neither text nor sites in common, or differ in what made
        them (each difference is named); a site is in two of them; a column of words or sentences
        that two have differs (the first place is named); a sentence id is in two of them; the
        folder is in use; a shard is damaged.
    """
    if len(stores) < 2:
        raise StoreError(f"merging takes two stores or more, not {len(stores)}")
    first, others = stores[0], stores[1:]
    differences = [d for other in others for d in _differences(first, other)]
    by_columns = all(_same_text(first, other) is None for other in others)
    by_rows = all(set(first.sites) == set(other.sites) for other in others)
    if by_columns:
        _refuse_common_sites(stores)
    elif not by_rows:
        for other in others:
            if why := _same_text(first, other):
                differences.append(f"{_called(other)} has another text ({why})")
            if why := _other_sites(first, other):
                differences.append(f"{_called(other)} has other sites ({why})")
        differences.append("stores merge when they have the same text or the same sites")
    if differences:
        raise StoreError(
            f"cannot be merged with the others: {'; '.join(differences)}", where=str(first.path)
        )
    if by_columns:
        tokens, sentences = _one_text(stores)
        sites = [site for store in stores for site in store.sites]
        blocks, called = _side_by_side(stores), str(first.manifest["corpus"])
    else:
        tokens, sentences = _all_sentences(stores)
        sites = list(first.sites)
        blocks = _one_after_the_other(stores)
        called = "+".join(dict.fromkeys(str(store.manifest["corpus"]) for store in stores))
    with publishing(out, empty_ok=True) as folder:
        write_store(
            folder,
            model=str(first.manifest["model"]),
            corpus=name or called,
            sites=sites,
            tokens=tokens,
            sentences=sentences,
            labels=list(dict.fromkeys(label for store in stores for label in store.labels)),
            blocks=blocks,
            dtype=str(first.manifest["dtype"]),
            about=_shared(stores),
        )
        fields = _history(stores, by_columns)
        annotate(folder, fields, plan={"merged_from": [_origin(store) for store in stores]})
    return Activations.open(out)


def _called(store: Activations) -> str:
    return str(store.path)


# What differs -----------------------------------------------------------------------------------


def _differences(one: Activations, two: Activations) -> list[str]:
    """Say in what the making of two stores differs."""
    found = []
    for key, what in SAME.items():
        a, b = one.manifest.get(key), two.manifest.get(key)
        if key == "model" and _same_weights(one, two):
            continue  # the same weights may be called otherwise
        if key == "random_init":
            a, b = bool(a), bool(b)
        if a != b:
            shown = "differ" if key in ("model_fingerprint", "tokenizer") else f"{a} → {b}"
            found.append(f"{_called(two)}: {what} {shown}")
    return found


def _same_weights(one: Activations, two: Activations) -> bool:
    mine = one.manifest.get("model_fingerprint")
    return mine is not None and mine == two.manifest.get("model_fingerprint")


def _same_text(one: Activations, two: Activations) -> str | None:
    """Return None when two stores are over the same text, else the first thing that differs."""
    if one.n_tokens != two.n_tokens:
        return f"{two.n_tokens:,} words in place of {one.n_tokens:,}"
    for column in TEXT:
        if (column in one.tokens.columns) != (column in two.tokens.columns):
            return f"a column {column} in one only"
        if column in one.tokens.columns:
            row = _first_difference(one.tokens[column], two.tokens[column])
            if row is not None:
                a, b = one.tokens[column][row], two.tokens[column][row]
                return f'{column} of row {row} is "{b}" in place of "{a}"'
    texts = one.manifest.get("text"), two.manifest.get("text")
    if None not in texts and texts[0] != texts[1]:
        return "the same words in other sentences or places"
    return None


def _other_sites(one: Activations, two: Activations) -> str | None:
    for mine, theirs, where in ((one, two, "lacks"), (two, one, "adds")):
        for site in mine.sites:
            same = [other for other in theirs.sites if other.name == site.name]
            if not same:
                return f"it {where} {site.name}"
            if same[0] != site:
                return f"{site.name} has another module or width"
    return None


def _refuse_common_sites(stores: Sequence[Activations]) -> None:
    owner: dict[str, Activations] = {}
    for store in stores:
        for site in store.sites:
            if site.name in owner:
                raise StoreError(
                    f"site {site.name} is in {_called(owner[site.name])} too; over one text a site "
                    "can be merged once",
                    where=_called(store),
                )
            owner[site.name] = store


def _first_difference(one: pl.Series, two: pl.Series) -> int | None:
    """Return the first row in which two columns differ; null equals null."""
    if one.dtype != two.dtype:
        one, two = one.cast(pl.String), two.cast(pl.String)
    differ = one.ne_missing(two).arg_true()
    return int(differ[0]) if len(differ) else None


# Tables -----------------------------------------------------------------------------------------


def _one_text(stores: Sequence[Activations]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the tables of stores over the same text, with the columns of all."""
    tokens, sentences = stores[0].tokens, stores[0].sentences
    labels = set(stores[0].labels)
    for store in stores[1:]:

        def token(row: int, store: Activations = store) -> str:
            place = store.tokens.row(row, named=True)
            return f'word "{place["form"]}" of sentence {place["sentence"]} (row {row})'

        def sentence(row: int, store: Activations = store) -> str:
            table = store.sentences
            return f'sentence "{table["id"][row]}"' if "id" in table.columns else f"sentence {row}"

        labels |= set(store.labels)
        tokens = _join(tokens, store.tokens, token, store, labels=labels)
        # Where a sentence was read from is no part of it.
        sentences = _join(sentences, store.sentences, sentence, store, besides="where")
    return tokens, sentences


def _join(
    table: pl.DataFrame,
    other: pl.DataFrame,
    place: Callable[[int], str],
    store: Activations,
    *,
    labels: Collection[str] = (),
    besides: str = "",
) -> pl.DataFrame:
    """Add the columns of another table of the same rows; those of both must be equal."""
    if table.height != other.height:
        raise StoreError(
            f"its sentence table has {other.height:,} rows in place of {table.height:,}",
            where=_called(store),
        )
    for column in other.columns:
        theirs = other[column]
        # A column without any value, such as splits that were never made, says nothing; but a
        # label does: that no word has it.
        counts = column in labels
        if column not in table.columns or not (counts or table[column].count()):
            table = table.with_columns(theirs)
        elif column != besides and (counts or theirs.count()):
            row = _first_difference(table[column], theirs)
            if row is not None:
                raise StoreError(
                    f'column "{column}" differs at {place(row)}: {_quoted(theirs[row])} in place '
                    f"of {_quoted(table[column][row])}; rename or drop it in one store",
                    where=_called(store),
                )
    return table


def _quoted(value: Any) -> str:
    return "no value" if value is None else f'"{value}"'


def _all_sentences(stores: Sequence[Activations]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the tables of all stores one after the other, sentences numbered anew."""
    tokens: list[pl.DataFrame] = []
    sentences: list[pl.DataFrame] = []
    owner: dict[str, Activations] = {}
    shift = 0
    for store in stores:
        for table, what, columns in (
            (store.tokens, "token", ("sentence",)),
            (store.sentences, "sentence", ("sentence", "id")),
        ):
            for column in columns:
                if column not in table.columns:
                    raise StoreError(
                        f'its {what} table has no column "{column}", by which sentences are told '
                        "apart",
                        where=_called(store),
                    )
        _number_from_zero(store)
        for ident in store.sentences["id"].to_list():
            if ident in owner:
                raise StoreError(
                    f'sentence id "{ident}" is in {_called(owner[ident])} too; ids must be unique '
                    "in a store",
                    where=_called(store),
                )
            owner[ident] = store
        move = (pl.col("sentence") + shift).cast(store.tokens["sentence"].dtype)
        tokens.append(store.tokens.with_columns(move))
        sentences.append(store.sentences.with_columns(move))
        shift += store.sentences.height
    return _concat(tokens, stores), _concat(sentences, stores)


def _number_from_zero(store: Activations) -> None:
    """Check that sentence numbers are places in the sentence table, which renumbering rests on."""
    numbers = store.sentences["sentence"].to_list()
    used = store.tokens["sentence"]
    if numbers != list(range(len(numbers))) or not used.is_between(0, len(numbers) - 1).all():
        raise StoreError(
            "its sentences are not numbered from 0 in the order of its sentence table",
            where=_called(store),
        )


def _concat(tables: Sequence[pl.DataFrame], stores: Sequence[Activations]) -> pl.DataFrame:
    """Join tables; a column that one lacks is null there, and none changes its type."""
    types: dict[str, Any] = {}
    for table, store in zip(tables, stores, strict=True):
        for column, kind in table.schema.items():
            before = types.setdefault(column, kind)
            if pl.Null in (before, kind):
                types[column] = kind if before == pl.Null else before
            elif before != kind:
                raise StoreError(
                    f'column "{column}" is {kind} in place of {before}', where=_called(store)
                )
    return pl.concat(tables, how="diagonal_relaxed")


# Values -----------------------------------------------------------------------------------------


def _cut(values: np.ndarray, sites: Sequence[Site]) -> dict[str, np.ndarray]:
    """Cut (tokens, neurons) into sites."""
    ends = np.cumsum([site.width for site in sites])
    parts = np.split(values, ends[:-1], axis=1)
    return {site.name: part for site, part in zip(sites, parts, strict=True)}


def _side_by_side(stores: Sequence[Activations]) -> Iterator[dict[str, np.ndarray]]:
    """Yield blocks with the sites of all stores, cut as the store with the most shards is."""
    finest = max(stores, key=lambda store: len(store.manifest["shards"]))
    for shard in finest.manifest["shards"]:
        rows = np.arange(*shard["rows"])
        block: dict[str, np.ndarray] = {}
        for store in stores:
            block |= _cut(store.matrix(rows=rows), store.sites)
        yield block


def _one_after_the_other(stores: Sequence[Activations]) -> Iterator[dict[str, np.ndarray]]:
    for store in stores:
        for _, values in store.stream():
            yield _cut(values, store.sites)


# Manifest ---------------------------------------------------------------------------------------


def _shared(stores: Sequence[Activations]) -> dict[str, Any]:
    """Return the fields of the plans that are the same in all."""
    return _equal(stores, [key for key in stores[0].manifest if key not in BESIDE_PLAN | OWN])


def _equal(stores: Sequence[Activations], keys: Iterable[str]) -> dict[str, Any]:
    """Return those fields of the manifests that are the same in all."""
    first = stores[0].manifest
    return {
        key: first[key]
        for key in keys
        if all(key in s.manifest and s.manifest[key] == first[key] for s in stores)
    }


def _origin(store: Activations) -> dict[str, str]:
    return {
        "fingerprint": store.fingerprint,
        "corpus": str(store.manifest["corpus"]),
        "model": str(store.manifest["model"]),
    }


def _history(stores: Sequence[Activations], by_columns: bool) -> dict[str, Any]:
    """Return what a merged manifest says beside its plan."""
    left_out: dict[str, int] = {}
    for store in stores:
        for key, count in _mapping(store.manifest.get("left_out")).items():
            before = left_out.get(key, 0)
            # Over one text the same filter left out the same words: they are counted once.
            left_out[key] = max(before, count) if by_columns else before + count
    windows = [_mapping(store.manifest.get("windows")) for store in stores]
    fields: dict[str, Any] = {"left_out": left_out, **_equal(stores, ("device", "versions"))}
    if all(windows):
        counts = [int(window.get("count", 0)) for window in windows]
        least = [w["least_context"] for w in windows if w.get("least_context") is not None]
        fields["windows"] = {
            "count": max(counts) if by_columns else sum(counts),
            "least_context": min(least, default=None),
        }
    return fields


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
