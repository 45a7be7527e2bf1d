"""All rankings of single neurons at once: one streaming pass and one sort of each neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import SettingError, did_you_mean
from nissl.kernels._sweep import run_sweep
from nissl.kernels.class_stats import class_stats
from nissl.kernels.iou import overlaps_of
from nissl.kernels.mutual_information import (
    MAX_TOKENS,
    information_of_stats,
    information_of_sweep,
)
from nissl.kernels.rank_curves import curves_of
from nissl.kernels.univariate import f_of_stats, probeless_of_stats, selectivity_of_stats

__all__ = ["METHODS", "NeuronScores", "univariate_scores"]

METHODS = ("probeless", "selectivity", "f", "mi", "auc", "ap", "iou", "knn-mi")
_SWEPT = ("auc", "ap", "iou", "knn-mi")


@dataclass(frozen=True, eq=False)
class NeuronScores:
    """Scores of one method, higher better.

    Attributes
    ----------
    by_class
        Score for each class, (C, d).
    overall
        Score for the whole property, (d,): the sum over pairs of classes for Probeless, the
        statistic itself for F and mutual information, otherwise the maximum over classes.
    """

    by_class: Float[np.ndarray, "c d"]
    overall: Float[np.ndarray, " d"]


def univariate_scores(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    methods: Sequence[str] = METHODS,
    bins: int = 32,
    k: int = 3,
    share: float | str = "prevalence",
    max_tokens: int | None = MAX_TOKENS,
) -> dict[str, NeuronScores]:
    """Score every neuron for every class by several methods that share their passes.

    Parameters
    ----------
    X
        Standardised neurons, (n, d), float32; Fortran order is used without a copy.
    y
        Class of each token, (n,).
    n_classes
        Number of classes.
    methods
        Names of :data:`METHODS`: "probeless"; "selectivity", in absolute value; "f"; "mi", binned
        and corrected; "auc", as |2 AUC − 1|; "ap", two-sided and less the prevalence; "iou",
        two-sided and less its chance; "knn-mi".
    bins
        Bins of "mi".
    k, max_tokens
        Neighbours of "knn-mi", and tokens to take them from at most.
    share
        Share of the tokens on which a neuron is on, for "iou".

    Raises
    ------
    InputError, LabelError, SettingError
    """
    for name in methods:
        if name not in METHODS:
            raise SettingError(
                f'no ranking "{name}"; there are {", ".join(METHODS)}.{did_you_mean(name, METHODS)}'
            )
    out: dict[str, NeuronScores] = {}
    if any(name not in _SWEPT for name in methods):
        stats = class_stats(X, y, n_classes, histograms="mi" in methods)
        if "probeless" in methods:
            scores = probeless_of_stats(stats)
            out["probeless"] = NeuronScores(scores, 0.5 * scores.sum(axis=0))
        if "selectivity" in methods:
            out["selectivity"] = _largest(np.abs(selectivity_of_stats(stats)))
        if "f" in methods:
            f = f_of_stats(stats)
            out["f"] = NeuronScores(np.repeat(f[None, :], n_classes, axis=0), f)
        if "mi" in methods:
            found = information_of_stats(stats, bins=bins)
            out["mi"] = NeuronScores(found.shares, found.total)
        del stats  # its histograms would stay beside the room of the sweep
    if any(name in _SWEPT for name in methods):
        swept = run_sweep(
            X,
            y,
            n_classes,
            curves="auc" in methods or "ap" in methods,
            share=share if "iou" in methods else None,
            k=k if "knn-mi" in methods else 0,
            max_tokens=max_tokens,
        )
        if "auc" in methods:
            out["auc"] = _largest(curves_of(swept).separation)
        if "ap" in methods:
            out["ap"] = _largest(curves_of(swept).two_sided)
        if "iou" in methods:
            out["iou"] = _largest(overlaps_of(swept, "two-sided", True))
        if "knn-mi" in methods:
            found = information_of_sweep(swept)
            out["knn-mi"] = NeuronScores(found.shares, found.total)
    return {name: out[name] for name in methods}


def _largest(scores: np.ndarray) -> NeuronScores:
    return NeuronScores(scores, scores.max(axis=0))
