"""Encoded or used: whether neurons that carry a property are those that the model relies on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.kernels.multiple_tests import holm
from nissl.kernels.overlap_tests import hypergeometric_overlap
from nissl.methods.causal_sets import order_of
from nissl.methods.neuron_scan import NeuronScan, rank_correlation
from nissl.methods.rank import Ranking
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["EncodedVsUsed", "encoded_vs_used"]

WEAK, STRONG = 0.1, 0.3

LEVEL = 0.05
"""Of Holm's test of the best neurons."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedVsUsed(Result):
    """How far rankings order neurons as their effect on the model does.

    Attributes
    ----------
    table
        One row a ranking: ``ranking, spearman, low, high`` (95 %, over neurons), ``k``,
        ``top_harm`` (mean harm of its k best neurons, removed one at a time), ``all_harm`` (of all
        neurons), ``shared`` (of its k best, how many are among the k that harm most),
        ``by_chance``, and ``p`` (exact hypergeometric, Holm over the rankings).
    """

    kind: ClassVar[str] = "encoded or used"
    property: str
    effect: str
    neurons: int
    table: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """One row a ranking, the best correlated first."""
        return self.table

    def summary(self) -> tuple[str, ...]:
        """One sentence a ranking, and the conclusion."""
        lines = []
        for row in self.table.iter_rows(named=True):
            lines.append(
                f"{row['ranking']} orders {self.neurons:,} neurons for {self.property} as their "
                f"effect on {self.effect} does with a rank correlation of {row['spearman']:.2f} "
                f"[{row['low']:.2f}, {row['high']:.2f}]; {row['shared']} of its best {row['k']} "
                f"are among the {row['k']} that matter most ({row['by_chance']:.1f} by chance)."
            )
        return (*lines, self.conclusion())

    def conclusion(self) -> str:
        """Return what follows, in words."""
        best = self.table.row(0, named=True)
        clear = self.table.filter(pl.col("low") > 0).height
        n = self.table.height
        if not best["low"] > 0:  # also where it is not a number
            said = (
                "no ranking orders neurons as the model's use of them does: what is encoded in "
                "them is not, neuron by neuron, what the model uses here"
            )
        elif best["spearman"] < WEAK:
            said = (
                f"{clear} of {n} rankings agree with the model's use of neurons more than by "
                "chance, but hardly: nearly all of what is encoded is not used here"
            )
        elif best["spearman"] < STRONG:
            said = (
                f"{clear} of {n} rankings agree weakly with the model's use of neurons: a good "
                "rank is a hint, no more"
            )
        else:
            said = (
                f"{clear} of {n} rankings agree with the model's use of neurons, best "
                f"{best['ranking']}: neurons that encode {self.property} tend to be used"
            )
        return f"{self.property}: {said}. {self._tops()}"

    def _tops(self) -> str:
        """Return what the best few have in common with the neurons that matter most."""
        apart = self.table.filter(pl.col("p") < LEVEL)
        if not apart.height:
            return (
                "No ranking's best neurons are among those that matter most more often than by "
                "chance."
            )
        top = apart.sort("shared", descending=True, maintain_order=True).row(0, named=True)
        return (
            f"Yet among the best {top['k']} neurons {apart.height} of {self.table.height} rankings "
            f"have more of those that matter most than chance would give (Holm): {top['ranking']} "
            f"{top['shared']} ({top['by_chance']:.1f} by chance), so a first place tells more than "
            "the order as a whole."
            if not self.table["low"][0] > 0 or self.table["spearman"][0] < WEAK
            else f"Among the best {top['k']} neurons {apart.height} of {self.table.height} "
            f"rankings have more of those that matter most than chance would give (Holm)."
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Rank correlation of each ranking, with intervals."""
        from nissl.plotting import bars, new_axes

        ax = new_axes(ax)
        t = self.table
        bars(
            ax,
            t["ranking"].to_list(),
            t["spearman"].to_numpy(),
            t["low"].to_numpy(),
            t["high"].to_numpy(),
        )
        ax.axvline(0, linewidth=0.8, color="grey")
        ax.set_xlabel(f"rank correlation with the effect on {self.effect}")
        return ax


def encoded_vs_used(
    found: NeuronScan,
    rankings: Mapping[str, Ranking | Sequence[str]],
    *,
    property: str | None = None,
    k: int | None = None,
    n_boot: int = 500,
    seed: int = 0,
) -> EncodedVsUsed:
    """Compare rankings of neurons with what the model does without each of them.

    A ranking's scores count by the order that they give, so that rankings of any scale compare.
    Harm is what the scan ranks by; where neither direction of an effect is harm, its size.

    Parameters
    ----------
    found
        A scan; neurons that a ranking lacks, or the scan, are left out of both.
    rankings
        Name → ranking, or ids best first; all must share the same neurons with the scan.
    k
        Size of the sets compared; 1 % of the neurons by default, and 10 at least.
    n_boot, seed
        Replicates of the bootstrap over neurons, and its seed; it also draws which of equally
        harmful neurons are among the k that harm most.

    Raises
    ------
    SettingError
        No ranking, fewer than 3 neurons in common, or a k below 1.
    """
    if not rankings:
        raise SettingError("give at least one ranking; four or more tell methods from luck")
    table = found.table
    value = "margin" if table["margin"].is_not_nan().any() else "change"
    effect = table[value].to_numpy()
    harm = np.abs(effect) if found.better == 0 else -found.better * effect
    place = {name: i for i, name in enumerate(table["neuron"].to_list())}
    orders = {name: order_of(ranking) for name, ranking in rankings.items()}
    common = set(place).intersection(*(set(order) for order in orders.values()))
    if len(common) < 3:
        raise SettingError(
            "rankings and scan have fewer than 3 neurons in common; scan the sites that were ranked"
        )
    rng = np.random.default_rng(seed)
    n = len(common)
    size = min(n, max(10, round(n / 100)) if k is None else k)
    if size < 1:
        raise SettingError(f"k is at least 1 neuron, not {k}")
    # Of equal harm, as of many neurons in accuracies, the same ones count for every ranking: ties
    # broken by a ranking's own order would be counted in its favour.
    both = np.sort([place[each] for each in common])
    luck = np.random.default_rng([seed, n]).permutation(n)
    worst = set(both[np.lexsort((luck, -harm[both]))[:size]].tolist())
    rows = []
    for name, order in orders.items():
        kept = [place[each] for each in order if each in common]
        # From the best to the worst: large is good, as harm is.
        goodness = np.arange(n, 0, -1, dtype=np.float64)
        own = harm[kept]
        boots = []
        for _ in range(n_boot):
            draw = rng.integers(0, n, n)
            each = rank_correlation(goodness[draw], own[draw])
            if math.isfinite(each):
                boots.append(each)
        low, high = np.percentile(boots, [2.5, 97.5]) if boots else (math.nan, math.nan)
        rows.append(
            {
                "ranking": name,
                "spearman": rank_correlation(goodness, own),
                "low": float(low),
                "high": float(high),
                "k": size,
                "top_harm": float(own[:size].mean()),
                "all_harm": float(own.mean()),
                "shared": len(worst.intersection(kept[:size])),
                "by_chance": size * size / n,
            }
        )
    shared = [hypergeometric_overlap(n, size, size, int(row["shared"])) for row in rows]
    for row, p in zip(rows, holm(np.array(shared)), strict=True):
        row["p"] = float(p)
    title = property or next(
        (r.property for r in rankings.values() if isinstance(r, Ranking)), "the property"
    )
    return EncodedVsUsed(
        provenance=Provenance(
            "encoded or used",
            {"k": size, "n_boot": n_boot, "rankings": list(rankings)},
            dict(found.provenance.inputs),
            seed,
        ),
        property=title,
        effect=found.effect,
        neurons=n,
        table=pl.DataFrame(rows).sort("spearman", descending=True, maintain_order=True),
    )
