"""A store as a file of NeuroX: JSON lines or HDF5, a sentence at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from nissl.errors import SettingError, StoreError
from nissl.site import Site
from nissl.store.activations import Activations
from nissl.store.bridge.need import need
from nissl.store.bridge.parts import chosen, origin, sentences_of
from nissl.store.bridge.place import publishing

__all__ = ["to_neurox", "to_neurox_hdf5", "to_neurox_json"]

Sentences = Iterator[tuple[list[str], np.ndarray]]


def to_neurox(acts: Activations, out_file: str | Path, sites: Sequence[str] | None = None) -> Path:
    """Write a store as an activation file that NeuroX's loader reads.

    The format has no room for names: the sites become layers 0, 1… in the store's order. Values
    are float32, in JSON with as many digits as it takes to read the same float32 again.

    One shard and one sentence are held in memory.

    Parameters
    ----------
    out_file
        A file that is not there yet; its suffix, ``.json`` or ``.hdf5``, says which format.
    sites
        Names of sites; all by default. They must be of equal width.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SettingError
        No such site, or another suffix.
    StoreError
        Sites of unequal width, h5py is not installed, the file is there already or cannot be
        written, or a shard is damaged.
    """
    writers = {".json": _write_json, ".hdf5": _write_hdf5}
    suffix = Path(out_file).suffix
    if suffix not in writers:
        raise SettingError(
            f'NeuroX tells its formats by the suffix: .json or .hdf5, not "{suffix}" ({out_file})'
        )
    return _write(acts, out_file, sites, writers[suffix])


def to_neurox_json(
    acts: Activations, out_file: str | Path, sites: Sequence[str] | None = None
) -> Path:
    """Write a store as NeuroX's JSON lines; see :func:`to_neurox`."""
    return to_neurox(acts, _ending(out_file, ".json"), sites)


def to_neurox_hdf5(
    acts: Activations, out_file: str | Path, sites: Sequence[str] | None = None
) -> Path:
    """Write a store as NeuroX's HDF5; see :func:`to_neurox`."""
    return to_neurox(acts, _ending(out_file, ".hdf5"), sites)


def _ending(out_file: str | Path, suffix: str) -> Path:
    path = Path(out_file)
    if path.suffix != suffix:
        raise SettingError(f"NeuroX reads this format under names that end in {suffix}: {path}")
    return path


def _write(
    acts: Activations,
    out_file: str | Path,
    sites: Sequence[str] | None,
    writer: Callable[[Path, Sentences, tuple[Site, ...], dict[str, str]], None],
) -> Path:
    picked = chosen(acts, sites)
    for site in picked:
        if site.width != picked[0].width:
            raise StoreError(
                f"site {site.name} has {site.width} neurons and {picked[0].name} has "
                f"{picked[0].width}; NeuroX takes layers of one width only, so choose sites of one",
                where=str(acts.path),
            )
    with publishing(out_file) as path:
        writer(path, sentences_of(acts, picked), picked, origin(acts))
    return Path(out_file)


def _layers(values: np.ndarray, sites: tuple[Site, ...]) -> np.ndarray:
    """Turn (words, neurons) to (layers, words, width)."""
    return np.ascontiguousarray(values).reshape(len(values), len(sites), -1).transpose(1, 0, 2)


def _write_json(
    path: Path, sentences: Sentences, sites: tuple[Site, ...], about: dict[str, str]
) -> None:
    del about  # every line is a sentence: there is no place for it
    with path.open("x", encoding="utf-8") as file:
        for number, (words, values) in enumerate(sentences):
            by_word = _layers(values, sites).transpose(1, 0, 2).tolist()
            features = [
                {
                    "token": word,
                    "layers": [{"index": i, "values": row} for i, row in enumerate(rows)],
                }
                for word, rows in zip(words, by_word, strict=True)
            ]
            file.write(json.dumps({"linex_index": number, "features": features}) + "\n")


def _write_hdf5(
    path: Path, sentences: Sentences, sites: tuple[Site, ...], about: dict[str, str]
) -> None:
    h5py = need("h5py")
    numbers: dict[str, str] = {}
    seen: dict[str, int] = {}
    with h5py.File(path, "x") as file:
        for number, (words, values) in enumerate(sentences):
            file.create_dataset(str(number), data=_layers(values, sites), dtype="f4")
            numbers[_unused(" ".join(words), numbers, seen)] = str(number)
        index = file.create_dataset("sentence_to_index", (1,), dtype=h5py.string_dtype())
        index[0] = json.dumps(numbers)
        # Attributes are ours; NeuroX does not look at them.
        file.attrs.update({f"nissl_{key}": value for key, value in about.items()})
        names = json.dumps([site.name for site in sites])
        if len(names) < 60_000:  # HDF5 keeps no attribute beyond 64 KiB
            file.attrs["nissl_sites"] = names


def _unused(sentence: str, numbers: dict[str, str], seen: dict[str, int]) -> str:
    """Return the sentence, or what NeuroX calls one that was there before."""
    name, count = sentence, seen.get(sentence, 1)
    while name in numbers:
        count += 1
        name = f"{sentence} (Occurrence {count})"
    seen[sentence] = count
    return name
