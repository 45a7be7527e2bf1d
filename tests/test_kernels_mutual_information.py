"""Mutual information against scikit-learn, integrals and plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import digamma
from scipy.stats import norm
from sklearn.feature_selection._mutual_info import _compute_mi_cd
from sklearn.metrics import mutual_info_score

from nissl.errors import InputError, SettingError
from nissl.kernels.class_stats import bin_of, class_stats
from nissl.kernels.mutual_information import (
    binned_information,
    information_of_stats,
    neighbour_information,
)
from nissl.testing import problems
from nissl.testing_bench import planted_bench


def draw(n, classes, d=5, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    X = rng.standard_normal((n, d)) + 0.5 * rng.standard_normal((classes, d))[y]
    return np.asfortranarray(X, dtype=np.float32), y


@pytest.mark.parametrize(
    ("n", "classes", "k"), [(300, 3, 3), (50, 6, 3), (900, 2, 1), (400, 4, 10), (30, 2, 50)]
)
def test_neighbours_agree_with_scikit_learn_without_its_noise(n, classes, k):
    X, y = draw(n, classes)
    found = neighbour_information(X, y, classes, k=k)
    want = [_compute_mi_cd(X[:, j].astype(np.float64), y, k) for j in range(5)]
    assert found.total == pytest.approx(want, abs=1e-9)
    assert found.shares.sum(axis=0).clip(0) == pytest.approx(found.total)


def test_far_neighbours_in_a_long_list_agree_too():
    rng = np.random.default_rng(1)
    y = (rng.random(6000) < 0.004).astype(int)  # gaps of 250 tokens
    X = (rng.standard_normal((6000, 3)) - y[:, None]).astype(np.float32)
    want = [_compute_mi_cd(X[:, j].astype(np.float64), y, 3) for j in range(3)]
    assert neighbour_information(X, y, 2).total == pytest.approx(want, abs=1e-9)


def brute(x, y, k):
    """The estimate with closed balls, from all distances."""
    keep = np.bincount(y)[y] > 1
    x, y = x[keep].astype(np.float64), y[keep]
    n = len(y)
    if n == 0:
        return 0.0
    total = 0.0
    for i in range(n):
        away = np.abs(x - x[i])
        own = np.sort(away[y == y[i]])
        r = own[min(k, len(own) - 1)]
        total += digamma(n) + digamma((own <= r).sum() - 1)
        total -= digamma(len(own)) + digamma((away <= r).sum() - 1)
    return max(total / n, 0.0)


@given(problems(max_tokens=60))
@settings(max_examples=40)
def test_ties_count_on_both_sides(problem):
    X, y, n_classes = problem
    X = np.round(2 * X) / 2
    found = neighbour_information(X, y, n_classes, k=2).total
    assert found == pytest.approx([brute(X[:, j], y, 2) for j in range(X.shape[1])], abs=1e-9)


def test_a_neuron_of_few_values_gets_what_counting_gives():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 6000)
    x = np.where(rng.random(6000) < 0.7, y, rng.integers(0, 3, 6000)).astype(np.float32)
    found = neighbour_information(x[:, None], y, 3)
    assert found.total[0] == pytest.approx(mutual_info_score(y, x), abs=2e-3)


def truth(shift, spread):
    """I(X; Y) of two equally frequent classes, N(0, 1) and N(shift, spread²), by integration."""
    x = np.linspace(-15, 15, 60001)
    parts = norm.pdf(x), norm.pdf(x, shift, spread)
    whole = (parts[0] + parts[1]) / 2
    return sum(0.5 * np.trapezoid(p * np.log((p + 1e-300) / whole), x) for p in parts)


@pytest.mark.parametrize("estimate", [binned_information, neighbour_information])
@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (0.8, 1.0), (3.0, 1.0), (0.0, 2.0)])
def test_estimates_are_close_to_the_truth(estimate, shift, spread):
    rng = np.random.default_rng(0)
    y = np.arange(20000) % 2
    X = rng.standard_normal((20000, 4))
    X = np.where(y[:, None] == 1, shift + spread * X, X).astype(np.float32)
    found = estimate((X - X.mean(axis=0)) / X.std(axis=0), y, 2).total
    assert found == pytest.approx(np.full(4, truth(shift, spread)), abs=0.015)


def groups(x, bins):
    """Join bins as the kernel says: a bin goes where its middle token falls."""
    b = bin_of(x).astype(int)
    count = np.bincount(b, minlength=256)
    middle = np.cumsum(count) - count / 2
    return np.minimum(bins - 1, (bins * middle / len(x)).astype(int))[b]


def test_bins_give_what_scikit_learn_gives_on_the_same_groups():
    X, y = draw(3000, 4)
    plain = binned_information(X, y, 5, bins=12, corrected=False)
    fixed = binned_information(X, y, 5, bins=12)
    for j in range(5):
        g = groups(X[:, j], 12)
        assert plain.total[j] == pytest.approx(mutual_info_score(y, g), abs=1e-12)
        cells = len(set(zip(y.tolist(), g.tolist(), strict=True)))
        change = (len(set(g.tolist())) + 4 - cells - 1) / 6000
        assert fixed.total[j] == pytest.approx(max(plain.total[j] + change, 0), abs=1e-12)
    assert fixed.shares.sum(axis=0).clip(0) == pytest.approx(fixed.total)
    assert (plain.shares >= -1e-12).all()


def test_the_correction_takes_off_most_of_the_bias():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 4000)
    X = rng.standard_normal((4000, 20)).astype(np.float32)
    plain = binned_information(X, y, 10, corrected=False).shares.sum(axis=0).mean()
    fixed = binned_information(X, y, 10).shares.sum(axis=0).mean()
    assert plain > 0.03
    assert abs(fixed) < 0.1 * plain


@given(problems())
@settings(max_examples=60)
def test_normalised_information_stays_between_zero_and_one(problem):
    X, y, n_classes = problem
    for found in (
        binned_information(X, y, n_classes, bins=256, corrected=False),
        binned_information(X, y, n_classes),
        neighbour_information(X, y, n_classes, k=1),
    ):
        assert ((found.normalised >= 0) & (found.normalised <= 1)).all()
        assert (found.total >= 0).all()


def test_normalised_is_one_for_a_copy_of_the_label_and_zero_for_one_class():
    y = np.arange(400) % 4
    X = np.float32(y[:, None] - 1.5)
    assert binned_information(X, y, 4, corrected=False).normalised[0] == pytest.approx(1)
    assert neighbour_information(X, y, 4).normalised[0] == pytest.approx(1, abs=0.02)
    one = np.zeros(400, dtype=int)
    assert binned_information(X, one, 2).normalised[0] == 0


@pytest.mark.parametrize("seed", range(5))
def test_both_find_all_eighteen(seed):
    bench = planted_bench(seed)
    for estimate in (binned_information, neighbour_information):
        order = np.argsort(-estimate(bench.Z, bench.y, 2).total)
        assert set(order[:18].tolist()) == set(bench.planted.tolist())


def test_a_sample_of_tokens_is_the_same_every_time_and_near_the_whole():
    X, y = draw(8000, 3)
    some = neighbour_information(X, y, 3, max_tokens=4000).total
    assert np.array_equal(some, neighbour_information(X, y, 3, max_tokens=4000).total)
    whole = neighbour_information(X, y, 3, max_tokens=None).total
    assert not np.array_equal(some, whole)
    assert some == pytest.approx(whole, abs=0.03)


def test_impossible_settings_are_refused():
    X, y = draw(40, 2)
    for bins in (1, 257):
        with pytest.raises(SettingError, match="2 to 256"):
            binned_information(X, y, 2, bins=bins)
    with pytest.raises(SettingError, match="1 or more neighbours"):
        neighbour_information(X, y, 2, k=0)
    with pytest.raises(SettingError, match="max_tokens"):
        neighbour_information(X, y, 2, max_tokens=1)
    with pytest.raises(InputError, match="needs histograms"):
        information_of_stats(class_stats(X, y, 2, histograms=False))
