"""Redundancy: groups of correlated neurons, and accuracy on one representative of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.kernels.clusters import correlation_clusters
from nissl.methods.evaluate import RETRAIN_L2, correct_retrained, estimate, random_sets
from nissl.methods.task import Task
from nissl.parallel import map_tasks
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Redundancy", "redundancy"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Redundancy(Result):
    """Correlation clusters of neurons.

    Attributes
    ----------
    labels
        Cluster of each neuron, (d,).
    representatives
        One neuron a cluster, positions.
    layers
        One row a layer: neurons, clusters, cross-layer share.
    table
        Accuracy: all neurons, representatives, as many random neurons.
    """

    kind: ClassVar[str] = "redundancy"
    property: str
    threshold: float
    labels: np.ndarray
    representatives: np.ndarray
    layers: pl.DataFrame
    table: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The table of accuracies."""
        return self.table

    def summary(self) -> tuple[str, ...]:
        """Clusters, and accuracy kept by representatives."""
        d, c = len(self.labels), len(self.representatives)
        rows = {row["neurons"]: row for row in self.table.iter_rows(named=True)}
        size = np.bincount(self.labels)
        return (
            f"{d:,} neurons form {c:,} groups at |r| above {1 - self.threshold:g} (average "
            f"linkage; the largest has {size.max()} neurons). One neuron of each group gives "
            f"{rows['representatives']['accuracy']:.1%} on {self.property}, all neurons "
            f"{rows['all']['accuracy']:.1%}, as many random neurons "
            f"{rows['random']['accuracy']:.1%}.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Neurons and groups a layer."""
        from nissl.plotting import PALETTE, new_axes

        ax = new_axes(ax)
        x = np.arange(self.layers.height)
        ax.bar(x, self.layers["neurons"].to_numpy(), color=PALETTE["random"], label="neurons")
        ax.bar(
            x,
            self.layers["groups"].to_numpy(),
            color=PALETTE["top"],
            label="groups within the layer",
        )
        ax.set_xticks(x, self.layers["site"].to_list(), rotation=30)
        ax.legend()
        return ax


def redundancy(
    task: Task,
    *,
    threshold: float = 0.3,
    max_tokens: int = 10_000,
    draws: int = 3,
    l2: float = RETRAIN_L2,
    seed: int = 0,
) -> Redundancy:
    """Cluster neurons by correlation and probe one representative of each cluster.

    Average linkage on ``1 − |r|`` over the training tokens (at most ``max_tokens``, seeded), cut at
    ``threshold`` (Dalvi et al. 2020, "Analyzing redundancy in pretrained transformers").
    """
    if not 0 < threshold < 1:
        raise SettingError(f"threshold must lie between 0 and 1, not {threshold:g}")
    if draws < 1 or max_tokens < 1:
        raise SettingError(f"draws and max_tokens must be 1 or more, not {draws} and {max_tokens}")
    X = task.train.X
    if len(X) > max_tokens:
        rows = np.sort(np.random.default_rng(seed).choice(len(X), max_tokens, replace=False))
        X = np.ascontiguousarray(X.T[:, rows]).T
    labels, representatives = correlation_clusters(X, threshold=threshold)
    representatives = np.sort(representatives)
    k = len(representatives)
    jobs = [
        np.arange(task.n_neurons),
        representatives,
        *random_sets(task.n_neurons, k, draws, seed),
    ]
    right = map_tasks(
        lambda neurons: correct_retrained(task, neurons, l2=l2),
        jobs,
        description=f"{task.name}: redundancy",
    )
    rows = []
    for name, size, ok in (
        ("all", task.n_neurons, right[0][None]),
        ("representatives", k, right[1][None]),
        ("random", k, np.stack(right[2:])),
    ):
        est = estimate(ok, task.test, seed=seed)
        rows.append(
            {"neurons": name, "k": size, "accuracy": est.value, "low": est.low, "high": est.high}
        )
    member = task.neurons["site"].to_numpy()
    sites = task.neurons["site"].unique(maintain_order=True).to_list()
    layers = pl.DataFrame(
        {
            "site": sites,
            "neurons": [int((member == s).sum()) for s in sites],
            "groups": [len(np.unique(labels[member == s])) for s in sites],
        }
    )
    return Redundancy(
        provenance=Provenance(
            method="redundancy",
            settings={
                "threshold": threshold,
                "max_tokens": max_tokens,
                "draws": draws,
                "retrain_l2": l2,
            },
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        threshold=threshold,
        labels=np.asarray(labels, dtype=np.int64),
        representatives=representatives.astype(np.int64),
        layers=layers,
        table=pl.DataFrame(rows),
    )
