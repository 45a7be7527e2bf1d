"""Stores in the formats of other libraries, and activation files of NeuroX as stores.

A heavy library is imported when its format is asked for; they are the ``bridge`` extra.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nissl.store.activations import Activations
from nissl.store.bridge.anndata_out import to_anndata, write_anndata
from nissl.store.bridge.neurox_in import from_neurox
from nissl.store.bridge.neurox_out import to_neurox, to_neurox_hdf5, to_neurox_json
from nissl.store.bridge.numpy_out import to_numpy
from nissl.store.bridge.xarray_out import to_xarray, write_xarray

__all__ = [
    "EXPORTS",
    "from_neurox",
    "to_anndata",
    "to_neurox",
    "to_numpy",
    "to_xarray",
    "write_anndata",
    "write_xarray",
]

EXPORTS: dict[str, Callable[[Activations, Path, Sequence[str] | None], Path]] = {
    "neurox-json": to_neurox_json,
    "neurox-hdf5": to_neurox_hdf5,
    "numpy": to_numpy,
    "xarray": write_xarray,
    "anndata": write_anndata,
}
"""Format → what writes it: ``(store, place, names of sites or None) -> place``.

Each refuses a place that is taken and leaves nothing there when it fails.
"""
