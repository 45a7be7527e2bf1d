"""Settings as files: read, checked with errors that name the place, paths kept relative to them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from nissl.errors import SettingError, did_you_mean

__all__ = [
    "checked",
    "model_near",
    "model_seen_from",
    "move_source",
    "read_settings",
    "source_near",
    "source_seen_from",
    "write_settings",
]

_C = TypeVar("_C", bound=BaseModel)


def checked(
    kind: type[_C],
    values: Mapping[str, Any],
    rooms: Mapping[str, type[BaseModel]],
    where: str | None,
) -> _C:
    """Check a mapping and return the configuration of a kind.

    Parameters
    ----------
    rooms
        Setting at the top → what may be set below it.

    Raises
    ------
    SettingError
        An unknown or impossible setting; the closest known name is suggested.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        loc = first["loc"]
        place = ".".join(str(part) for part in loc)
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            room = rooms.get(str(loc[0]), kind) if len(loc) > 1 else kind
            known = list(room.model_fields)
            message = f"there is no such setting; there are {', '.join(known)}."
            message += did_you_mean(str(list(loc)[-1]), known)
        text = f"{place}: {message}" if place else message
        raise SettingError(text, where=where) from None


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read a YAML or TOML file of settings.

    Raises
    ------
    SettingError
        No such file, or a syntax error, with its line.
    """
    file = Path(path)
    if not file.is_file():
        names = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise SettingError(f"no such file.{did_you_mean(file.name, names)}", where=str(path))
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingError("is not UTF-8", where=str(path)) from None
    if file.suffix.lower() == ".toml":
        try:
            values: Any = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingError(f"is not TOML: {error}", where=str(path)) from None
    else:
        import yaml

        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{path}:{mark.line + 1}" if mark else str(path)
            problem = getattr(error, "problem", None) or "syntax error"
            raise SettingError(f"is not YAML: {problem}", where=where) from None
    if not isinstance(values, dict):
        raise SettingError("must hold settings (key: value)", where=str(path))
    return values


def write_settings(values: Mapping[str, Any], path: str | Path) -> None:
    """Write settings as YAML, in their order."""
    import yaml

    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    Path(path).write_text(text, encoding="utf-8")


def move_source(source: Any, move: Callable[[str], str]) -> Any:
    """Return a corpus's source with its relative paths moved; ``nissl:`` and absolute ones stay."""
    if isinstance(source, list):
        return [move_source(item, move) for item in source]
    if isinstance(source, dict):
        return {key: move_source(item, move) for key, item in source.items()}
    return source if source.startswith("nissl:") or Path(source).is_absolute() else move(source)


def source_near(folder: Path) -> Callable[[str], str]:
    """Return how a path written in a file of a folder is reached from here."""
    return lambda source: str(folder / source)


def source_seen_from(folder: Path) -> Callable[[str], str]:
    """Return how a path of here is written in a file of a folder."""
    return lambda source: os.path.relpath(source, folder)


def model_near(name: str, folder: Path) -> str:
    """Return the name of a model that a file of a folder names."""
    # A hub name has a slash too: only what starts with a dot is surely a folder.
    return str(folder / name) if name.startswith(".") else name


def model_seen_from(name: str, folder: Path) -> str:
    """Return how a model is named in a file of a folder."""
    if Path(name).is_absolute() or not (Path(name) / "config.json").is_file():
        return name
    near = os.path.relpath(name, folder)
    return near if near.startswith(".") else os.path.join(".", near)
