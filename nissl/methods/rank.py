"""What a ranking is, and how weights, scores or an order become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from nissl.errors import LabelError, SettingError, did_you_mean
from nissl.kernels.correlation import pearson
from nissl.kernels.lca import lca_order
from nissl.kernels.univariate import f_statistic
from nissl.methods.probe import ProbeResult
from nissl.methods.target import Target
from nissl.methods.task import Task
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Ranking",
    "Scorer",
    "rank_lca",
    "rank_order",
    "rank_scores",
    "rank_weights",
    "tie_scores",
]

Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""All that a new ranking must be: ``(X (n, d), y (n,)) -> scores (C, d)``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking(Result):
    """A total order of the neurons, best first, for a property and for each of its classes.

    A target of numbers has one "class", called like the target itself.

    Attributes
    ----------
    order
        Positions of neurons, best first, (d,).
    scores
        Score of each neuron for each class, (C, d). Methods that look at the property as a whole
        (F, forward selection, …) give every class the same.
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
        """One row a neuron, best first: rank, neuron, layer, its best class and that score.

        The class (``label``) is empty where the neuron scores the same for all: none is its best.
        """
        best = self.scores.argmax(axis=0)
        value = self.scores.max(axis=0)
        label = np.array(self.classes, dtype=object)[best]
        if len(self.classes) > 1:
            label[self.scores.min(axis=0) == value] = ""
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(self.order) + 1),
                "neuron": self.neurons["neuron"].to_numpy()[self.order],
                "layer": self.neurons["layer"].to_numpy()[self.order],
                "label": label[self.order],
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
    return rank_weights(task, probe.coef, settings={"l1": probe.l1, "l2": probe.l2})


def rank_weights(
    task: Task, coef: np.ndarray, *, settings: Mapping[str, Any] | None = None
) -> Ranking:
    """Return the order of Linguistic Correlation Analysis for weights (C, d) of any probe.

    Raises
    ------
    SettingError
        Weights of another shape; a binary probe with one row w stands for the rows −w and w.
    InputError
        Weights that are not finite.
    """
    if coef.shape != (task.n_classes, task.n_neurons):
        raise SettingError(
            f"lca: weights have shape {coef.shape}, expected ({task.n_classes}, {task.n_neurons}), "
            "one row a class"
        )
    ties = f_statistic(task.train.X, task.train.y, task.n_classes)
    found = lca_order(coef, tie_score=ties)
    return Ranking(
        provenance=_origin(task, "lca", settings, None),
        property=task.name,
        method="lca",
        classes=task.classes,
        neurons=task.neurons,
        order=found.order,
        scores=np.abs(coef).astype(np.float32),
        class_order=found.class_order,
        percent=found.percent,
    )


def rank_scores(
    task: Task | Target,
    method: str,
    scores: np.ndarray,
    *,
    over: Literal["max", "sum"] = "max",
    overall: np.ndarray | None = None,
    ties: np.ndarray | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Ranking:
    """Turn scores into a :class:`Ranking`.

    Parameters
    ----------
    scores
        (C, d), higher better; (1, d) for a target of numbers.
    over
        Whether a neuron counts by its largest score over classes or by their sum.
    overall
        Score for the whole property, (d,), where it is neither.
    ties
        Orders neurons of equal score, higher first, (d,); without it, or where it is equal too,
        neurons keep their own order.

    Raises
    ------
    SettingError
        Scores of another shape, or not finite (the first such neuron is named).
    """
    classes = _classes(task)
    if scores.shape != (len(classes), task.n_neurons):
        raise SettingError(
            f"{method}: scores have shape {scores.shape}, expected "
            f"({len(classes)}, {task.n_neurons})"
        )
    if not np.isfinite(scores).all():
        bad = task.neurons["neuron"][int(np.argwhere(~np.isfinite(scores))[0, 1])]
        raise SettingError(f"{method}: the score of neuron {bad} is not finite")
    if over not in ("max", "sum"):
        raise SettingError(f'{method}: over must be "max" or "sum", not "{over}"')
    best = scores.max(axis=0) if over == "max" else scores.sum(axis=0)
    if overall is not None:
        best = np.asarray(overall, dtype=np.float64)
        if best.shape != (task.n_neurons,) or not np.isfinite(best).all():
            raise SettingError(f"{method}: overall scores must be {task.n_neurons} finite numbers")
    second = np.zeros(task.n_neurons) if ties is None else np.asarray(ties, dtype=np.float64)
    return Ranking(
        provenance=_origin(task, method, settings, seed),
        property=task.name,
        method=method,
        classes=classes,
        neurons=task.neurons,
        order=np.lexsort((-second, -best)),
        scores=scores.astype(np.float32),
        class_order=np.stack([np.lexsort((-second, -row)) for row in scores]),
        percent=np.zeros(task.n_neurons, dtype=np.int64),
    )


def rank_order(
    task: Task | Target,
    method: str,
    order: np.ndarray,
    *,
    scores: np.ndarray | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Ranking:
    """Turn an order of some neurons, best first, into a :class:`Ranking` of all.

    Parameters
    ----------
    order
        Positions of the chosen neurons, best first, (m,), each once, m ≤ d. The others follow by
        their F statistic, or for a target by their absolute correlation with it.
    scores
        (C, d) for the order of each class; without them every class has the common order, and a
        chosen neuron's score falls from 1 towards 0 while all others have 0.
    """
    d = task.n_neurons
    chosen = np.asarray(order, dtype=np.int64)
    if len(np.unique(chosen)) != len(chosen) or (len(chosen) and not chosen.min() >= 0):
        raise SettingError(f"{method}: an order names each neuron once")
    if len(chosen) and chosen.max() >= d:
        raise SettingError(f"{method}: the order names neuron {chosen.max()} of {d}")
    classes = _classes(task)
    ties = tie_scores(task)
    rest = np.setdiff1d(np.arange(d), chosen, assume_unique=True)
    whole = np.concatenate([chosen, rest[np.argsort(-ties[rest], kind="stable")]])
    if scores is None:
        value = np.zeros(d)
        value[chosen] = 1 - np.arange(len(chosen)) / max(1, len(chosen))
        scores = np.repeat(value[None], len(classes), axis=0)
        class_order = np.repeat(whole[None], len(classes), axis=0)
    else:
        class_order = rank_scores(task, method, scores, ties=ties).class_order
    return Ranking(
        provenance=_origin(task, method, settings, seed),
        property=task.name,
        method=method,
        classes=classes,
        neurons=task.neurons,
        order=whole,
        scores=np.asarray(scores).astype(np.float32),
        class_order=class_order,
        percent=np.zeros(d, dtype=np.int64),
    )


def tie_scores(task: Task | Target) -> np.ndarray:
    """Return what orders neurons that a method does not tell apart, higher first, (d,).

    The F statistic over classes; for a target |r|, of which its F is a rising function.
    """
    if isinstance(task, Target):
        return np.abs(pearson(task.train.X, task.train.y))
    return f_statistic(task.train.X, task.train.y, task.n_classes)


def _classes(task: Task | Target) -> tuple[str, ...]:
    return (task.name,) if isinstance(task, Target) else task.classes


def _origin(
    task: Task | Target, method: str, settings: Mapping[str, Any] | None, seed: int | None
) -> Provenance:
    return Provenance(
        method=method,
        settings=dict(settings or {}),
        inputs={**task.inputs, "task": task.fingerprint},
        seed=seed,
    )
