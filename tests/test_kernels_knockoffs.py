"""Knockoffs: their covariance, their threshold by brute force, and the rate of false neurons."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from nissl.errors import InputError, NotConverged, SettingError
from nissl.kernels.knockoff_spread import (
    entropy_spread,
    equicorrelated_spread,
    sdp_bound,
    sdp_spread,
)
from nissl.kernels.knockoffs import (
    gaussian_knockoffs,
    importance,
    knockoff_filter,
    knockoff_threshold,
    shrunk_correlation,
)


def chain(d: int, r: float) -> np.ndarray:
    return r ** np.abs(np.subtract.outer(np.arange(d), np.arange(d))).astype(float)


def factors(d: int, k: int, seed: int = 0) -> np.ndarray:
    loads = np.random.default_rng(seed).standard_normal((d, k))
    cov = loads @ loads.T + 0.5 * k * np.eye(d)
    sd = np.sqrt(cov.diagonal())
    return cov / np.outer(sd, sd)


def blocks(*rho: float) -> np.ndarray:
    corr = np.eye(2 * len(rho))
    for i, r in enumerate(rho):
        corr[2 * i, 2 * i + 1] = corr[2 * i + 1, 2 * i] = r
    return corr


def planted(seed: int, *, n: int, d: int, k: int, n_classes: int = 2, strength: float = 1.0):
    """Correlated Gaussian neurons, k of which decide the class by a multinomial model."""
    rng = np.random.default_rng([seed, 1])
    X = rng.standard_normal((n, d)) @ np.linalg.cholesky(chain(d, 0.4)).T
    good = rng.permutation(d)[:k]
    W = np.zeros((n_classes, d))
    W[rng.integers(0, n_classes, k), good] = strength * rng.choice([-1, 1], k)
    y = (X @ W.T + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return np.asfortranarray(X, dtype=np.float32), y, good


def rates(trials: int, *, q: float, **settings):
    false, power = [], []
    options = {key: settings.pop(key) for key in ("spread", "statistic") if key in settings}
    for trial in range(trials):
        X, y, good = planted(trial, **settings)
        found = knockoff_filter(
            X, y, settings.get("n_classes", 2), q=q, seed=trial, **options
        ).selected
        true = np.isin(found, good).sum()
        false.append((len(found) - true) / max(1, len(found)))
        power.append(true / len(good))
    return np.array(false), np.array(power)


@pytest.mark.parametrize(
    "settings",
    [
        {"statistic": "difference"},
        pytest.param({"statistic": "signed-max", "n_classes": 3}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_false_discovery_rate_and_power_over_100_planted_trials(settings):
    false, power = rates(100, q=0.1, n=400, d=40, k=14, **settings)
    assert false.mean() <= 0.1 + 2 * false.std(ddof=1) / 10
    assert power.mean() > 0.8
    # It spends what it may: a filter that never errs would be too strict (or see the truth).
    assert false.mean() > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("q", [0.1, 0.2])
@pytest.mark.parametrize("spread", ["entropy", "sdp", "equicorrelated"])
def test_false_discovery_rate_at_length(spread, q):
    false, power = rates(400, q=q, n=1500, d=150, k=30, n_classes=4, spread=spread)
    assert false.mean() <= q + 2 * false.std(ddof=1) / 20
    assert power.mean() > 0.8


def test_no_signal_nothing_selected():
    any_found = 0
    for trial in range(25):
        rng = np.random.default_rng([trial, 2])
        X = rng.standard_normal((200, 20)).astype(np.float32)
        any_found += len(knockoff_filter(X, rng.integers(0, 2, 200), 2, q=0.2).selected) > 0
    # Under the null every selection is false: its probability is at most q.
    assert any_found <= 25 * 0.2 + 2 * np.sqrt(25 * 0.2 * 0.8)


def test_knockoffs_have_the_neurons_covariance_but_for_s():
    rng = np.random.default_rng(0)
    corr = factors(8, 3)
    n = 200_000
    X = (rng.standard_normal((n, 8)) @ np.linalg.cholesky(corr).T).astype(np.float32)
    s = entropy_spread(corr)
    fake = gaussian_knockoffs(X, corr, s, rng)
    assert fake.dtype == np.float32
    assert fake.T.flags.c_contiguous
    joint = np.corrcoef(X.T, fake.T)
    assert np.abs(joint[8:, 8:] - corr).max() < 0.015
    assert np.abs(joint[:8, 8:] - (corr - np.diag(s))).max() < 0.015


def test_scale_mean_and_constants_of_neurons_are_kept():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((20_000, 3)).astype(np.float32) * [2, 50, 0] + [5, -3, 7]
    corr, _ = shrunk_correlation(X)
    fake = gaussian_knockoffs(X, corr, np.full(3, 0.9), rng)
    assert fake.mean(axis=0) == pytest.approx([5, -3, 7], abs=1.5)
    assert fake.std(axis=0) == pytest.approx([2, 50, 0], rel=0.03)
    assert (fake[:, 2] == 7).all()


def test_shrinkage_is_that_of_ledoit_and_wolf():
    for n, d in ((60, 20), (3000, 12), (40, 60)):
        rng = np.random.default_rng(d)
        X = rng.standard_normal((n, d)) @ np.linalg.cholesky(factors(d, 4)).T
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        expected, shrinkage = ledoit_wolf(X, assume_centered=True)
        corr, found = shrunk_correlation(X)
        assert found == pytest.approx(shrinkage, rel=1e-4)
        assert corr == pytest.approx(expected, abs=1e-5)


def test_equicorrelated_and_sdp_where_the_answer_is_known():
    # Two neurons at r: s = 2 − 2 |r|, at most 1 each, is the largest.
    corr = blocks(0.9, -0.6, 0.2)
    known = np.repeat([0.2, 0.8, 1.0], 2)
    found = sdp_spread(corr, tol=2e-2)
    assert known.sum() >= found.sum() >= 0.98 * known.sum()
    # One of a pair may give to the other at little cost.
    pairs = found.reshape(3, 2).sum(axis=1)
    assert pairs == pytest.approx([0.4, 1.6, 2.0], abs=0.08)
    assert equicorrelated_spread(corr) == pytest.approx(np.full(6, 0.2))


def test_entropy_spread_meets_its_optimality_condition():
    # Two neurons: 1/s = B_jj with B the inverse of [[2 − s, 2 r], [2 r, 2 − s]].
    r = 0.7
    grid = np.linspace(1e-3, 2 - 2 * r - 1e-3, 200_001)
    value = 2 * np.log(grid) + np.log((2 - grid) ** 2 - 4 * r * r)
    assert entropy_spread(blocks(r), tol=1e-6) == pytest.approx(
        np.full(2, grid[value.argmax()]), abs=1e-4
    )
    corr = factors(30, 4)
    s = entropy_spread(corr, tol=1e-4)
    inverse = np.linalg.inv(2 * corr - np.diag(s))
    assert s * inverse.diagonal() == pytest.approx(np.ones(30), abs=2e-4)
    assert entropy_spread(np.eye(5)) == pytest.approx(np.ones(5), abs=0.01)


@pytest.mark.parametrize("corr", [chain(40, 0.4), chain(40, 0.8), factors(60, 5)], ids=len)
def test_sdp_is_allowed_beats_equicorrelated_and_is_certified(corr):
    s = sdp_spread(corr, tol=0.03)
    assert (s >= 0).all()
    assert (s <= 1).all()
    assert np.linalg.eigvalsh(2 * corr - np.diag(s))[0] > 0
    assert s.sum() >= equicorrelated_spread(corr).sum()
    # A bound from any allowed s holds for every other one.
    for other in (s, entropy_spread(corr)):
        for barrier in (0.3, 0.01):
            assert sdp_bound(corr, other, barrier) >= s.sum()


def test_early_stop_warns_and_is_still_allowed():
    with pytest.warns(NotConverged, match="spread of the knockoffs stopped"):
        s = sdp_spread(chain(40, 0.9), tol=1e-4, max_sweeps=3)
    assert np.linalg.eigvalsh(2 * chain(40, 0.9) - np.diag(s))[0] > 0
    with pytest.warns(NotConverged, match="optimality"):
        entropy_spread(chain(40, 0.9), tol=1e-6, max_sweeps=1)


@pytest.mark.parametrize("offset", [0, 1])
def test_threshold_by_brute_force(offset):
    for seed in range(300):
        rng = np.random.default_rng(seed)
        W = np.round(rng.standard_normal(30) + 0.7, 1) * (rng.random(30) < 0.8)
        q = float(rng.uniform(0.05, 0.5))
        fits = [
            t
            for t in np.unique(np.abs(W))
            if t > 0 and (offset + sum(w <= -t for w in W)) <= q * max(1, sum(w >= t for w in W))
        ]
        assert knockoff_threshold(W, q, offset=offset) == (min(fits) if fits else np.inf)


def test_importance_is_antisymmetric_and_counts_all_classes():
    coef = np.array([[1.0, 0, 0, -0.5, 0, 2], [-1, 0, 0, 0.5, 0, 0]])
    assert importance(coef).tolist() == [1.0, 0, -2]
    assert importance(coef, "signed-max").tolist() == [2.0, 0, -2]
    turned = coef[:, [3, 4, 5, 0, 1, 2]]
    for statistic in ("difference", "signed-max"):
        assert (importance(turned, statistic) == -importance(coef, statistic)).all()


def test_same_seed_same_selection_and_the_seed_of_the_data_does_no_harm():
    rng = np.random.default_rng(7)
    X = rng.standard_normal((400, 30))
    y = (X[:, :12].sum(axis=1) + rng.logistic(size=400) > 0).astype(int)
    X = X.astype(np.float32)
    one = knockoff_filter(X, y, 2, q=0.2, seed=7)
    assert (one.statistic == knockoff_filter(X, y, 2, q=0.2, seed=7).statistic).all()
    assert np.isin(np.arange(12), one.selected).mean() > 0.8
    assert (np.diff(one.statistic[one.selected]) <= 0).all()
    assert (one.statistic != knockoff_filter(X, y, 2, q=0.2, seed=8).statistic).any()


def test_bad_settings_are_named():
    X, y, _ = planted(0, n=60, d=5, k=2)
    with pytest.raises(SettingError, match="q must lie"):
        knockoff_filter(X, y, 2, q=1.0)
    twice = np.concatenate([X, X[:, :1]], axis=1)
    with pytest.raises(InputError, match="repeated neurons"):
        knockoff_filter(twice, y, 2, correlation=np.corrcoef(twice.T.astype(float)))
    with pytest.raises(InputError, match="diag"):
        gaussian_knockoffs(X, chain(5, 0.9), np.ones(5), np.random.default_rng(0))
    with pytest.raises(InputError, match="symmetric"):
        entropy_spread(np.array([[1.0, 0.5], [0.2, 1.0]]))
    with pytest.raises(SettingError, match="offset"):
        knockoff_threshold(np.ones(3), 0.1, offset=2)
