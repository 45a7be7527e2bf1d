"""Results that say how sure one may be of neurons: a set with its claim, and p-values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["NeuronSet", "PermutationPValues"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronSet(Result):
    """Neurons chosen with a statement about how many of them may be false.

    Attributes
    ----------
    members
        Positions of the chosen neurons, best first.
    value
        What each neuron was chosen by, (d,); chosen where it is at least ``threshold``.
    what
        Name of ``value``.
    claim
        What may be said of the set.
    table
        One row a chosen neuron: ``rank, neuron, layer, value``.
    """

    kind: ClassVar[str] = "neuron set"
    property: str
    members: np.ndarray
    value: np.ndarray
    what: str
    threshold: float
    claim: str
    table: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The chosen neurons."""
        return self.table

    def ids(self) -> list[str]:
        """Ids of the chosen neurons, best first."""
        return self.table["neuron"].to_list()

    def summary(self) -> tuple[str, ...]:
        """How many neurons, and the claim."""
        n, d = len(self.members), len(self.value)
        plural = "" if n == 1 else "s"
        return (f"{n:,} of {d:,} neuron{plural} for {self.property}: {self.claim}",)

    def plot(self, ax: Axes | None = None) -> Axes:
        """The statistic of all neurons, largest first, and the threshold."""
        from nissl.plotting import new_axes

        ax = new_axes(ax)
        ax.plot(np.arange(1, len(self.value) + 1), -np.sort(-self.value))
        if np.isfinite(self.threshold):
            ax.axhline(self.threshold, linestyle="--", linewidth=1, label="threshold")
            ax.legend()
        ax.set_xscale("log")
        ax.set_xlabel("neurons, sorted")
        ax.set_ylabel(self.what)
        return ax


@dataclass(frozen=True, kw_only=True, eq=False)
class PermutationPValues(Result):
    """p-values of each neuron's statistic against permuted labels.

    Attributes
    ----------
    table
        One row a neuron, in the task's order: ``neuron, layer, observed, p, p_family, q``; the
        family-wise p-value is by step-down max-T, ``q`` by Benjamini and Hochberg.
    within
        Inside which groups labels were permuted.
    """

    kind: ClassVar[str] = "permutation p-values"
    property: str
    table: pl.DataFrame
    within: str
    n_perm: int
    alpha: float

    def frame(self) -> pl.DataFrame:
        """The table, most extreme first."""
        return self.table.sort("observed", descending=True, maintain_order=True)

    def members(self) -> np.ndarray:
        """Positions of the neurons with a family-wise p of at most alpha."""
        return np.flatnonzero(self.table["p_family"].to_numpy() <= self.alpha)

    def summary(self) -> tuple[str, ...]:
        """How many neurons know more of the label than chance."""
        where = "" if self.within == "all" else f" inside each {self.within}"
        return (
            f"{len(self.members()):,} of {self.table.height:,} neurons depend on {self.property} "
            f"(labels permuted{where} {self.n_perm:,} times; the probability of any false one is "
            f"at most {self.alpha:g}); {(self.table['q'] <= self.alpha).sum():,} at a false "
            f"discovery rate of {self.alpha:g}.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Sorted p-values against what they would be without any effect."""
        from nissl.plotting import new_axes

        ax = new_axes(ax)
        p = np.sort(self.table["p"].to_numpy())
        expected = (np.arange(len(p)) + 0.5) / len(p)
        ax.plot(expected, p, label="neurons")
        ax.plot([0, 1], [0, 1], linestyle=":", linewidth=1, color="grey", label="no effect")
        ax.set_xlabel("p expected without effect")
        ax.set_ylabel("p")
        ax.legend()
        return ax
