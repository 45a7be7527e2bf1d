"""What switching a formula on does to a model's answers, and how it is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from nissl.errors import SettingError
from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CopyPaste"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CopyPaste(Result):
    """What switching a formula on does to a model's answers, beside random words.

    Attributes
    ----------
    formula, target
        The formula, and the class that the unit speaks for.
    pairs
        Pairs that were edited.
    table
        Rows ``edited``, ``random words`` and ``difference`` (edited, with random words as its
        before): ``share`` (of pairs with the target as answer; after), ``before, change, low,
        high`` (of that share, 95 %, bootstrap over pairs; NaN for one pair), ``probability`` (mean
        change of the target's probability) with ``probability_low, probability_high``, ``flipped``
        (share of pairs with another answer than before), ``accuracy_before, accuracy`` (NaN without
        the right answers).
    examples
        One row an edited pair: ``pair, edits, premise, hypothesis, before, after, random`` (share
        of random draws that answer the target).
    left_out
        Pairs that were not edited, and why.
    """

    kind: ClassVar[str] = "copy paste"
    formula: str
    target: str
    pairs: int
    table: pl.DataFrame
    examples: pl.DataFrame
    left_out: dict[str, int]

    def frame(self) -> pl.DataFrame:
        """Rows ``edited``, ``random words``, ``difference``."""
        return self.table

    def at(self, row: str) -> dict[str, float]:
        """Return one row of the table as numbers."""
        found = self.table.filter(pl.col("inputs") == row)
        if not found.height:
            raise SettingError(f'there is no row "{row}"; there are {", ".join(_ROWS)}')
        return {k: v for k, v in found.row(0, named=True).items() if k != "inputs"}

    def summary(self) -> tuple[str, ...]:
        """One sentence with both changes, and one with their difference."""
        edited, other, more = (self.at(row) for row in _ROWS)
        verdict = (
            "which chance does not explain"
            if more["low"] > 0 or more["high"] < 0
            else "which may be chance"
        )
        said = f"[{100 * more['low']:+.1f}, {100 * more['high']:+.1f}]"
        if self.pairs == 1:
            said, verdict = "(no interval)", "which one pair cannot tell from chance"
        return (
            f"With {self.formula} switched on in {self.pairs:,} pairs, the model answers "
            f"{self.target} in {edited['share']:.1%} instead of {edited['before']:.1%} of them; "
            f"with as many random words, in {other['share']:.1%}.",
            f"That is {100 * more['change']:+.1f} points {said} more than random words do, "
            f"{verdict}.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Change of the target's share by the formula's words and by random ones."""
        from nissl.plotting import bars, new_axes

        ax = new_axes(ax, size=(5.6, 1.6)) if ax is None else ax
        rows = self.table.filter(pl.col("inputs") != "difference")
        bars(
            ax,
            rows["inputs"].to_list(),
            rows["change"].to_numpy(),
            rows["low"].to_numpy(),
            rows["high"].to_numpy(),
        )
        ax.set_xlabel(f"change of the share of {self.target}")
        return ax


_ROWS = ("edited", "random words", "difference")
