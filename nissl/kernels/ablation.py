"""How well the neurons at the top of a probe do without those at the bottom, as one score.

The search of the regularisation in Durrani et al. 2020, section 3.4, on arrays: methods and
estimators share this arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import InputError, SettingError
from nissl.kernels.checks import check_labels, check_matrix
from nissl.kernels.fit import predict_scores
from nissl.kernels.lca import lca_order

__all__ = ["UNREGULARISED_L2", "Ablated", "ablate_probe", "ablation_score", "check_fraction"]

UNREGULARISED_L2 = 1e-7
"""Stands for λ = 0: without it the weights of separable classes have no finite optimum."""


@dataclass(frozen=True)
class Ablated:
    """Accuracies of one probe, 0 to 1.

    Attributes
    ----------
    top, bottom
        All but the best (worst) ``fraction`` of neurons set to their mean.
    whole
        All neurons.
    """

    top: float
    bottom: float
    whole: float


def check_fraction(fraction: float) -> None:
    """Refuse a fraction of neurons outside (0, 0.5]: best and worst would overlap.

    Raises
    ------
    SettingError
    """
    if not 0 < fraction <= 0.5:
        raise SettingError(f"fraction must lie in (0, 0.5], not {fraction:g}")


def ablate_probe(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    coef: Float[np.ndarray, "c d"],
    intercept: Float[np.ndarray, " c"],
    *,
    fraction: float = 0.2,
    tie_score: Float[np.ndarray, " d"] | None = None,
    weight: Float[np.ndarray, " n"] | None = None,
) -> Ablated:
    """Return the accuracies of a probe with all, only the best and only the worst neurons.

    Neurons are ordered by Linguistic Correlation Analysis (:func:`nissl.kernels.lca.lca_order`);
    ``max(1, round(fraction * d))`` of them are kept, and all others are set to their mean.

    Parameters
    ----------
    X
        Standardised neurons of held-out tokens, (n, d): the mean of a neuron is 0.
    y
        Class indices, (n,).
    coef, intercept
        The probe, (C, d) and (C,).
    fraction
        Share of the neurons at either end, in (0, 0.5].
    tie_score
        Orders neurons without weight, (d,); they change nothing here.
    weight
        Weight of each token, (n,); equal by default.

    Raises
    ------
    InputError, LabelError, SettingError
        Arrays that do not fit, or a fraction outside (0, 0.5].
    """
    check_fraction(fraction)
    check_matrix(X)
    y = check_labels(y, X.shape[0], len(coef))
    if weight is not None and len(weight) != len(y):
        raise InputError(f"{len(weight)} sample weights for {len(y)} tokens")
    order = lca_order(coef, tie_score=tie_score).order
    k = max(1, round(fraction * X.shape[1]))

    def accuracy(neurons: np.ndarray | None) -> float:
        part, W = (X, coef) if neurons is None else (X.T[neurons].T, coef[:, neurons])
        right = predict_scores(part, W, intercept).argmax(axis=1) == y
        return float(right.mean() if weight is None else np.average(right, weights=weight))

    return Ablated(
        top=accuracy(order[:k]), bottom=accuracy(order[len(order) - k :]), whole=accuracy(None)
    )


def ablation_score(
    ablated: Ablated, unregularised: float, *, alpha: float = 0.5, beta: float = 0.5
) -> float:
    """Return α (A_top − A_bottom) − β (A_unregularised − A_λ), Durrani et al. 2020, section 3.4.

    Parameters
    ----------
    ablated
        Accuracies of the probe at λ.
    unregularised
        Accuracy of a probe without regularisation (:data:`UNREGULARISED_L2`), 0 to 1.
    alpha
        How much it counts that the order tells good neurons from bad ones.
    beta
        How much it counts that regularisation costs little accuracy.
    """
    return alpha * (ablated.top - ablated.bottom) - beta * (unregularised - ablated.whole)
