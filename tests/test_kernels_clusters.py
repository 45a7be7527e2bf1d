"""Correlation clusters against scikit-learn and numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from nissl.errors import SettingError
from nissl.kernels.clusters import correlation, correlation_clusters


def neurons(seed=0, n=400, groups=6, d=40, noise=0.5):
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((n, groups))
    member = rng.integers(0, groups, d)
    sign = rng.choice([-1, 1], d)
    X = sign * base[:, member] + noise * rng.standard_normal((n, d))
    return np.asfortranarray(X, dtype=np.float32), member


def test_correlation_is_that_of_numpy():
    X, _ = neurons()
    X[:, 3] = 2.5
    r = correlation(X)
    want = np.corrcoef(np.delete(X, 3, axis=1).astype(np.float64).T)
    assert np.abs(np.delete(np.delete(r, 3, 0), 3, 1) - want).max() < 1e-5
    assert r[3, 3] == 1
    assert not np.delete(r[3], 3).any()


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.3, 0.6, 0.9]))
def test_agrees_with_scikit_learn(seed, threshold):
    X, _ = neurons(seed, noise=0.8)
    labels, representatives = correlation_clusters(X, threshold=threshold)
    distance = 1 - np.abs(np.corrcoef(X.astype(np.float64).T))
    other = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=threshold
    ).fit(np.maximum(distance, 0))
    assert adjusted_rand_score(labels, other.labels_) == pytest.approx(1.0)
    # Numbered by first member, one representative each, the most central one.
    assert np.array_equal(np.unique(labels, return_index=True)[1], np.sort(first(labels)))
    for cluster, chosen in enumerate(representatives):
        members = np.flatnonzero(labels == cluster)
        assert chosen in members
        near = (1 - distance)[np.ix_(members, members)].sum(axis=1)
        assert near[members == chosen][0] >= near.max() - 1e-4


def first(labels):
    return [int(np.flatnonzero(labels == c)[0]) for c in range(labels.max() + 1)]


def test_planted_groups_are_found_whatever_their_sign():
    X, member = neurons(noise=0.2)
    labels, representatives = correlation_clusters(X, threshold=0.3)
    assert adjusted_rand_score(labels, member) == 1.0
    assert len(representatives) == 6


def test_constant_neurons_stand_alone_and_one_neuron_is_one_group():
    X, _ = neurons()
    X[:, [4, 9]] = 1.0
    labels, _ = correlation_clusters(X)
    assert (labels == labels[4]).sum() == 1
    assert (labels == labels[9]).sum() == 1
    one, representative = correlation_clusters(X[:, :1])
    assert one.tolist() == representative.tolist() == [0]


def test_impossible_threshold_is_refused():
    with pytest.raises(SettingError, match="threshold must lie"):
        correlation_clusters(neurons()[0], threshold=1.0)
