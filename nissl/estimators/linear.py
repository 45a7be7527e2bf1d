"""The probe as a scikit-learn classifier, for pipelines, grid searches and cross-validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from nissl.estimators._grid import Grid
from nissl.estimators._rows import Rows, check_inputs, prepare
from nissl.estimators._scores import Decides
from nissl.estimators._settings import check_settings, quiet_kernel, warn_early
from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.fit import Fit

if TYPE_CHECKING:
    from nissl.estimators.path import ProbePath

__all__ = ["Probe"]


class Probe(Decides, ClassifierMixin, BaseEstimator):
    """Elastic-net multinomial logistic regression on standardised neurons, with exact zeros.

    Minimises the weighted mean cross-entropy + λ₁‖W‖₁ + (λ₂/2)‖W‖²_F, the intercept free, to a
    certified relative duality gap (Durrani et al. 2020, section 2.1). In scikit-learn's own terms
    this is C = 1 / (n (λ₁ + λ₂)), l1_ratio = λ₁ / (λ₁ + λ₂) for three classes or more; see
    :mod:`nissl.kernels.penalties` for two classes and for other tools.

    The fit depends neither on the order of the tokens nor on whether a token is repeated or has a
    whole weight: such fits agree to the last bit (not with ``standardise=False``, which leaves
    tokens where they are). float16, float32 and float64, in either order of memory and
    memory-mapped, are read as they are; the one copy made is float32, standardised.

    Parameters
    ----------
    l1, l2
        Strengths λ₁ and λ₂, 0 or more.
    tol
        Relative duality gap at which to stop. The solver works in float32: below about 1e-7 no
        tolerance is reached.
    max_iter
        Outer iterations before another method takes over.
    time_limit
        CPU seconds after which :meth:`fit` stops with what it has, or :meth:`path` with what it has
        at each penalty; ``None``: no limit.
    standardise
        Whether to subtract each neuron's (weighted) mean and divide by its standard deviation.
        Without it X is taken as it is, and if it is float32 in Fortran order it is not copied.

    Attributes
    ----------
    classes_
        The classes, sorted, (C,): those with a token of weight above 0.
    coef_
        Weights for standardised neurons, (C, d), exact zeros; two classes have two rows.
    intercept_
        (C,).
    mean_, scale_
        Training mean and standard deviation of each neuron, (d,); constant neurons have scale 1
        and weight 0. Without ``standardise`` zeros and ones.
    constant_
        Neurons that never change in training and so have no weight, bool (d,).
    objective_
        The objective reached, in nats, evaluated in float64.
    gap_
        Certified relative duality gap: the objective is at most this share above the optimum.
        Infinite without any penalty.
    kkt_
        Largest violation of the conditions of optimality.
    n_iter_, n_gradients_, seconds_
        Outer iterations, work in full gradients, CPU seconds.
    converged_
        Whether ``gap_`` is at most ``tol``; if not, the fit warned.
    """

    def __init__(
        self,
        l1: float = 1e-3,
        l2: float = 1e-3,
        *,
        tol: float = 1e-3,
        max_iter: int = 100,
        time_limit: float | None = None,
        standardise: bool = True,
    ) -> None:
        self.l1 = l1
        self.l2 = l2
        self.tol = tol
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.standardise = standardise

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit on X (n, d), labels y (n,) and, where given, a weight of each token (n,), 0 or more.

        Raises
        ------
        InputError
            NaN or infinity (the neuron and the token are named), or weights that do not fit.
        LabelError
            Fewer than two classes.
        SettingError
            A penalty, tolerance or limit outside its range.

        Warns
        -----
        NotConverged
            The fit stopped before its tolerance.
        """
        check_settings(self)
        data = check_inputs(self, X, y, sample_weight)
        rows = prepare(data, scale=self.standardise)
        with quiet_kernel():
            fitted = fit_elastic_net(
                rows.Z,
                rows.code,
                len(data.classes),
                l1=self.l1,
                l2=self.l2,
                sample_weight=rows.weight,
                tol=self.tol,
                max_iter=self.max_iter,
                time_limit=self.time_limit,
            )
        warn_early([fitted], self.tol)
        return self._adopt(fitted, rows, data.classes)

    def path(self, X: Any, y: Any, *, grid: Grid = 12, sample_weight: Any = None) -> ProbePath:
        """Fit a grid of penalties, each fit starting from a stronger one; ``l1, l2`` are not used.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.
        grid
            A number of points, or a list: pairs (λ₁, λ₂), or numbers for λ₁ = λ₂. A number of
            points stands for a geometric grid with λ₂ = λ₁, from 0.9 times the smallest λ₁ that
            gives no weights down to 2e-4.

        Raises
        ------
        InputError, LabelError, SettingError
            As in :meth:`fit`; an empty grid.
        """
        from nissl.estimators.path import fit_path

        return fit_path(self, X, y, grid=grid, sample_weight=sample_weight)

    def _adopt(self, fitted: Fit, rows: Rows, classes: np.ndarray) -> Self:
        """Take over a kernel's fit."""
        self.classes_ = classes
        self.coef_, self.intercept_ = fitted.coef, fitted.intercept
        self.mean_, self.scale_, self.constant_ = rows.mean, rows.scale, rows.constant
        self.objective_, self.gap_, self.kkt_ = fitted.objective, fitted.gap, fitted.kkt
        self.n_iter_ = max(1, fitted.iterations)
        self.n_gradients_, self.seconds_ = fitted.gradients, fitted.seconds
        self.converged_ = fitted.converged
        return self
