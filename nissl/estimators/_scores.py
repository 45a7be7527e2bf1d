"""From weights to decisions, for every probe that has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from nissl.estimators._rows import check_neurons
from nissl.kernels.fit import log_softmax

__all__ = ["Decides", "logits_of"]

BLOCK = 4096
"""Tokens at a time."""


def logits_of(
    X: np.ndarray, coef: np.ndarray, intercept: np.ndarray, mean: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Return ((X − mean) / scale) Wᵀ + b, float64 (n, C); only neurons with a weight are read."""
    used = np.flatnonzero((coef != 0).any(axis=0))
    slope = (coef[:, used] / scale[used]).T
    out = np.empty((len(X), len(coef)))
    for start in range(0, len(X), BLOCK):
        part = X[start : start + BLOCK, used].astype(np.float64)
        # Before the product: a large mean would otherwise cancel in it.
        part -= mean[used]
        out[start : start + BLOCK] = part @ slope + intercept
    return out


class Decides:
    """Predictions of an estimator with ``coef_, intercept_, mean_, scale_`` and ``classes_``."""

    coef_: np.ndarray
    intercept_: np.ndarray
    mean_: np.ndarray
    scale_: np.ndarray
    classes_: np.ndarray

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = check_neurons(self, X)
        return logits_of(X, self.coef_, self.intercept_, self.mean_, self.scale_)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return logits of X (n, d): (n, C), or with two classes second minus first, (n,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return natural logarithms of the probabilities of X (n, d), (n, C)."""
        return log_softmax(self._logits(X).T).T

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities of X (n, d), (n, C)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row of X (n, d), (n,)."""
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]
