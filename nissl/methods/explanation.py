"""What an explanation of neurons by formulas gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.kernels.formulas import Formula, Op
from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Explanation"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation(Result):
    """The logical formula that each neuron comes closest to, and whether that holds elsewhere.

    Formulas are searched on the training sentences. Everything without "train" in its name is
    measured on held-out sentences, which neither the formula nor the threshold has seen.

    Attributes
    ----------
    table
        One row a mask of a neuron (its high values, its low ones, or a range), in the store's
        order: ``neuron, site, layer, index, side``; ``above, at_most`` (the mask's bounds, in
        activations); ``formula, length, leaves, ops``; ``score_train`` (what the search
        maximises), ``iou_train, support_train, size_train``; ``iou, low, high`` (95 %, bootstrap
        over sentences), ``precision, recall, f1, matthews, hits, support, size``; ``chance`` (mean
        IoU over shifted masks), ``p``, ``q``; ``bound`` (no formula of that length has a higher
        score_train), ``optimal``, ``partial`` (the search was stopped); ``best`` (the neuron's
        mask of highest score_train), ``beyond`` (best, and q at most the FDR).
    concepts
        ``concept, family, count, same_as``; a row's ``leaves`` are rows of this table.
    noise
        What the same search reaches on training tokens for shifted masks of some neurons:
        ``neuron, side, score``.
    left_out
        What was not explained, and how often.
    no_concepts
        Why candidates are no concepts, and how many; tokens without a value of a label column.
    item, group
        What a neuron is on or off for, and what is held out and redrawn as a whole: tokens of
        sentences, pixels of images, or pairs of one premise.
    """

    kind: ClassVar[str] = "explanation"
    model: str
    score: str
    fdr: float
    permutations: int
    tokens: int
    held_out: int
    table: pl.DataFrame
    concepts: pl.DataFrame
    noise: pl.DataFrame
    left_out: Mapping[str, int]
    complete: bool
    item: str = "token"
    group: str = "sentence"
    no_concepts: Mapping[str, int] = field(default_factory=dict)

    def frame(self) -> pl.DataFrame:
        """One row a mask of a neuron."""
        return self.table

    def best(self) -> pl.DataFrame:
        """One row a neuron: its mask of highest training score."""
        return self.table.filter(pl.col("best"))

    def formula(self, neuron: str, side: str | None = None) -> Formula | None:
        """Return the formula of a neuron (of its best mask by default); None where none was found.

        Raises
        ------
        SettingError
            No such neuron or mask in the table.
        """
        where = pl.col("best") if side is None else pl.col("side") == side
        row = self.table.filter((pl.col("neuron") == neuron) & where)
        if not row.height:
            what = neuron if side is None else f"{neuron} ({side})"
            raise SettingError(f"{what} has no mask among the {self.table.height:,} explained")
        return formula_of(row["leaves"][0], row["ops"][0])

    def layers(self) -> pl.DataFrame:
        """One row a site: ``site, neurons, beyond, share, low, high, iou_train, iou, chance``.

        ``share`` is that of neurons explained beyond chance, with a 95 % Wilson interval over
        neurons; the scores are medians over neurons.
        """
        rows = []
        best = self.best()
        for site in best["site"].unique(maintain_order=True).to_list():
            here = best.filter(pl.col("site") == site)
            k, n = int(here["beyond"].sum()), here.height
            low, high = wilson(k, n)
            medians = {
                name: cast("float", here[name].median()) for name in ("iou_train", "iou", "chance")
            }
            rows.append(
                {"site": site, "neurons": n, "beyond": k, "share": k / n, "low": low, "high": high}
                | medians
            )
        return pl.DataFrame(rows)

    def top(self, k: int = 10) -> pl.DataFrame:
        """The k neurons of each site with the highest training score, site after site.

        They are chosen on training sentences, so their held-out scores are not flattered.
        """
        return (
            self.best()
            .with_row_index("place")
            .sort(["score_train", "place"], descending=[True, False])
            .with_columns(rank=pl.int_range(pl.len()).over("site") + 1)
            .filter(pl.col("rank") <= k)
            .with_columns(first=pl.col("place").min().over("site"))
            .sort(["first", "rank"])
            .drop("place", "first")
        )

    def summary(self) -> tuple[str, ...]:
        """How many neurons are explained, where, the best of them, and what chance reaches."""
        best = self.best()
        if not best.height:
            return ("No neuron has a mask that could be explained.",)
        k = int(best["beyond"].sum())
        length = int(cast("int", best["length"].max()))
        lines = [
            f"{k:,} of {best.height:,} neurons ({k / best.height:.0%}) agree with their formula of "
            f"up to {length} of {self.concepts.height:,} concepts on {self.held_out:,} held-out "
            f"{self.item}s more than shifted masks do (false discovery rate {self.fdr:g})."
        ]
        least = 1 / (1 + self.permutations)
        if least > self.fdr:
            lines.append(
                f"There are only {self.permutations:,} shifts of the held-out {self.group}s, so "
                f"that no p-value is below {least:.2g} and no neuron can be beyond chance; hold "
                f"out more {self.group}s."
            )
        median = {name: float(cast("float", best[name].median())) for name in _MEDIANS}
        lines.append(
            f"Median intersection over union is {median['iou_train']:.3f} on the {self.group}s "
            f"that formulas were chosen on, {median['iou']:.3f} on held-out ones, and "
            f"{median['chance']:.3f} for shifted masks."
        )
        if self.noise.height:
            # Of the masks of a neuron the best is taken, of shifted ones as of its own.
            tops = self.noise.group_by("neuron").agg(pl.col("score").max())
            reached = float(cast("float", tops["score"].median()))
            lines.append(
                f"On shifted masks the search itself reaches a training "
                f"{_NAMES.get(self.score, self.score)} of {reached:.3f} (median over "
                f"{tops.height} neurons, the best mask of each)."
            )
        top = best.sort(["score_train", "neuron"], descending=[True, False]).row(0, named=True)
        lines.append(
            f"Best on training {self.group}s is {top['neuron']} ({top['side']}): {top['formula']}, "
            f"held-out intersection over union {top['iou']:.3f} [{top['low']:.3f}, "
            f"{top['high']:.3f}]."
        )
        layers = self.layers()
        if layers.height > 1:
            most = layers.sort("share", descending=True).row(0, named=True)
            least = layers.sort("share").row(0, named=True)
            lines.append(
                f"Most are explained in {most['site']} ({most['share']:.0%}), fewest in "
                f"{least['site']} ({least['share']:.0%})."
            )
        if not self.complete:
            lines.append("The search was stopped early: these are the best formulas so far.")
        return tuple(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Share of neurons explained beyond chance by site, with 95 % intervals."""
        from nissl.plotting import bars, new_axes

        layers = self.layers()
        ax = new_axes(ax, size=(5.6, 0.3 * layers.height + 1.0)) if ax is None else ax
        bars(
            ax,
            layers["site"].to_list(),
            layers["share"].to_numpy(),
            layers["low"].to_numpy(),
            layers["high"].to_numpy(),
        )
        ax.set_xlabel("share of neurons explained beyond chance")
        return ax

    def plot_overlap(self, ax: Axes | None = None) -> Axes:
        """Held-out against training intersection over union of each neuron, and chance."""
        from nissl.plotting import PALETTE, new_axes

        ax = new_axes(ax)
        best = self.best()
        train = best["iou_train"].to_numpy()
        ax.plot(train, best["chance"].to_numpy(), ".", markersize=3, color=PALETTE["random"])
        ax.plot(train, best["iou"].to_numpy(), ".", markersize=3, color=PALETTE["top"])
        limit = float(np.nanmax(train, initial=0.0)) or 1.0
        ax.plot([0, limit], [0, limit], linewidth=0.8, color="grey")
        ax.set_xlabel("training intersection over union")
        ax.set_ylabel("held-out (dark) and shifted (pale)")
        return ax


_NAMES = {"iou": "intersection over union", "f1": "F1", "matthews": "correlation"}
_MEDIANS = ("iou_train", "iou", "chance")


def formula_of(leaves: str, ops: str) -> Formula | None:
    """Return the formula of a row's ``leaves`` and ``ops``; None where there is none."""
    if not leaves:
        return None
    names = cast("tuple[Op, ...]", tuple(ops.split("|")) if ops else ())
    return Formula(tuple(int(leaf) for leaf in leaves.split(" ")), names)


def formula_fields(formula: Formula | None, names: list[str]) -> dict[str, str | int]:
    """Return what the table says of a formula."""
    if formula is None:
        return {"formula": "", "length": 0, "leaves": "", "ops": ""}
    return {
        "formula": formula.text(names),
        "length": len(formula),
        "leaves": " ".join(str(leaf) for leaf in formula.leaves),
        "ops": "|".join(formula.ops),
    }


def wilson(k: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson 1927)."""
    if n == 0:
        return math.nan, math.nan
    share, scale = k / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return max(middle - half, 0.0), min(middle + half, 1.0)
