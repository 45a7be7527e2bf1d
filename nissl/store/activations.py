"""Activations on disk: tokens × neurons, labelled on both sides, read lazily."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nissl.errors import LabelError, SettingError, StoreError, did_you_mean
from nissl.site import Site, format_neuron
from nissl.store.files import checksum_of, shard_name
from nissl.store.manifest import TABLES, check_file, check_shard, open_manifest, sites_of
from nissl.store.tensors import Shard, open_shard

__all__ = ["Activations"]


@dataclass(frozen=True, eq=False)
class Activations:
    """A store of activations, opened read-only.

    Attributes
    ----------
    path
        Its folder. Opening reads the manifest and checks the files; tables and activations are read
        when asked for, and only the shards and sites that are needed.
    manifest
        What made it: model, revision, corpus, sites, pooling, dtype, versions, what was left out.
    labels
        Names of the label columns.
    keep
        A temporary folder that must live as long as this object.
    relabelled
        The token table, where it is another than the folder's.
    """

    path: Path
    manifest: Mapping[str, Any]
    labels: tuple[str, ...]
    keep: Any = None
    relabelled: pl.DataFrame | None = None

    @classmethod
    def open(cls, path: str | Path) -> Activations:
        """Open a store.

        Raises
        ------
        StoreError
            Not a store, unfinished, of another format, damaged, or with a missing shard.
        """
        folder = Path(path)
        manifest = open_manifest(folder)
        for shard in manifest["shards"]:
            check_file(folder, shard["file"], shard["bytes"])
        tokens, _ = (_scan_table(folder, name, manifest["tables"][name]) for name in TABLES)
        labels = tuple(manifest["labels"])
        with _parquet(folder / "tokens.parquet"):
            height = tokens.select(pl.len()).collect().item()
        if height != manifest["shards"][-1]["rows"][1] or not set(labels) <= set(
            tokens.collect_schema().names()
        ):
            raise StoreError(
                "tokens.parquet does not belong to the manifest; run nissl store repair on its "
                "folder",
                where=str(path),
            )
        return cls(path=folder, manifest=manifest, labels=labels)

    @cached_property
    def tokens(self) -> pl.DataFrame:
        """One row a token: the corpus's token table; row i is row i of every matrix."""
        if self.relabelled is not None:
            return self.relabelled
        table = self._table("tokens.parquet")
        if table.height != self.n_tokens:
            raise StoreError(
                f"has {table.height} rows, the shards {self.n_tokens}; run nissl store repair on "
                "its folder",
                where=str(self.path / "tokens.parquet"),
            )
        return table

    @cached_property
    def sentences(self) -> pl.DataFrame:
        """The corpus's sentence table."""
        return self._table("sentences.parquet")

    def _table(self, name: str) -> pl.DataFrame:
        table = _scan_table(self.path, name, self.manifest["tables"][name])
        with _parquet(self.path / name):
            return table.collect()

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """The sites, in the order of the columns."""
        return sites_of(dict(self.manifest))

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
        return int(self.manifest["shards"][-1]["rows"][1])

    @property
    def n_neurons(self) -> int:
        """Number of neurons (columns)."""
        return sum(site.width for site in self.sites)

    @property
    def fingerprint(self) -> str:
        """Hash of the settings that decide the values, and the shards' checksums.

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
        return dataclasses.replace(self, relabelled=self.tokens.with_columns(column), labels=labels)

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
        picks = self._columns(sites, neurons)
        wanted = self._rows(rows)
        out = np.empty((sum(len(where) for where, _ in picks.values()), len(wanted)), np.float32)
        order = np.argsort(wanted, kind="stable")
        ordered = wanted[order]
        for index, (first, last) in enumerate(self._bounds):
            a, b = np.searchsorted(ordered, [first, last])
            if a == b:
                continue
            local, place = ordered[a:b] - first, order[a:b]
            thin = None if len(local) == last - first and (np.diff(local) == 1).all() else local
            straight = bool((np.diff(place) == 1).all())
            with self._shard(index) as shard:
                for site, (where, columns) in picks.items():
                    if straight and int(where[-1]) - int(where[0]) + 1 == len(where):
                        lines = slice(int(where[0]), int(where[-1]) + 1)
                        target = out[lines, int(place[0]) : int(place[-1]) + 1]
                        shard.read(site, target, columns, thin)
                    else:
                        part = np.empty((len(where), len(place)), np.float32)
                        shard.read(site, part, columns, thin)
                        out[where[:, None], place[None, :]] = part
        return out.T

    def stream(
        self,
        *,
        sites: Sequence[str] | None = None,
        neurons: Sequence[str] | np.ndarray | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the store a shard at a time, in order: token rows (n,) and float32 (n, neurons).

        Memory stays that of one shard, whatever the size of the store.
        """
        for first, last in self._bounds:
            if last > first:
                rows = np.arange(first, last)
                yield rows, self.matrix(sites=sites, neurons=neurons, rows=rows)

    @cached_property
    def _bounds(self) -> list[tuple[int, int]]:
        """First row of each shard, and the one after its last."""
        return [(shard["rows"][0], shard["rows"][1]) for shard in self.manifest["shards"]]

    @contextlib.contextmanager
    def _shard(self, index: int) -> Iterator[Shard]:
        """Open a shard and check that it is the manifest's."""
        first, last = self._bounds[index]
        with open_shard(self.path / shard_name(index)) as shard:
            check_shard(shard.path, shard.entries, self.sites, self.manifest["dtype"], last - first)
            yield shard

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


def _scan_table(folder: Path, name: str, entry: Mapping[str, Any]) -> pl.LazyFrame:
    """Open a table whose bytes are those that were written: a Parquet reader trusts its input."""
    check_file(folder, name, entry["bytes"])
    path = folder / name
    with _parquet(path):
        if checksum_of(path) != entry["checksum"]:
            raise StoreError(
                "is damaged (its checksum differs); run nissl store repair on its folder",
                where=str(path),
            )
        table = pl.scan_parquet(path)
        table.collect_schema()
        return table


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[None]:
    """Say of any error, and of the reader's panics, that the table is damaged."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        first = (str(error).splitlines() or ["?"])[0]
        raise StoreError(
            f"is missing or damaged ({first}); run nissl store repair on its folder",
            where=str(path),
        ) from None
