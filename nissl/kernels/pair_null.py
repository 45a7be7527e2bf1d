"""Null of a mean overlap where some sets belong together: two treebanks of one language."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from nissl.errors import InputError

__all__ = ["permuted_mean_shares"]


def permuted_mean_shares(
    members: Bool[np.ndarray, "s d"],
    owner: Int[np.ndarray, " s"],
    *,
    draws: int = 1999,
    seed: int = 0,
) -> Float[np.ndarray, " draws"]:
    """Return the mean share over pairs of sets of different owners, neurons permuted, once a draw.

    The sets of one owner are permuted together, so that they overlap each other as they do. Two
    like sets of one language repeat each other's overlaps with the rest: sets drawn one by one
    would make their mean look surer than it is.

    Parameters
    ----------
    members
        Which neurons (columns) each set (rows) holds.
    owner
        Whose each set is, such as the number of a language, (s,).

    Raises
    ------
    InputError
        An empty set, or no two owners.
    """
    size = members.sum(axis=1)
    if not (size > 0).all() or len(np.unique(owner)) < 2:
        raise InputError("a mean overlap needs sets of two owners, and neurons in each")
    whose = np.unique(owner, return_inverse=True)[1]
    a, b = np.triu_indices(len(members), k=1)
    other = whose[a] != whose[b]
    a, b = a[other], b[other]
    least = np.minimum(size[a], size[b])
    rng = np.random.default_rng(seed)
    values = members.astype(np.float32)
    out = np.empty(draws)
    for i in range(draws):
        orders = rng.random((int(whose.max()) + 1, members.shape[1])).argsort(axis=1)
        drawn = np.take_along_axis(values, orders[whose], axis=1)
        out[i] = ((drawn @ drawn.T)[a, b] / least).mean()
    return out
