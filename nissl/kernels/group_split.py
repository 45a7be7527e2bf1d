"""Three parts of which no group is in two, with the values in all of them as far as can be."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from nissl.errors import InputError, SettingError

__all__ = ["group_split"]


def group_split(
    values: Int[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    *,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> Int[np.ndarray, " n"]:
    """Put each item in part 0, 1 or 2, whole groups at a time; int64 (n,).

    Large groups go first, in a random order among those of about one size. Each goes where the
    most of its items are still wanted, for each value alike, and by lot among parts that want all
    of them, the larger the gap the likelier. So a value comes near its fractions in each part
    wherever its groups allow it, which a lot alone does not do for values that few groups have.

    Parameters
    ----------
    values
        Class of each item, from 0.
    groups
        Group of each item (its lemma, say), from 0.
    fractions
        Wanted shares of the three parts, which sum to 1.
    seed
        Of the lots.

    Raises
    ------
    InputError
        No items, or arrays of different lengths.
    SettingError
        Fractions that are not positive or do not sum to 1.
    """
    if len(values) != len(groups) or not len(values):
        raise InputError(f"{len(values)} values and {len(groups)} groups: one of each an item")
    share = np.asarray(fractions, dtype=np.float64)
    if share.shape != (3,) or (share <= 0).any() or abs(share.sum() - 1) > 1e-9:
        raise SettingError(f"fractions are three numbers above 0 that sum to 1, not {fractions}")
    rng = np.random.default_rng(seed)
    n_groups, n_values = int(groups.max()) + 1, int(values.max()) + 1
    counts = np.bincount(groups * n_values + values, minlength=n_groups * n_values)
    counts = counts.reshape(n_groups, n_values).astype(np.float64)
    size = counts.sum(axis=1)
    lot = rng.permutation(n_groups)
    order = lot[np.argsort(-np.floor(np.log2(np.maximum(size[lot], 1))), kind="stable")]
    lacking = share[:, None] * counts.sum(axis=0)
    draws = rng.random(n_groups)
    part = np.zeros(n_groups, dtype=np.int64)
    for group in order:
        mine = counts[group]
        here = np.flatnonzero(mine)
        gap = lacking[:, here]
        taken = np.minimum(np.maximum(gap, 0.0), mine[here]).sum(axis=1)
        best = np.flatnonzero(taken >= taken.max() - 1e-9)
        if len(best) > 1:
            weight = np.maximum(gap[best], 0.0).sum(axis=1)
            weight = weight if weight.sum() > 0 else share[best]
            at = np.searchsorted(np.cumsum(weight), draws[group] * weight.sum(), "right")
            part[group] = best[min(int(at), len(best) - 1)]
        else:
            part[group] = best[0]
        lacking[part[group]] -= mine
    return part[groups]
