"""What switching off the classes of shared neurons does, and how it is said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.kernels.sharing import CLASSES
from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["EVERY", "MATTERS", "Deactivation"]

EVERY = "every neuron"
MATTERS = 5.0
"""Points of accuracy below which a loss is said not to matter."""
KNOWS = 10.0
"""Points above guessing from which a model is said to know a task."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Deactivation(Result):
    """Accuracy without each class of neurons, beside random sets of the same size.

    Attributes
    ----------
    table
        Rows ``group`` (``all``, a language, or ``task: …``), ``class`` (one of the four, or
        ``every neuron`` of the sites), ``neurons`` (mean number switched off), ``base`` and
        ``value`` (accuracy, %), ``change`` with ``low`` and ``high`` (points, 95 %, paired over
        inputs), ``random``, ``random_low``, ``random_high``, ``sd`` (the change by random sets, and
        its spread between draws), ``beyond``, ``beyond_low``, ``beyond_high`` (change less that of
        random sets), ``p``: the share of random sets, itself counted, that do as much harm;
        ``draws``. What has no random sets is NaN.
    chance
        Accuracy of guessing, %.
    pool
        What random sets are drawn from, in words.
    """

    kind: ClassVar[str] = "deactivation"
    model: str
    name: str
    languages: tuple[str, ...]
    rule: str
    scope: str
    where: str
    pool: str
    inputs: int
    sites: tuple[str, ...]
    total: int
    chance: float
    table: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The table of changes."""
        return self.table

    def at(self, cls: str, group: str = "all") -> dict[str, Any]:
        """Return one row of the table.

        Raises
        ------
        SettingError
            There is none.
        """
        rows = self.table.filter((pl.col("class") == cls) & (pl.col("group") == group))
        if rows.height != 1:
            raise SettingError(f'no result for class "{cls}" and group "{group}"')
        return rows.row(0, named=True)

    @property
    def base(self) -> float:
        """Accuracy of the unedited model, %."""
        return float(self.at(EVERY)["base"])

    def trap(self) -> str | None:
        """Return why nothing can be said of classes on this task, or None if something can."""
        whole = self.at(EVERY)
        said = f"{self.base:.1f}% right, {self.chance:.1f}% by guessing"
        if self.base < self.chance + KNOWS:
            return (
                f"The trap: the model does not know this task ({said}), so no neuron can lose "
                "anything; nothing can be said of the classes."
            )
        if whole["change"] > -MATTERS:
            return (
                f"The trap: nothing matters here. With every one of the {self.total:,} MLP units "
                f"off the model still is {whole['value']:.1f}% right (unedited {said}): the task "
                "is easy enough without them, and nothing can be said of the classes."
            )
        each = [self.at(cls) for cls in CLASSES]
        if all(row["change"] > -MATTERS for row in each):
            return (
                f"The trap: no class matters by itself: each costs less than {MATTERS:g} points, "
                f"though all units together cost {-whole['change']:.1f}; the others make up for "
                "it, and nothing can be said of the classes."
            )
        return None

    def summary(self) -> tuple[str, ...]:
        """The trap, if there is one; then what each class costs beside random sets."""
        lines = []
        trap = self.trap()
        if trap:
            lines.append(trap)
        lines.append(
            f"{self.model} answers {self.base:.1f}% of {self.name} right ({self.inputs:,} inputs "
            f"in {', '.join(self.languages)}; {self.chance:.1f}% by guessing)."
        )
        return (*lines, *(self.verdict(cls) for cls in CLASSES), self.rule)

    def verdict(self, cls: str) -> str:
        """Return the sentence about one class."""
        row = self.at(cls)
        if not row["neurons"]:
            return f"No neuron is {cls}."
        head = (
            f"Deactivating the {cls} neurons ({row['neurons']:,.1f} an input) costs "
            f"{_points(-row['change'])} points [{_points(-row['high'])}, {_points(-row['low'])}]"
        )
        control = (
            f"as many random neurons of the same layers, drawn {self.pool}, cost "
            f"{_points(-row['random'])} ± {row['sd']:.1f} ({row['draws']} draws)"
        )
        as_much = round(row["p"] * (row["draws"] + 1)) - 1
        if row["beyond_low"] <= 0 <= row["beyond_high"]:
            end = "not told apart from random"
        elif row["beyond"] > 0:
            end = "less than random"
        elif as_much == 0:
            end = "more than every random set"
        else:
            end = f"{as_much} of {row['draws']} random sets do as much harm"
        small = ", which hardly matters" if abs(row["change"]) < MATTERS else ""
        return f"{head}{small}; {control}: {end}."

    def plot(self, ax: Axes | None = None, *, group: str = "all") -> Axes:
        """Points lost by each class, and by random sets of its size."""
        from nissl.plotting import PALETTE, new_axes

        ax = new_axes(ax)
        rows = [self.at(cls, group) for cls in (*CLASSES, EVERY)]
        place = np.arange(len(rows), dtype=np.float64)
        for shift, key, role, label in (
            (-0.2, ("change", "low", "high"), "top", "the class"),
            (0.2, ("random", "random_low", "random_high"), "random", "as many random neurons"),
        ):
            value, low, high = (np.array([-row[k] for row in rows]) for k in key)
            error = np.nan_to_num(np.stack([value - high, low - value]).clip(min=0))
            ax.bar(
                place + shift,
                np.nan_to_num(value),
                width=0.38,
                color=PALETTE[role],
                label=label,
                yerr=error,
            )
        ax.set_xticks(place, [row["class"] for row in rows], rotation=20)
        ax.set_ylabel("accuracy lost, points")
        ax.legend()
        return ax


def _points(value: float) -> str:
    """Return a number of points; what rounds to none has no sign."""
    return "–" if not math.isfinite(value) else f"{round(value, 1) + 0.0:.1f}"
