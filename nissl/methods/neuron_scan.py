"""What a scan of single neurons gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl
from scipy.stats import rankdata

from nissl.methods.causal_ablation import CausalAblation
from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["NeuronScan", "rank_correlation"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronScan(Result):
    """What each neuron does, removed alone.

    Attributes
    ----------
    table
        One row a neuron, the one whose removal harms most first: ``rank, neuron, site, change``
        (of the effect, in its unit times its scale), ``margin`` (of the linear function that it
        rests on, nats; what is ranked by), ``screen`` (the first-order estimate of margin), and
        ``change: CONDITION`` for each condition, where there are 2 to 8.
    screen_spearman
        Rank correlation of screen and exact scan over all neurons; NaN without a screen.
    joint
        The top neurons removed together, against random sets; None if not asked for.
    same_items
        Whether ``joint`` was measured on the items that chose the neurons: on that very effect, or
        on one of which more than a tenth of the texts are the same.
    """

    kind: ClassVar[str] = "neuron scan"
    model: str
    effect: str
    unit: str
    scale: float
    better: int
    how: str
    base: float
    table: pl.DataFrame
    screen_spearman: float
    joint: CausalAblation | None
    same_items: bool

    def frame(self) -> pl.DataFrame:
        """One row a neuron, the one that matters most first."""
        return self.table

    def ids(self, k: int) -> list[str]:
        """Ids of the k neurons whose removal harms most."""
        return self.table["neuron"].head(k).to_list()

    def summary(self) -> tuple[str, ...]:
        """The top units, how far the screen agrees, and what the top does together."""
        unit = "points" if self.scale == 100 else self.unit
        digits = 1 if self.scale == 100 else 3
        top = []
        for row in self.table.head(5).iter_rows(named=True):
            also = f", margin {row['margin']:+.3f} nats" if math.isfinite(row["margin"]) else ""
            top.append(f"{row['neuron']} ({row['change']:+.{digits}f} {unit}{also})")
        lines = [
            f"Of {self.table.height:,} neurons removed one at a time, those that matter most to "
            f"{self.effect} ({self.base:.{digits}f} as it is) are {', '.join(top)}."
        ]
        if math.isfinite(self.screen_spearman):
            lines.append(
                f"The first-order screen orders all neurons as the exact scan does with a rank "
                f"correlation of {self.screen_spearman:.2f}."
            )
        if self.joint is not None:
            lines += self.joint.summary()
            if self.same_items:
                lines.append(
                    "The neurons were chosen on items that they are tested on here, which flatters "
                    "them; test them on other items for a fair number."
                )
        return tuple(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Change by each neuron, site after site; the top five are named."""
        from nissl.plotting import PALETTE, new_axes

        ax = new_axes(ax, size=(6.4, 3.6)) if ax is None else ax
        sites = list(dict.fromkeys(self.table.sort("site_order")["site"].to_list()))
        value = "margin" if self.table["margin"].is_not_nan().any() else "change"
        rng = np.random.default_rng(0)
        for i, site in enumerate(sites):
            y = self.table.filter(pl.col("site") == site)[value].to_numpy()
            x = i + rng.uniform(-0.3, 0.3, len(y))
            ax.plot(x, y, ".", markersize=2.5, color=PALETTE["random"])
        for row in self.table.head(5).iter_rows(named=True):
            x = sites.index(row["site"])
            ax.plot([x], [row[value]], "o", markersize=4, color=PALETTE["bottom"])
            ax.annotate(row["neuron"], (x, row[value]), fontsize=7, parse_math=False)
        ax.axhline(0, linewidth=0.8, color="grey")
        ax.set_xticks(np.arange(len(sites)), sites, rotation=90 if len(sites) > 6 else 0)
        ax.set_ylabel(f"change of {self.effect}" if value == "change" else "change, nats")
        return ax


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation; NaN where one is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
