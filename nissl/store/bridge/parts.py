"""Parts of a store that formats ask for: chosen sites, their neurons, one sentence at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from nissl.errors import SettingError, StoreError, did_you_mean
from nissl.site import Site
from nissl.store.activations import Activations

__all__ = ["chosen", "names_of", "neurons_of", "origin", "sentences_of"]


def chosen(acts: Activations, sites: Sequence[str] | None) -> tuple[Site, ...]:
    """Return the sites of these names in the store's order; all when ``None``.

    Raises
    ------
    SettingError
        No such site, or none at all.
    """
    if sites is None:
        return acts.sites
    known = [site.name for site in acts.sites]
    for name in sites:
        if name not in known:
            raise SettingError(
                f'no site "{name}"; there are {", ".join(known)}.{did_you_mean(name, known)}'
            )
    if not len(sites):
        raise SettingError("no site is chosen; leave sites out for all of them")
    return tuple(site for site in acts.sites if site.name in set(sites))


def names_of(sites: Sequence[Site]) -> list[str]:
    """Return the names of sites."""
    return [site.name for site in sites]


def neurons_of(acts: Activations, sites: Sequence[Site]) -> pl.DataFrame:
    """Return the rows of :attr:`Activations.neurons` that belong to the sites."""
    return acts.neurons.filter(pl.col("site").is_in(names_of(sites)))


def origin(acts: Activations) -> dict[str, str]:
    """Return what tells where values come from: model, corpus, fingerprint, dtype of the store."""
    return {
        "made_by": "nissl",
        "model": str(acts.manifest["model"]),
        "corpus": str(acts.manifest["corpus"]),
        "fingerprint": acts.fingerprint,
        "store_dtype": str(acts.manifest["dtype"]),
    }


def sentences_of(
    acts: Activations, sites: Sequence[Site]
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield each sentence in order: its words, and its values as float32 (words, neurons).

    One shard is held, and the sentence that it breaks off in: a shard need not end with a sentence.

    Raises
    ------
    StoreError
        The token table does not say which words make a sentence.
    """
    missing = {"form", "sentence"} - set(acts.tokens.columns)
    if missing:
        raise StoreError(
            f"its token table has no column {min(missing)}, which tells words and sentences",
            where=str(acts.path),
        )
    forms: list[Any] = acts.tokens["form"].to_list()
    number = acts.tokens["sentence"].to_numpy()
    ends = np.append(np.flatnonzero(np.diff(number)) + 1, len(number))
    if len(np.unique(number)) != len(ends):
        raise StoreError(
            "the words of a sentence do not follow each other in its token table",
            where=str(acts.path),
        )
    held: list[np.ndarray] = []
    first = place = 0
    for rows, values in acts.stream(sites=names_of(sites)):
        start = int(rows[0])
        stop = start + len(rows)
        while place < len(ends) and ends[place] <= stop:
            end = int(ends[place])
            part = values[max(first, start) - start : end - start]
            yield forms[first:end], np.concatenate([*held, part]) if held else part
            held, first = [], end
            place += 1
        if first < stop:
            held.append(values[max(first, start) - start :].copy())
