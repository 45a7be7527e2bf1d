"""What every method returns: a frozen object with a frame, a plot, sentences and its origin.

Results are saved as JSON for structure, safetensors for arrays and Parquet for frames, so that a
folder of results can be read without running any code from it.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from nissl.errors import StoreError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Provenance", "Result", "load_result", "versions"]

FORMAT = 3
"""Goes up when a result has other fields or columns: an older one is refused, not half read."""

HOMES = ("nissl.methods", "nissl.study.outcome")
"""Modules that define results; a saved result of a plug-in needs its module imported first."""

_REGISTRY: dict[str, type] = {}


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a number can depend on."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    names = ("nissl", "numpy", "scipy", "scikit-learn", "numba", "torch", "transformers", "polars")
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from: method, settings, seed, inputs' fingerprints and versions."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=versions)


_REGISTRY["Provenance"] = Provenance


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """Base of all results. Subclasses are frozen dataclasses that define :meth:`frame`."""

    kind: ClassVar[str] = "result"
    provenance: Provenance

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _REGISTRY[cls.__name__] = cls

    def frame(self) -> pl.DataFrame:
        """Return the result as a table, one row an observation."""
        raise TypeError(f"{type(self).__name__} must define frame()")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the result on ``ax`` (a new figure when ``None``) and return the axes."""
        raise TypeError(f"{type(self).__name__} must define plot()")

    def summary(self) -> tuple[str, ...]:
        """Return the findings as plain sentences."""
        return ()

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the result to ``folder``; :func:`load_result` reads it back. Return the folder."""
        from safetensors.numpy import save_file

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, np.ndarray] = {}
        frames: dict[str, pl.DataFrame] = {}
        tree = {"format": FORMAT, "result": _encode(self, "", arrays, frames)}
        for old in target.glob("*.parquet"):
            old.unlink()
        for name, frame in frames.items():
            frame.write_parquet(target / f"{name}.parquet")
        if arrays:
            contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
            save_file(contiguous, target / "arrays.safetensors")
        # The JSON comes last and by rename: a folder that has it is whole.
        partial = target / "result.json.part"
        partial.write_text(json.dumps(tree, indent=1, ensure_ascii=False), encoding="utf-8")
        partial.replace(target / "result.json")
        return target

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a result of this type back from ``folder``."""
        result = load_result(folder)
        if not isinstance(result, cls):
            raise StoreError(
                f"holds a {type(result).__name__}, not a {cls.__name__}", where=f"{folder}"
            )
        return result


def load_result(folder: str | os.PathLike[str]) -> Result:
    """Read the result saved in ``folder``, whatever its type.

    Raises
    ------
    StoreError
        The folder holds no result, or one written by another format version.
    """
    source = Path(folder)
    try:
        tree = json.loads((source / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(
            "holds no result.json; give a folder written by .save()", where=f"{source}"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StoreError(
            f"result.json is damaged ({error}); run the analysis again", where=f"{source}"
        ) from None
    found = tree.get("format") if isinstance(tree, dict) else None
    if found != FORMAT:
        raise StoreError(
            f"result.json has format {found}, this version reads {FORMAT}; run the analysis again",
            where=f"{source}",
        )
    arrays: dict[str, np.ndarray] = {}
    if (source / "arrays.safetensors").exists():
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(source / "arrays.safetensors")
        except SafetensorError as error:
            raise StoreError(
                f"arrays.safetensors is damaged ({error}); run the analysis again",
                where=f"{source}",
            ) from None
    result = _decode(tree.get("result"), source, arrays)
    if not isinstance(result, Result):
        raise StoreError("result.json holds no result; run the analysis again", where=f"{source}")
    return result


def _encode(
    value: Any, path: str, arrays: dict[str, np.ndarray], frames: dict[str, pl.DataFrame]
) -> Any:
    """Turn ``value`` into JSON; arrays and frames are set aside under their dotted path."""

    def inner(item: Any, name: object) -> Any:
        return _encode(item, f"{path}.{name}" if path else str(name), arrays, frames)

    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, np.generic):
        return inner(value.item(), "") if not isinstance(value, np.str_) else str(value)
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf":
            arrays[path] = value
            return {"$array": path}
        return {"$strings": [str(item) for item in value.tolist()]}
    if isinstance(value, pl.DataFrame):
        frames[path] = value
        return {"$frame": path}
    if dataclasses.is_dataclass(value) and type(value).__name__ in _REGISTRY:
        fields = {f.name: inner(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
        return {"$type": type(value).__name__, "fields": fields}
    if isinstance(value, Mapping):
        return {"$map": [[str(key), inner(item, key)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        return [inner(item, index) for index, item in enumerate(value)]
    raise TypeError(f"cannot save a {type(value).__name__} (at {path})")


def _decode(value: Any, source: Path, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, source, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "$float" in value:
        return float(value["$float"])
    if "$array" in value:
        if value["$array"] not in arrays:
            raise StoreError(
                f"array {value['$array']} is missing; run the analysis again", where=f"{source}"
            )
        return arrays[value["$array"]]
    if "$strings" in value:
        return np.array(value["$strings"], dtype=object)
    if "$frame" in value:
        name = str(value["$frame"])
        if Path(name).name != name:
            raise StoreError(f"frame name {name!r} points outside the folder", where=f"{source}")
        try:
            return pl.read_parquet(source / f"{name}.parquet")
        except FileNotFoundError:
            raise StoreError(
                f"{name}.parquet is missing; run the analysis again", where=f"{source}"
            ) from None
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StoreError(
                f"{name}.parquet is damaged ({error}); run the analysis again", where=f"{source}"
            ) from None
    if "$map" in value:
        return {key: _decode(item, source, arrays) for key, item in value["$map"]}
    if "$type" in value:
        name = value["$type"]
        if name not in _REGISTRY:
            # Importing a room registers its results; this module itself knows none of them.
            for home in HOMES:
                importlib.import_module(home)
        if name not in _REGISTRY:
            hint = did_you_mean(str(name), _REGISTRY)
            raise StoreError(f"unknown type of result {name!r}.{hint}", where=f"{source}")
        fields = {key: _decode(item, source, arrays) for key, item in value["fields"].items()}
        try:
            return _REGISTRY[name](**fields)
        except TypeError as error:
            raise StoreError(
                f"{name} has other fields now ({error}); run again", where=f"{source}"
            ) from None
    raise StoreError(f"result.json has an unknown entry {sorted(value)[:3]}", where=f"{source}")
