"""Activations on disk: tokens × neurons, labelled on both sides, read lazily."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nissl.errors import LabelError, SettingError, StoreError, did_you_mean
from nissl.site import Site, format_neuron
from nissl.store.shards import read_json, shard_name

__all__ = ["FORMAT", "Activations"]

FORMAT = 1
NEEDED = ("model", "corpus", "sites", "dtype", "labels", "bounds", "shards", "fingerprint")


@dataclass(frozen=True, eq=False)
class Activations:
    """A store of activations, opened read-only.

    Attributes
    ----------
    path
        Its folder. Opening reads the manifest and the two tables; activations are read when asked
        for, and only the shards and sites that are needed.
    manifest
        What made it: model, revision, corpus, sites, pooling, dtype, versions, what was left out.
    tokens
        One row a token: the corpus's token table; row i is row i of every matrix.
    sentences
        The corpus's sentence table.
    labels
        Names of the label columns.
    """

    path: Path
    manifest: Mapping[str, Any]
    tokens: pl.DataFrame
    sentences: pl.DataFrame
    labels: tuple[str, ...]
    keep: Any = None  # a temporary folder that must live as long as this object

    @classmethod
    def open(cls, path: str | Path) -> Activations:
        """Open a store.

        Raises
        ------
        StoreError
            Not a store, unfinished, of another format, damaged, or with a missing shard.
        """
        folder = Path(path)
        manifest_path = folder / "manifest.json"
        if not manifest_path.is_file():
            if not folder.is_dir():
                near = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
                raise StoreError(
                    f"no such store.{did_you_mean(folder.name, near)}", where=str(path)
                )
            if (folder / "plan.json").is_file():
                raise StoreError(
                    "the extraction is unfinished; run it again to go on", where=str(path)
                )
            raise StoreError("is not an activation store (no manifest.json)", where=str(path))
        manifest = read_json(manifest_path)
        if manifest.get("format") != FORMAT:
            raise StoreError(
                f"has store format {manifest.get('format')!r}, this version reads {FORMAT}; "
                "extract again",
                where=str(path),
            )
        lacking = [key for key in NEEDED if key not in manifest]
        if lacking:
            raise StoreError(
                f"is damaged (no {lacking[0]}); extract again", where=str(manifest_path)
            )
        for index in range(len(manifest["shards"])):
            if not (folder / shard_name(index)).is_file():
                raise StoreError(f"{shard_name(index)} is missing; extract again", where=str(path))
        tokens = _read_table(folder / "tokens.parquet")
        sentences = _read_table(folder / "sentences.parquet")
        labels = tuple(manifest["labels"])
        if tokens.height != manifest["bounds"][-1] or not set(labels) <= set(tokens.columns):
            raise StoreError(
                "tokens.parquet does not belong to the manifest; extract again", where=str(path)
            )
        return cls(
            path=folder, manifest=manifest, tokens=tokens, sentences=sentences, labels=labels
        )

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """The sites, in the order of the columns."""
        return tuple(Site(**site) for site in self.manifest["sites"])

    @cached_property
    def neurons(self) -> pl.DataFrame:
        """One row a neuron: ``neuron, site, kind, layer, index``."""
        sites = self.sites
        width = [site.width for site in sites]
        index = np.concatenate([np.arange(w) for w in width])
        return pl.DataFrame(
            {
                "neuron": [
                    format_neuron(site.name, i) for site in sites for i in range(site.width)
                ],
                "site": np.repeat([site.name for site in sites], width).tolist(),
                "kind": np.repeat([site.kind for site in sites], width).tolist(),
                "layer": pl.Series(
                    np.repeat([site.layer for site in sites], width), dtype=pl.Int32
                ),
                "index": pl.Series(index, dtype=pl.Int32),
            }
        )

    @property
    def n_tokens(self) -> int:
        """Number of tokens (rows)."""
        return self.tokens.height

    @property
    def n_neurons(self) -> int:
        """Number of neurons (columns)."""
        return sum(site.width for site in self.sites)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the settings that decide the values, and the shards' checksums.

        Labels are not part of it: ``manifest["corpus_fingerprint"]`` covers them.
        """
        return str(self.manifest["fingerprint"])

    def __repr__(self) -> str:
        m = self.manifest
        return (
            f"Activations({m['model']!r} on {m['corpus']!r}: {self.n_tokens:,} tokens × "
            f"{self.n_neurons:,} neurons, sites {self.sites[0].name}…{self.sites[-1].name}, "
            f"{m['dtype']})"
        )

    def with_labels(self, name: str, values: Sequence[str | None]) -> Activations:
        """Return the store with one more label column, in memory; nothing is written."""
        column = pl.Series(name, values, dtype=pl.String)
        if len(column) != self.n_tokens:
            raise LabelError(f'label "{name}" has {len(column)} values for {self.n_tokens} tokens')
        labels = self.labels if name in self.labels else (*self.labels, name)
        return dataclasses.replace(self, tokens=self.tokens.with_columns(column), labels=labels)

    def __getitem__(self, site: str) -> np.ndarray:
        """Return all tokens of one site, float32 (n_tokens, width)."""
        return self.matrix(sites=[site])

    def matrix(
        self,
        *,
        sites: Sequence[str] | None = None,
        neurons: Sequence[str] | np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """Read tokens × neurons as float32 in Fortran order (``.T`` is neuron-major).

        Parameters
        ----------
        sites
            Names of sites whose neurons are wanted, in the store's order; all by default.
        neurons
            Ids, or positions in :attr:`neurons`, in any order, or a boolean mask over them; not
            together with ``sites``.
        rows
            Token indices in any order, repeated if you like, or a boolean mask; all by default.

        Returns
        -------
        array of float32 (rows, neurons)

        Raises
        ------
        SettingError
            No such site, neuron or row.
        StoreError
            A shard is missing or damaged.
        """
        import torch
        from safetensors import SafetensorError, safe_open

        picks = self._columns(sites, neurons)
        wanted = self._rows(rows)
        out = np.empty((sum(len(where) for where, _ in picks.values()), len(wanted)), np.float32)
        target = torch.from_numpy(out)
        order = np.argsort(wanted, kind="stable")
        ordered = wanted[order]
        bounds = np.asarray(self.manifest["bounds"])
        for index in range(len(bounds) - 1):
            a, b = np.searchsorted(ordered, bounds[index : index + 2])
            if a == b:
                continue
            local = ordered[a:b] - bounds[index]
            whole = len(local) == bounds[index + 1] - bounds[index] and (np.diff(local) == 1).all()
            lines = torch.from_numpy(local)
            place = order[a:b]
            straight = bool((np.diff(place) == 1).all())
            path = self.path / shard_name(index)
            try:
                with safe_open(path, framework="pt") as shard:
                    for site, (where, columns) in picks.items():
                        values = shard.get_tensor(site)
                        part = values if whole else values[lines]
                        if columns is not None:
                            part = part[:, torch.from_numpy(columns)]
                        part = part.T.to(torch.float32)
                        first, last = int(where[0]), int(where[-1]) + 1
                        if straight and last - first == len(where):
                            target[first:last, place[0] : place[-1] + 1].copy_(part)
                        else:
                            line, column = torch.from_numpy(where), torch.from_numpy(place)
                            target[line[:, None], column[None, :]] = part
            except (OSError, SafetensorError) as error:
                raise StoreError(
                    f"is missing or damaged ({error}); run the extraction again to make it anew",
                    where=str(path),
                ) from None
        return out.T

    def _columns(
        self, sites: Sequence[str] | None, neurons: Sequence[str] | np.ndarray | None
    ) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """Site → (rows of the output, columns of the site or None for all)."""
        if sites is not None and neurons is not None:
            raise SettingError("give sites or neurons, not both")
        known = {site.name: site for site in self.sites}
        if neurons is None:
            names = list(known) if sites is None else list(sites)
            for name in names:
                if name not in known:
                    raise SettingError(
                        f'no site "{name}"; there are {", ".join(known)}.'
                        f"{did_you_mean(name, known)}"
                    )
            picks: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
            start = 0
            for name in (n for n in known if n in set(names)):
                picks[name] = (np.arange(start, start + known[name].width), None)
                start += known[name].width
            return picks
        table = self.neurons
        if len(neurons) and isinstance(neurons[0], str):
            number = {ident: i for i, ident in enumerate(table["neuron"].to_list())}
            for ident in neurons:
                if ident not in number:
                    raise SettingError(
                        f'no neuron "{ident}"; ids run from {table["neuron"][0]} to '
                        f"{table['neuron'][-1]}"
                    )
            positions = np.array([number[str(ident)] for ident in neurons], dtype=np.int64)
        else:
            positions = _positions(neurons, table.height, "neuron")
        site_of = table["site"].to_numpy().astype(object)[positions]
        index = table["index"].to_numpy()[positions].astype(np.int64)
        return {
            name: (np.flatnonzero(site_of == name), index[site_of == name])
            for name in known
            if (site_of == name).any()
        }

    def _rows(self, rows: np.ndarray | None) -> np.ndarray:
        return np.arange(self.n_tokens) if rows is None else _positions(rows, self.n_tokens, "row")


def _positions(given: Any, total: int, what: str) -> np.ndarray:
    """Return indices as given, or those of a boolean mask; check that they exist."""
    values = np.asarray(given)
    if values.ndim != 1:
        raise SettingError(
            f"{what}s are a list of positions or a mask, not an array {values.shape}"
        )
    if values.dtype == bool:
        if len(values) != total:
            raise SettingError(f"a mask of {len(values)} does not fit {total} {what}s")
        return np.flatnonzero(values)
    if not len(values):
        return np.empty(0, dtype=np.int64)
    if not np.issubdtype(values.dtype, np.integer):
        raise SettingError(f"{what}s are whole numbers or a boolean mask, not {values.dtype}")
    values = values.astype(np.int64)
    if not 0 <= values.min() <= values.max() < total:
        raise SettingError(f"{what} positions run from 0 to {total - 1}")
    return values


def _read_table(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        first = str(error).splitlines()[0]
        raise StoreError(
            f"is missing or damaged ({first}); extract again", where=str(path)
        ) from None
