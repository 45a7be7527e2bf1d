"""The configuration of a study of several models: a list of models, and all else shared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from nissl.study.config import ROOMS, ModelConfig, SharedConfig, StudyConfig
from nissl.study.config_files import (
    checked,
    model_near,
    model_seen_from,
    read_settings,
    source_near,
    source_seen_from,
    write_settings,
)

__all__ = ["CrossConfig", "CrossModel", "load_cross_config", "make_cross_config"]


class CrossModel(ModelConfig):
    """A model of a study of several: alias, folder or hub name, and what tables call it."""

    alias: str | None = Field(default=None, min_length=1)
    """Name in tables and of its folder; the last part of a folder's path if not given."""

    @property
    def shown(self) -> str:
        """What tables call it."""
        if self.alias:
            return self.alias
        place = Path(self.name)
        return place.name if place.is_absolute() or self.name.startswith(".") else self.name

    def plain(self) -> ModelConfig:
        """Return it as the model of an ordinary study."""
        return ModelConfig(**self.model_dump(exclude={"alias"}))


def _models(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [{"name": v} if isinstance(v, str) else v for v in value]


class CrossConfig(SharedConfig):
    """Corpora × models × properties, and how they are analysed."""

    models: Annotated[list[CrossModel], BeforeValidator(_models)]

    @model_validator(mode="after")
    def _check_models(self) -> CrossConfig:
        if not self.models:
            raise ValueError("models: name at least one model")
        names = [model.shown for model in self.models]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f'two models are called "{min(twice)}": give one another alias')
        return self

    def study_of(self, model: CrossModel) -> StudyConfig:
        """Return the ordinary study of one of the models."""
        shared = self.model_dump(exclude={"models", "title"})
        title = f"{self.title} ({model.shown})" if self.title else None
        return StudyConfig(**shared, title=title, model=model.plain())

    def levels(self) -> dict[str, str | None]:
        """Return property → linguistic level."""
        return {self.name_of(item): item.level for item in self.properties}


def make_cross_config(values: Mapping[str, Any], *, where: str | None = None) -> CrossConfig:
    """Check a mapping and return the configuration.

    Raises
    ------
    SettingError
        An unknown or impossible setting, or two models of one name.
    """
    rooms = {name: room for name, room in ROOMS.items() if name != "model"}
    return checked(CrossConfig, values, {**rooms, "models": CrossModel}, where)


def load_cross_config(path: str | Path) -> CrossConfig:
    """Read a YAML or TOML file; relative paths in it start from its folder.

    Raises
    ------
    SettingError
        No such file, a syntax error (with its line), or an unknown setting.
    """
    config = make_cross_config(read_settings(path), where=str(path))
    folder = Path(path).parent
    models = [
        # The name in tables is that of the file, wherever it is read from.
        model.model_copy(update={"name": model_near(model.name, folder), "alias": model.shown})
        for model in config.models
    ]
    return config.with_sources(source_near(folder)).model_copy(update={"models": models})


def save_cross_config(config: CrossConfig, path: str | Path) -> None:
    """Write a configuration that :func:`load_cross_config` reads back, from wherever."""
    folder = Path(path).parent
    values = config.with_sources(source_seen_from(folder)).model_dump(mode="json")
    values.pop("models")
    models = [
        {**model.model_dump(), "alias": model.shown, "name": model_seen_from(model.name, folder)}
        for model in config.models
    ]
    write_settings({"title": values.pop("title"), "models": models, **values}, path)
