"""The id of a site and of a neuron: readable, stable, and parsed back to what was printed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nissl.errors import SettingError

__all__ = ["Site", "format_neuron", "parse_neuron"]


@dataclass(frozen=True)
class Site:
    """Where a group of neurons lives.

    Attributes
    ----------
    kind
        ``hidden`` (the stream between blocks), ``mlp`` (units after the non-linearity) or ``head``
        (outputs of all attention heads, side by side).
    layer
        For ``hidden``, 0 is what enters the first block and i what leaves block i; for ``mlp`` and
        ``head``, block i is 1, 2…
    module
        Dotted path of the torch module.
    point
        Whether the neurons are the module's input or its output.
    width
        Number of neurons.
    """

    kind: str
    layer: int
    module: str
    point: Literal["input", "output"]
    width: int

    @property
    def name(self) -> str:
        """Readable name, such as ``hidden.3``."""
        return f"{self.kind}.{self.layer}"

    def neurons(self) -> list[str]:
        """Ids of the site's neurons."""
        return [format_neuron(self.name, i) for i in range(self.width)]


def format_neuron(site: str, index: int) -> str:
    """Return a neuron's id, such as ``hidden.3:117``."""
    return f"{site}:{index}"


def parse_neuron(text: str) -> tuple[str, int]:
    """Return site name and index of an id such as ``hidden.3:117``.

    Raises
    ------
    SettingError
        It is not such an id.
    """
    found = re.fullmatch(r"([a-z_]+\.\d+):(\d+)", text)
    if not found:
        raise SettingError(f'"{text}" is not a neuron id; ids look like hidden.3:117')
    return found[1], int(found[2])
