"""The probe of numbers (depth in a tree, length, frequency) as a scikit-learn regressor."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, cast

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from nissl.errors import InputError, NotConverged, SettingError
from nissl.estimators import ProbePath
from nissl.kernels.checks import check_matrix
from nissl.kernels.fit import Fit
from nissl.kernels.least_squares import fit_least_squares, least_squares_path
from nissl.kernels.problem import token_weights
from nissl.kernels.standardise import moments, standardise

__all__ = ["ProbeRegressor"]

BLOCK = 4096
"""Tokens at a time."""

SPAN = 1000.0
"""Strongest over weakest λ₁ of a grid that is given as a number of points."""


class ProbeRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Elastic-net least squares on standardised neurons, with exact zeros and a certificate.

    Minimises half the weighted mean squared error, summed over targets, + λ₁‖W‖₁ +
    (λ₂/2)‖W‖²_F, the intercepts free, to a certified relative duality gap. On standardised neurons
    and one target this is scikit-learn's ``ElasticNet(alpha=λ₁ + λ₂, l1_ratio=λ₁ / (λ₁ + λ₂))`` and
    ``Ridge(alpha=n λ₂)``.

    Tokens are weighed and standardised as by :class:`~nissl.estimators.Probe`, whose interface
    this shares. Targets keep their unit: λ₁ is in it, the objective is in its square, λ₂ has none.

    Parameters
    ----------
    l1, l2
        Strengths λ₁ and λ₂, 0 or more.
    tol
        Relative duality gap at which to stop.
    max_iter
        Rounds of working sets.
    time_limit
        CPU seconds after which the fit stops with what it has; ``None``: no limit.
    standardise
        Whether to subtract each neuron's (weighted) mean and divide by its standard deviation.

    Attributes
    ----------
    coef_
        Weights for standardised neurons, (T, d), exact zeros; a single target has one row.
    intercept_
        (T,).
    mean_, scale_
        Training mean and standard deviation of each neuron, (d,); constant neurons have scale 1
        and weight 0. Without ``standardise`` zeros and ones.
    constant_
        Neurons that never change in training and so have no weight, bool (d,).
    objective_
        The objective reached, evaluated in float64.
    gap_
        Certified relative duality gap: the optimum is at most this share below ``objective_``.
    kkt_
        Largest violation of the conditions of optimality.
    n_iter_, n_gradients_, seconds_
        Outer iterations, work in full gradients, CPU seconds.
    converged_
        Whether the tolerance was reached; if not, the fit warned.
    """

    def __init__(
        self,
        l1: float = 1e-3,
        l2: float = 1e-3,
        *,
        tol: float = 1e-3,
        max_iter: int = 200,
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
        """Fit on X (n, d), targets y (n,) or (n, T), and a weight of each token (n,), 0 or more.

        Raises
        ------
        InputError
            NaN or infinity (the neuron and the token are named), or weights that do not fit.
        SettingError
            A penalty, tolerance or limit outside its range.

        Warns
        -----
        NotConverged
            The fit stopped before its tolerance.
        """
        self._check_settings()
        Z, Y, weight = self._prepare(X, y, sample_weight)
        with _quiet():
            fitted = fit_least_squares(
                Z,
                Y,
                l1=float(self.l1),
                l2=float(self.l2),
                sample_weight=weight,
                tol=self.tol,
                max_iter=self.max_iter,
                time_limit=self.time_limit,
            )
        _warn_early([fitted], self.tol)
        return self._adopt(fitted)

    def path(
        self,
        X: Any,
        y: Any,
        *,
        grid: int | Sequence[float] | Sequence[tuple[float, float]] = 12,
        sample_weight: Any = None,
    ) -> ProbePath:
        """Fit a grid of penalties, each fit starting from a stronger one.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.
        grid
            Pairs (λ₁, λ₂); or numbers for λ₁, λ₂ then being ``l2`` (the two have different units
            here); or a number of points for λ₁, geometric from 0.9 times the smallest that gives no
            weights down to a thousandth of that.

        Returns
        -------
        ProbePath
            Fitted regressors in the grid's order; its ``score`` is their R².

        Raises
        ------
        InputError, SettingError
            As in :meth:`fit`; an empty grid.
        """
        self._check_settings()
        made: Any = clone(self)
        Z, Y, weight = made._prepare(X, y, sample_weight)
        if isinstance(grid, int | np.integer):
            if grid < 1:
                raise SettingError(f"the λ grid needs 1 point or more, not {grid}")
            # Without any neuron that says anything every λ gives the same fit.
            most = 0.9 * _strongest_l1(Z, Y, weight) or 1.0
            items: Sequence[Any] = np.geomspace(most, most / SPAN, int(grid)).tolist()
        else:
            items = cast(Sequence[Any], grid)
        pairs = [(item, self.l2) if np.ndim(item) == 0 else tuple(item) for item in items]
        with _quiet():
            fits = least_squares_path(
                Z,
                Y,
                grid=pairs,
                sample_weight=weight,
                tol=self.tol,
                max_iter=self.max_iter,
                time_limit=self.time_limit,
            )
        _warn_early(fits, self.tol)
        probes = []
        for (l1, l2), fitted in zip(pairs, fits, strict=True):
            one: Any = clone(self)
            one.set_params(l1=l1, l2=l2)
            vars(one).update({k: v for k, v in vars(made).items() if k.endswith("_")})
            one._flat = made._flat
            probes.append(one._adopt(fitted))
        return ProbePath(cast(Any, tuple(probes)))

    def predict(self, X: Any) -> np.ndarray:
        """Return predictions for X (n, d): (n,) or (n, T), as the targets in training."""
        check_is_fitted(self)
        X = validate_data(
            self,
            X,
            reset=False,
            dtype=[np.float64, np.float32, np.float16],
            ensure_all_finite=False,
        )
        _check_finite(X)
        used = np.flatnonzero((self.coef_ != 0).any(axis=0))
        slope = (self.coef_[:, used] / self.scale_[used]).T
        out = np.empty((len(X), len(self.coef_)))
        for start in range(0, len(X), BLOCK):
            part = X[start : start + BLOCK, used].astype(np.float64)
            # Before the product: a large mean would otherwise cancel in it.
            part -= self.mean_[used]
            out[start : start + BLOCK] = part @ slope + self.intercept_
        return out[:, 0] if self._flat else out

    def _check_settings(self) -> None:
        if not (np.isfinite(self.tol) and self.tol > 0):
            raise SettingError(f"tol must be above 0, not {self.tol}")
        if self.max_iter < 1:
            raise SettingError(f"max_iter must be 1 or more, not {self.max_iter}")
        if self.time_limit is not None and not self.time_limit > 0:
            raise SettingError(
                f"time_limit must be above 0 seconds, or None, not {self.time_limit}"
            )

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return standardised neurons (m, d), targets (m, T) and weights (m,); set the moments."""
        X, y = validate_data(
            self,
            X,
            y,
            dtype=[np.float64, np.float32, np.float16],
            ensure_all_finite=False,
            multi_output=True,
            y_numeric=True,
        )
        _check_finite(X)
        self._flat = y.ndim == 1
        Y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        weight = None
        if sample_weight is not None:
            weight = np.array(sample_weight, dtype=np.float64)
            if weight.size and not weight.any():
                raise InputError("sample weights are all zero; give some token a weight above 0")
            weight = token_weights(weight, len(Y))
            if (weight == 0).any():  # What counts for nothing need not be read.
                X, Y, weight = X[weight > 0], Y[weight > 0], weight[weight > 0]
        mean, sd = moments(X, weight=weight)
        self.constant_ = sd == 0
        if not self.standardise:
            self.mean_, self.scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])
            return X, Y, weight
        self.mean_, self.scale_ = mean, np.where(sd > 0, sd, 1.0)
        return standardise(X, mean, sd), Y, weight

    def _adopt(self, fitted: Fit) -> Self:
        """Take over a kernel's fit."""
        self.coef_, self.intercept_ = fitted.coef, fitted.intercept
        self.objective_, self.gap_, self.kkt_ = fitted.objective, fitted.gap, fitted.kkt
        self.n_iter_ = max(1, fitted.iterations)
        self.n_gradients_, self.seconds_ = fitted.gradients, fitted.seconds
        self.converged_ = fitted.converged
        return self


def _check_finite(X: np.ndarray) -> None:
    """One pass without a mask, which names the neuron and the token; scikit-learn's does not."""
    try:
        check_matrix(X)
    except InputError as error:
        raise InputError(f"X has NaN or infinity: {error.message}") from None


def _strongest_l1(Z: np.ndarray, Y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the smallest λ₁ that gives no weights: max |∂ loss / ∂W| at W = 0."""
    theta = token_weights(weight, len(Y))
    residual = (Y - theta @ Y) * theta[:, None]
    return max(
        float(np.abs(residual.T @ Z[:, s : s + 128].astype(np.float64)).max())
        for s in range(0, Z.shape[1], 128)
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave it to the estimator to say that fits stopped early: once, not once a fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        yield


def _warn_early(fits: Sequence[Fit], tol: float) -> None:
    early = [fit for fit in fits if not fit.converged]
    if early:
        what = "the fit" if len(fits) == 1 else f"{len(early)} of {len(fits)} fits"
        warnings.warn(
            f"{what} stopped at a relative duality gap of up to {max(f.gap for f in early):.1e} "
            f"instead of {tol:.1e}; give a larger time_limit or max_iter, or a larger tol",
            NotConverged,
            stacklevel=3,
        )
