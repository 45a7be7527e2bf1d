"""Settings of an explanation, and which sentences are held out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from nissl.errors import SettingError, did_you_mean

__all__ = ["EXHAUSTIVE", "ExplainSettings", "divide"]

EXHAUSTIVE = ("auto", "always", "never")


@dataclass(frozen=True)
class ExplainSettings:
    """Everything besides store and concepts that decides the numbers; see ``explain``."""

    mask: str
    share: float
    sides: str
    ranges: int
    length: int
    beam: int
    penalty: float
    min_support: int
    score: str
    held_out: float | str
    permutations: int
    n_boot: int
    exhaustive: str
    seed: int

    def __post_init__(self) -> None:
        if self.exhaustive not in EXHAUSTIVE:
            raise SettingError(
                f'exhaustive is one of {", ".join(EXHAUSTIVE)}, not "{self.exhaustive}".'
                f"{did_you_mean(str(self.exhaustive), EXHAUSTIVE)}"
            )
        if self.permutations < 1:
            raise SettingError(f"permutations must be 1 or more, not {self.permutations}")
        if self.n_boot < 2:
            raise SettingError(f"n_boot must be 2 or more, not {self.n_boot}")

    def masks_of_a_unit(self) -> int:
        """Return how many masks a unit has, at most."""
        if self.mask in ("ranges", "clusters"):
            return self.ranges
        return 2 if self.sides == "both" else 1

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON has them."""
        return asdict(self)


def divide(tokens: pl.DataFrame, held_out: float | str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of training and of held-out tokens; sentences are never divided.

    Parameters
    ----------
    held_out
        A share of the sentences, drawn by the seed; or the name of a split ("test"), whose
        sentences are held out from all others.

    Raises
    ------
    SettingError
        An impossible share, no such split, or fewer than 2 sentences on a side.
    """
    sentence = tokens["sentence"].to_numpy()
    known = np.unique(sentence)
    if isinstance(held_out, str):
        splits = tokens["split"].to_numpy().astype(object) if "split" in tokens.columns else None
        names = [] if splits is None else sorted({str(name) for name in splits})
        if splits is None or held_out not in names:
            raise SettingError(
                f'no split "{held_out}" to hold out; the corpus has {", ".join(names) or "none"}.'
                f"{did_you_mean(held_out, names)}"
            )
        out = splits == held_out
    else:
        if not 0 < held_out < 1:
            raise SettingError(f"the held-out share is between 0 and 1, not {held_out}")
        rng = np.random.default_rng(seed)
        out = np.isin(sentence, rng.permutation(known)[: round(held_out * len(known))])
    sides = [np.flatnonzero(~out), np.flatnonzero(out)]
    for rows, name in zip(sides, ("train on", "hold out"), strict=True):
        if len(np.unique(sentence[rows])) < 2:
            raise SettingError(
                f"there are fewer than 2 sentences to {name} ({len(known)} in all, held out "
                f"{held_out})"
            )
    return sides[0], sides[1]
