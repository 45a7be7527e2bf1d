"""Univariate statistics and standardisation against float64 and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_selection import f_classif

from nissl.errors import InputError, LabelError, SettingError
from nissl.kernels.all_univariate import METHODS, univariate_scores
from nissl.kernels.class_stats import class_stats, collect_stats
from nissl.kernels.iou import overlap_scores
from nissl.kernels.mutual_information import binned_information, neighbour_information
from nissl.kernels.rank_curves import rank_curves
from nissl.kernels.standardise import constant, moments, standardise
from nissl.kernels.univariate import (
    class_means,
    f_of_stats,
    f_statistic,
    mean_difference,
    probeless,
    selectivity,
)
from nissl.testing import check_scorer, planted_activations, problems


def data(seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, 9000)
    X = rng.standard_normal((9000, 7)) + 0.3 * rng.standard_normal((4, 7))[y] + offset
    return np.asfortranarray(X, dtype=np.float32), y


def test_class_means_and_differences():
    X, y = data()
    want = np.stack([X[y == c].astype(np.float64).mean(axis=0) for c in range(4)])
    assert np.abs(class_means(X, y, 4) - want).max() < 1e-5
    outside = np.stack([X[y != c].astype(np.float64).mean(axis=0) for c in range(4)])
    assert np.abs(mean_difference(X, y, 4) - (want - outside)).max() < 1e-5


def test_empty_class_has_no_mean_and_no_difference():
    X, y = data()
    assert np.isnan(class_means(X, y, 5)[4]).all()
    assert (mean_difference(X, y, 5)[4] == 0).all()
    assert not (mean_difference(X, y, 5)[:4] == 0).any()


@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_f_agrees_with_scikit_learn(offset):
    X, y = data(offset=offset)
    want, _ = f_classif(X.astype(np.float64), y)
    assert f_statistic(X, y, 4) == pytest.approx(want, rel=1e-3)
    assert f_statistic(X, y, 6) == pytest.approx(want, rel=1e-3)  # empty classes do not count


def test_f_of_few_tokens_has_the_right_degrees_of_freedom():
    X, y = data()
    X, y = np.asfortranarray(X[:12]), y[:12]
    want, _ = f_classif(X.astype(np.float64), y)
    assert f_statistic(X, y, 4) == pytest.approx(want, rel=1e-4)


@settings(max_examples=60)
@given(problems())
def test_f_is_finite_and_never_negative(problem):
    X, y, n_classes = problem
    found = f_statistic(X, y, n_classes)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found[~X.any(axis=0)] == 0).all()


def test_f_of_a_neuron_that_is_the_class():
    X, y = data()
    X[:, 2] = y
    found = f_statistic(X, y, 4)
    assert found.argmax() == 2
    assert found[2] > 1e6


def test_f_orders_planted_neurons_first():
    planted = planted_activations(n_tokens=2000, n_neurons=100, informative=6, noisy=5, seed=3)
    best = np.argsort(-f_statistic(planted.X, planted.y, 3))[:6]
    assert sorted(best.tolist()) == planted.informative.tolist()


def test_wrong_labels_are_named():
    X, y = data()
    with pytest.raises(LabelError, match="outside 0…2"):
        class_means(X, y, 3)
    with pytest.raises(LabelError, match="two or more"):
        f_statistic(X, np.zeros(9000, dtype=np.int64), 1)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (300.0, 0.5), (-1e5, 40.0), (1e-6, 1e-7)])
def test_moments_are_those_of_float64(mean, sd):
    rng = np.random.default_rng(0)
    X = np.asfortranarray(mean + sd * rng.standard_normal((20_000, 5)), dtype=np.float32)
    exact = X.astype(np.float64)
    m, s = moments(X)
    assert m == pytest.approx(exact.mean(axis=0), rel=1e-12, abs=1e-18)
    assert s == pytest.approx(exact.std(axis=0), rel=1e-10)
    Z = standardise(X, m, s)
    want = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    assert Z.dtype == np.float32
    assert Z.flags.f_contiguous
    assert np.abs(Z - want).max() < 1e-6


def test_many_blocks_of_neurons():
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.standard_normal((50, 300)) * np.arange(1, 301), dtype=np.float32)
    m, s = moments(X)
    assert s == pytest.approx(X.astype(np.float64).std(axis=0), rel=1e-10)
    assert standardise(X, m, s).std(axis=0) == pytest.approx(np.ones(300), rel=1e-5)


def test_standardise_in_place():
    X, _ = data(offset=3.0)
    m, s = moments(X)
    want = standardise(X, m, s)
    same = standardise(X, m, s, out=X)
    assert same is X
    assert np.array_equal(X, want)


@settings(max_examples=30)
@given(st.floats(-1e6, 1e6, width=32), st.integers(2, 400))
def test_constant_neurons_become_exactly_zero(value, n):
    X = np.zeros((n, 2), dtype=np.float32, order="F")
    X[:, 0] = value
    X[:, 1] = np.arange(n)
    m, s = moments(X)
    assert constant(s).tolist() == [True, False]
    # Other tokens may have another value there: the neuron still takes no part.
    X[0, 0] = value + 1000
    assert not standardise(X, m, s)[:, 0].any()


def test_values_that_are_not_numbers_are_named():
    X, _ = data()
    X[17, 3] = np.inf
    with pytest.raises(InputError, match="neuron 3 is inf at token 17"):
        moments(X)
    with pytest.raises(InputError, match="2 neurons do not fit"):
        standardise.__wrapped__(X, np.zeros(2), np.ones(2))


@pytest.mark.parametrize("standardised", [True, False])
def test_probeless_is_the_sum_over_pairs(standardised):
    X, y = data()
    X[:, 2] *= 9
    found = probeless(X, y, 6, standardised=standardised)
    means = np.stack([X[y == c].astype(np.float64).mean(axis=0) for c in range(4)])
    means /= X.astype(np.float64).std(axis=0) if standardised else 1.0
    pairs = np.abs(means[:, None] - means[None])
    assert found[:4] == pytest.approx(pairs.sum(axis=1), abs=1e-5)
    assert (found[4:] == 0).all()
    whole = sum(pairs[a, b] for a in range(4) for b in range(a))
    assert 0.5 * found.sum(axis=0) == pytest.approx(whole, abs=1e-5)


def test_selectivity_is_a_signed_difference_in_standard_deviations():
    X, y = data()
    X[:, 2] *= 9
    want = mean_difference(X, y, 4) / X.astype(np.float64).std(axis=0)
    assert selectivity(X, y, 4) == pytest.approx(want, abs=1e-5)
    assert (selectivity(X, y, 5)[4] == 0).all()
    assert (selectivity(X, y, 4) < 0).any()


@given(problems())
@settings(max_examples=40)
def test_f_of_statistics_is_the_f_of_the_matrix(problem):
    X, y, n_classes = problem
    got, want = f_of_stats(class_stats(X, y, n_classes)), f_statistic(X, y, n_classes)
    assert got[want < 1e8] == pytest.approx(want[want < 1e8], rel=1e-4, abs=1e-6)


def test_f_of_raw_neurons_needs_their_means_and_gets_them():
    X, y = data(offset=3000.0)
    stats = collect_stats([(X, y)], 4, centre=X.mean(axis=0, dtype=np.float64))
    assert f_of_stats(stats) == pytest.approx(f_classif(X.astype(np.float64), y)[0], rel=1e-6)


def test_constant_neurons_get_zero():
    X, y = data()
    X[:, 1] = 0.3
    for scores in (
        probeless(X, y, 4),
        selectivity(X, y, 4),
        f_of_stats(class_stats(X, y, 4))[None],
    ):
        assert (scores[:, 1] == 0).all()
        assert (scores[:, 0] != 0).all()


def test_all_at_once_is_what_each_gives_alone():
    X, y = data()
    found = univariate_scores(X, y, 4)
    alone = {
        "probeless": probeless(X, y, 4),
        "selectivity": np.abs(selectivity(X, y, 4)),
        "mi": binned_information(X, y, 4).shares,
        "auc": rank_curves(X, y, 4).separation,
        "ap": rank_curves(X, y, 4).two_sided,
        "iou": overlap_scores(X, y, 4),
        "knn-mi": neighbour_information(X, y, 4).shares,
    }
    for name, scores in alone.items():
        assert np.array_equal(found[name].by_class, scores), name
        assert np.array_equal(univariate_scores(X, y, 4, methods=[name])[name].by_class, scores)
    assert found["f"].overall == pytest.approx(f_statistic(X, y, 4), rel=1e-4)
    assert found["probeless"].overall == pytest.approx(0.5 * alone["probeless"].sum(axis=0))
    assert found["ap"].overall == pytest.approx(alone["ap"].max(axis=0))
    with pytest.raises(SettingError, match='Did you mean "probeless"'):
        univariate_scores(X, y, 4, methods=["probless"])


@pytest.mark.parametrize("name", METHODS)
def test_rankings_keep_the_contract_of_scorers(name):
    check_scorer(
        lambda X, y: univariate_scores(X, y, int(y.max()) + 1, methods=[name])[name].by_class
    )
