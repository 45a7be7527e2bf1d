"""Nested ridge probes: the same optima as separate cold fits, for less work."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from nissl.errors import InputError, LabelError, NotConverged, SettingError
from nissl.kernels.curve import NestedProbes, Prefixes, retrain_curve
from nissl.kernels.dense import fit_dense
from nissl.kernels.elastic_net import predict_scores
from nissl.kernels.standardise import moments, standardise
from nissl.kernels.univariate import f_statistic
from nissl.testing import planted_activations

SIZES = [40, 3, 12, 80, 6]


def problem(n=500, d=120, n_classes=4, seed=0, shift=1.0):
    planted = planted_activations(
        n_tokens=n,
        n_neurons=d,
        n_classes=n_classes,
        informative=min(16, d),
        factors=5,
        shift=shift,
        seed=seed,
    )
    X = standardise(planted.X, *moments(planted.X))
    y = planted.y.astype(np.int64)
    order = np.argsort(-f_statistic(X, y, n_classes), kind="stable")
    return X, y, n_classes, order


def gathered(X, order, k):
    return np.ascontiguousarray(X.T[order[:k]]).T


def objective(X, y, fit, l2, theta):
    logits = X.astype(np.float64) @ fit.coef.T + fit.intercept
    loss = -(theta * log_softmax(logits, axis=1)[np.arange(len(y)), y]).sum()
    return loss + 0.5 * l2 * (fit.coef**2).sum()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [1e-2, 1e-3])
def test_objectives_equal_those_of_cold_fits(l2, weighted):
    X, y, C, order = problem()
    weight = np.random.default_rng(1).integers(0, 4, len(y)).astype(float) if weighted else None
    theta = np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum()
    tol = 1e-2
    fits = retrain_curve(X, y, C, order, SIZES, l2=l2, tol=tol, weight=weight)
    assert [fit.coef.shape for fit in fits] == [(C, k) for k in SIZES]
    for k, fit in zip(SIZES, fits, strict=True):
        part = gathered(X, order, k)
        best = fit_dense(part, y, C, l2=l2, tol=1e-5, weight=weight)
        value = objective(part, y, fit, l2, theta)
        assert fit.converged
        assert value == pytest.approx(fit.objective, rel=1e-4)
        assert best.objective * (1 - 1e-4) <= value <= best.objective * (1 + tol)
        # Strong convexity: ‖W − W*‖² ≤ 2 (f − f*) / l2.
        apart = np.linalg.norm(fit.coef - best.coef)
        assert apart <= np.sqrt(2 * (tol + 1e-4) * best.objective / l2) + 1e-3


def test_smallest_set_agrees_with_a_general_minimiser():
    X, y, C, order = problem(n=200)
    (fit,) = retrain_curve(X, y, C, order, [2], l2=1e-2, tol=1e-6)
    part = X[:, order[:2]].astype(np.float64)

    def value(z):
        W, b = z[: 2 * C].reshape(C, 2), z[2 * C :]
        logp = log_softmax(part @ W.T + b, axis=1)
        return -logp[np.arange(len(y)), y].mean() + 0.005 * (W**2).sum()

    best = minimize(value, np.zeros(3 * C), method="BFGS", options={"gtol": 1e-7})
    assert fit.objective == pytest.approx(best.fun, rel=1e-5)
    assert np.abs(fit.coef - best.x[: 2 * C].reshape(C, 2)).max() < 5e-3


def test_columns_of_the_weights_follow_the_order():
    X, y, C, order = problem()
    forward, back = (
        retrain_curve(X, y, C, o, [120], l2=1e-2, tol=1e-5)[0] for o in (order, order[::-1].copy())
    )
    assert np.abs(forward.coef - back.coef[:, ::-1]).max() < 5e-3
    whole = np.zeros_like(forward.coef)
    whole[:, order] = forward.coef
    right = predict_scores(X, whole, forward.intercept).argmax(axis=1) == y
    assert right.mean() > 0.8


def test_one_call_takes_less_work_than_cold_fits():
    sizes = [10, 16, 26, 42, 67, 107, 171, 274]
    ours = theirs = 0.0
    for seed in (0, 1):
        X, y, C, order = problem(n=800, d=300, shift=2.0, seed=seed)
        for k, fit in zip(sizes, retrain_curve(X, y, C, order, sizes, l2=1e-3), strict=True):
            cold = fit_dense(gathered(X, order, k), y, C, l2=1e-3, tol=1e-2, certificate=False)
            # A gradient of k neurons costs k.
            ours += k * fit.gradients
            theirs += k * cold.gradients
    assert ours < 0.85 * theirs


def test_repeats_and_sequence_of_sizes_change_nothing():
    X, y, C, order = problem()
    a = retrain_curve(X, y, C, order, [20, 5, 20], l2=1e-2)
    b = retrain_curve(X, y, C, order, [5, 20], l2=1e-2)
    assert a[0] is a[2]
    assert a[0].coef.tobytes() == b[1].coef.tobytes()
    assert a[1].coef.tobytes() == b[0].coef.tobytes()
    assert retrain_curve(X, y, C, order, [], l2=1e-2) == []


def test_prefixes_are_one_growing_slice():
    X, _, _, order = problem(n=50, d=20)
    prefixes = Prefixes(X, order)
    few = prefixes.first(3)
    many = prefixes.first(11)
    again = prefixes.first(7)
    assert np.array_equal(many, X[:, order[:11]])
    assert np.array_equal(again, X[:, order[:7]])
    assert np.shares_memory(few, many)
    assert many.T.flags.c_contiguous
    before = X.copy()
    many[:] = 0
    assert np.array_equal(X, before)


def test_a_start_is_the_largest_smaller_fit_as_it_is():
    X, y, C, order = problem()
    probes = NestedProbes(X, y, C, order, l2=1e-2)
    assert probes.below(50) is None
    small, large = probes.fit(5, None), probes.fit(30, None)
    assert probes.below(31) is large
    assert probes.below(30) is small
    assert probes.below(5) is None
    # Only the first gradient: the point returned is the start.
    stopped = probes.fit(60, large, time_limit=0.0)
    assert not stopped.converged
    assert np.array_equal(stopped.coef[:, :30], large.coef)
    assert not stopped.coef[:, 30:].any()
    assert stopped.gradients == 1


def test_time_limit_covers_the_whole_curve_and_warns_once():
    X, y, C, order = problem()
    with pytest.warns(NotConverged, match=r"5 of 5 probes .* first on 3 neurons") as caught:
        fits = retrain_curve(X, y, C, order, SIZES, l2=1e-4, tol=1e-9, time_limit=0.0)
    assert len(caught) == 1
    assert not any(fit.converged for fit in fits)
    assert all(fit.gradients == 1 for fit in fits)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(
            fit.converged for fit in retrain_curve(X, y, C, order, SIZES, l2=1e-2, time_limit=60.0)
        )


def test_errors_name_what_is_wrong():
    X, y, C, order = problem(n=60, d=10)
    for sizes in ([3, 11], [0, 3]):
        with pytest.raises(SettingError, match=rf"a set of {sizes[-1] if 11 in sizes else 0} neu"):
            retrain_curve(X, y, C, order, sizes, l2=1e-2)
    with pytest.raises(InputError, match="names neuron 10, but there are 10"):
        retrain_curve(X, y, C, np.array([1, 10]), [1], l2=1e-2)
    with pytest.raises(InputError, match="names a neuron twice"):
        retrain_curve(X, y, C, np.array([1, 2, 1]), [1], l2=1e-2)
    with pytest.raises(InputError, match="list of positions"):
        Prefixes(X, np.array([0.5]))
    with pytest.raises(SettingError, match="l2 must be"):
        retrain_curve(X, y, C, order, [1], l2=-1.0)
    with pytest.raises(SettingError, match="time_limit must be"):
        retrain_curve(X, y, C, order, [1], l2=1e-2, time_limit=-1.0)
    with pytest.raises(LabelError, match="labels run"):
        retrain_curve(X, y + 1, C, order, [1], l2=1e-2)
    bad = X.copy(order="F")
    bad[4, 7] = np.nan
    with pytest.raises(InputError, match="neuron 7"):
        retrain_curve(bad, y, C, order, [1], l2=1e-2)
