"""How unevenly a mass is spread: Gini coefficient, and the mean of pairs with its interval."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from nissl.errors import InputError

__all__ = ["gini", "pair_mean"]


def gini(mass: Float[np.ndarray, " n"]) -> float:
    """Return the Gini coefficient of a non-negative mass, in [0, 1 − 1/n].

    Half the mean absolute difference of two entries, over their mean (Gini 1912): 0 where all are
    alike, 1 − 1/n where one holds everything. NaN where there is no mass at all.

    Raises
    ------
    InputError
        No entry, a negative one, or one that is not finite.
    """
    x = np.sort(np.asarray(mass, dtype=np.float64))
    if not len(x) or not np.isfinite(x).all() or x[0] < 0:
        raise InputError("a Gini coefficient needs one or more finite masses of 0 or more")
    total = x.sum()
    if total == 0:
        return float("nan")
    n = len(x)
    # Σᵢⱼ |xᵢ − xⱼ| = 2 Σᵢ (2i − n − 1) xᵢ over the sorted entries, i from 1.
    return float(((2 * np.arange(1, n + 1) - n - 1) * x).sum() / (n * total))


def pair_mean(
    values: Float[np.ndarray, "m m"], *, n_boot: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the mean over pairs of m things and a bootstrap interval over the things.

    Pairs that have a thing in common are not independent, so that the things are resampled, and a
    pair counts as often as the product of its two (Snijders & Borgatti 1999). The diagonal is not
    read; a pair of a thing with itself does not count. NaN ends where there are fewer than three
    things.

    Parameters
    ----------
    values
        Symmetric (m, m), m of 2 or more.
    """
    table = np.array(values, dtype=np.float64)
    m = len(table)
    if m < 2:
        raise InputError("a mean over pairs needs two things or more")
    np.fill_diagonal(table, 0.0)
    mean = float(table.sum() / (m * (m - 1)))
    if m < 3:
        return mean, float("nan"), float("nan")
    times = np.random.default_rng(seed).multinomial(m, np.full(m, 1 / m), size=n_boot)
    weight = times.sum(axis=1) ** 2 - (times**2).sum(axis=1)
    drawn = np.einsum("bi,ij,bj->b", times, table, times, optimize=True)
    found = drawn[weight > 0] / weight[weight > 0]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return mean, float(low), float(high)
