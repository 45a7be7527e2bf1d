"""NeuroX's HDF5, read a dataset at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nissl.errors import InputError
from nissl.store.bridge.need import need
from nissl.store.bridge.neurox_sentence import Sentence

__all__ = ["read_hdf5"]

INDEX = "sentence_to_index"


def read_hdf5(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of an HDF5 activation file by their numbers, from 0.

    Raises
    ------
    InputError
        The file is no such file, or lacks a dataset, or one has another shape or leads to another
        file; file and dataset are named.
    StoreError
        h5py is not installed.
    """
    h5py = need("h5py")
    if not path.is_file():
        raise InputError("no such file", where=str(path))
    try:
        with h5py.File(path, "r") as file:
            texts = _texts(h5py, file, path)
            for number in range(len(texts)):
                yield _sentence(h5py, file, path, number, texts)
    except (OSError, RuntimeError) as error:
        why = str(error).splitlines()[0][:200]
        raise InputError(f"cannot be read as HDF5 ({why})", where=str(path)) from None


def _dataset(h5py: Any, file: Any, path: Path, name: str) -> Any:
    """Return a dataset that lies in the file itself: none that leads elsewhere is followed."""
    link = file.get(name, getlink=True) if name in file else None
    found = file[name] if isinstance(link, h5py.HardLink) else None
    dataset = found is not None and isinstance(found, h5py.Dataset)
    if found is None or not dataset or found.external or found.is_virtual:
        raise InputError(
            f'has no dataset "{name}" of its own; it is not a whole activation file of NeuroX',
            where=str(path),
        )
    return found


def _texts(h5py: Any, file: Any, path: Path) -> dict[str, str]:
    """Return number → sentence, checked to be numbers from 0 on."""
    where = f"{path}:{INDEX}"
    index = _dataset(h5py, file, path, INDEX)
    if index.shape != (1,) or h5py.check_string_dtype(index.dtype) is None:
        raise InputError("is not one text", where=where)
    try:
        found = json.loads(index[0])
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({str(error)[:100]})", where=where) from None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise InputError("does not give each sentence the name of a dataset", where=where)
    texts = {number: sentence for sentence, number in found.items()}
    for number in range(len(found)):
        if str(number) not in texts:
            raise InputError(
                f'has {len(found)} sentences, but none is "{number}"; they are not numbered from '
                "0 without gaps",
                where=where,
            )
    return texts


def _sentence(h5py: Any, file: Any, path: Path, number: int, texts: dict[str, str]) -> Sentence:
    where = f"{path}:{number}"
    data = _dataset(h5py, file, path, str(number))
    if data.ndim != 3 or data.dtype.kind != "f" or 0 in data.shape:
        raise InputError(
            f"has shape {data.shape} of {data.dtype}, not floats (layers, words, width)",
            where=where,
        )
    values = np.asarray(data[()]).transpose(1, 0, 2)
    return Sentence(where, None, texts[str(number)], tuple(range(data.shape[0])), values)
