"""What removing neurons inside the running model gives, and how it is said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from nissl.errors import SettingError
from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["KINDS", "CausalAblation", "said"]

KINDS = ("top", "random", "bottom")


@dataclass(frozen=True, kw_only=True, eq=False)
class CausalAblation(Result):
    """What removing neurons does.

    Attributes
    ----------
    table
        Rows ``effect``, ``group`` (``all`` or a condition), ``kind`` (top, random, bottom), ``k``,
        ``base`` and ``value`` (without and with the edit), ``change``, ``low``, ``high`` (95 %,
        paired), ``sd`` (between draws), ``draws``; for top also ``beyond``, ``beyond_low``,
        ``beyond_high``: the change less that of random sets, and ``p``: the share of random sets,
        itself counted, that do at least as much harm. In units of the effect times its scale.
        Ends of intervals are NaN where all items are of one cluster. Of an effect of more than 12
        conditions there are rows for all items alone.
    effects
        Rows ``effect, unit, scale, better, items``; the first is what the neurons were ranked for.
    """

    kind: ClassVar[str] = "causal ablation"
    model: str
    ranking: str
    how: str
    neurons: tuple[str, ...]
    table: pl.DataFrame
    effects: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The table of changes."""
        return self.table

    def at(self, effect: str, kind: str, k: int, group: str = "all") -> dict[str, Any]:
        """Return one row of the table.

        Raises
        ------
        SettingError
            There is none.
        """
        rows = self.table.filter(
            (pl.col("effect") == effect)
            & (pl.col("kind") == kind)
            & (pl.col("k") == k)
            & (pl.col("group") == group)
        )
        if rows.height != 1:
            raise SettingError(f"no result for {effect}, {group}, {kind}, k = {k}")
        return rows.row(0, named=True)

    @property
    def sizes(self) -> list[int]:
        """Numbers of neurons removed, small to large."""
        return sorted(self.table["k"].unique().to_list())

    def summary(self) -> tuple[str, ...]:
        """For every size, what it costs, what else it costs, and what random sets cost."""
        return tuple(self.verdict(k) for k in self.sizes)

    def verdict(self, k: int) -> str:
        """Return the sentence about one size."""
        names = self.effects["effect"].to_list()
        first = self.at(names[0], "top", k)
        rand = self.at(names[0], "random", k)
        others = [
            said(self.at(name, "top", k), self._effect(name), interval=True) for name in names[1:]
        ]
        also = f"; {', '.join(others)}" if others else ""
        if math.isnan(first["p"]):
            end = "some values are no numbers, so the two cannot be compared"
        elif math.isnan(first["beyond_low"]):
            end = "items of a single group give no interval to tell them apart by"
        elif first["beyond_low"] <= 0 <= first["beyond_high"]:
            end = "not told apart from random"
        else:
            most = round(first["p"] * (rand["draws"] + 1)) - 1
            harm = -first["change"] * (self._effect(names[0])["better"] or 1)
            end = "harms more than every random set" if harm > 0 else "differs from random"
            if most:
                end = f"{most} of {rand['draws']} random sets do as much harm"
        plural = "" if k == 1 else "s"
        put = "set to zero" if self.how == "zero" else "set to their mean"
        return (
            f"Removing the top {k} neuron{plural} of {self.ranking} ({put}) "
            f"{said(first, self._effect(names[0]), interval=True)}{also}; random removal of {k} in "
            f"the same layers {said(rand, self._effect(names[0]), spread=True)} "
            f"({rand['draws']} draws): {end}."
        )

    def _effect(self, name: str) -> dict[str, Any]:
        return self.effects.filter(pl.col("effect") == name).row(0, named=True)

    def plot(
        self, ax: Axes | None = None, *, effect: str | None = None, group: str = "all"
    ) -> Axes:
        """One effect against the number of neurons removed; the line is the unedited model."""
        from nissl.plotting import curve, new_axes

        ax = new_axes(ax)
        name = self.effects["effect"][0] if effect is None else effect
        rows = self.table.filter((pl.col("effect") == name) & (pl.col("group") == group))
        for kind in KINDS:
            part = rows.filter(pl.col("kind") == kind).sort("k")
            if not part.height:
                continue
            base = part["base"].to_numpy()
            curve(
                ax,
                part["k"].to_numpy(),
                part["value"].to_numpy(),
                base + part["low"].to_numpy(),
                base + part["high"].to_numpy(),
                f"{kind} removed",
                kind,
            )
        ax.axhline(rows["base"][0], linestyle=":", linewidth=1, color="grey", label="unedited")
        ax.set_xscale("log")
        ax.set_xlabel("neurons removed")
        here = self._effect(name)
        unit = "%" if here["scale"] == 100 else here["unit"]
        ax.set_ylabel(f"{name}{'' if group == 'all' else f' ({group})'}, {unit}")
        ax.legend()
        return ax


def said(
    row: Mapping[str, Any],
    effect: Mapping[str, Any],
    *,
    interval: bool = False,
    spread: bool = False,
) -> str:
    """Return a change in words: ``costs 18.0 [16.1, 20.2] points on agreement``."""
    better = effect["better"] or 1
    cost, low, high = (-better * row[key] for key in ("change", "low", "high"))
    low, high = sorted((low, high))
    # A change that only rounding tells from none is none.
    digits = 1 if effect["scale"] == 100 else 3
    unit = "points" if effect["scale"] == 100 else effect["unit"]
    verb = "costs" if effect["better"] else "lowers it by"
    if effect["better"] and round(cost, digits) < 0:
        verb, cost, low, high = "gains", -cost, -high, -low
    text = f"{verb} {cost + 0.0:.{digits}f}".replace("-0.0", "0.0", int(round(cost, digits) == 0))
    if spread:
        return f"{text} ± {row['sd']:.{digits}f}"
    known = interval and not math.isnan(low)
    ends = f" [{low:.{digits}f}, {high:.{digits}f}]" if known else ""
    return f"{text}{ends} {unit} on {effect['effect']}"
