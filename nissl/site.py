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
        ``hidden`` (the stream between blocks), ``mlp`` (units after the non-linearity), ``head``
        (outputs of all attention heads, side by side), ``state`` (what a recurrent layer keeps) or
        ``module`` (any module, named by the user).
    layer
        For ``hidden``, 0 is what enters the first block and i what leaves block i; for the other
        kinds, block i is 1, 2…
    module
        Dotted path of the torch module.
    point
        Whether the neurons are the module's input or its output.
    width
        Number of neurons.
    stack
        ``encoder`` or ``decoder`` where a model has both; else empty.
    part
        Which of a recurrent layer's states: ``hidden``, ``cell``, a gate; else empty.
    call
        Which call of the module in a forward pass, from 0: layers that share their weights are one
        module, called once a layer.
    """

    kind: str
    layer: int
    module: str
    point: Literal["input", "output"]
    width: int
    stack: str = ""
    part: str = ""
    call: int = 0

    @property
    def name(self) -> str:
        """Readable name: ``hidden.3``, ``decoder.mlp.2``, ``state.cell.1``, ``module.a@input``."""
        if self.kind == "module":
            at = "" if self.point == "output" else "@input"
            return f"module.{self.module}{at}"
        return ".".join(p for p in (self.stack, self.kind, self.part, str(self.layer)) if p)

    @property
    def group(self) -> str:
        """The name without its layer, such as ``decoder.mlp``: sites of a group form a stack."""
        return self.name if self.kind == "module" else self.name.rpartition(".")[0]

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
    found = re.fullmatch(r"((?:[a-z_]+\.)+\d+|module\.[\w.\-]+(?:@input)?):(\d+)", text, re.ASCII)
    if not found:
        raise SettingError(f'"{text}" is not a neuron id; ids look like hidden.3:117')
    return found[1], int(found[2])
