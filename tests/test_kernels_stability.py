"""Stability selection: halves, frequencies, the error bound, and planted neurons."""

from __future__ import annotations

import numpy as np
import pytest

from nissl.errors import InputError, SettingError
from nissl.kernels.stability import complementary_halves, error_bound, stability_selection
from nissl.kernels.univariate import f_statistic


def best_by_f(k: int):
    def select(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mask = np.zeros(X.shape[1], dtype=bool)
        mask[np.argsort(-f_statistic(X, y, 2), kind="stable")[:k]] = True
        return mask

    return select


def test_halves_are_disjoint_and_keep_sentences_whole():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 31, 400)
    left_out = set()
    for _ in range(60):
        a, b = complementary_halves(400, rng, groups)
        first, second = set(groups[a]), set(groups[b])
        assert not first & second
        assert len(first) == len(second) == 15
        left_out |= set(range(31)) - first - second
        assert len(a) + len(b) == np.isin(groups, list(first | second)).sum()
    assert len(left_out) > 20  # another one each time
    a, b = complementary_halves(7, rng)
    assert len(a) == len(b) == 3
    assert not set(a) & set(b)


def test_frequencies_are_the_counts():
    seen: list[np.ndarray] = []

    def select(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mask = rng.random(6) < np.array([1, 0.9, 0.5, 0.5, 0.1, 0])
        seen.append(mask)
        return mask

    X = np.zeros((10, 6), dtype=np.float32, order="F")
    found = stability_selection(X, np.arange(10), select, n_pairs=30, threshold=0.8)
    masks = np.array(seen)
    assert len(masks) == 60
    assert found.frequency == pytest.approx(masks.mean(axis=0))
    assert found.simultaneous == pytest.approx((masks[::2] & masks[1::2]).mean(axis=0))
    assert found.mean_chosen == pytest.approx(masks.sum(axis=1).mean())
    assert found.selected.tolist() == [0, 1]
    assert found.bound == error_bound(found.mean_chosen, 6, 0.8, n_pairs=30)


def test_selector_sees_matching_rows_of_both_halves():
    rows = np.arange(20)
    X = np.asfortranarray(np.stack([rows, -rows], axis=1), dtype=np.float32)
    seen = []

    def select(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        assert (X[:, 0] == y).all()
        assert X.T.flags.c_contiguous
        seen.append(set(y.tolist()))
        return np.array([True, False])

    stability_selection(X, rows, select, n_pairs=3)
    assert all(a | b == set(range(20)) for a, b in zip(seen[::2], seen[1::2], strict=True))


def test_known_bounds():
    # Meinshausen & Bühlmann 2010, theorem 1: q² / ((2 π − 1) d).
    assert error_bound(10, 1000, 0.9) == pytest.approx(100 / (0.8 * 1000))
    # Shah & Samworth 2013, theorem 2, B = 50: 1 / (2 (2 π − 1 − 1/100)) up to .75, then
    # 4 (1 − π + 1/100) / (1 + 1/50).
    assert error_bound(10, 1000, 0.6, n_pairs=50) == pytest.approx(0.1 / (2 * 0.19))
    assert error_bound(10, 1000, 0.9, n_pairs=50) == pytest.approx(0.1 * 4 * 0.11 / 1.02)
    # Outside of what the theorem says: the worst case, and never more than q.
    assert error_bound(700, 1000, 0.9, n_pairs=50) == error_bound(700, 1000, 0.9)
    assert error_bound(500, 1000, 0.51) == 500
    for threshold in (0.55, 0.75, 0.76, 1.0):
        assert error_bound(20, 500, threshold, n_pairs=50) <= error_bound(20, 500, threshold)


def test_planted_neurons_are_found_and_the_bound_holds():
    false, power, bounds = [], [], []
    for trial in range(15):
        rng = np.random.default_rng([trial, 5])
        y = rng.integers(0, 2, 300)
        X = rng.standard_normal((300, 80)).astype(np.float32)
        X[:, :6] += 0.8 * y[:, None]
        found = stability_selection(
            np.asfortranarray(X), y, best_by_f(9), n_pairs=20, threshold=0.8, seed=trial
        )
        false.append((found.selected >= 6).sum())
        power.append((found.selected < 6).mean() if len(found.selected) else 0)
        power[-1] = np.isin(np.arange(6), found.selected).mean()
        bounds.append(found.bound)
    assert np.mean(power) > 0.95
    assert np.mean(false) <= np.mean(bounds)


def test_bound_holds_where_nothing_is_planted():
    false = []
    for trial in range(15):
        rng = np.random.default_rng([trial, 6])
        X = np.asfortranarray(rng.standard_normal((120, 30)), dtype=np.float32)
        found = stability_selection(
            X, rng.integers(0, 2, 120), best_by_f(6), n_pairs=20, threshold=0.6, seed=trial
        )
        false.append(len(found.selected))
        assert found.mean_chosen == pytest.approx(6)
    assert np.mean(false) <= error_bound(6, 30, 0.6, n_pairs=20)
    assert np.mean(false) > 0  # the bound is tested


def test_same_seed_same_result_and_bad_input_is_named():
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.standard_normal((60, 10)), dtype=np.float32)
    y = rng.integers(0, 2, 60)
    one = stability_selection(X, y, best_by_f(3), n_pairs=5, seed=1)
    assert (
        one.frequency == stability_selection(X, y, best_by_f(3), n_pairs=5, seed=1).frequency
    ).all()
    with pytest.raises(SettingError, match="threshold"):
        stability_selection(X, y, best_by_f(3), threshold=0.5)
    with pytest.raises(InputError, match="bool mask of 10"):
        stability_selection(X, y, lambda X, y, rng: np.arange(3))
    with pytest.raises(InputError, match="two or more sentences"):
        stability_selection(X, y, best_by_f(3), groups=np.zeros(60))
    with pytest.raises(SettingError, match="cannot pick"):
        error_bound(11, 10, 0.9)
