"""Rankings for targets of numbers: correlations, weights of a regression, searches."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nissl.errors import SettingError, did_you_mean
from nissl.methods.rank import Ranking, rank_order, rank_scores, tie_scores
from nissl.methods.rankings import register_ranking
from nissl.methods.target import Target

__all__: list[str] = []

Penalty = Literal["elastic-net", "lasso", "ridge"]
PENALTIES = ("elastic-net", "lasso", "ridge")


@register_ranking("pearson", "linear correlation with the number, absolute", targets=True)
def _pearson(target: Target, seed: int) -> Ranking:
    return rank_scores(target, "pearson", tie_scores(target)[None])


@register_ranking("spearman", "rank correlation with the number, absolute", targets=True)
def _spearman(target: Target, seed: int) -> Ranking:
    from nissl.kernels.correlation import spearman

    return rank_scores(target, "spearman", np.abs(spearman(target.train.X, target.train.y))[None])


@register_ranking("mi", "mutual information of neuron and number, both in bins", targets=True)
def _mi(target: Target, seed: int, *, bins: int = 32, levels: int = 10) -> Ranking:
    """The number's levels are about equally full; words of one value share a level."""
    from scipy.stats import rankdata

    from nissl.kernels.mutual_information import binned_information

    y = target.train.y
    if levels < 2:
        raise SettingError(f"levels must be 2 or more, not {levels}")
    # The mean rank decides: all words of one value are in one level.
    level = np.floor((rankdata(y) - 0.5) / len(y) * levels).astype(np.int64)
    _, level = np.unique(level, return_inverse=True)
    if level.max() == 0:
        # Nearly all words have one value: those below and above it are a level each.
        _, level = np.unique(np.sign(y - np.median(y)), return_inverse=True)
    found = binned_information(target.train.X, level, int(level.max()) + 1, bins=bins)
    settings = {"bins": bins, "levels": levels}
    return rank_scores(target, "mi", found.total[None], ties=tie_scores(target), settings=settings)


@register_ranking("weights", "absolute weight in an elastic-net regression", targets=True)
def _weights(
    target: Target,
    seed: int,
    *,
    penalty: Penalty = "elastic-net",
    l1: float = 1e-2,
    l2: float = 1e-3,
    tol: float = 1e-3,
) -> Ranking:
    """By |w|; neurons and number have standard deviation 1, so that λ₁ has no unit."""
    from nissl.kernels.least_squares import fit_least_squares

    if penalty not in PENALTIES:
        raise SettingError(
            f'no penalty "{penalty}"; there are {", ".join(PENALTIES)}.'
            f"{did_you_mean(penalty, PENALTIES)}"
        )
    y = target.train.y
    fit = fit_least_squares(
        target.train.X,
        ((y - y.mean()) / y.std())[:, None],
        l1=0.0 if penalty == "ridge" else l1,
        l2=0.0 if penalty == "lasso" else l2,
        tol=tol,
    )
    settings = {"penalty": penalty, "l1": l1, "l2": l2, "tol": tol}
    return rank_scores(
        target, "weights", np.abs(fit.coef), ties=tie_scores(target), settings=settings
    )


@register_ranking(
    "forward", "forward selection: add the best neuron, refit", slow=True, targets=True
)
def _forward(target: Target, seed: int, *, k_max: int = 100, l2: float = 1e-3) -> Ranking:
    from nissl.kernels.forward_squares import forward_squares

    k = min(k_max, target.n_neurons)
    found = forward_squares(target.train.X, target.train.y, k_max=k, l2=l2)
    return rank_order(target, "forward", found.order, settings={"k_max": k_max, "l2": l2})


@register_ranking("k-sparse", "correlation, then thinned out by refitted ridges", targets=True)
def _k_sparse(
    target: Target, seed: int, *, pool: int = 512, keep: float = 0.8, l2: float = 1e-3
) -> Ranking:
    from nissl.kernels.forward_squares import thin_out_squares

    order = thin_out_squares(target.train.X, target.train.y, pool=pool, keep=keep, l2=l2)
    return rank_order(target, "k-sparse", order, settings={"pool": pool, "keep": keep, "l2": l2})


@register_ranking(
    "random", "nothing: a random order, the floor of every comparison", seeded=True, targets=True
)
def _random(target: Target, seed: int) -> Ranking:
    value = np.random.default_rng(seed).random((1, target.n_neurons))
    return rank_scores(target, "random", value, seed=seed)
