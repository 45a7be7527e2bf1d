"""What a comparison of rankings for numbers found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError, did_you_mean
from nissl.methods.agreement import NOT_TRUTH
from nissl.methods.bench import ALL, RANDOM
from nissl.methods.comparison import close_to_best
from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TargetComparison"]

_MARKS = "osD^vP*X<>"


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetComparison(Result):
    """Rankings × sizes under one evaluation, for one or more targets of numbers.

    Attributes
    ----------
    table
        Rows ``target, method, k, percent, r2, low, high`` (test tokens, 95 % bootstrap over
        sentences) for each ranking's best k, for ``(random sets)`` and ``(all neurons)``. ``gain,
        gain_low, gain_high``: paired difference to random sets of the same size; ``behind,
        behind_low, behind_high``: paired difference of the best ranking of that size to this one,
        each interval for itself (see :func:`~nissl.methods.comparison.close_to_best`).
        R² is 1 for perfect predictions, 0 for the test mean, and has no lower bound.
    agreement
        ``target, k, method, avg_overlap, neuron_vote, chance`` (Fan et al. 2023; Jaccard). The
        method ``random`` does not vote.
    stability
        ``target, method, over, k, overlap, low, high, expected, runs``: share of the k best that
        come back on other seeds and between halves of the training sentences.
    times
        ``target, method, cpu_seconds`` of the ranking itself. A first call may hold the
        compilation of its inner loops.
    best
        ``method, target, rank, neuron, score`` of the best neurons.
    """

    kind: ClassVar[str] = "target comparison"
    targets: tuple[str, ...]
    methods: tuple[str, ...]
    n_neurons: Mapping[str, int]
    table: pl.DataFrame
    agreement: pl.DataFrame
    stability: pl.DataFrame
    times: pl.DataFrame
    best: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The table of R²."""
        return self.table

    def frames(self) -> dict[str, pl.DataFrame]:
        """All tables by name."""
        return {
            "r2": self.table,
            "agreement": self.agreement,
            "stability": self.stability,
            "times": self.times,
            "best": self.best,
        }

    def at(self, target: str, method: str, k: int) -> dict[str, Any]:
        """Return the row of a method's k best neurons (or of ``(random sets)``)."""
        rows = self.table.filter(
            (pl.col("target") == target) & (pl.col("method") == method) & (pl.col("k") == k)
        )
        if rows.height != 1:
            names = [*self.targets, *self.methods]
            hint = did_you_mean(target if target not in self.targets else method, names)
            raise SettingError(f"no result for {target}, {method}, k = {k}.{hint}")
        return rows.row(0, named=True)

    def matrix(self) -> pl.DataFrame:
        """R² of the best neurons, one row a method, one column a target and size."""
        many = len(self.targets) > 1
        name = pl.format("{} k={}", "target", "k") if many else pl.format("k={}", "k")
        return (
            self.table.filter(pl.col("method") != ALL)
            .with_columns(name.alias("column"))
            .pivot("column", index="method", values="r2", maintain_order=True)
        )

    def summary(self) -> tuple[str, ...]:
        """The best method for each target and size, and what it is not told apart from."""
        lines = [self._best(name, k) for name in self.targets for k in self._ks(name)]
        for name in self.targets:
            whole = self.at(name, ALL, self.n_neurons[name])
            lines.append(
                f"All {whole['k']:,} neurons explain {_share(whole)} of the variance of {name}."
            )
        if self.agreement.height:
            lines.append(NOT_TRUTH)
        return tuple(lines)

    def _ks(self, target: str) -> list[int]:
        own = self.table.filter((pl.col("target") == target) & (pl.col("method") != ALL))
        return sorted(own["k"].unique().to_list())

    def _best(self, target: str, k: int) -> str:
        rows = self.table.filter(
            (pl.col("target") == target)
            & (pl.col("k") == k)
            & ~pl.col("method").is_in([RANDOM, ALL])
        ).sort("r2", descending=True, maintain_order=True)
        best = rows.row(0, named=True)
        close = close_to_best(rows)
        rest = f"; not told apart from it: {', '.join(close)}" if close else ""
        if rows.height > 1 and not close:
            rest = "; every other method is behind it"
        size = f"{k:,} neuron{'' if k == 1 else 's'} ({best['percent']:.2g} %)"
        return (
            f"Refitted on {size}, those of {best['method']} explain {_share(best)} of the variance "
            f"of {target}, random sets {_share(self.at(target, RANDOM, k))}{rest}."
        )

    def plot(self, ax: Axes | None = None, *, target: str | None = None) -> Axes:
        """R² of each method's best k neurons against k, with the band of random sets."""
        from matplotlib import colormaps

        from nissl.plotting import curve, new_axes

        name = target or self.targets[0]
        if name not in self.targets:
            hint = did_you_mean(name, self.targets)
            raise SettingError(f'no target "{name}" in this comparison.{hint}')
        ax = new_axes(ax, size=(6.4, 4.0))
        rows = self.table.filter(pl.col("target") == name)

        def line(method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
            own = rows.filter(pl.col("method") == method).sort("k")
            k, value, low, high = (own[c].to_numpy() for c in ("k", "r2", "low", "high"))
            return k, value, low, high

        curve(ax, *line(RANDOM), "random sets", "random")
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
        ax.axhline(line(ALL)[1][0], linestyle="--", linewidth=1, label="all neurons")
        ax.set_xscale("log")
        ax.set_xlabel("neurons kept (k)")
        ax.set_ylabel(f"test R² of {name} (refitted)")
        ax.legend(ncols=3)
        return ax


def _share(row: Mapping[str, Any]) -> str:
    return f"{row['r2']:.1%} ({row['low']:.1%} to {row['high']:.1%})"
