"""Rankings by a statistic of one neuron at a time."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from nissl.kernels.univariate import f_statistic, mean_difference
from nissl.methods.rank import Ranking, rank_scores
from nissl.methods.rankings import register_ranking
from nissl.methods.task import Task

__all__: list[str] = []

Over = Literal["max", "sum"]


@register_ranking("mean-difference", "mean inside minus outside a class, absolute (selectivity)")
def _mean_difference(task: Task, seed: int, *, over: Over = "max") -> Ranking:
    scores = np.abs(mean_difference(task.train.X, task.train.y, task.n_classes))
    return rank_scores(task, "mean-difference", scores, over=over, settings={"over": over})


@register_ranking("probeless", "sum over pairs of classes of the difference of their means")
def _probeless(task: Task, seed: int) -> Ranking:
    """Antverg & Belinkov 2022; neurons are standardised."""
    return _univariate(task, "probeless")


@register_ranking("f", "F of a one-way analysis of variance over classes")
def _f(task: Task, seed: int) -> Ranking:
    value = f_statistic(task.train.X, task.train.y, task.n_classes)
    return rank_scores(task, "f", np.repeat(value[None], task.n_classes, axis=0))


@register_ranking("auc", "area under the ROC curve of the neuron as a score, two-sided")
def _auc(task: Task, seed: int) -> Ranking:
    return _univariate(task, "auc")


@register_ranking("ap", "average precision of the neuron as a score, two-sided, less chance")
def _ap(task: Task, seed: int) -> Ranking:
    return _univariate(task, "ap")


@register_ranking("iou", "intersection over union of a neuron's largest values and a class")
def _iou(task: Task, seed: int, *, share: float | str = "prevalence") -> Ranking:
    return _univariate(task, "iou", share=share)


@register_ranking("mi", "mutual information of the neuron, in bins, and the class")
def _mi(task: Task, seed: int, *, bins: int = 32) -> Ranking:
    return _univariate(task, "mi", bins=bins)


@register_ranking("knn-mi", "mutual information by nearest neighbours", slow=True)
def _knn_mi(task: Task, seed: int, *, k: int = 3) -> Ranking:
    return _univariate(task, "knn-mi", k=k)


@register_ranking("random", "nothing: a random order, the floor of every comparison", seeded=True)
def _random(task: Task, seed: int) -> Ranking:
    value = np.random.default_rng(seed).random((1, task.n_neurons))
    return rank_scores(task, "random", np.repeat(value, task.n_classes, axis=0), seed=seed)


def _univariate(task: Task, name: str, **settings: Any) -> Ranking:
    from nissl.kernels.all_univariate import univariate_scores

    found = univariate_scores(
        task.train.X, task.train.y, task.n_classes, methods=(name,), **settings
    )[name]
    return rank_scores(task, name, found.by_class, overall=found.overall, settings=settings)
