"""The configuration of a study: from options, a mapping, or a YAML or TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from nissl.errors import SettingError, did_you_mean

__all__ = [
    "AnalysisConfig",
    "CorpusConfig",
    "ExtractionConfig",
    "ModelConfig",
    "PropertyConfig",
    "StudyConfig",
    "load_config",
    "make_config",
    "save_config",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusConfig(_Strict):
    """A corpus: where it is, and what of it takes part."""

    source: str | list[str] | dict[str, str]
    """A file, a list of files, a folder with train, dev and test files, or split → file;
    ``nissl:treebank`` is the treebank that comes with Nissl."""
    format: str | None = None
    """One of conllu, columns, pmb, pairs, jsonl, parquet, text; else told from the suffix."""
    options: dict[str, Any] = {}
    """Options of the reader, such as ``columns``."""
    sample: dict[str, int] = {}
    """Split → number of random sentences to keep of it."""
    split_by: str | None = None
    """Split anew by sentence, lemma or another column; needed when the source has no splits."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of train, dev and test when split anew."""
    dev_share: float | None = Field(default=None, gt=0, lt=1)
    """Share of the train sentences that become dev, for sources without a dev split."""


class ModelConfig(_Strict):
    """A model: alias, folder or hub name."""

    name: str = "minilm"
    revision: str | None = None
    dtype: str = "auto"
    device: str = "cpu"


class PropertyConfig(_Strict):
    """A property: a label column of one of the corpora."""

    label: str
    corpus: str | None = None
    """Name of the corpus; may be left out when there is one."""
    name: str | None = None
    """Name in the report; the label (with the corpus, when there are several) if not given."""
    min_count: int | None = None
    """Overrides the analysis's ``min_count``."""
    tags: str | None = None
    """Regular expression that a tag must match whole to take part."""


class ExtractionConfig(_Strict):
    """How activations are recorded."""

    sites: list[str] = ["hidden"]
    pooling: Literal["last", "first", "mean"] = "last"
    batch_tokens: int | None = Field(default=None, ge=1)
    on_long: Literal["error", "window"] = "error"


class AnalysisConfig(_Strict):
    """Settings of the methods; see their documentation."""

    min_count: int = Field(default=1, ge=1)
    absent: Literal["error", "leave-out"] = "error"
    grid: list[tuple[float, float]] | None = None
    alpha: float = 0.5
    beta: float = 0.5
    fraction: float = 0.2
    tol: float = 1e-3
    percents: list[float] = [0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
    how: list[Literal["mask", "retrain"]] = ["mask", "retrain"]
    draws: int = Field(default=10, ge=2)
    deltas: list[float] = [0.5, 1.0]
    control_seeds: list[int] = [0, 1, 2]
    mass: float = 0.5
    resamples: int = Field(default=10, ge=2)
    threshold: float = 0.3
    random_weights: bool = True
    neurons: int = Field(default=10, ge=1)
    """Best neurons of each property whose words and contexts are shown."""
    sentences: int = Field(default=60, ge=1)
    """Sentences of each corpus in the text view."""


def _model(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _corpora(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {k: {"source": v} if isinstance(v, str | list) else v for k, v in value.items()}


def _properties(value: Any) -> Any:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return value
    return [{"label": v} if isinstance(v, str) else v for v in value]


class StudyConfig(_Strict):
    """Corpora × model × properties, and how they are analysed."""

    title: str | None = None
    model: Annotated[ModelConfig, BeforeValidator(_model)] = ModelConfig()
    corpora: Annotated[dict[str, CorpusConfig], BeforeValidator(_corpora)]
    properties: Annotated[list[PropertyConfig], BeforeValidator(_properties)]
    extraction: ExtractionConfig = ExtractionConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> StudyConfig:
        if not self.corpora:
            raise ValueError("corpora: name at least one corpus")
        if not self.properties:
            raise ValueError("properties: name at least one label")
        for item in self.properties:
            if item.corpus is None and len(self.corpora) > 1:
                raise ValueError(
                    f'property "{item.label}" must name its corpus: {", ".join(self.corpora)}'
                )
            if item.corpus is not None and item.corpus not in self.corpora:
                raise ValueError(
                    f'property "{item.label}" names the corpus "{item.corpus}", but there is only '
                    f"{', '.join(self.corpora)}.{did_you_mean(item.corpus, self.corpora)}"
                )
        names = [self.name_of(item) for item in self.properties]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f'the property "{min(twice)}" is named twice')
        return self

    def corpus_of(self, item: PropertyConfig) -> str:
        """Return the name of a property's corpus."""
        return item.corpus or next(iter(self.corpora))

    def name_of(self, item: PropertyConfig) -> str:
        """Return a property's name in the report."""
        if item.name:
            return item.name
        return f"{item.corpus}/{item.label}" if len(self.corpora) > 1 else item.label


def make_config(values: Mapping[str, Any], *, where: str | None = None) -> StudyConfig:
    """Check a mapping and return the configuration.

    Raises
    ------
    SettingError
        An unknown or impossible setting; the closest known name is suggested.
    """
    try:
        return StudyConfig.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = _known_keys(first["loc"])
            name = str(first["loc"][-1])
            message = f"there is no such setting; there are {', '.join(known)}."
            message += did_you_mean(name, known)
        text = f"{place}: {message}" if place else message
        raise SettingError(text, where=where) from None


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    """Return the settings that exist at the place of an unknown one."""
    rooms: dict[str, type[BaseModel]] = {
        "model": ModelConfig,
        "corpora": CorpusConfig,
        "properties": PropertyConfig,
        "extraction": ExtractionConfig,
        "analysis": AnalysisConfig,
    }
    room = rooms.get(str(loc[0]), StudyConfig) if len(loc) > 1 else StudyConfig
    return list(room.model_fields)


def load_config(path: str | Path) -> StudyConfig:
    """Read a YAML or TOML file; relative paths in it start from its folder.

    Raises
    ------
    SettingError
        No such file, a syntax error (with its line), or an unknown setting.
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
    config = make_config(values, where=str(path))
    name = config.model.name
    return _moved(
        config,
        lambda source: str(file.parent / source),
        # A hub name has a slash too: only what starts with a dot is surely a folder.
        str(file.parent / name) if name.startswith(".") else name,
    )


def save_config(config: StudyConfig, path: str | Path) -> None:
    """Write a configuration that :func:`load_config` reads back, wherever it is called from.

    Relative paths are written as seen from the file's folder.
    """
    import yaml

    folder = Path(path).parent
    name = config.model.name
    if not Path(name).is_absolute() and (Path(name) / "config.json").is_file():
        near = os.path.relpath(name, folder)
        name = near if near.startswith(".") else os.path.join(".", near)
    moved = _moved(config, lambda source: os.path.relpath(source, folder), name)
    text = yaml.safe_dump(moved.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    Path(path).write_text(text, encoding="utf-8")


def _moved(config: StudyConfig, move: Callable[[str], str], model: str) -> StudyConfig:
    """Return the configuration with another model name and its relative sources moved."""

    def each(source: Any) -> Any:
        if isinstance(source, list):
            return [each(item) for item in source]
        if isinstance(source, dict):
            return {key: each(item) for key, item in source.items()}
        return source if source.startswith("nissl:") or Path(source).is_absolute() else move(source)

    corpora = {
        name: corpus.model_copy(update={"source": each(corpus.source)})
        for name, corpus in config.corpora.items()
    }
    return config.model_copy(
        update={"corpora": corpora, "model": config.model.model_copy(update={"name": model})}
    )
