"""What parallel inputs share of a model's neurons, and how it is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError, did_you_mean
from nissl.kernels.sharing import CLASSES
from nissl.results import Result
from nissl.site import format_neuron

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ALL", "LanguageSharing"]

ALL = "all"
ROLES = ("top", "all", "selected", "random")
"""Colours of the classes."""

MOST_TICKS = 16
"""Sites named along an axis, at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageSharing(Result):
    """Shares of the four classes of neurons over parallel inputs.

    Attributes
    ----------
    table
        Rows ``task`` (``all`` or one), ``site`` (``all`` or one), ``layer`` (none for ``all``),
        ``class``, ``share`` of the neurons (mean over inputs) with ``low`` and ``high``, 95 %
        bootstrap over inputs, and ``neurons``, their mean number.
    by_language
        Rows ``task, site, layer, language``: ``active``, the share of neurons that its inputs
        activate, ``specific``, the share that only they do, ``partial``, the share of
        partial-shared neurons among whose languages it is, each a mean over inputs.
    scores
        Rows ``site, layer, class``: ``contribution``, the class's share of ``Σ |m_j| ‖v_j‖``;
        ``effective``, Σ e · (m_j v_j) over the class at the last subword (NaN without answers, or
        with more than a blank before them), means over inputs. ``site`` is ``all`` for the sum
        over sites (the share: of the sum).
    times
        (d, 4): over how many inputs each neuron is of each class.
    sites, widths
        Names and widths: neurons of sites side by side are the rows of ``times``.
    rule
        When a neuron counts as activated, in words.
    """

    kind: ClassVar[str] = "language sharing"
    model: str
    name: str
    languages: tuple[str, ...]
    rule: str
    inputs: int
    sites: tuple[str, ...]
    widths: tuple[int, ...]
    table: pl.DataFrame
    by_language: pl.DataFrame
    scores: pl.DataFrame
    times: np.ndarray
    left_out: Mapping[str, int]

    def frame(self) -> pl.DataFrame:
        """The table of shares."""
        return self.table

    def share(self, cls: str, site: str = ALL, task: str = ALL) -> dict[str, Any]:
        """Return one row of the table.

        Raises
        ------
        SettingError
            There is no such class, site or task.
        """
        if cls not in CLASSES:
            raise SettingError(
                f'no class "{cls}"; there are {", ".join(CLASSES)}.{did_you_mean(cls, CLASSES)}'
            )
        rows = self.table.filter(
            (pl.col("class") == cls) & (pl.col("site") == site) & (pl.col("task") == task)
        )
        if rows.height != 1:
            raise SettingError(f'no shares of site "{site}" on task "{task}"')
        return rows.row(0, named=True)

    def neurons(self, cls: str, *, at_least: float = 0.9) -> list[str]:
        """Return the ids of neurons that are of a class over at least this share of the inputs.

        Raises
        ------
        SettingError
            There is no such class.
        """
        if cls not in CLASSES:
            raise SettingError(
                f'no class "{cls}"; there are {", ".join(CLASSES)}.{did_you_mean(cls, CLASSES)}'
            )
        often = self.times[:, CLASSES.index(cls)] >= at_least * self.inputs
        ids = [
            format_neuron(site, unit)
            for site, width in zip(self.sites, self.widths, strict=True)
            for unit in range(width)
        ]
        return [ids[int(i)] for i in np.flatnonzero(often)]

    def summary(self) -> tuple[str, ...]:
        """How large the classes are, where most is shared, and what the shared ones add."""
        rows = [self.share(cls) for cls in CLASSES]
        several = self.inputs > 1
        sizes = ", ".join(
            f"{100 * row['share']:.1f}% "
            + (f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}] " if several else "")
            + row["class"]
            for row in rows
        )
        lines = [
            f"Over {self.inputs:,} inputs of {self.name} in {', '.join(self.languages)}, of "
            f"{sum(self.widths):,} MLP units a mean of {sizes}.",
        ]
        if len(self.languages) == 2:
            lines.append("With two languages none can be partial-shared: two of two are all.")
        lines.append(self.rule)
        if len(self.sites) > 1:
            each = self.table.filter(
                (pl.col("class") == CLASSES[0]) & (pl.col("site") != ALL) & (pl.col("task") == ALL)
            ).sort("share", descending=True)
            top, low = each.row(0, named=True), each.row(-1, named=True)
            lines.append(
                f"Most is all-shared in {top['site']} ({100 * top['share']:.1f}%), least in "
                f"{low['site']} ({100 * low['share']:.1f}%)."
            )
        if self.scores.height:
            lines.append(self._adds())
        for why, count in self.left_out.items():
            lines.append(f"Left out: {count:,} {why}.")
        return tuple(lines)

    def _adds(self) -> str:
        whole = self.scores.filter(pl.col("site") == ALL)
        share = {row["class"]: row for row in whole.iter_rows(named=True)}
        said = ", ".join(f"{100 * share[cls]['contribution']:.1f}% by {cls}" for cls in CLASSES)
        text = f"Of what the units add to the stream (Σ |m| ‖v‖), {said} neurons"
        first = share[CLASSES[0]]["effective"]
        if np.isfinite(first):
            total = sum(row["effective"] for row in share.values())
            text += (
                f"; of {total:+.2f} that they add to the answer's logit before the final norm, "
                f"{first:+.2f} is by all-shared ones"
            )
        return f"{text}."

    def plot(self, ax: Axes | None = None, *, task: str = ALL) -> Axes:
        """The share of each class by site, stacked."""
        from nissl.plotting import PALETTE, new_axes

        self.share(CLASSES[0], task=task)  # refuses a task that is not there
        ax = new_axes(ax, size=(5.6, 3.8))
        rows = self.table.filter((pl.col("task") == task) & (pl.col("site") != ALL))
        place = np.arange(len(self.sites))
        below = np.zeros(len(self.sites))
        for cls, role in zip(CLASSES, ROLES, strict=True):
            part = rows.filter(pl.col("class") == cls)
            value = dict(zip(part["site"], part["share"], strict=True))
            height = 100 * np.array([value[site] for site in self.sites])
            ax.bar(place, height, bottom=below, width=0.8, color=PALETTE[role], label=cls)
            below += height
        shown = place[:: max(1, -(-len(place) // MOST_TICKS))]
        ax.set_xticks(shown, [self.sites[i] for i in shown], rotation=90)
        ax.set_ylim(0, 100)
        ax.set_ylabel("neurons, %")
        ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        return ax
