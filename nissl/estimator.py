"""The probe as a scikit-learn classifier, for pipelines, grid searches and cross-validation."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from nissl.errors import LabelError
from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.fit import log_softmax
from nissl.kernels.standardise import moments, standardise

__all__ = ["ElasticNetProbe"]


class ElasticNetProbe(ClassifierMixin, BaseEstimator):
    """Elastic-net multinomial logistic regression on standardised neurons, with exact zeros.

    Minimises mean cross-entropy + λ₁‖W‖₁ + (λ₂/2)‖W‖²_F, the intercept free, to a certified
    relative duality gap (Durrani et al. 2020, section 2.1). In scikit-learn's own terms the
    penalty is C = 1 / (n (λ₁ + λ₂)), l1_ratio = λ₁ / (λ₁ + λ₂).

    Parameters
    ----------
    l1, l2
        Strengths λ₁ and λ₂, 0 or more.
    tol
        Relative duality gap at which to stop.
    max_iter
        Outer iterations before a quasi-Newton method takes over.

    Attributes
    ----------
    classes_
        The classes, sorted, (C,).
    coef_
        Weights for standardised neurons, (C, d), exact zeros.
    intercept_
        (C,).
    mean_, scale_
        Training mean and standard deviation of each neuron, (d,); constant neurons have scale 1
        and weight 0.
    gap_
        Certified relative duality gap reached.
    n_iter_
        Outer iterations.
    """

    def __init__(
        self, l1: float = 1e-3, l2: float = 1e-3, *, tol: float = 1e-3, max_iter: int = 100
    ) -> None:
        self.l1 = l1
        self.l2 = l2
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any) -> Self:
        """Fit on X (n, d) and labels y (n,).

        Raises
        ------
        LabelError
            Fewer than two classes.
        """
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, code = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise LabelError("a probe needs two or more classes, and y has one class")
        mean, sd = moments(X)
        fitted = fit_elastic_net(
            standardise(X, mean, sd),
            code,
            len(self.classes_),
            l1=self.l1,
            l2=self.l2,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        self.mean_, self.scale_ = mean, np.where(sd > 0, sd, 1.0)
        self.coef_, self.intercept_ = fitted.coef, fitted.intercept
        self.gap_, self.n_iter_ = fitted.gap, max(1, fitted.iterations)
        return self

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return ((X - self.mean_) / self.scale_) @ self.coef_.T + self.intercept_

    def decision_function(self, X: Any) -> np.ndarray:
        """Return logits, (n, C); with two classes the second's minus the first's, (n,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return log probabilities, (n, C)."""
        return log_softmax(self._logits(X).T).T

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities, (n, C)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, (n,)."""
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]
