"""Where in the network: accuracy layer by layer, and where the selected neurons sit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl
from scipy.stats import hypergeom

from nissl.kernels.overlap import holm
from nissl.methods.evaluate import RETRAIN_L2, correct_retrained, estimate
from nissl.methods.task import Task
from nissl.parallel import map_tasks
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LayerProfile", "layer_profile"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerProfile(Result):
    """One row a site: its accuracy alone, and how many of the selected neurons it holds.

    Attributes
    ----------
    table
        ``site, layer, neurons, accuracy, low, high, selected, expected, p, p_holm``; ``expected``
        is the count if the selection were random, ``p`` the exact two-sided hypergeometric p.
    """

    kind: ClassVar[str] = "layers"
    property: str
    table: pl.DataFrame
    selected: int

    def frame(self) -> pl.DataFrame:
        """The table."""
        return self.table

    def summary(self) -> tuple[str, ...]:
        """Best layer, and the layers that hold more of the selected neurons than chance."""
        best = self.table.row(int(self.table["accuracy"].arg_max() or 0), named=True)
        rich = self.table.filter(
            (pl.col("p_holm") < 0.05) & (pl.col("selected") > pl.col("expected"))
        )
        named = ", ".join(
            f"{r['site']} ({r['selected']} against {r['expected']:.0f} expected)"
            for r in rich.iter_rows(named=True)
        )
        return (
            f"The single layer that does best on {self.property} is {best['site']} "
            f"({best['accuracy']:.1%}).",
            f"Of the {self.selected:,} selected neurons more than chance sit in {named}."
            if named
            else f"No layer holds more of the {self.selected:,} selected neurons than chance.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Bars of selected neurons a layer; the accuracy of each layer alone as a line."""
        from nissl.plotting import PALETTE, new_axes

        ax = new_axes(ax)
        x = np.arange(self.table.height)
        ax.bar(x, self.table["selected"].to_numpy(), color=PALETTE["top"], label="selected neurons")
        ax.plot(
            x, self.table["expected"].to_numpy(), "_", color="black", markersize=18, label="chance"
        )
        ax.set_xticks(x, self.table["site"].to_list(), rotation=30)
        ax.set_ylabel(f"of {self.selected:,} selected neurons")
        twin = ax.twinx()
        acc, low, high = (self.table[c].to_numpy() for c in ("accuracy", "low", "high"))
        error = np.maximum(np.stack([acc - low, high - acc]), 0)
        twin.errorbar(x, acc, yerr=error, color=PALETTE["bottom"], marker="o", label="accuracy")
        twin.set_ylabel("test accuracy of the layer alone")
        twin.grid(False)
        handles = [h for a in (ax, twin) for h in a.get_legend_handles_labels()[0]]
        names = [n for a in (ax, twin) for n in a.get_legend_handles_labels()[1]]
        ax.legend(handles, names)
        return ax


def layer_profile(
    task: Task, selected: np.ndarray, *, l2: float = RETRAIN_L2, seed: int = 0
) -> LayerProfile:
    """Retrain on each site alone and count the selected neurons in it.

    Parameters
    ----------
    selected
        Positions of the selected neurons, for instance a minimal set.
    """
    sites = task.neurons.select("site", "layer").unique(maintain_order=True)
    member = task.neurons["site"].to_numpy()
    columns = [np.flatnonzero(member == site) for site in sites["site"]]
    right = map_tasks(
        lambda neurons: correct_retrained(task, neurons, l2=l2),
        columns,
        description=f"{task.name}: layers",
    )
    rows = []
    d, k = task.n_neurons, len(selected)
    for (site, layer), neurons, ok in zip(sites.rows(), columns, right, strict=True):
        est = estimate(ok[None, :], task.test, seed=seed)
        hits = int(np.isin(selected, neurons).sum())
        law = hypergeom(d, len(neurons), k)
        two_sided = min(1.0, 2 * min(float(law.sf(hits - 1)), float(law.cdf(hits))))
        rows.append(
            {
                "site": site,
                "layer": layer,
                "neurons": len(neurons),
                "accuracy": est.value,
                "low": est.low,
                "high": est.high,
                "selected": hits,
                "expected": k * len(neurons) / d,
                "p": two_sided,
            }
        )
    table = pl.DataFrame(rows)
    table = table.with_columns(pl.Series("p_holm", holm(table["p"].to_numpy())))
    return LayerProfile(
        provenance=Provenance(
            method="layer profile",
            settings={"retrain_l2": l2, "selected": k},
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        table=table,
        selected=k,
    )
