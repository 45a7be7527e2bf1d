"""Disjoint or shared: overlap of neurons between labels and between properties, tested exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.kernels.overlap import expected_overlap, holm, hypergeometric_overlap
from nissl.methods.rank import Ranking
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Sharing", "share_labels", "share_properties", "share_sets"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sharing(Result):
    """Pairwise overlaps of neuron sets.

    Attributes
    ----------
    names
        Names of the sets, in the order given.
    table
        One row a pair: ``a, b, size_a, size_b, overlap, expected, share, p, p_holm``; ``share`` is
        overlap / min(size), ``p`` the exact hypergeometric probability of at least this overlap.
    """

    kind: ClassVar[str] = "sharing"
    what: str
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    n_neurons: int
    table: pl.DataFrame

    def matrix(self) -> np.ndarray:
        """Share of overlap as a symmetric matrix (sets × sets), 1 on the diagonal."""
        index = {name: i for i, name in enumerate(self.names)}
        out = np.eye(len(self.names))
        for row in self.table.iter_rows(named=True):
            i, j = index[row["a"]], index[row["b"]]
            out[i, j] = out[j, i] = row["share"]
        return out

    def frame(self) -> pl.DataFrame:
        """The table of pairs, largest overlap first."""
        return self.table.sort(["share", "a", "b"], descending=[True, False, False])

    def summary(self) -> tuple[str, ...]:
        """How many pairs share more than chance, and the strongest."""
        table = self.frame()
        more = table.filter(pl.col("p_holm") < 0.05)
        top = table.row(0, named=True)
        most = (
            f"; most: {top['a']} and {top['b']} share {top['overlap']} where chance gives "
            f"{top['expected']:.1f} (p = {top['p_holm']:.2g})"
            if more.height
            else ""
        )
        return (
            f"{more.height} of {table.height} pairs of {self.what} share more neurons than chance "
            f"(exact hypergeometric p, Holm-corrected, below .05){most}.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Heat map of shares."""
        from nissl.plotting import heatmap, new_axes

        side = max(3.2, 0.3 * len(self.names) + 1.4)
        ax = new_axes(ax, size=(side + 0.8, side))
        heatmap(ax, self.matrix(), list(self.names), list(self.names))
        return ax


def share_sets(
    sets: Mapping[str, np.ndarray],
    n_neurons: int,
    *,
    what: str = "sets",
    inputs: Mapping[str, str] | None = None,
) -> Sharing:
    """Test every pair of neuron sets against chance.

    Parameters
    ----------
    sets
        Name to positions of neurons; sizes may differ.
    n_neurons
        Number of neurons the sets were chosen from.
    """
    names = tuple(sets)
    if len(names) < 2:
        raise SettingError(f"sharing needs two or more {what}, not {len(names)}")
    members = {name: np.unique(np.asarray(sets[name])) for name in names}
    rows = []
    for a, b in combinations(names, 2):
        both = len(np.intersect1d(members[a], members[b], assume_unique=True))
        na, nb = len(members[a]), len(members[b])
        rows.append(
            {
                "a": a,
                "b": b,
                "size_a": na,
                "size_b": nb,
                "overlap": both,
                "expected": float(expected_overlap(n_neurons, na, nb)),
                "share": both / max(1, min(na, nb)),
                "p": float(hypergeometric_overlap(n_neurons, na, nb, both)),
            }
        )
    table = pl.DataFrame(rows)
    table = table.with_columns(pl.Series("p_holm", holm(table["p"].to_numpy())))
    return Sharing(
        provenance=Provenance(method="sharing", settings={"what": what}, inputs=dict(inputs or {})),
        what=what,
        names=names,
        sizes=tuple(len(members[name]) for name in names),
        n_neurons=n_neurons,
        table=table,
    )


def share_labels(
    ranking: Ranking, *, k: int | None = None, labels: Sequence[str] | None = None
) -> Sharing:
    """Overlap of the k best neurons of each pair of classes of one property.

    ``k`` defaults to 1 % of the neurons. Neurons without weight for a class are not among its
    best, so that a class may have fewer than k.
    """
    d = ranking.neurons.height
    k = k or max(1, round(d / 100))
    sets = {}
    for label in labels or ranking.classes:
        best = ranking.top_of(label, k)
        scores = ranking.scores[ranking.classes.index(label)]
        sets[label] = best[scores[best] > 0]
    sets = {label: neurons for label, neurons in sets.items() if len(neurons)}
    return share_sets(sets, d, what=f"{ranking.property} labels", inputs=ranking.provenance.inputs)


def share_properties(rankings: Mapping[str, Ranking], *, k: int | None = None) -> Sharing:
    """Overlap of the k best neurons of each pair of properties (k: 5 % by default)."""
    ids = {name: ranking.neurons["neuron"].to_list() for name, ranking in rankings.items()}
    first = next(iter(ids.values()), [])
    if any(other != first for other in ids.values()):
        raise SettingError(
            "the rankings are over different neurons: use one model and the same sites"
        )
    k = k or max(1, round(len(first) / 20))
    sets = {name: ranking.top(k) for name, ranking in rankings.items()}
    return share_sets(sets, len(first), what="properties")
