"""Rankings of neurons: Linguistic Correlation Analysis and its simplest rivals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from nissl.errors import LabelError, SettingError, did_you_mean
from nissl.kernels.lca import lca_order
from nissl.kernels.univariate import f_statistic, mean_difference
from nissl.methods.probe import ProbeResult, fit_probe
from nissl.methods.task import Task
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RANKINGS", "Ranking", "Scorer", "rank", "rank_lca", "rank_scores"]

Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""All that a new ranking must be: ``(X (n, d), y (n,)) -> scores (C, d)``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking(Result):
    """A total order of the neurons, best first, for a property and for each of its classes.

    Attributes
    ----------
    order
        Positions of neurons, best first, (d,).
    scores
        Score of each neuron for each class, (C, d).
    class_order
        The order for each class, (C, d).
    percent
        For LCA, the smallest percentage of a class's weight mass at which the neuron enters
        (101: it never does); otherwise all zero. (d,)
    """

    kind: ClassVar[str] = "ranking"
    property: str
    method: str
    classes: tuple[str, ...]
    neurons: pl.DataFrame
    order: np.ndarray
    scores: np.ndarray
    class_order: np.ndarray
    percent: np.ndarray

    def top(self, k: int) -> np.ndarray:
        """Positions of the k best neurons."""
        return self.order[:k]

    def bottom(self, k: int) -> np.ndarray:
        """Positions of the k worst neurons."""
        return self.order[len(self.order) - k :]

    def top_of(self, label: str, k: int) -> np.ndarray:
        """Positions of the k best neurons for one class."""
        if label not in self.classes:
            raise LabelError(
                f'{self.property} has no class "{label}".{did_you_mean(label, self.classes)}'
            )
        return self.class_order[self.classes.index(label), :k]

    def ids(self, k: int) -> list[str]:
        """Ids of the k best neurons, such as ``hidden.3:117``."""
        return self.neurons["neuron"].to_numpy()[self.top(k)].tolist()

    def frame(self) -> pl.DataFrame:
        """One row a neuron, best first: rank, neuron, layer, its best class and that score."""
        best = self.scores.argmax(axis=0)
        value = self.scores.max(axis=0)
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(self.order) + 1),
                "neuron": self.neurons["neuron"].to_numpy()[self.order],
                "layer": self.neurons["layer"].to_numpy()[self.order],
                "label": np.array(self.classes, dtype=object)[best[self.order]],
                "score": value[self.order],
                "percent": self.percent[self.order],
            }
        )

    def frame_of(self, label: str) -> pl.DataFrame:
        """One row a neuron, best first for one class: rank, neuron, layer, score."""
        order = self.top_of(label, len(self.order))
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(order) + 1),
                "neuron": self.neurons["neuron"].to_numpy()[order],
                "layer": self.neurons["layer"].to_numpy()[order],
                "score": self.scores[self.classes.index(label)][order],
            }
        )

    def summary(self) -> tuple[str, ...]:
        """The first neurons."""
        return (f"Best {self.property} neurons by {self.method}: {', '.join(self.ids(8))}.",)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Score of the 200 best neurons by rank."""
        from nissl.plotting import new_axes

        ax = new_axes(ax)
        value = self.scores.max(axis=0)[self.order][:200]
        ax.plot(np.arange(1, len(value) + 1), value)
        ax.set_xlabel("rank")
        ax.set_ylabel("largest score over labels")
        return ax


def rank_lca(task: Task, probe: ProbeResult) -> Ranking:
    """Linguistic Correlation Analysis (Dalvi et al. 2019; Durrani et al. 2020, section 2.2).

    For each class neurons are sorted by absolute weight and the shortest prefix that holds p % of
    the class's weight mass is taken; prefixes of all classes are merged over p = 1…100. Neurons
    that enter at the same p are ordered by weight; neurons without any weight come last, ordered
    by their F statistic, so that the order is total and the same on every run.
    """
    ties = f_statistic(task.train.X, task.train.y, task.n_classes)
    found = lca_order(probe.coef, tie_score=ties)
    return Ranking(
        provenance=Provenance(
            method="lca",
            settings={"l1": probe.l1, "l2": probe.l2},
            inputs={**task.inputs, "task": task.fingerprint},
        ),
        property=task.name,
        method="lca",
        classes=task.classes,
        neurons=task.neurons,
        order=found.order,
        scores=np.abs(probe.coef).astype(np.float32),
        class_order=found.class_order,
        percent=found.percent,
    )


def rank_scores(task: Task, method: str, scores: np.ndarray, *, seed: int | None = None) -> Ranking:
    """Turn scores (C, d), higher better, into a :class:`Ranking` by their maximum over classes."""
    if scores.shape != (task.n_classes, task.n_neurons):
        raise SettingError(
            f"{method}: scores have shape {scores.shape}, expected "
            f"({task.n_classes}, {task.n_neurons})"
        )
    if not np.isfinite(scores).all():
        bad = task.neurons["neuron"][int(np.argwhere(~np.isfinite(scores))[0, 1])]
        raise SettingError(f"{method}: the score of neuron {bad} is not finite")
    best = scores.max(axis=0)
    return Ranking(
        provenance=Provenance(
            method=method, inputs={**task.inputs, "task": task.fingerprint}, seed=seed
        ),
        property=task.name,
        method=method,
        classes=task.classes,
        neurons=task.neurons,
        # Stable sorts: equal scores keep the neurons' own order.
        order=np.argsort(-best, kind="stable"),
        scores=scores.astype(np.float32),
        class_order=np.argsort(-scores, axis=1, kind="stable"),
        percent=np.zeros(task.n_neurons, dtype=np.int64),
    )


def _lca(task: Task, seed: int, **settings: Any) -> Ranking:
    return rank_lca(task, fit_probe(task, seed=seed, **settings))


def _mean_difference(task: Task, seed: int) -> Ranking:
    scores = np.abs(mean_difference(task.train.X, task.train.y, task.n_classes))
    return rank_scores(task, "mean-difference", scores)


def _f(task: Task, seed: int) -> Ranking:
    value = f_statistic(task.train.X, task.train.y, task.n_classes)
    scores = np.repeat(np.asarray(value)[None, :], task.n_classes, axis=0)
    return rank_scores(task, "f", scores)


def _random(task: Task, seed: int) -> Ranking:
    scores = np.random.default_rng(seed).random((1, task.n_neurons))
    return rank_scores(task, "random", np.repeat(scores, task.n_classes, axis=0), seed=seed)


RANKINGS: dict[str, Callable[..., Ranking]] = {
    "lca": _lca,
    "mean-difference": _mean_difference,
    "f": _f,
    "random": _random,
}


def rank(task: Task, method: str = "lca", *, seed: int = 0, **settings: Any) -> Ranking:
    """Rank the neurons of a task by a named method (see :data:`RANKINGS`)."""
    if method not in RANKINGS:
        raise SettingError(
            f'no ranking "{method}"; there are {", ".join(RANKINGS)}.'
            f"{did_you_mean(method, RANKINGS)}"
        )
    return RANKINGS[method](task, seed=seed, **settings)
