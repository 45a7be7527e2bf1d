"""A store as the annotated matrix of AnnData, and as an ``.h5ad`` file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from nissl.errors import StoreError
from nissl.store.activations import Activations
from nissl.store.bridge.need import need
from nissl.store.bridge.parts import chosen, names_of, neurons_of, origin
from nissl.store.bridge.place import publishing

if TYPE_CHECKING:
    import anndata as ad

__all__ = ["to_anndata", "write_anndata"]


def to_anndata(acts: Activations, sites: Sequence[str] | None = None) -> ad.AnnData:
    """Read a store, or some of its sites, as one annotated matrix in memory.

    Parameters
    ----------
    sites
        Names of sites; all by default.

    Returns
    -------
    anndata.AnnData
        ``X`` is float32 (tokens, neurons); ``obs`` the token table, named by row number, with
        labels and splits as categories and ``sentence_id``; ``var`` the neuron table, named by
        neuron id; ``uns["nissl"]`` has model, corpus, fingerprint, label names, and the store's
        whole manifest as JSON.

    Raises
    ------
    SettingError
        No such site.
    StoreError
        anndata is not installed, or a shard is damaged.
    """
    anndata = need("anndata")
    picked = chosen(acts, sites)
    tokens = _with_ids(acts)
    obs = _frame(tokens, [str(i) for i in range(tokens.height)], [*acts.labels, "split"])
    neurons = neurons_of(acts, picked)
    var = _frame(neurons.drop("neuron"), neurons["neuron"].to_list(), ["site", "kind"])
    manifest = json.dumps(dict(acts.manifest), sort_keys=True)
    about = {**origin(acts), "labels": list(acts.labels), "manifest": manifest}
    return anndata.AnnData(
        X=acts.matrix(sites=names_of(picked)), obs=obs, var=var, uns={"nissl": about}
    )


def write_anndata(acts: Activations, out: str | Path, sites: Sequence[str] | None = None) -> Path:
    """Write :func:`to_anndata` as an ``.h5ad`` file; ``anndata.read_h5ad`` reads it.

    Raises
    ------
    SettingError
        No such site.
    StoreError
        As :func:`to_anndata`; or the file is there already, cannot be written, or a column has a
        name that the format does not allow.
    """
    need("anndata")
    for name in acts.tokens.columns:
        if "/" in name or name == "_index":
            raise StoreError(
                f'column "{name}" has a name that .h5ad does not allow; rename it', where=str(out)
            )
    with publishing(out) as path:
        annotated = to_anndata(acts, sites)
        try:
            annotated.write_h5ad(path)
        except OSError:
            raise
        except Exception as error:  # the library's errors have no family
            why = str(error).splitlines()[0][:200]
            raise StoreError(f"cannot be written as .h5ad ({why})", where=str(out)) from None
    return Path(out)


def _with_ids(acts: Activations) -> pl.DataFrame:
    """Return the token table with the id of each token's sentence, where the store knows it."""
    tokens, sentences = acts.tokens, acts.sentences
    keys = {"sentence", "id"} <= set(sentences.columns) and "sentence" in tokens.columns
    if not keys or "sentence_id" in tokens.columns:
        return tokens
    ids = sentences.select("sentence", pl.col("id").alias("sentence_id"))
    return tokens.join(ids, on="sentence", how="left", maintain_order="left")


def _frame(table: pl.DataFrame, index: list[str], categories: Sequence[str]) -> Any:
    """Return a pandas table that ``.h5ad`` can hold: texts with nulls are categories there.

    Texts are Python objects: not every release of anndata knows the strings of pandas 3.
    """
    pandas = need("pandas")
    names = pandas.Index(index, dtype=object)
    columns: dict[str, Any] = {}
    for name in table.columns:
        column = table[name]
        if column.dtype == pl.String and (name in categories or column.null_count()):
            known = pandas.Index(column.drop_nulls().unique().sort().to_list(), dtype=object)
            values: Any = pandas.Categorical(column.to_list(), categories=known)
        elif column.dtype.is_integer() and column.null_count():
            values = pandas.array(column.to_list(), dtype="Int64")
        elif column.dtype == pl.String:
            values = np.array(column.to_list(), dtype=object)
        else:
            values = column.to_numpy()
        columns[name] = pandas.Series(values, index=names, dtype=values.dtype)
    return pandas.DataFrame(columns, index=names)
