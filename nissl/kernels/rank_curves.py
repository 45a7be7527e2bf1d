"""Exact area under the ROC curve and average precision of every neuron for every class.

Each neuron is sorted once, its labels with it, and one pass serves all classes. Equal values are
one threshold, as in scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import InputError
from nissl.kernels._sweep import Swept, run_sweep
from nissl.kernels.class_stats import ClassStats

__all__ = ["RankCurves", "histogram_curves", "rank_curves", "two_sided_precision"]

BLOCK = 64
"""Neurons at a time: bounds the float64 copies of histograms."""


@dataclass(frozen=True, eq=False)
class RankCurves:
    """How well each neuron, used as a score, tells each class from all others.

    Attributes
    ----------
    auc
        Area under the ROC curve, (C, d); 0.5 where the class or its complement has no tokens.
    high, low, outer
        Average precision, (C, d), when tokens are taken from the highest value down, from the
        lowest up, and from both ends inwards by |x − median|; 0 for a class without tokens.
    prevalence
        Share of the tokens, (C,): what average precision comes to by chance.
    """

    auc: Float[np.ndarray, "c d"]
    high: Float[np.ndarray, "c d"]
    low: Float[np.ndarray, "c d"]
    outer: Float[np.ndarray, "c d"]
    prevalence: Float[np.ndarray, " c"]

    @property
    def separation(self) -> np.ndarray:
        """|2 · AUC − 1|, (C, d): 0 by chance, 1 if one threshold parts the class from the rest."""
        return np.abs(2.0 * self.auc - 1.0)

    @property
    def two_sided(self) -> np.ndarray:
        """Average precision from the best of three ends, less the class's prevalence, (C, d).

        The ends are: high values, low values, and extremes of either sign (largest |x − median|).
        The first two find a class whose mean lies above or below the rest, the third one that
        spreads more widely around the same mean. Chance is 0, and slightly more for rare classes,
        as a maximum of three is taken and few tokens scatter.
        """
        best = np.maximum(np.maximum(self.high, self.low), self.outer)
        return np.where(self.prevalence[:, None] > 0, best - self.prevalence[:, None], 0.0)


def rank_curves(
    X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], n_classes: int
) -> RankCurves:
    """Return exact AUC and average precision of all neurons and classes, one-against-rest.

    Parameters
    ----------
    X
        Neurons, (n, d), read as float32; Fortran order is used without a copy. Any order-keeping
        change of a neuron leaves ``auc``, ``high`` and ``low`` as they are.
    y
        Class of each token, 0…C − 1, (n,).
    n_classes
        C, two or more.

    Raises
    ------
    InputError, LabelError
        No tokens, values that are not finite, labels that do not fit.
    """
    return curves_of(run_sweep(X, y, n_classes, curves=True))


def curves_of(swept: Swept) -> RankCurves:
    """Turn the sums of a sweep into curves."""
    counts = swept.counts.astype(np.float64)[:, None]
    n = float(counts.sum())
    pairs = counts * (n - counts)
    wins = swept.ranks - 0.5 * counts * (counts + 1)
    auc = np.where(pairs > 0, wins / np.maximum(pairs, 1), 0.5)
    high, low, outer = swept.precision / np.maximum(counts, 1)
    return RankCurves(auc=auc, high=high, low=low, outer=outer, prevalence=counts[:, 0] / n)


def two_sided_precision(
    X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], n_classes: int
) -> Float[np.ndarray, "c d"]:
    """Return :attr:`RankCurves.two_sided`, (C, d): a ranking that sees shifts and spreads."""
    return rank_curves(X, y, n_classes).two_sided


def histogram_curves(stats: ClassStats) -> RankCurves:
    """Return the curves of values that are known by bin only, from statistics of any many shards.

    A bin is one threshold: 256 of them leave an error of about 1e-4 in the AUC of a neuron that
    is spread over them. ``outer`` counts inwards from both ends around 0, which is the mean of
    standardised neurons, not around the median.
    """
    if len(stats.histogram) == 0:
        raise InputError("curves need histograms, but the statistics have none")
    d, C, B = stats.histogram.shape
    counts = stats.counts.astype(np.float64)
    n = counts.sum()
    auc, high, low, outer = (np.empty((C, d)) for _ in range(4))
    for start in range(0, d, BLOCK):
        here = slice(start, start + BLOCK)
        rising = stats.histogram[here].astype(np.float64)
        falling = rising[:, :, ::-1]
        rest = rising.sum(axis=1, keepdims=True) - rising
        below = np.cumsum(rest, axis=2) - 0.5 * rest
        auc[:, here] = np.einsum("jcb,jcb->cj", rising, below)
        high[:, here] = _binned_precision(falling)
        low[:, here] = _binned_precision(rising)
        outer[:, here] = _binned_precision((rising + falling)[:, :, : B // 2])
    pairs = (counts * (n - counts))[:, None]
    many = np.maximum(counts, 1)[:, None]
    return RankCurves(
        auc=np.where(pairs > 0, auc / np.maximum(pairs, 1), 0.5),
        high=high / many,
        low=low / many,
        outer=outer / many,
        prevalence=counts / n,
    )


def _binned_precision(histogram: np.ndarray) -> np.ndarray:
    """Sums of precision (C, j) from counts (j, C, B), the best bins first."""
    hits = np.cumsum(histogram, axis=2)
    on = np.maximum(hits.sum(axis=1, keepdims=True), 1.0)
    return np.einsum("jcb,jcb->cj", histogram, hits / on)
