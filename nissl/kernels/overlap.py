"""Overlap of neuron sets against chance: exact hypergeometric tests and Holm's correction."""

from __future__ import annotations

import numpy as np
from scipy.stats import hypergeom

from nissl.errors import SettingError

__all__ = ["expected_overlap", "holm", "hypergeometric_overlap"]


def expected_overlap(total: int, a: int, b: int) -> float:
    """Return the mean overlap of random sets of sizes a and b among ``total`` neurons."""
    _check(total, a, b)
    return a * b / total


def hypergeometric_overlap(total: int, a: int, b: int, observed: int) -> float:
    """Return the exact P(overlap ≥ observed) of random sets of sizes a and b.

    Raises
    ------
    SettingError
        A size or overlap that is impossible.
    """
    _check(total, a, b)
    if not 0 <= observed <= min(a, b):
        raise SettingError(f"an overlap of {observed} is impossible for sets of {a} and {b}")
    return float(hypergeom.sf(observed - 1, total, a, b))


def holm(p: np.ndarray) -> np.ndarray:
    """Return Holm's step-down adjusted p-values (Holm 1979), in the order given."""
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 1 or ((p < 0) | (p > 1) | np.isnan(p)).any():
        raise SettingError("p-values are a list of numbers between 0 and 1")
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _check(total: int, a: int, b: int) -> None:
    if total < 1 or not (0 <= a <= total and 0 <= b <= total):
        raise SettingError(f"sets of {a} and {b} neurons cannot be drawn from {total}")
