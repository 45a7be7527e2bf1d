"""Adjusted p-values: Holm against any false rejection, Benjamini–Hochberg for their share."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from nissl.errors import SettingError

__all__ = ["benjamini_hochberg", "benjamini_yekutieli", "bonferroni", "holm"]


def bonferroni(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Return min(1, m p), float64 (m,).

    Rejecting where the result is at most α keeps the probability of any false rejection at or below
    α, whatever the dependence of the tests; :func:`holm` does so too and rejects no less.
    """
    return np.minimum(_check(p) * len(p), 1.0)


def holm(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Return Holm's step-down adjusted p-values, float64 (m,), in the order given.

    Rejecting where the result is at most α keeps the probability of any false rejection at or below
    α, whatever the dependence of the tests (Holm 1979).

    Raises
    ------
    SettingError
        Something that is not a list of numbers between 0 and 1.
    """
    p = _check(p)
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    return _back(np.maximum.accumulate(steps), order)


def benjamini_hochberg(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Return Benjamini–Hochberg adjusted p-values ("q-values"), float64 (m,), in the order given.

    Rejecting where the result is at most q keeps the expected share of false ones among the
    rejected at or below q, if the tests are independent or positively dependent (Benjamini &
    Hochberg 1995; Benjamini & Yekutieli 2001, theorem 1.2).

    Raises
    ------
    SettingError
        Something that is not a list of numbers between 0 and 1.
    """
    return _step_up(_check(p), 1.0)


def benjamini_yekutieli(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Return Benjamini–Yekutieli adjusted p-values, float64 (m,), in the order given.

    Like :func:`benjamini_hochberg` with a factor Σ 1/i, for tests that depend on each other in any
    way (Benjamini & Yekutieli 2001, theorem 1.3).

    Raises
    ------
    SettingError
        Something that is not a list of numbers between 0 and 1.
    """
    p = _check(p)
    return _step_up(p, float((1 / np.arange(1, len(p) + 1)).sum()))


def _step_up(p: np.ndarray, factor: float) -> np.ndarray:
    m = len(p)
    order = np.argsort(p, kind="stable")
    steps = p[order] * (m * factor) / np.arange(1, m + 1)
    # The smallest of this and all later steps: a test is rejected with all that are below it.
    return _back(np.minimum.accumulate(steps[::-1])[::-1], order)


def _back(steps: np.ndarray, order: np.ndarray) -> np.ndarray:
    adjusted = np.empty(len(steps))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def _check(p: np.ndarray) -> np.ndarray:
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 1 or ((p < 0) | (p > 1) | np.isnan(p)).any():
        raise SettingError("p-values are a list of numbers between 0 and 1")
    return p
