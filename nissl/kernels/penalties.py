"""Penalties of other tools in the units of this one, and back.

Here a probe minimises the weighted *mean* cross-entropy + λ₁ ‖W‖₁ + (λ₂/2) ‖W‖²_F with one vector
of weights a class, two classes included. Other tools scale the loss, or give two classes one vector
w between them. For two classes the best W with W₂ − W₁ = w is W = (−w/2, w/2), so that ‖W‖₁ = ‖w‖₁
but ‖W‖²_F = ‖w‖²/2: the λ₂ that does the same here is twice as large, and λ₁ is the same. The
conversions below take this into account; weights are then compared as W₂ − W₁.

All of them speak of the same matrix of neurons. Standardise it first where the other tool does not.
"""

from __future__ import annotations

import math

from nissl.errors import SettingError
from nissl.kernels.checks import check_penalty

__all__ = [
    "from_glmnet",
    "from_neurox",
    "from_sklearn",
    "to_glmnet",
    "to_neurox",
    "to_sklearn",
]


def from_sklearn(
    C: float, l1_ratio: float, n: int | float, *, n_classes: int
) -> tuple[float, float]:
    """Return (λ₁, λ₂) of scikit-learn's ``LogisticRegression(C=…, l1_ratio=…)``.

    Its objective is C Σᵢ sᵢ lossᵢ + ρ ‖w‖₁ + ((1 − ρ)/2) ‖w‖² with ρ = ``l1_ratio`` (user guide,
    section 1.1.11), the loss a *sum* over tokens; divided by C n it is ours. Two classes have one
    vector there.

    Parameters
    ----------
    C
        Inverse strength, above 0 (infinite: no penalty).
    l1_ratio
        ρ, 0 (ridge) to 1 (lasso).
    n
        Number of tokens, or the sum of the sample weights s.
    n_classes
        Number of classes.

    Raises
    ------
    SettingError
        A value outside its range.
    """
    _positive(C=C, n=n)
    _share(l1_ratio=l1_ratio)
    strength = 1 / (C * n)
    return l1_ratio * strength, _pairs(n_classes) * (1 - l1_ratio) * strength


def to_sklearn(l1: float, l2: float, n: int | float, *, n_classes: int) -> tuple[float, float]:
    """Return scikit-learn's (C, l1_ratio) of (λ₁, λ₂); the inverse of :func:`from_sklearn`.

    C = 1 / (n (λ₁ + λ₂)) and l1_ratio = λ₁ / (λ₁ + λ₂), with λ₂ halved for two classes. Without
    any penalty C is infinite and the ratio 0.
    """
    _positive(n=n)
    strength, ratio = to_glmnet(l1, l2, n_classes=n_classes)
    return (1 / (n * strength) if strength > 0 else math.inf), ratio


def from_glmnet(lambda_: float, alpha: float, *, n_classes: int) -> tuple[float, float]:
    """Return (λ₁, λ₂) of glmnet's ``lambda`` and ``alpha``.

    Its objective is (1/N) Σᵢ sᵢ lossᵢ + λ [(1 − α)/2 ‖w‖² + α ‖w‖₁] with sample weights that sum to
    N (Friedman, Hastie and Tibshirani 2010, equations 13 and 18). Two classes have one vector
    (``family="binomial"``). With ``family="multinomial"`` and two classes pass ``n_classes=3``:
    what matters is that each class has its own vector. glmnet standardises by the population
    standard deviation, as we do, and reports weights on the original scale.

    Parameters
    ----------
    lambda_
        Strength λ, 0 or more.
    alpha
        0 (ridge) to 1 (lasso).
    n_classes
        Number of classes.

    Raises
    ------
    SettingError
        A value outside its range.
    """
    check_penalty(lambda_=lambda_)
    _share(alpha=alpha)
    return lambda_ * alpha, _pairs(n_classes) * lambda_ * (1 - alpha)


def to_glmnet(l1: float, l2: float, *, n_classes: int) -> tuple[float, float]:
    """Return glmnet's (lambda, alpha) of (λ₁, λ₂); the inverse of :func:`from_glmnet`.

    Without any penalty lambda and alpha are 0.
    """
    check_penalty(l1=l1, l2=l2)
    strength = l1 + l2 / _pairs(n_classes)
    return strength, (l1 / strength if strength > 0 else 0.0)


def from_neurox(lambda_l1: float, lambda_l2: float, norm: float) -> tuple[float, float]:
    """Return the (λ₁, λ₂) whose optimum is that of NeuroX's penalties, given the norm there.

    NeuroX adds ``lambda_l1`` ‖W‖₁ + ``lambda_l2`` ‖W‖_F to the mean cross-entropy of a minibatch.
    Its second norm is *not* squared, so no number alone converts it: its gradient has the same
    length lambda_l2 at any W, ours grows with W. At one W the two agree, lambda_l2 W/‖W‖ = λ₂ W,
    with λ₂ = lambda_l2 / ‖W‖; both objectives are convex, so where that W is the optimum of one it
    is the optimum of the other. Two classes have two vectors there, as here.

    Parameters
    ----------
    lambda_l1, lambda_l2
        NeuroX's strengths, 0 or more.
    norm
        Frobenius norm ‖W‖_F of NeuroX's weights at its optimum, above 0. NeuroX stops after a
        number of epochs: the norm of a probe that has not settled gives a λ₂ that is only near.

    Raises
    ------
    SettingError
        A negative strength, or a norm that is not above 0 (at W = 0 the norm has no gradient).
    """
    check_penalty(lambda_l1=lambda_l1, lambda_l2=lambda_l2)
    _positive(norm=norm)
    return lambda_l1, lambda_l2 / norm


def to_neurox(l1: float, l2: float, norm: float) -> tuple[float, float]:
    """Return NeuroX's (lambda_l1, lambda_l2) whose optimum is ours; see :func:`from_neurox`.

    Parameters
    ----------
    l1, l2
        λ₁ and λ₂, 0 or more.
    norm
        Frobenius norm of our weights at the optimum for these, ``np.linalg.norm(probe.coef_)``.
    """
    check_penalty(l1=l1, l2=l2)
    _positive(norm=norm)
    return l1, l2 * norm


def _pairs(n_classes: int) -> float:
    """How much larger λ₂ is for one vector a class than for the other tool's vectors."""
    if n_classes < 2:
        raise SettingError(f"n_classes must be 2 or more, not {n_classes}")
    return 2.0 if n_classes == 2 else 1.0


def _positive(**values: int | float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise SettingError(f"{name} must be above 0, not {value}")


def _share(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise SettingError(f"{name} must lie in [0, 1], not {value}")
