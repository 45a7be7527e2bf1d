"""NeuroX's JSON lines, read a line at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nissl.errors import InputError
from nissl.store.bridge.neurox_sentence import Sentence

__all__ = ["read_json_lines"]


def read_json_lines(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of a JSON activation file in order.

    Raises
    ------
    InputError
        The file cannot be read, or a line is not a sentence of such a file, or not the next one;
        file and line are named, and the word where there is one.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file):
                yield _parse(line, number, f"{path}:{number + 1}")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=str(path)) from None


def _parse(line: bytes, number: int, where: str) -> Sentence:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"is not JSON ({str(error)[:100]}); the file may have been cut off", where=where
        ) from None
    features = found.get("features") if isinstance(found, dict) else None
    if not isinstance(features, list):
        raise InputError('is not a sentence of NeuroX (no list "features")', where=where)
    index = found.get("linex_index", number)
    if index != number or isinstance(index, bool):
        raise InputError(
            f"has linex_index {str(index)[:40]} in place of {number}; a sentence is missing or "
            "out of order",
            where=where,
        )
    words: list[str] = []
    layers: tuple[int, ...] = ()
    rows: list[list[Any]] = []
    for i, feature in enumerate(features):
        word, numbers, values = _feature(feature, i, where)
        if i and numbers != layers:
            raise InputError(
                f"word {i + 1} has layers {list(numbers)}, word 1 has {list(layers)}", where=where
            )
        layers = numbers
        words.append(word)
        rows.append(values)
    return Sentence(where, words, None, layers, _array(rows, layers, where))


def _feature(feature: Any, i: int, where: str) -> tuple[str, tuple[int, ...], list[Any]]:
    """Return a word, the numbers of its layers and their lists of values."""
    word = feature.get("token") if isinstance(feature, dict) else None
    layers = feature.get("layers") if isinstance(feature, dict) else None
    if not isinstance(word, str) or not isinstance(layers, list) or not layers:
        raise InputError(f"word {i + 1} has no token or no layers", where=where)
    numbers, values = [], []
    for layer in layers:
        number = layer.get("index") if isinstance(layer, dict) else None
        if type(number) is not int or not 0 <= number < 2**31 or number in numbers:
            raise InputError(
                f"word {i + 1} has a layer without an index, or two of one index", where=where
            )
        if not isinstance(layer.get("values"), list):
            raise InputError(f"word {i + 1} has no values in layer {number}", where=where)
        numbers.append(number)
        values.append(layer["values"])
    return word, tuple(numbers), values


def _array(rows: list[list[Any]], layers: tuple[int, ...], where: str) -> np.ndarray:
    """Return the values as float (words, layers, width)."""
    if not rows:
        return np.empty((0, 0, 0), np.float32)
    width = len(rows[0][0])
    for i, row in enumerate(rows):
        for number, values in zip(layers, row, strict=True):
            if len(values) != width:
                raise InputError(
                    f"word {i + 1} has {len(values)} values in layer {number}, where word 1 has "
                    f"{width} in layer {layers[0]}",
                    where=where,
                )
    try:
        array = np.array(rows)
    except ValueError:
        array = np.empty(0, object)
    if array.ndim != 3 or array.dtype.kind not in "fiu" or width == 0:
        raise InputError("has values that are not numbers, or none", where=where)
    return array
