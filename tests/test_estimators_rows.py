"""What lies between a user's arrays and the kernels: moments with weights, merged tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nissl.errors import InputError
from nissl.estimators import _merge
from nissl.estimators._merge import canonical_rows
from nissl.estimators._rows import Labelled, prepare
from nissl.kernels.standardise import moments, standardise


@given(st.integers(0, 2**32), st.sampled_from([np.float16, np.float32, np.float64]))
def test_weighted_moments_are_those_of_repeated_tokens(seed, dtype):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    X = (rng.normal(size=(n, 5)) * [1, 10, 0.1, 1, 0] + [0, 50, 3, -5, 7]).astype(dtype)
    weight = rng.integers(0, 4, n).astype(float)
    weight[rng.integers(n)] = 1
    mean, sd = moments(X, weight=3 * weight)
    again = X.repeat(weight.astype(int), axis=0).astype(np.float64)
    np.testing.assert_allclose(mean, again.mean(axis=0), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(sd, again.std(axis=0), rtol=1e-9, atol=1e-7)
    assert sd[4] == 0


def test_equal_weights_change_no_moment():
    X = np.random.default_rng(0).normal(size=(50, 300))
    for one, two in zip(moments(X), moments(X, weight=np.full(50, 0.1)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-13, atol=1e-15)


def test_a_neuron_that_only_changes_in_tokens_of_weight_zero_is_constant():
    X = np.ones((6, 2))
    X[0, 0] = 5
    X[:, 1] = np.arange(6)
    sd = moments(X, weight=np.array([0.0, 1, 1, 2, 1, 1]))[1]
    assert sd[0] == 0
    assert sd[1] > 0


@pytest.mark.parametrize("weight", [np.ones(4), -np.ones(5), np.zeros(5), np.full(5, np.nan)])
def test_weights_that_do_not_fit_moments_are_refused(weight):
    with pytest.raises((InputError, TypeError)):  # the shape check of tests is a TypeError
        moments(np.ones((5, 2)), weight=weight)


def count(X, code, rows, weight):
    """Total weight of every different (class, neurons)."""
    found: dict[tuple, float] = {}
    for row, w in zip(rows, weight, strict=True):
        key = (int(code[row]), *X[row].tolist())
        found[key] = found.get(key, 0) + w
    return found


@given(st.integers(0, 2**32), st.sampled_from([np.float16, np.float32, np.float64]))
def test_merging_keeps_the_weight_of_every_different_token(seed, dtype):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 60)), int(rng.integers(1, 4))
    # Few values, so that rows repeat; classes differ for equal rows too.
    X = rng.integers(0, 3, (n, d)).astype(dtype)
    code = rng.integers(0, 2, n)
    weight = rng.integers(1, 4, n).astype(float)
    rows = np.flatnonzero(rng.random(n) < 0.8)
    if not len(rows):
        rows = np.arange(n)
    kept, total = canonical_rows(X, code, weight, rows)
    assert total is not None
    expected = count(X, code, rows, weight[rows])
    assert len(kept) == len(expected)
    assert count(X, code, kept, total) == expected
    assert (np.diff(code[kept]) >= 0).all()
    mixed = rng.permutation(n)
    other, same = canonical_rows(
        np.asfortranarray(X[mixed]), code[mixed], weight[mixed], np.argsort(mixed)[rows]
    )
    np.testing.assert_array_equal(X[kept], X[mixed][other])
    np.testing.assert_array_equal(total, same)


def test_tokens_whose_fingerprints_collide_are_not_merged(monkeypatch):
    monkeypatch.setattr(_merge, "_fingerprints", lambda X: np.zeros(len(X), dtype=np.uint64))
    X = np.arange(12.0).reshape(6, 2)
    X[3] = X[2]
    rows, weight = canonical_rows(X, np.zeros(6, dtype=int), None, np.arange(6))
    assert weight is not None
    assert sorted(map(tuple, X[rows])) == sorted({tuple(row) for row in X})
    assert weight[(X[rows] == X[2]).all(axis=1)].tolist() == [2.0]


def test_tokens_that_do_not_repeat_stay_without_weights():
    X = np.random.default_rng(0).normal(size=(20, 3))
    rows, weight = canonical_rows(X, np.zeros(20, dtype=int), None, np.arange(20))
    assert weight is None
    assert sorted(rows) == list(range(20))


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_standardised_by_their_own_moments(order):
    rng = np.random.default_rng(0)
    X = np.asarray(rng.normal(3, 2, size=(60, 300)), dtype=np.float32, order=order)
    X[:40, 299] = 1.0
    code = rng.integers(0, 2, 60)
    weight = rng.integers(0, 3, 60).astype(float)
    data = Labelled(X, code, np.arange(2), weight)
    chosen = np.arange(40)
    made = prepare(data, chosen)
    chosen = chosen[weight[chosen] > 0]
    mean, sd = moments(X[chosen], weight=weight[chosen])
    np.testing.assert_allclose(made.mean, mean, rtol=1e-12)
    np.testing.assert_array_equal(made.constant, sd == 0)
    assert made.constant[299]
    expected = standardise(X[chosen], mean, sd)
    found = {tuple(row) for row in np.round(made.Z[:, :4].astype(float), 4).tolist()}
    assert found == {tuple(row) for row in np.round(expected[:, :4].astype(float), 4).tolist()}
    assert made.Z.flags.f_contiguous
    assert made.Z.dtype == np.float32


def test_without_scaling_a_fit_matrix_is_not_copied():
    X = np.asfortranarray(np.random.default_rng(0).normal(size=(20, 3)), dtype=np.float32)
    data = Labelled(X, np.arange(20) % 2, np.arange(2), None)
    assert np.shares_memory(prepare(data, scale=False).Z, X)
