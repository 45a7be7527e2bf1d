"""Sparse least squares against scikit-learn, closed forms and the optimality conditions."""

from __future__ import annotations

import itertools
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, Ridge

from nissl.errors import InputError, NotConverged, SettingError
from nissl.kernels import _ridge
from nissl.kernels._squares import Squares
from nissl.kernels.fit import Fit
from nissl.kernels.least_squares import fit_least_squares, least_squares_path


def problem(n=200, d=40, targets=2, seed=0, rank=None):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    if rank is not None:
        X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)) + 0.2 * X
    X = np.asfortranarray(((X - X.mean(0)) / X.std(0)).astype(np.float32))
    W = np.zeros((targets, d))
    W[:, :5] = rng.standard_normal((targets, 5))
    return X, X @ W.T + rng.standard_normal((n, targets)) + 3.0


def objective(X, Y, W, b, l1, l2, weight=None):
    errors = (Y - X.astype(np.float64) @ W.T - b) ** 2
    loss = 0.5 * np.average(errors, axis=0, weights=weight).sum()
    return loss + l1 * np.abs(W).sum() + 0.5 * l2 * (W**2).sum()


def violation(X, Y, fit, l1, l2, weight=None):
    """Largest violation of the optimality conditions, from their definition."""
    theta = np.full(len(Y), 1 / len(Y)) if weight is None else weight / weight.sum()
    R = X.astype(np.float64) @ fit.coef.T + fit.intercept - Y
    slope = (R * theta[:, None]).T @ X.astype(np.float64) + l2 * fit.coef
    own = np.abs(slope + l1 * np.sign(fit.coef))
    other = np.maximum(np.abs(slope) - l1, 0)
    return max(np.where(fit.coef != 0, own, other).max(), np.abs(theta @ R).max())


@pytest.mark.parametrize(("n", "d", "rank"), [(300, 40, None), (50, 120, None), (200, 150, 10)])
@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.05), (0.01, 0.01), (0.05, 0.0)])
def test_agrees_with_scikit_learn(n, d, rank, l1, l2):
    X, Y = problem(n, d, rank=rank)
    fit = fit_least_squares(X, Y, l1=l1, l2=l2, tol=1e-8)
    for t in range(Y.shape[1]):
        if l2 > 0:
            peer = ElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), tol=1e-11, max_iter=100_000)
        else:
            peer = Lasso(alpha=l1, tol=1e-11, max_iter=100_000)
        peer.fit(X.astype(np.float64), Y[:, t])
        np.testing.assert_allclose(fit.coef[t], peer.coef_, atol=2e-3)
        np.testing.assert_allclose(fit.intercept[t], peer.intercept_, atol=1e-3)
        assert (fit.coef[t][np.abs(peer.coef_) > 5e-3] != 0).all()
        assert (fit.coef[t] == 0).sum() >= (np.abs(peer.coef_) < 1e-9).sum() - 5
        theirs = objective(X, Y[:, [t]], peer.coef_[None], peer.intercept_, l1, l2)
        mine = objective(X, Y[:, [t]], fit.coef[[t]], fit.intercept[[t]], l1, l2)
        assert mine <= theirs * (1 + 1e-7)
    assert fit.converged
    assert 0 <= fit.gap <= 1e-8
    np.testing.assert_allclose(
        fit.objective, objective(X, Y, fit.coef, fit.intercept, l1, l2), rtol=1e-12
    )
    np.testing.assert_allclose(fit.kkt, violation(X, Y, fit, l1, l2), atol=1e-8)


@pytest.mark.parametrize(("n", "d"), [(200, 40), (40, 200)])
@pytest.mark.parametrize("steps", [False, True])
def test_ridge_agrees_with_scikit_learn(n, d, steps, monkeypatch):
    if steps:
        monkeypatch.setattr(_ridge, "DIRECT", 0)
    X, Y = problem(n, d)
    fit = fit_least_squares(X, Y, l1=0.0, l2=0.02, tol=1e-13)
    peer = Ridge(alpha=n * 0.02, solver="svd").fit(X.astype(np.float64), Y)
    np.testing.assert_allclose(fit.coef, peer.coef_, atol=1e-5 if steps else 1e-10)
    np.testing.assert_allclose(fit.intercept, peer.intercept_, atol=1e-5 if steps else 1e-10)
    assert fit.converged
    assert fit.iterations > 5 if steps else fit.iterations == 1


@pytest.mark.parametrize(("n", "d", "rank"), [(200, 40, None), (40, 200, None), (200, 60, 60)])
def test_without_penalties_it_is_least_squares_of_minimum_norm(n, d, rank):
    X, Y = problem(n, d)
    X[:, 7] = X[:, 8]
    fit = fit_least_squares(X, Y, l1=0.0, l2=0.0)
    peer = LinearRegression().fit(X.astype(np.float64), Y)
    np.testing.assert_allclose(fit.coef, peer.coef_, atol=1e-9)
    np.testing.assert_allclose(fit.intercept, peer.intercept_, atol=1e-9)
    assert fit.converged
    assert fit.gap < 1e-12


def test_large_least_squares_without_penalties_says_that_it_has_no_certificate(monkeypatch):
    monkeypatch.setattr(_ridge, "DIRECT", 0)
    X, Y = problem(200, 40)
    with pytest.warns(NotConverged, match="inf"):
        fit = fit_least_squares(X, Y, l1=0.0, l2=0.0, tol=1e-6)
    peer = LinearRegression().fit(X.astype(np.float64), Y)
    np.testing.assert_allclose(fit.coef, peer.coef_, atol=1e-5)
    assert not fit.converged


def brute_force(X, y, l1, l2):
    """The optimum over all patterns of signs of a few neurons, each a linear system."""
    X = X.astype(np.float64)
    X, y = X - X.mean(0), y - y.mean()
    n, d = X.shape
    best = 0.5 * (y @ y) / n
    for signs in itertools.product((-1, 0, 1), repeat=d):
        s = np.array(signs, dtype=float)
        some = np.flatnonzero(s)
        if not len(some):
            continue
        H = X[:, some].T @ X[:, some] / n + l2 * np.eye(len(some))
        w = np.linalg.lstsq(H, X[:, some].T @ y / n - l1 * s[some], rcond=None)[0]
        r = y - X[:, some] @ w
        best = min(best, 0.5 * (r @ r) / n + l1 * np.abs(w).sum() + 0.5 * l2 * (w @ w))
    return best


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 12),
    d=st.integers(1, 5),
    l1=st.sampled_from([0.3, 0.03, 1e-3]),
    l2=st.sampled_from([0.0, 0.1]),
    twin=st.booleans(),
)
def test_no_pattern_of_signs_is_better_and_the_gap_is_a_bound(seed, n, d, l1, l2, twin):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(np.float32)
    if twin:
        X[:, -1] = X[:, 0]
    y = rng.standard_normal(n)
    best = brute_force(X, y, l1, l2)
    fit = fit_least_squares(X, y[:, None], l1=l1, l2=l2, tol=1e-9)
    assert fit.converged
    assert fit.objective == pytest.approx(best, rel=1e-8, abs=1e-12)
    # Far from the optimum too, the dual stays below the best objective.
    shared = Squares(np.ascontiguousarray(X.T), y[None], np.full(n, 1 / n))
    for size in (0.01, 0.3, 3.0):
        W = fit.coef + size * rng.standard_normal(fit.coef.shape)
        point = shared.at(W, l1, l2)
        assert point.dual.sum() <= best + 1e-12
        assert point.primal.sum() >= best - 1e-12
        b = shared.y_mean - W @ shared.mean
        assert point.primal.sum() == pytest.approx(objective(X, y[:, None], W, b, l1, l2))


def test_whole_weights_count_tokens():
    X, Y = problem(80, 30)
    rng = np.random.default_rng(1)
    times = rng.integers(0, 4, 80)
    for l1, l2 in [(0.05, 0.01), (0.05, 0.0), (0.0, 0.1), (0.0, 0.0)]:
        fit = fit_least_squares(X, Y, l1=l1, l2=l2, sample_weight=2.5 * times, tol=1e-9)
        again = fit_least_squares(
            np.repeat(X, times, axis=0), np.repeat(Y, times, axis=0), l1=l1, l2=l2, tol=1e-9
        )
        np.testing.assert_allclose(fit.coef, again.coef, atol=1e-6)
        np.testing.assert_allclose(fit.intercept, again.intercept, atol=1e-6)
        assert violation(X, Y, fit, l1, l2, times.astype(float)) < 1e-5


def test_weights_with_more_neurons_than_tokens():
    X, Y = problem(40, 90)
    weight = np.r_[np.zeros(10), np.ones(30)]
    fit = fit_least_squares(X, Y, l1=0.0, l2=0.1, sample_weight=weight)
    again = fit_least_squares(X[10:], Y[10:], l1=0.0, l2=0.1)
    np.testing.assert_allclose(fit.coef, again.coef, atol=1e-10)


def test_planted_neurons_are_found_and_the_rest_are_exact_zeros():
    X, Y = problem(2000, 300, targets=3, seed=4)
    Y = X[:, :5] @ np.full((5, 3), 0.5) + 0.5 * np.random.default_rng(0).standard_normal(Y.shape)
    fit = fit_least_squares(X, Y, l1=0.05, l2=0.0)
    assert (fit.coef[:, :5] > 0.4).all()
    assert (fit.coef[:, 5:] == 0).mean() > 0.98


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_twins_and_constants(l2):
    X, Y = problem(150, 20)
    X[:, 4] = X[:, 0]
    X[:, 9] = 0.0
    X[:, 10] = 2.5
    start = fit_least_squares(X, Y, l1=10.0, l2=0.0)
    start.coef[:] = 0.3
    for begin in (None, start):
        fit = fit_least_squares(X, Y, l1=0.02, l2=l2, tol=1e-9, start=begin)
        assert fit.converged
        assert not fit.coef[:, 9:11].any()
        assert violation(X, Y, fit, 0.02, l2) < 1e-5
    if l2 > 0:
        np.testing.assert_allclose(fit.coef[:, 0], fit.coef[:, 4], atol=1e-5)


def test_the_smallest_penalty_that_leaves_nothing():
    X, Y = problem()
    slope = np.abs((Y - Y.mean(0)).T @ X.astype(np.float64)) / len(Y)
    none = fit_least_squares(X, Y, l1=float(slope.max()) * 1.0001, l2=0.0)
    assert not none.coef.any()
    np.testing.assert_allclose(none.intercept, Y.mean(0))
    np.testing.assert_allclose(none.objective, 0.5 * Y.var(axis=0).sum())
    assert none.gap < 1e-12
    one = fit_least_squares(X, Y, l1=float(slope.max()) * 0.99, l2=0.0, tol=1e-9)
    assert (one.coef != 0).sum() == 1


def test_many_targets_are_as_many_problems():
    X, Y = problem(150, 60, targets=9)
    fit = fit_least_squares(X, Y, l1=0.05, l2=0.02, tol=1e-10)
    for t in range(9):
        alone = fit_least_squares(X, Y[:, [t]], l1=0.05, l2=0.02, tol=1e-10)
        np.testing.assert_allclose(fit.coef[t], alone.coef[0], atol=1e-4)


def test_a_path_is_its_fits_in_the_order_asked_for():
    X, Y = problem(150, 60)
    grid = [(0.01, 0.01), (0.3, 0.0), (0.0, 0.1), (0.03, 0.0)]
    path = least_squares_path(X, Y, grid=grid, tol=1e-9)
    for (l1, l2), fit in zip(grid, path, strict=True):
        alone = fit_least_squares(X, Y, l1=l1, l2=l2, tol=1e-9)
        np.testing.assert_allclose(fit.coef, alone.coef, atol=1e-4)
        assert fit.objective == pytest.approx(alone.objective, rel=1e-8)


def test_a_warm_start_saves_work():
    X, Y = problem(400, 300, rank=20)
    cold = fit_least_squares(X, Y, l1=0.02, l2=0.01)
    warm = fit_least_squares(X, Y, l1=0.02, l2=0.01, start=cold)
    assert warm.iterations == 0
    assert cold.iterations > 1
    assert warm.gradients < cold.gradients


@pytest.mark.parametrize(("l1", "l2"), [(0.01, 0.001), (0.0, 0.001)])
def test_out_of_time_the_best_point_comes_back_with_its_gap(l1, l2, monkeypatch):
    monkeypatch.setattr(_ridge, "DIRECT", 0)
    X, Y = problem(400, 300, rank=20)
    with pytest.warns(NotConverged, match="relative gap"):
        fit = fit_least_squares(X, Y, l1=l1, l2=l2, time_limit=0.0)
    assert not fit.converged
    assert 1e-3 < fit.gap <= 1
    with pytest.warns(NotConverged):
        more = fit_least_squares(X, Y, l1=l1, l2=l2, tol=1e-12, max_iter=1 if l1 else 0)
    best = fit_least_squares(X, Y, l1=l1, l2=l2, tol=1e-8)
    assert best.objective >= more.objective * (1 - more.gap)
    assert best.objective <= more.objective <= fit.objective


def test_a_time_limit_is_kept():
    X, Y = problem(1500, 1200, rank=30)
    fit_least_squares(X[:50], Y[:50], l1=1e-4, l2=0.0)  # compile first
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        fit = fit_least_squares(X, Y, l1=1e-4, l2=0.0, tol=1e-12, time_limit=0.2)
    assert not fit.converged
    assert time.process_time() - began < 1.5


def test_a_hardly_penalised_fit_of_few_tokens_converges():
    """Any 49 neurons explain 50 tokens: supports are bases that must be exchanged."""
    X, Y = problem(50, 600, rank=30)
    fit = fit_least_squares(X, Y, l1=1e-5, l2=0.0, tol=1e-6)
    assert fit.converged
    assert ((fit.coef != 0).sum(axis=1) <= 49).all()
    # Nearly the basis-pursuit solution, the interpolation of least absolute weights.
    from scipy.optimize import linprog

    Z = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    for t in range(2):
        least = linprog(
            np.ones(1200), A_eq=np.hstack([Z, -Z])[:-1], b_eq=(Y[:, t] - Y[:, t].mean())[:-1]
        )
        assert np.abs(fit.coef[t]).sum() == pytest.approx(least.fun, rel=1e-2)


def test_what_is_already_explained_is_no_failure():
    X, _ = problem(30, 60)
    for l1, l2 in [(0.1, 0.0), (0.0, 0.1), (0.0, 0.0)]:
        fit = fit_least_squares(X, np.full((30, 1), 7.0), l1=l1, l2=l2)
        assert fit.converged
        np.testing.assert_allclose(fit.coef, 0, atol=1e-12)
        assert fit.intercept[0] == pytest.approx(7.0)
    one = fit_least_squares(X[:1], np.array([[2.0]]), l1=0.1, l2=0.0)
    assert not one.coef.any()
    assert one.intercept[0] == pytest.approx(2.0)


def spoilt(row, column, value, shape):
    out = np.ones(shape)
    out[row, column] = value
    return out


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"X": spoilt(3, 2, np.nan, (8, 4))}, InputError, "neuron 2 is nan at token 3"),
        ({"Y": spoilt(5, 1, np.inf, (8, 2))}, InputError, "target 1 is inf at token 5"),
        ({"Y": np.ones((7, 2))}, InputError, "targets have length 7, but there are 8"),
        ({"Y": np.ones((8, 0))}, InputError, "no targets"),
        ({"X": np.ones((0, 4)), "Y": np.ones((0, 2))}, InputError, "no tokens"),
        ({"X": np.ones((8, 0))}, InputError, "no neurons"),
        ({"l1": -1.0}, SettingError, "l1 must be 0 or more"),
        ({"l2": float("nan")}, SettingError, "l2 must be 0 or more"),
        ({"tol": -1.0}, SettingError, "tol must be 0 or more"),
        ({"sample_weight": np.ones(5)}, InputError, "5 sample weights for 8 tokens"),
        ({"sample_weight": -np.ones(8)}, InputError, "0 or more"),
        (
            {"start": Fit(np.ones((3, 4)), np.ones(3), 0.0, 0.0, 0.0, 0, 0.0, 0.0, True)},
            InputError,
            "the start has weights of shape",
        ),
    ],
)
def test_errors_say_what_is_wrong(change, error, words):
    given = {"X": np.eye(8)[:, :4], "Y": np.eye(8)[:, :2], "l1": 0.1, "l2": 0.1} | change
    X, Y = given.pop("X"), given.pop("Y")
    with pytest.raises(error, match=words):
        fit_least_squares(X, Y, **given)


def test_an_empty_grid_is_refused():
    X, Y = problem(20, 5)
    with pytest.raises(SettingError, match="empty"):
        least_squares_path(X, Y, grid=[])
