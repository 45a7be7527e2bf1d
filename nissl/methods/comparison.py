"""What a comparison of rankings found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError, did_you_mean
from nissl.methods.agreement import NOT_TRUTH
from nissl.methods.bench import ALL, RANDOM
from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Comparison", "close_to_best"]

_MARKS = "osD^vP*X<>"


def close_to_best(rows: pl.DataFrame) -> list[str]:
    """Return the methods that are not told apart from the best, in the order of the rows.

    The best of m methods is chosen on the tokens that judge it, so that any pair of them may come
    to be compared: a method is told apart where the difference is above 0 at a level of 95 % for
    all m (m − 1) / 2 pairs together (Bonferroni, normal, standard errors from the intervals). With
    single intervals, one of seven equally good methods seems worse nearly half of the time.

    Parameters
    ----------
    rows
        ``method, behind, behind_low, behind_high`` (95 %) of each method, the best first.
    """
    pairs = max(1, rows.height * (rows.height - 1) // 2)
    ratio = NormalDist().inv_cdf(1 - 0.025 / pairs) / NormalDist().inv_cdf(0.975)
    margin = ratio * (pl.col("behind_high") - pl.col("behind_low")) / 2
    apart = (pl.col("behind_low") > 0) & (pl.col("behind") > margin)
    return rows.slice(1).filter(~apart)["method"].to_list()


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison(Result):
    """Rankings × sizes under one evaluation, for one or more properties.

    Attributes
    ----------
    table
        Rows ``property, how, method, kind, k, percent, accuracy, low, high`` (test tokens, 95 %
        bootstrap over sentences), for each ranking its best (``top``) and worst (``bottom``) k,
        for ``(random sets)`` and ``(all neurons)``. ``gain, gain_low, gain_high``: paired
        difference to random sets of the same size; ``behind, behind_low, behind_high``: paired
        difference of the most accurate ranking of that size to this one. Shares, not points. Each
        interval is for one difference; the most accurate ranking is the one of these test tokens,
        and so partly by luck (see :func:`close_to_best`).
    agreement
        ``property, k, method, avg_overlap, neuron_vote, chance`` (Fan et al. 2023; Jaccard). The
        method ``random`` does not vote.
    pairs
        ``property, k, a, b, overlap``: Jaccard overlap of the k best of each pair of methods.
    stability
        ``property, method, over, k, overlap, low, high, expected, runs``: share of the k best
        that come back on other seeds and between halves of the training sentences.
    times
        ``property, method, cpu_seconds`` of the ranking itself. A first call may hold the
        compilation of its inner loops.
    best
        ``property, method, rank, neuron, label, score`` of the best neurons.
    """

    kind: ClassVar[str] = "comparison"
    properties: tuple[str, ...]
    methods: tuple[str, ...]
    n_neurons: Mapping[str, int]
    table: pl.DataFrame
    agreement: pl.DataFrame
    pairs: pl.DataFrame
    stability: pl.DataFrame
    times: pl.DataFrame
    best: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The table of accuracies."""
        return self.table

    def frames(self) -> dict[str, pl.DataFrame]:
        """All tables by name."""
        return {
            "accuracy": self.table,
            "agreement": self.agreement,
            "pairs": self.pairs,
            "stability": self.stability,
            "times": self.times,
            "best": self.best,
        }

    def at(self, property: str, method: str, k: int, *, how: str = "retrain") -> dict[str, Any]:
        """Return the row of a method's k best neurons (or of ``(random sets)``)."""
        rows = self.table.filter(
            (pl.col("property") == property)
            & (pl.col("method") == method)
            & (pl.col("k") == k)
            & (pl.col("how") == how)
            & (pl.col("kind") != "bottom")
        )
        if rows.height != 1:
            names = [*self.properties, *self.methods]
            hint = did_you_mean(property if property not in self.properties else method, names)
            raise SettingError(f"no result for {property}, {method}, k = {k}, {how}.{hint}")
        return rows.row(0, named=True)

    def matrix(self, *, k: int | None = None, how: str = "retrain") -> pl.DataFrame:
        """Accuracy of the best neurons, one row a method, one column a property and size."""
        rows = self.table.filter((pl.col("how") == how) & (pl.col("kind") != "bottom"))
        rows = rows.filter(pl.col("method") != ALL)
        if k is not None:
            rows = rows.filter(pl.col("k") == k)
        many = len(self.properties) > 1
        name = pl.format("{} k={}", "property", "k") if many else pl.format("k={}", "k")
        return rows.with_columns(name.alias("column")).pivot(
            "column", index="method", values="accuracy", maintain_order=True
        )

    def summary(self) -> tuple[str, ...]:
        """The best method at each size and what it is not told apart from, with the caveat."""
        how = "retrain" if (self.table["how"] == "retrain").any() else "mask"
        lines = [
            line
            for name in self.properties
            for k in self._ks(name)
            for line in self._best(name, k, how)
        ]
        if self.agreement.height:
            first = self.agreement.filter(
                (pl.col("property") == self.properties[0])
                & (pl.col("k") == self._ks(self.properties[0])[0])
            ).sort("avg_overlap", descending=True)
            top, low = first.row(0, named=True), first.row(-1, named=True)
            lines.append(
                f"On the best {top['k']:,} neurons for {top['property']} {top['method']} agrees "
                f"most with the other methods (mean overlap {top['avg_overlap']:.2f}) and "
                f"{low['method']} least ({low['avg_overlap']:.2f}; by chance {top['chance']:.2f}). "
                f"{NOT_TRUTH}"
            )
        lines += self._steady()
        slow = self.times.group_by("method").agg(pl.col("cpu_seconds").sum()).sort("cpu_seconds")
        if slow.height > 1:
            quick, last = slow.row(0, named=True), slow.row(-1, named=True)
            lines.append(
                f"Rankings took from {quick['cpu_seconds']:.2f} CPU s ({quick['method']}) to "
                f"{last['cpu_seconds']:.2f} ({last['method']})."
            )
        return tuple(lines)

    def _ks(self, property: str) -> list[int]:
        own = self.table.filter((pl.col("property") == property) & (pl.col("method") != ALL))
        return sorted(own["k"].unique().to_list())

    def _best(self, property: str, k: int, how: str) -> list[str]:
        rows = self.table.filter(
            (pl.col("property") == property)
            & (pl.col("how") == how)
            & (pl.col("kind") == "top")
            & (pl.col("k") == k)
        ).sort("accuracy", descending=True, maintain_order=True)
        if not rows.height:
            return []
        best = rows.row(0, named=True)
        close = close_to_best(rows)
        rest = f"; not told apart from it: {', '.join(close)}" if close else ""
        if rows.height > 1 and not close:
            rest = "; every other method is behind it"
        chance = self.at(property, RANDOM, k, how=how)
        size = f"{k:,} neuron{'' if k == 1 else 's'} ({best['percent']:.2g} %)"
        way = f"Retrained on {size}" if how == "retrain" else f"With all but {size} masked"
        return [
            f"{way}, those of {best['method']} do best on "
            f"{property}: {best['accuracy']:.1%} ({best['low']:.1%} to {best['high']:.1%}), random "
            f"sets {chance['accuracy']:.1%}{rest}."
        ]

    def _steady(self) -> list[str]:
        rows = self.stability.filter(pl.col("over") == "halves")
        if not rows.height:
            return []
        k = self._ks(self.properties[0])[0]
        first = rows.filter((pl.col("property") == self.properties[0]) & (pl.col("k") == k))
        first = first.sort("overlap", descending=True)
        said = ", ".join(f"{r['method']} {r['overlap']:.0%}" for r in first.iter_rows(named=True))
        return [
            f"Between halves of the training sentences, of the best {k:,} neurons for "
            f"{self.properties[0]} these shares come back: {said} "
            f"(by chance {first['expected'][0]:.1%})."
        ]

    def plot(
        self, ax: Axes | None = None, *, property: str | None = None, how: str = "retrain"
    ) -> Axes:
        """Accuracy of each method's best k neurons against k, with the band of random sets."""
        from nissl.plotting import curve, new_axes

        name = property or self.properties[0]
        if name not in self.properties:
            hint = did_you_mean(name, self.properties)
            raise SettingError(f'no property "{name}" in this comparison.{hint}')
        ax = new_axes(ax, size=(6.4, 4.0))
        rows = self.table.filter((pl.col("property") == name) & (pl.col("how") == how))

        def line(method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
            own = rows.filter((pl.col("method") == method) & (pl.col("kind") != "bottom")).sort("k")
            k, value, low, high = (own[c].to_numpy() for c in ("k", "accuracy", "low", "high"))
            return k, value, low, high

        curve(ax, *line(RANDOM), "random sets", "random")
        from matplotlib import colormaps

        colours = colormaps["tab20"]
        for i, method in enumerate(self.methods):
            k, value, low, high = line(method)
            ax.errorbar(
                # Side by side: intervals of methods at one k would hide each other.
                k * (1 + 0.015 * (i - len(self.methods) / 2)),
                value,
                yerr=np.stack([value - low, high - value]).clip(min=0),
                color=colours((2 * i + i // 10) % 20),
                marker=_MARKS[i % len(_MARKS)],
                markersize=4,
                linewidth=1.2,
                elinewidth=0.8,
                label=method,
            )
        whole = rows.filter(pl.col("method") == ALL)
        if whole.height:
            ax.axhline(whole["accuracy"][0], linestyle="--", linewidth=1, label="all neurons")
        ax.set_xscale("log")
        ax.set_xlabel("neurons kept (k)")
        ax.set_ylabel(f"test accuracy ({'retrained' if how == 'retrain' else 'others masked'})")
        ax.legend(ncols=3)
        return ax
