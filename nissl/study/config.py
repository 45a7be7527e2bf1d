"""The configuration of a study: from options, a mapping, or a YAML or TOML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from nissl.errors import did_you_mean
from nissl.study.config_files import (
    checked,
    model_near,
    model_seen_from,
    move_source,
    read_settings,
    source_near,
    source_seen_from,
    write_settings,
)

__all__ = [
    "AnalysisConfig",
    "CorpusConfig",
    "ExtractionConfig",
    "ModelConfig",
    "PropertyConfig",
    "SharedConfig",
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
    level: str | None = Field(default=None, min_length=1)
    """Linguistic level, such as morphology, lexical, syntax or semantics; a study of several models
    compares the levels."""


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
    precision: float = Field(default=0.03, gt=0, lt=1)
    """Share of its size to which a minimal set is searched; coarser is cheaper."""
    control_seeds: list[int] = [0, 1, 2]
    mass: float = 0.5
    resamples: int = Field(default=10, ge=2)
    threshold: float = 0.3
    random_weights: bool = True
    skip: list[Literal["selectivity", "redundancy"]] = []
    """Steps to leave out; both are costly where there are many neurons."""
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


class SharedConfig(_Strict):
    """What is the same for every model: corpora, properties, and how they are analysed."""

    title: str | None = None
    corpora: Annotated[dict[str, CorpusConfig], BeforeValidator(_corpora)]
    properties: Annotated[list[PropertyConfig], BeforeValidator(_properties)]
    extraction: ExtractionConfig = ExtractionConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
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

    def with_sources(self, move: Callable[[str], str]) -> Self:
        """Return the configuration with every corpus's relative sources moved."""
        corpora = {
            name: corpus.model_copy(update={"source": move_source(corpus.source, move)})
            for name, corpus in self.corpora.items()
        }
        return self.model_copy(update={"corpora": corpora})


class StudyConfig(SharedConfig):
    """Corpora × model × properties, and how they are analysed."""

    model: Annotated[ModelConfig, BeforeValidator(_model)] = ModelConfig()


ROOMS: Mapping[str, type[BaseModel]] = {
    "model": ModelConfig,
    "corpora": CorpusConfig,
    "properties": PropertyConfig,
    "extraction": ExtractionConfig,
    "analysis": AnalysisConfig,
}
"""Setting at the top → what is set below it, for naming what there is when a name is unknown."""


def make_config(values: Mapping[str, Any], *, where: str | None = None) -> StudyConfig:
    """Check a mapping and return the configuration.

    Raises
    ------
    SettingError
        An unknown or impossible setting; the closest known name is suggested.
    """
    return checked(StudyConfig, values, ROOMS, where)


def load_config(path: str | Path) -> StudyConfig:
    """Read a YAML or TOML file; relative paths in it start from its folder.

    Raises
    ------
    SettingError
        No such file, a syntax error (with its line), or an unknown setting.
    """
    config = make_config(read_settings(path), where=str(path))
    folder = Path(path).parent
    name = model_near(config.model.name, folder)
    return config.with_sources(source_near(folder)).model_copy(
        update={"model": config.model.model_copy(update={"name": name})}
    )


def save_config(config: StudyConfig, path: str | Path) -> None:
    """Write a configuration that :func:`load_config` reads back, wherever it is called from.

    Relative paths are written as seen from the file's folder.
    """
    folder = Path(path).parent
    values = config.with_sources(source_seen_from(folder)).model_dump(mode="json")
    model = {**values.pop("model"), "name": model_seen_from(config.model.name, folder)}
    write_settings({"title": values.pop("title"), "model": model, **values}, path)
