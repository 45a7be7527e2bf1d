"""One sentence as a NeuroX file has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Sentence"]


@dataclass(frozen=True)
class Sentence:
    """One sentence of an activation file.

    Attributes
    ----------
    where
        Its place: the file and the line or dataset.
    words
        Its words, where the format keeps them apart.
    text
        Its words joined by spaces, where it does not.
    layers
        Numbers that the file gives its layers.
    values
        Float (words, layers, width).
    """

    where: str
    words: list[str] | None
    text: str | None
    layers: tuple[int, ...]
    values: np.ndarray
