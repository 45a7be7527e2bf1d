"""Permutation p-values: valid under the null, step-down by its definition, groups kept."""

from __future__ import annotations

import numpy as np
import pytest

from nissl.errors import InputError, SettingError
from nissl.kernels.permutation import permutation_test, permute_within


def contrast(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(X[y == 1].mean(axis=0) - X[y == 0].mean(axis=0))


def null(trial: int, n: int = 40, d: int = 15):
    rng = np.random.default_rng([trial, 3])
    X = rng.standard_normal((n, d)) + 1.5 * rng.standard_normal((n, 1))  # neurons correlate
    return X / X.std(axis=0), (rng.permutation(n) < n // 2).astype(int)


def test_family_wise_error_under_the_null_over_200_trials():
    alone = family = 0
    for trial in range(200):
        X, y = null(trial)
        found = permutation_test(contrast, X, y, n_perm=99, seed=trial)
        alone += (found.p <= 0.05).any()
        family += (found.p_family <= 0.05).any()
    assert family / 200 <= 0.05
    assert family > 0
    assert alone / 200 > 0.1  # without the correction it is far above


def test_each_p_is_uniform_on_its_grid_under_the_null():
    p = np.array(
        [
            permutation_test(contrast, *null(trial, d=1), n_perm=19, seed=trial).p[0]
            for trial in range(400)
        ]
    )
    for level in (0.05, 0.25, 0.5, 0.75):
        assert (p <= level + 1e-9).mean() == pytest.approx(level, abs=0.06)


def test_step_down_by_its_definition_and_p_by_counting():
    X, y = null(1, d=6)
    X[:, 2] += 1.5 * y
    X[:, 4] += 0.8 * y
    drawn: list[np.ndarray] = []

    def spy(X: np.ndarray, y: np.ndarray) -> np.ndarray:
        drawn.append(contrast(X, y))
        return drawn[-1]

    found = permutation_test(spy, X, y, n_perm=200, seed=5)
    observed, rest = drawn[0], np.array(drawn[1:])
    assert len(rest) == 200
    assert found.observed == pytest.approx(observed)
    assert found.p == pytest.approx((1 + (rest >= observed).sum(axis=0)) / 201)
    order = np.argsort(-observed)
    value = 0.0
    for place, j in enumerate(order):
        largest = rest[:, order[place:]].max(axis=1)
        value = max(value, (1 + (largest >= observed[j]).sum()) / 201)
        assert found.p_family[j] == pytest.approx(value)
    assert (found.p_family >= found.p - 1e-12).all()
    assert np.argmin(found.p_family) == 2


def test_strong_effects_make_room_for_weaker_ones():
    # Single-step max-T compares all neurons with the largest; step-down does not.
    X, y = null(0, n=60, d=8)
    X[:, :3] += 3.0 * y[:, None]
    found = permutation_test(contrast, X, y, n_perm=199)
    assert (found.p_family[:3] == 1 / 200).all()
    assert (found.p_family[3:] > 0.05).all()


def test_equal_statistics_get_equal_p():
    X, y = null(3, d=4)
    X[:, 3] = X[:, 0]
    found = permutation_test(contrast, X, y, n_perm=50)
    assert found.p_family[0] == found.p_family[3]
    assert found.p[0] == found.p[3]


def test_permuting_inside_groups_keeps_each_groups_labels():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 300)
    groups = rng.integers(0, 40, 300)
    moved = permute_within(y, groups, rng)
    assert (moved != y).any()
    for group in range(40):
        assert sorted(moved[groups == group]) == sorted(y[groups == group])
    # All orders inside a group come equally often.
    counts = {}
    for _ in range(3000):
        key = tuple(permute_within(np.array([0, 9, 1, 8, 2]), np.array([0, 1, 0, 1, 0]), rng))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 12
    assert min(counts.values()) > 180


def test_groups_take_away_what_the_group_explains():
    # Neuron and label both follow the group and are independent inside it.
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(20), 15)
    lean = rng.random(20)
    y = (rng.random(300) < lean[groups]).astype(int)
    X = (lean[groups] + 0.1 * rng.standard_normal(300))[:, None]
    assert permutation_test(contrast, X, y, n_perm=199).p[0] == 1 / 200
    assert permutation_test(contrast, X, y, n_perm=199, groups=groups).p[0] > 0.05


def test_same_seed_same_p_and_bad_input_is_named():
    X, y = null(0)
    one = permutation_test(contrast, X, y, n_perm=30, seed=1)
    assert (one.p == permutation_test(contrast, X, y, n_perm=30, seed=1).p).all()
    assert (one.p != permutation_test(contrast, X, y, n_perm=30, seed=2).p).any()
    with pytest.raises(SettingError, match="n_perm"):
        permutation_test(contrast, X, y, n_perm=0)
    with pytest.raises(InputError, match="nothing can be permuted"):
        permutation_test(contrast, X, y, groups=y)
    with pytest.raises(InputError, match="must return 15 finite"):
        permutation_test(lambda X, y: np.zeros(3), X, y)
    with pytest.raises(InputError, match="40 labels cannot have 3"):
        permutation_test(contrast, X, y, groups=np.arange(3))
