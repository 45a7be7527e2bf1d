"""A store as a labelled array of xarray, and as a netCDF file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from nissl.errors import StoreError
from nissl.store.activations import Activations
from nissl.store.bridge.need import need
from nissl.store.bridge.parts import chosen, names_of, neurons_of, origin
from nissl.store.bridge.place import publishing

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["to_xarray", "write_xarray"]

OF_NEURONS = ("neuron", "site", "layer", "kind", "index")
OF_TOKENS = ("form", "sentence", "position", "split")


def to_xarray(acts: Activations, sites: Sequence[str] | None = None) -> xr.DataArray:
    """Read a store, or some of its sites, as one labelled array in memory.

    Its own writers (``to_netcdf``, ``to_zarr``) take it from there.

    Parameters
    ----------
    sites
        Names of sites; all by default.

    Returns
    -------
    xarray.DataArray of float32 (token, neuron)
        Coordinates of ``token``: ``form``, ``sentence``, ``position``, ``split`` and each label;
        of ``neuron``: its id, ``site``, ``layer``, ``kind``, ``index``. A label whose name is
        taken is called ``label_<name>``. Files of xarray know no null among texts: a word without
        a value has the empty text. Attributes: model, corpus, fingerprint, dtype of the
        store, and ``labels``, the names of the label columns as JSON.

    Raises
    ------
    SettingError
        No such site.
    StoreError
        xarray is not installed, a label has both nulls and empty texts, or a shard is damaged.
    """
    xr = need("xarray")
    picked = chosen(acts, sites)
    neurons = neurons_of(acts, picked)
    coords = {name: ("neuron", _plain(neurons[name], acts)) for name in OF_NEURONS}
    for name in dict.fromkeys((*OF_TOKENS, *acts.labels)):
        if name in acts.tokens.columns:
            shown = f"label_{name}" if name in (*OF_NEURONS, "token") else name
            coords[shown] = ("token", _plain(acts.tokens[name], acts))
    return xr.DataArray(
        acts.matrix(sites=names_of(picked)),
        dims=("token", "neuron"),
        coords=coords,
        name="activation",
        attrs={**origin(acts), "labels": json.dumps(acts.labels)},
    )


def write_xarray(acts: Activations, out: str | Path, sites: Sequence[str] | None = None) -> Path:
    """Write :func:`to_xarray` as a netCDF 4 file; ``xarray.open_dataarray`` reads it.

    Raises
    ------
    SettingError
        No such site.
    StoreError
        As :func:`to_xarray`; or the file is there already, cannot be written, or a label has a
        name that netCDF does not allow.
    """
    need("h5netcdf")
    for name in acts.labels:
        if "/" in name:
            raise StoreError(
                f'label "{name}" has a slash, which netCDF takes for a folder; rename it',
                where=str(out),
            )
    with publishing(out) as path:
        array = to_xarray(acts, sites)
        try:
            array.to_netcdf(path, engine="h5netcdf")
        except OSError:
            raise
        except Exception as error:  # the libraries' errors have no family
            why = str(error).splitlines()[0][:200]
            raise StoreError(f"cannot be written as netCDF ({why})", where=str(out)) from None
    return Path(out)


def _plain(column: pl.Series, acts: Activations) -> np.ndarray:
    """Return a column as numpy has it: numbers, or texts in which a null is empty."""
    if column.dtype != pl.String:
        return column.to_numpy()
    if column.null_count() and (column == "").any():
        raise StoreError(
            f'column "{column.name}" has empty texts beside nulls, which xarray cannot tell '
            "apart; replace the empty ones",
            where=str(acts.path),
        )
    return np.array(column.fill_null("").to_list(), dtype=object)
