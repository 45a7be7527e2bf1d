"""A store as plain files: one ``.npy`` a site, tables as CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from nissl.site import Site
from nissl.store.activations import Activations
from nissl.store.bridge.parts import chosen, neurons_of, origin
from nissl.store.bridge.place import publishing
from nissl.store.files import write_json

__all__ = ["to_numpy"]


def to_numpy(acts: Activations, out_folder: str | Path, sites: Sequence[str] | None = None) -> Path:
    """Write a store as a folder of files that need no library of ours.

    ``<site>.npy`` is float32 (tokens, neurons of the site), in C order, so ``np.load`` can map it.
    ``tokens.csv`` has a line a row and ``neurons.csv`` a line a column, with the file it is in;
    an empty field is a null. ``manifest.json`` names the files and what made the store.

    One site of one shard is held in memory.

    Parameters
    ----------
    out_folder
        A folder that is not there yet.
    sites
        Names of sites; all by default.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    SettingError
        No such site.
    StoreError
        The folder is there already or cannot be written, or a shard is damaged.
    """
    picked = chosen(acts, sites)
    files = _file_names(picked)
    with publishing(out_folder) as folder:
        folder.mkdir()
        for site in picked:
            _write_matrix(folder / files[site.name], acts, site)
        _write_csv(folder / "tokens.csv", acts.tokens)
        neurons = neurons_of(acts, picked)
        where = neurons["site"].replace_strict(files, return_dtype=pl.String).alias("file")
        _write_csv(folder / "neurons.csv", neurons.with_columns(where))
        about = {"format": "numpy", **origin(acts), "files": files, "labels": list(acts.labels)}
        write_json(folder / "manifest.json", {**about, "store_manifest": dict(acts.manifest)})
    return Path(out_folder)


def _write_matrix(path: Path, acts: Activations, site: Site) -> None:
    """Write one site. Rows come in order, so they are appended.

    A memory map would do, but a full disk kills the process that writes to one.
    """
    with path.open("xb") as file:
        shape = (acts.n_tokens, site.width)
        head = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, head)
        for _, values in acts.stream(sites=[site.name]):
            file.write(np.ascontiguousarray(values, dtype="<f4").data)


def _write_csv(path: Path, table: pl.DataFrame) -> None:
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows(table.iter_rows())


def _file_names(sites: Sequence[Site]) -> dict[str, str]:
    """Site → file name. A module's name may hold anything, a file's may not leave the folder."""
    files: dict[str, str] = {}
    for i, site in enumerate(sites):
        stem = re.sub(r"[^\w.@-]", "_", site.name, flags=re.ASCII)
        taken = {name.lower() for name in files.values()}
        files[site.name] = f"{stem}~{i}.npy" if f"{stem}.npy".lower() in taken else f"{stem}.npy"
    return files
