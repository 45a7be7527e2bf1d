"""What swaps of a minimal set's neurons found: sets that are as good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["EqualSets"]


@dataclass(frozen=True, kw_only=True, eq=False)
class EqualSets(Result):
    """Sets that do as well as a minimal set after neurons gave way to others of their cluster.

    Attributes
    ----------
    k, margin
        Size of the set; how many points worse an equally good set may be at most.
    swaps
        One row a swap that was tried: ``out, into`` (neurons), ``r`` (their correlation on the
        training tokens), ``difference, low`` (dev accuracy against the set, and the lower end of
        its one-sided 95 % interval, as shares) and ``equal``.
    mates
        Number of possible swaps of one neuron.
    choices
        One row a cluster of the set that has a choice: ``members, candidates, sets`` (members of
        the set, neurons to choose them from, number of ways).
    tried, good
        Random combinations of all choices that were tried, and how many were equally good.
    log10_sets
        log₁₀ of the number of equally good sets: all combinations × share of good ones among
        those tried, at least 1 (the set itself).
    """

    kind: ClassVar[str] = "equal sets"
    property: str
    k: int
    margin: float
    threshold: float
    swaps: pl.DataFrame
    mates: int
    choices: pl.DataFrame
    tried: int
    good: int
    log10_sets: float

    def frame(self) -> pl.DataFrame:
        """One row a swap that was tried."""
        return self.swaps

    def summary(self) -> tuple[str, ...]:
        """How many swaps and combinations are equally good."""
        equal = int(self.swaps["equal"].sum()) if self.swaps.height else 0
        if not self.mates:
            return (
                f"No neuron of the set of {self.k:,} for {self.property} has a mate at |r| above "
                f"{1 - self.threshold:g} outside it: no equally good set was found this way.",
            )
        count = (
            f"{round(10**self.log10_sets):,}"
            if self.log10_sets < 6
            else f"10^{self.log10_sets:.0f}"
        )
        return (
            f"{equal:,} of {self.swaps.height:,} swaps of one neuron for a correlated one (of "
            f"{self.mates:,} possible) leave the {self.k:,} neurons for {self.property} at most "
            f"{self.margin:g} points worse on dev, with 95 % confidence; of {self.tried} random "
            f"combinations of such swaps {self.good} do. About {count} sets are equally good: "
            "the minimal set is one of them.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Change of dev accuracy of each swap against the correlation of the pair."""
        from nissl.plotting import PALETTE, new_axes

        ax = new_axes(ax)
        for equal, role, label in ((True, "top", "equally good"), (False, "bottom", "not shown")):
            rows = self.swaps.filter(pl.col("equal") == equal)
            ax.plot(
                rows["r"].abs().to_numpy(),
                100 * rows["difference"].to_numpy(),
                "o",
                color=PALETTE[role],
                markersize=4,
                label=label,
            )
        ax.axhline(-self.margin, linestyle="--", linewidth=1, label="margin")
        ax.set_xlabel("|r| of the two neurons")
        ax.set_ylabel("change of dev accuracy (points)")
        ax.legend()
        return ax
