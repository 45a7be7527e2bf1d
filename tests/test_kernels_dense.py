"""The ridge solver against scikit-learn and finite differences."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from nissl.errors import InputError, NotConverged, SettingError
from nissl.kernels.dense import _Loss, fit_dense, minimise_split
from nissl.kernels.elastic_net import fit_elastic_net, predict_scores
from nissl.kernels.standardise import moments, standardise
from nissl.testing import planted_activations


def problem(n=400, d=25, n_classes=4, seed=0, shift=1.0):
    planted = planted_activations(
        n_tokens=n, n_neurons=d, n_classes=n_classes, shift=shift, seed=seed
    )
    return standardise(planted.X, *moments(planted.X)), planted.y.astype(np.int64), n_classes


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-3])
def test_agrees_with_scikit_learn(l2):
    X, y, C = problem()
    fit = fit_dense(X, y, C, l2=l2, tol=1e-6)
    other = LogisticRegression(C=1 / (len(y) * l2), tol=1e-10, max_iter=5000).fit(X, y)
    assert fit.converged
    assert np.abs(fit.coef - other.coef_).max() < 3e-3
    # Intercepts are free up to a constant.
    ours = fit.intercept - fit.intercept.mean()
    assert np.abs(ours - (other.intercept_ - other.intercept_.mean())).max() < 3e-3


def test_gradient_agrees_with_finite_differences():
    X, y, C = problem(n=60, d=5)
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((C, 5)), rng.standard_normal(C)
    theta = rng.random(60)
    theta /= theta.sum()
    loss = _Loss(X.T, y, C, theta)
    value, gW, gb = loss(W, b)

    def exact(W, b):
        logp = log_softmax(X.astype(np.float64) @ W.T + b, axis=1)
        return -(theta * logp[np.arange(60), y]).sum()

    assert value == pytest.approx(exact(W, b), rel=1e-5)
    step = 1e-5
    for c, j in ((0, 0), (1, 3), (3, 4)):
        up, down = W.copy(), W.copy()
        up[c, j] += step
        down[c, j] -= step
        slope = (exact(up, b) - exact(down, b)) / (2 * step)
        assert gW[c, j] == pytest.approx(slope, abs=1e-5)
    up, down = b.copy(), b.copy()
    up[2] += step
    down[2] -= step
    assert gb[2] == pytest.approx((exact(W, up) - exact(W, down)) / (2 * step), abs=1e-5)


def test_cheap_gap_bounds_the_certified_one():
    X, y, C = problem(n=600, d=60)
    for tol in (1e-1, 1e-2, 1e-3):
        cheap = fit_dense(X, y, C, l2=1e-2, tol=tol, certificate=False)
        sure = fit_dense(X, y, C, l2=1e-2, tol=tol)
        assert cheap.coef.tobytes() == sure.coef.tobytes()
        assert cheap.converged
        assert sure.converged
        # The cheap one allows for intercepts that have not settled, so it is the larger.
        assert sure.gap <= 1.05 * cheap.gap + 1e-6
        assert cheap.gap <= tol


def test_gap_bounds_the_distance_to_the_optimum():
    X, y, C = problem()
    best = fit_dense(X, y, C, l2=1e-3, tol=1e-7).objective
    for iterations in (1, 3, 10, 30):
        early = fit_dense(X, y, C, l2=1e-3, tol=1e-7, max_iter=iterations)
        assert early.objective - best <= early.gap * early.objective + 1e-8
        assert early.objective >= best - 1e-8


def test_stopping_early_is_not_called_converged():
    X, y, C = problem()
    with pytest.warns(NotConverged):
        assert not fit_dense(X, y, C, l2=1e-4, tol=1e-6, max_iter=2).converged


def test_separable_classes_almost_without_penalty():
    X, y, C = problem(shift=8.0)
    fit = fit_dense(X, y, C, l2=1e-7)
    assert np.isfinite(fit.coef).all()
    assert fit.objective < 0.05
    assert (predict_scores(X, fit.coef, fit.intercept).argmax(axis=1) == y).mean() > 0.98


def test_token_weights_are_repeated_rows():
    X, y, C = problem(n=150)
    times = np.random.default_rng(2).integers(0, 3, len(y))
    rows = np.repeat(np.arange(len(y)), times)
    one = fit_dense(X, y, C, l2=1e-2, tol=1e-6, weight=times.astype(float))
    two = fit_dense(np.asfortranarray(X[rows]), y[rows], C, l2=1e-2, tol=1e-6)
    assert np.abs(one.coef - two.coef).max() < 3e-3


def test_start_saves_work_and_two_runs_are_identical():
    X, y, C = problem()
    cold = fit_dense(X, y, C, l2=1e-3)
    again = fit_dense(X, y, C, l2=1e-3)
    assert cold.coef.tobytes() == again.coef.tobytes()
    warm = fit_dense(X, y, C, l2=1e-3, start=cold)
    assert warm.gradients < cold.gradients / 3
    with pytest.raises(InputError, match="start has shape"):
        fit_dense(np.asfortranarray(X[:, :5]), y, C, l2=1e-3, start=cold)
    with pytest.raises(SettingError, match="l2 must be"):
        fit_dense(X, y, C, l2=-1.0)


def test_split_form_agrees_with_the_block_method():
    X, y, C = problem()
    l1, l2 = 5e-3, 1e-3
    theta = np.full(len(y), 1 / len(y))
    W, _, _ = minimise_split(
        X.T, y, theta, np.zeros((C, X.shape[1])), np.zeros(C), l1=l1, l2=l2, tol=1e-6
    )
    fit = fit_elastic_net(X, y, C, l1=l1, l2=l2, tol=1e-6)
    assert fit.converged
    # Strong convexity: so far apart two points can be that are both within 2e-6 of the optimum.
    assert np.linalg.norm(fit.coef - W) <= 2 * np.sqrt(2 * 2e-6 * fit.objective / l2)
    assert (W == 0).mean() == pytest.approx((fit.coef == 0).mean(), abs=0.1)


def test_time_limit_returns_the_best_point_and_warns():
    X, y, C = problem()
    with pytest.warns(NotConverged, match=r"25 neurons stopped at .* its 0 CPU seconds are over"):
        one = fit_dense(X, y, C, l2=1e-3, time_limit=0.0)
    assert not one.converged
    assert one.gradients == 1
    # The start, whose intercepts are those of the class frequencies, is all there was time for.
    share = np.bincount(y, minlength=C) / len(y)
    assert one.objective == pytest.approx(-(share * np.log(share)).sum(), rel=1e-5)
    start = fit_dense(X, y, C, l2=1e-3, tol=1e-1)
    with pytest.warns(NotConverged):
        kept = fit_dense(X, y, C, l2=1e-3, tol=1e-7, start=start, time_limit=0.0)
    assert kept.objective <= start.objective * (1 + 1e-6)
    with pytest.raises(SettingError, match="time_limit must be"):
        fit_dense(X, y, C, l2=1e-3, time_limit=-1.0)


def test_warns_only_when_something_ran_out():
    X, y, C = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit_dense(X, y, C, l2=1e-2, time_limit=60.0).converged
        # So small a penalty ends by the objective, as documented, not by the gap.
        assert not fit_dense(X, y, C, l2=1e-7).converged
    with pytest.warns(NotConverged, match="its 2 iterations are over"):
        fit_dense(X, y, C, l2=1e-4, tol=1e-6, max_iter=2)
