"""Correlation of neurons and clusters of redundant ones (Dalvi et al. 2020)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from nissl.errors import SettingError
from nissl.kernels.checks import check_matrix
from nissl.kernels.standardise import moments, standardise

__all__ = ["correlation", "correlation_clusters"]


def correlation(X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """Return Pearson's r of every pair of neurons, float32 (d, d); 0 with a constant neuron."""
    check_matrix(X)
    mean, sd = moments(X)
    Z = standardise(X, mean, sd)
    r = Z.T @ Z
    r /= X.shape[0]
    np.clip(r, -1, 1, out=r)
    np.fill_diagonal(r, 1)
    return r


def correlation_clusters(
    X: Float[np.ndarray, "n d"], *, threshold: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster neurons by average linkage on 1 − |r| cut at ``threshold``.

    Returns
    -------
    labels
        Cluster of each neuron, int64 (d,), numbered by first member.
    representatives
        For each cluster the member with the largest mean |r| to the others (lowest index on
        ties), int64 (clusters,).
    """
    if not 0 < threshold < 1:
        raise SettingError(f"threshold must lie between 0 and 1, not {threshold:g}")
    d = X.shape[1]
    if d == 1:
        return np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    r = np.abs(correlation(X))
    condensed = squareform(1 - r, checks=False)
    np.maximum(condensed, 0, out=condensed)
    raw = fcluster(linkage(condensed, method="average"), threshold, criterion="distance")
    _, first, code = np.unique(raw, return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first))
    labels = number[code].astype(np.int64)
    representatives = np.empty(len(first), dtype=np.int64)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(len(first) + 1))
    for i in range(len(first)):
        members = order[bounds[i] : bounds[i + 1]]
        representatives[i] = members[r[np.ix_(members, members)].sum(axis=1).argmax()]
    return labels, representatives
