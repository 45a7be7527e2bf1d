"""Rankings by the weights of a linear probe on all neurons."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nissl.errors import SettingError, did_you_mean
from nissl.kernels.ablation import UNREGULARISED_L2
from nissl.kernels.dense import fit_dense
from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.univariate import f_statistic
from nissl.methods.rank import Ranking, rank_scores, rank_weights
from nissl.methods.rankings import register_ranking
from nissl.methods.task import Task

__all__: list[str] = []

Penalty = Literal["elastic-net", "lasso", "ridge", "none"]
PENALTIES = ("elastic-net", "lasso", "ridge", "none")


def weights_of(task: Task, penalty: Penalty, l1: float, l2: float, tol: float | None) -> np.ndarray:
    """Return the weights (C, d) of a probe on all standardised neurons.

    ``tol`` is the relative duality gap; by default 1e-3, and 1e-2 without λ₁, where all weights are
    there from the start.

    ``lasso`` leaves out λ₂ and ``ridge`` λ₁. ``none`` keeps a trace of ridge: where the classes
    can be told apart without error, the unpenalised problem has no optimum.
    """
    if penalty not in PENALTIES:
        raise SettingError(
            f'no penalty "{penalty}"; there are {", ".join(PENALTIES)}.'
            f"{did_you_mean(penalty, PENALTIES)}"
        )
    X, y = task.train.X, task.train.y
    if penalty in ("ridge", "none"):
        strength = l2 if penalty == "ridge" else UNREGULARISED_L2
        fit = fit_dense(X, y, task.n_classes, l2=strength, tol=tol or 1e-2, certificate=False)
    else:
        strength = 0.0 if penalty == "lasso" else l2
        fit = fit_elastic_net(X, y, task.n_classes, l1=l1, l2=strength, tol=tol or 1e-3)
    return fit.coef


@register_ranking("lca", "weight of a sparse probe, merged over labels by share of weight mass")
def _lca(
    task: Task,
    seed: int,
    *,
    penalty: Penalty = "elastic-net",
    l1: float = 1e-3,
    l2: float = 1e-3,
    tol: float | None = None,
) -> Ranking:
    """Dalvi et al. 2019."""
    coef = weights_of(task, penalty, l1, l2, tol)
    settings = {"penalty": penalty, "l1": l1, "l2": l2, "tol": tol}
    return rank_weights(task, coef, settings=settings)


@register_ranking("weights", "sum (or largest) over labels of the absolute weight of a probe")
def _weights(
    task: Task,
    seed: int,
    *,
    over: Literal["max", "sum"] = "sum",
    penalty: Penalty = "elastic-net",
    l1: float = 1e-3,
    l2: float = 1e-3,
    tol: float | None = None,
) -> Ranking:
    """By |w|: neurons have standard deviation 1, so that this is |w| × sd of raw neurons."""
    coef = weights_of(task, penalty, l1, l2, tol)
    return rank_scores(
        task,
        "weights",
        np.abs(coef),
        over=over,
        # Most neurons of a sparse probe have no weight at all.
        ties=f_statistic(task.train.X, task.train.y, task.n_classes),
        settings={"over": over, "penalty": penalty, "l1": l1, "l2": l2, "tol": tol},
    )
