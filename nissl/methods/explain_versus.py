"""Whether neurons that formulas explain well are also those that do, or know, more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl
from scipy.stats import rankdata

from nissl.errors import SettingError, did_you_mean
from nissl.methods.explanation import Explanation
from nissl.methods.neuron_scan import rank_correlation
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ExplainedVersus", "explained_versus"]

SCORES = ("iou", "iou_train", "f1", "precision", "recall", "matthews", "score_train")
FEWEST = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedVersus(Result):
    """Rank correlation of how well neurons are explained with another number of theirs.

    Attributes
    ----------
    table
        ``neurons`` ("all", "within sites", and each site), ``count, spearman, low, high`` (95 %,
        bootstrap over neurons). "within sites" ranks the neurons of each site among themselves, so
        that a difference between layers is no correlation.
    points
        ``neuron, site, score, value``: what is correlated.
    left_out
        Neurons that one side lacks, and how many.
    """

    kind: ClassVar[str] = "explained versus"
    score: str
    name: str
    table: pl.DataFrame
    points: pl.DataFrame
    left_out: Mapping[str, int]

    def frame(self) -> pl.DataFrame:
        """One row a group of neurons."""
        return self.table

    def summary(self) -> tuple[str, ...]:
        """The two overall correlations."""
        lines = []
        for row in self.table.filter(pl.col("neurons").is_in(["all", "within sites"])).iter_rows(
            named=True
        ):
            where = "" if row["neurons"] == "all" else " within sites"
            if not math.isfinite(row["spearman"]):
                lines.append(
                    f"Over {row['count']:,} neurons{where}, {self.score} or {self.name} does not "
                    "vary, so that they have no correlation."
                )
                continue
            lines.append(
                f"Over {row['count']:,} neurons{where}, {self.score} and {self.name} have a rank "
                f"correlation of {row['spearman']:.2f} [{row['low']:.2f}, {row['high']:.2f}]."
            )
        return tuple(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """One dot a neuron."""
        from nissl.plotting import PALETTE, new_axes

        ax = new_axes(ax)
        x, y = self.points["score"].to_numpy(), self.points["value"].to_numpy()
        ax.plot(x, y, ".", markersize=3, color=PALETTE["top"])
        ax.set_xlabel(self.score)
        ax.set_ylabel(self.name)
        return ax


def explained_versus(
    explanation: Explanation,
    values: Mapping[str, float] | pl.DataFrame,
    *,
    column: str | None = None,
    name: str | None = None,
    score: str = "iou",
    size: bool = False,
    n_boot: int = 1000,
    seed: int = 0,
) -> ExplainedVersus:
    """Correlate how well each neuron is explained with its effect, its accuracy, or any number.

    Mu & Andreas (2020, section 5) correlate the overlap of units with the model's accuracy where
    they fire; the causal effect of a neuron is the column ``change`` or ``margin`` of the table
    that ``nissl scan`` writes.

    Parameters
    ----------
    explanation
        Its neurons' best masks take part.
    values
        Neuron → number, or a table with ``neuron`` and ``column``.
    column
        Of a table.
    name
        What the numbers are, in words; the column by default.
    score
        Column of the explanation that is correlated; held-out intersection over union by default.
    size
        Whether the size of a value counts, not its sign: a causal effect in either direction.
    n_boot, seed
        Replicates of the bootstrap over neurons, and its seed.

    Raises
    ------
    SettingError
        No such score or column, values that are no numbers, or fewer than 3 neurons in common.
    """
    if score not in SCORES:
        raise SettingError(
            f'no score "{score}" of an explanation; there are {", ".join(SCORES)}.'
            f"{did_you_mean(score, SCORES)}"
        )
    other = _numbers(values, column)
    best = explanation.best().select("neuron", "site", pl.col(score).alias("score"))
    both = best.join(other, on="neuron", how="inner", maintain_order="left")
    there = both.filter(pl.col("score").is_finite() & pl.col("value").is_finite())
    if there.height < FEWEST:
        raise SettingError(
            f"{there.height} neurons have both a {score} and a value; {FEWEST} or more are needed"
        )
    if size:
        there = there.with_columns(pl.col("value").abs())
    label = name or column or "value"
    rng = np.random.default_rng(seed)
    x, y = there["score"].to_numpy(), there["value"].to_numpy()
    site = there["site"].to_numpy().astype(object)
    rows = [_row("all", x, y, np.zeros(len(x), dtype=object), n_boot, rng)]
    sites = list(dict.fromkeys(site.tolist()))
    if len(sites) > 1:
        rows.append(_row("within sites", x, y, site, n_boot, rng))
        for each in sites:
            here = site == each
            if here.sum() >= FEWEST:
                rows.append(_row(each, x[here], y[here], site[here], n_boot, rng))
    left_out = {
        "neurons without a value": best.height - both.height,
        "values of neurons that are not explained": other.height - both.height,
        "neurons whose score or value is not a number": both.height - there.height,
    }
    return ExplainedVersus(
        provenance=Provenance(
            method="explained versus",
            settings={"score": score, "name": label, "size": size, "n_boot": n_boot},
            inputs=dict(explanation.provenance.inputs),
            seed=seed,
        ),
        score=score,
        name=f"|{label}|" if size else label,
        table=pl.DataFrame(rows),
        points=there,
        left_out={why: count for why, count in left_out.items() if count},
    )


def _numbers(values: Mapping[str, float] | pl.DataFrame, column: str | None) -> pl.DataFrame:
    """Return a table ``neuron, value`` with each neuron once."""
    if not isinstance(values, pl.DataFrame):
        numbers = [float(value) for value in values.values()]
        return pl.DataFrame({"neuron": [str(key) for key in values], "value": numbers})
    for need in ("neuron", column):
        if need is None or need not in values.columns:
            raise SettingError(
                f'the table has no column "{need}"; name one of {", ".join(values.columns)}.'
                f"{did_you_mean(str(need), values.columns)}"
            )
    try:
        value = values[str(column)].cast(pl.Float64)
    except pl.exceptions.PolarsError:
        raise SettingError(f'column "{column}" is not one of numbers') from None
    out = pl.DataFrame(
        {"neuron": values["neuron"].cast(pl.String), "value": value.fill_null(math.nan)}
    )
    if out["neuron"].is_duplicated().any():
        raise SettingError("a neuron occurs more than once in the table of values")
    return out


def _row(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    group: np.ndarray,
    n_boot: int,
    rng: np.random.Generator,
) -> dict[str, str | int | float]:
    """Rank correlation within groups, with its bootstrap interval."""
    codes = np.unique(group.astype(str), return_inverse=True)[1]
    draws = np.array(
        [
            _within(x[i], y[i], codes[i])
            for i in (rng.integers(0, len(x), len(x)) for _ in range(n_boot))
        ]
    )
    draws = draws[np.isfinite(draws)]
    low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (math.nan, math.nan)
    return {
        "neurons": name,
        "count": len(x),
        "spearman": _within(x, y, codes),
        "low": float(low),
        "high": float(high),
    }


def _within(x: np.ndarray, y: np.ndarray, codes: np.ndarray) -> float:
    """Spearman's correlation of ranks taken, and centred, inside each group."""
    if not codes.any():
        return rank_correlation(x, y)
    ranks = np.zeros((2, len(x)))
    for code in np.unique(codes):
        here = codes == code
        for row, values in zip(ranks, (x, y), strict=True):
            r = rankdata(values[here])
            row[here] = (r - r.mean()) / len(r)
    a, b = ranks
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan
