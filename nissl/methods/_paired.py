"""Paired differences between an edited and the unedited model, with bootstrap intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nissl.errors import InputError

__all__ = ["Change", "paired_change"]


@dataclass(frozen=True)
class Change:
    """A mean change, its 95 % interval, and how it differs between draws (0 for one draw).

    The interval's ends are NaN where all items are of one cluster: nothing tells how others differ.
    """

    change: float
    low: float
    high: float
    sd: float


def paired_change(
    differences: np.ndarray,
    weights: np.ndarray,
    clusters: np.ndarray,
    *,
    minus: np.ndarray | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> Change:
    """Return a weighted mean difference with a percentile interval over clusters and draws.

    Parameters
    ----------
    differences
        Edited minus unedited, item by item: (items,) or (draws, items). With several draws of
        neurons each replicate picks one too, so that the interval covers the draw.
    weights
        Of each item, (items,).
    clusters
        Items of one cluster are resampled together, (items,).
    minus
        Differences of other edits on the same items, (draws, items), whose mean is taken off; a
        replicate takes the same clusters of both.
    n_boot, seed
        Replicates, and their seed.

    Raises
    ------
    InputError
        Arrays that do not fit.
    """
    own = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    other = np.zeros((1, own.shape[1])) if minus is None else np.atleast_2d(minus)
    if not own.shape[1] == other.shape[1] == len(weights) == len(clusters) > 0:
        raise InputError(f"{own.shape[1]} differences, {len(weights)} weights do not fit")
    code = np.unique(np.asarray(clusters).astype(str), return_inverse=True)[1].reshape(-1)
    m = int(code.max()) + 1

    def sums(rows: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(code, weights=row * weights, minlength=m) for row in rows])

    size = np.bincount(code, weights=weights, minlength=m)
    one, two = sums(own), sums(other)
    means = one.sum(axis=1) / size.sum()
    value = float(means.mean() - (two.sum() / len(two)) / size.sum())
    sd = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    if m < 2:
        # Resampled, one cluster is always itself: an interval of no width would claim certainty.
        return Change(value, math.nan, math.nan, sd)
    rng = np.random.default_rng(seed)
    draw, against = rng.integers(0, len(one), n_boot), rng.integers(0, len(two), n_boot)
    values = np.empty(n_boot)
    step = max(1, 4_000_000 // m)
    for start in range(0, n_boot, step):
        here = slice(start, min(n_boot, start + step))
        times = rng.multinomial(m, np.full(m, 1 / m), size=here.stop - start).astype(np.float64)
        top = np.einsum("bm,bm->b", times, one[draw[here]] - two[against[here]])
        values[here] = top / np.maximum(times @ size, 1e-300)
    low, high = np.percentile(values, [2.5, 97.5])
    return Change(value, float(low), float(high), sd)
