"""The sparse solver against references that share no code with it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from nissl.errors import InputError, LabelError, SettingError
from nissl.kernels._neurons import Neurons
from nissl.kernels._newton import State
from nissl.kernels.elastic_net import elastic_net_path, fit_elastic_net, predict_scores
from nissl.kernels.fit import certify
from nissl.kernels.standardise import moments, standardise
from nissl.testing import planted_activations, problems


def problem(n=300, d=20, n_classes=4, seed=0, **settings):
    planted = planted_activations(
        n_tokens=n, n_neurons=d, n_classes=n_classes, seed=seed, shift=1.0, **settings
    )
    mean, sd = moments(planted.X)
    return standardise(planted.X, mean, sd), planted.y.astype(np.int64), n_classes


def objective(X, y, W, b, l1, l2, theta=None):
    theta = np.full(len(y), 1 / len(y)) if theta is None else theta / theta.sum()
    logp = log_softmax(X.astype(np.float64) @ W.T + b, axis=1)
    loss = -(theta * logp[np.arange(len(y)), y]).sum()
    return loss + l1 * np.abs(W).sum() + l2 / 2 * (W**2).sum()


def reference(X, y, n_classes, l1, l2, theta=None):
    """W+ − W− by scipy's L-BFGS-B in float64."""
    X = X.astype(np.float64)
    n, d = X.shape
    theta = np.full(n, 1 / n) if theta is None else theta / theta.sum()
    size = n_classes * d
    hot = np.eye(n_classes)[y]

    def evaluate(z):
        W = (z[:size] - z[size : 2 * size]).reshape(n_classes, d)
        logp = log_softmax(X @ W.T + z[2 * size :], axis=1)
        residual = theta[:, None] * (np.exp(logp) - hot)
        g = (residual.T @ X + l2 * W).ravel()
        value = -(theta * (hot * logp).sum(axis=1)).sum()
        value += l1 * z[: 2 * size].sum() + l2 / 2 * (W**2).sum()
        return value, np.concatenate([g + l1, l1 - g, residual.sum(axis=0)])

    found = minimize(
        evaluate,
        np.zeros(2 * size + n_classes),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * size) + [(None, None)] * n_classes,
        options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 30},
    )
    W = (found.x[:size] - found.x[size : 2 * size]).reshape(n_classes, d)
    return W, found.x[2 * size :], found.fun


def test_agrees_with_scikit_learn():
    X, y, C = problem()
    l1, l2 = 6e-3, 4e-3
    fit = fit_elastic_net(X, y, C, l1=l1, l2=l2, tol=1e-7)
    other = LogisticRegression(
        solver="saga", C=1 / (len(y) * (l1 + l2)), l1_ratio=l1 / (l1 + l2), tol=1e-9, max_iter=20000
    ).fit(X.astype(np.float64), y)
    theirs = objective(X, y, other.coef_, other.intercept_, l1, l2)
    assert abs(fit.objective - theirs) < 2e-7
    # Strong convexity: so far apart the two can be at this gap, and no further.
    assert np.linalg.norm(fit.coef - other.coef_) <= np.sqrt(2 * 3e-7 / l2)
    clear = np.abs(other.coef_) > 0.01
    assert (fit.coef[clear] != 0).all()
    assert np.abs(fit.coef[other.coef_ == 0]).max(initial=0.0) < 0.01


@pytest.mark.parametrize(("l1", "l2"), [(3e-2, 1e-3), (3e-3, 3e-3), (1e-3, 1e-2), (5e-3, 0.0)])
def test_agrees_with_bounded_quasi_newton(l1, l2):
    X, y, C = problem(seed=3)
    fit = fit_elastic_net(X, y, C, l1=l1, l2=l2, tol=1e-6)
    W, _, best = reference(X, y, C, l1, l2)
    assert fit.objective == pytest.approx(
        objective(X, y, fit.coef, fit.intercept, l1, l2), rel=1e-10
    )
    assert fit.converged
    assert -1e-9 <= fit.objective - best <= 1e-6 * best + 1e-9
    if l2 > 0:
        # Strong convexity: this far apart the two can be, and no further.
        assert np.linalg.norm(fit.coef - W) <= np.sqrt(2 * 2e-6 * best / l2)


def test_zeros_are_exact_and_many():
    X, y, C = problem(n=600, d=60)
    fit = fit_elastic_net(X, y, C, l1=2e-2, l2=1e-3)
    W, *_ = reference(X, y, C, 2e-2, 1e-3)
    assert (fit.coef == 0).mean() > 0.7
    assert abs(int((fit.coef != 0).sum()) - int((np.abs(W) > 1e-6).sum())) <= 8


@settings(max_examples=40)
@given(problem=problems(), l1=st.sampled_from([1e-1, 1e-2, 1e-3]), l2=st.sampled_from([0.0, 1e-3]))
def test_certificate_bounds_the_optimum(problem, l1, l2):
    X, y, C = problem
    theta = np.full(len(y), 1 / len(y))
    _, _, best = reference(X, y, C, l1, l2)
    fit = fit_elastic_net(X, y, C, l1=l1, l2=l2)
    slack = 1e-7  # the reference stops there
    assert fit.objective >= best - slack
    assert fit.objective * (1 - fit.gap) <= best + slack
    rng = np.random.default_rng(len(y))
    for size in (0.01, 0.3, 3.0):
        W = fit.coef + size * rng.standard_normal(fit.coef.shape)
        b = fit.intercept + size * rng.standard_normal(C)
        primal, dual, kkt, polished = certify(X.T, y, W, b, l1=l1, l2=l2, weight=theta)
        assert dual <= best + slack
        assert primal >= best - slack
        assert primal == pytest.approx(objective(X, y, W, polished, l1, l2), rel=1e-9)
        assert primal <= objective(X, y, W, b, l1, l2) + slack  # polishing only helps
        assert kkt > 0


def test_certificate_is_tight_at_the_optimum():
    X, y, C = problem(seed=5)
    for l2 in (0.0, 1e-3):
        W, b, best = reference(X, y, C, 1e-2, l2)
        theta = np.full(len(y), 1 / len(y))
        primal, dual, kkt, _ = certify(X.T, y, W, b, l1=1e-2, l2=l2, weight=theta)
        assert primal - dual < 1e-5 * best
        assert kkt < 1e-5


def test_largest_penalty_leaves_no_weight():
    X, y, C = problem()
    n = len(y)
    share = np.bincount(y, minlength=C) / n
    gradient = (share - np.eye(C)[y]).T @ X.astype(np.float64) / n
    strongest = np.abs(gradient).max()
    assert not fit_elastic_net(X, y, C, l1=1.001 * strongest, l2=0.0).coef.any()
    below = fit_elastic_net(X, y, C, l1=0.95 * strongest, l2=0.0, tol=1e-8)
    assert 1 <= (below.coef != 0).sum() <= 5
    at = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    assert below.coef[at] != 0


def test_sample_weight_is_repeated_rows():
    X, y, C = problem(n=200)
    times = np.random.default_rng(1).integers(0, 4, len(y))
    weighted = fit_elastic_net(
        X, y, C, l1=5e-3, l2=1e-3, sample_weight=times.astype(float), tol=1e-6
    )
    rows = np.repeat(np.arange(len(y)), times)
    repeated = fit_elastic_net(np.asfortranarray(X[rows]), y[rows], C, l1=5e-3, l2=1e-3, tol=1e-6)
    assert weighted.objective == pytest.approx(repeated.objective, rel=3e-6)
    assert np.abs(weighted.coef - repeated.coef).max() < 5e-3
    plain = fit_elastic_net(X, y, C, l1=5e-3, l2=1e-3, tol=1e-6)
    assert np.abs(plain.coef - repeated.coef).max() > 0.02


def test_without_l1_it_is_ridge():
    X, y, C = problem()
    fit = fit_elastic_net(X, y, C, l1=0.0, l2=1e-2, tol=1e-6)
    other = LogisticRegression(C=1 / (len(y) * 1e-2), tol=1e-10, max_iter=5000).fit(X, y)
    assert fit.converged
    assert np.abs(fit.coef - other.coef_).max() < 2e-3


def test_without_any_penalty_there_is_no_certificate():
    X, y, C = problem()
    fit = fit_elastic_net(X, y, C, l1=0.0, l2=0.0)
    assert fit.gap == np.inf
    assert not fit.converged
    assert (predict_scores(X, fit.coef, fit.intercept).argmax(axis=1) == y).mean() > 0.6


def test_separable_classes():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 40)
    X = np.asfortranarray(np.eye(3)[y] * 10 + 0.1 * rng.standard_normal((120, 3)), dtype=np.float32)
    X = standardise(X, *moments(X))
    fit = fit_elastic_net(X, y, 3, l1=1e-4, l2=1e-4)
    _, _, best = reference(X, y, 3, 1e-4, 1e-4)
    assert fit.converged
    assert fit.objective == pytest.approx(best, rel=1.1e-3)
    assert (predict_scores(X, fit.coef, fit.intercept).argmax(axis=1) == y).all()


def test_a_class_of_one_token_and_a_class_of_none():
    X, y, _ = problem(n=150)
    y = y.copy()
    y[y == 3] = 2
    y[10] = 3
    for n_classes in (4, 5):
        fit = fit_elastic_net(X, y, n_classes, l1=1e-3, l2=1e-3)
        assert fit.converged
        assert np.isfinite(fit.coef).all()
        assert np.isfinite(fit.intercept).all()
        _, _, best = reference(X, y, n_classes, 1e-3, 1e-3)
        assert fit.objective == pytest.approx(best, rel=1.1e-3)
    assert not fit.coef[4].any()


def test_warm_start_where_a_class_has_lost_its_tokens():
    """As in a bootstrap resample that misses the only sentences of a rare class."""
    X, y, C = problem(n=400)
    before = fit_elastic_net(X, y, C, l1=1e-3, l2=1e-3)
    assert before.coef[3].any()
    weight = (y != 3).astype(float)
    fit = fit_elastic_net(X, y, C, l1=1e-3, l2=1e-3, sample_weight=weight, start=before)
    assert fit.converged
    assert fit.iterations < 50
    assert not fit.coef[3].any()
    rows = y != 3
    alone = fit_elastic_net(np.asfortranarray(X[rows]), y[rows], 3, l1=1e-3, l2=1e-3)
    assert fit.objective == pytest.approx(alone.objective, rel=2e-3)


def test_working_set_matrices_are_the_hessian():
    X, y, C = problem(n=900, d=60)
    theta = np.full(len(y), 1 / len(y))
    state = State(Neurons.of(X), y, C, theta)
    rng = np.random.default_rng(0)
    curvature = (theta * rng.uniform(0.05, 0.25, len(y))).astype(np.float32)
    l2 = 1e-2

    def exact(neurons):
        Z = np.vstack([X.T[neurons].astype(np.float64), np.ones(len(y))])
        return (Z * curvature) @ Z.T + np.diag([l2] * len(neurons) + [0.0])

    # From nothing; a subset of the cached set; a few neurons more; and a new start.
    for neurons in (
        np.arange(5, 45),
        np.arange(7, 30, 3),
        np.sort(np.concatenate([[0, 2, 50, 58], np.arange(9, 40)])),
        np.arange(60),
        np.arange(0, 60, 2),
    ):
        H = state.hessian(1, neurons, curvature, l2)
        assert np.abs(H - exact(neurons)).max() < 1e-5
    moved = np.ascontiguousarray(curvature[::-1]) * np.float32(3)
    H = state.hessian(1, np.arange(30), moved, l2)
    curvature = moved
    assert np.abs(H - exact(np.arange(30))).max() < 1e-5


def test_constant_neurons_get_no_weight():
    X, y, C = problem(d=20, constant=5)
    still = ~X.any(axis=0)
    assert still.sum() == 5
    fit = fit_elastic_net(X, y, C, l1=1e-4, l2=0.0)
    assert not fit.coef[:, still].any()
    assert fit.coef[:, ~still].any()


def test_warm_start_reaches_the_same_point_with_less_work():
    X, y, C = problem(n=1000, d=80)
    cold = fit_elastic_net(X, y, C, l1=3e-3, l2=1e-3, tol=1e-6)
    warm = fit_elastic_net(X, y, C, l1=3e-3, l2=1e-3, tol=1e-6, start=cold)
    assert warm.gradients < 0.5 * cold.gradients
    assert warm.objective == pytest.approx(cold.objective, rel=1e-6)
    bad = dataclasses.replace(cold, coef=cold.coef[:, :-1])
    with pytest.raises(InputError, match="start has weights of shape"):
        fit_elastic_net(X, y, C, l1=3e-3, l2=1e-3, start=bad)


def test_path_gives_single_fits_in_the_order_asked():
    X, y, C = problem(n=500, d=40)
    grid = [(1e-3, 1e-3), (3e-2, 1e-3), (5e-3, 5e-3)]
    fits = elastic_net_path(X, y, C, grid=grid, tol=1e-6)
    for (l1, l2), fit in zip(grid, fits, strict=True):
        alone = fit_elastic_net(X, y, C, l1=l1, l2=l2, tol=1e-6)
        assert fit.objective == pytest.approx(alone.objective, rel=2e-6)
        assert np.abs(fit.coef - alone.coef).max() < 1e-2
    sizes = [(fit.coef != 0).sum() for fit in fits]
    assert sizes[0] > sizes[2] > sizes[1]
    with pytest.raises(SettingError, match="empty"):
        elastic_net_path(X, y, C, grid=[])


def test_time_limit_returns_an_honest_point():
    X, y, C = problem(n=2000, d=300, n_classes=8)
    fit = fit_elastic_net(X, y, C, l1=1e-5, l2=1e-5, tol=1e-9, time_limit=0.0)
    assert not fit.converged
    assert fit.gap > 1e-9
    assert fit.objective == pytest.approx(
        objective(X, y, fit.coef, fit.intercept, 1e-5, 1e-5), rel=1e-9
    )


def test_label_sorted_rows_give_the_same_weights():
    X, y, C = problem(n=800, d=60, uneven=True)
    order = np.argsort(y, kind="stable")
    one = fit_elastic_net(X, y, C, l1=5e-3, l2=5e-3, tol=1e-6)
    other = fit_elastic_net(np.asfortranarray(X[order]), y[order], C, l1=5e-3, l2=5e-3, tol=1e-6)
    assert other.objective == pytest.approx(one.objective, rel=2e-6)
    assert np.abs(one.coef - other.coef).max() < 2e-3
    strong = np.abs(one.coef) > 2e-3
    assert (other.coef[strong] != 0).all()


def test_two_runs_are_bit_identical():
    X, y, C = problem(n=700, d=50)
    one, two = (fit_elastic_net(X, y, C, l1=2e-3, l2=1e-3) for _ in range(2))
    assert one.coef.tobytes() == two.coef.tobytes()
    assert one.intercept.tobytes() == two.intercept.tobytes()
    assert one.objective == two.objective


def test_very_weak_penalties_end_in_the_quasi_newton_finish():
    X, y, C = problem(n=250, d=30)
    fit = fit_elastic_net(X, y, C, l1=1e-5, l2=1e-5, max_iter=2)
    _, _, best = reference(X, y, C, 1e-5, 1e-5)
    assert fit.converged
    assert fit.objective == pytest.approx(best, rel=1.1e-3)


def test_any_memory_order_and_float64_are_accepted():
    X, y, C = problem()
    want = fit_elastic_net(X, y, C, l1=5e-3, l2=1e-3).coef
    for other in (np.ascontiguousarray(X), X.astype(np.float64)):
        assert np.array_equal(fit_elastic_net(other, y, C, l1=5e-3, l2=1e-3).coef, want)


def test_input_is_left_alone():
    X, y, C = problem()
    before = X.copy()
    fit_elastic_net(X, y, C, l1=5e-3, l2=1e-3)
    assert np.array_equal(X, before)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"l1": -1.0}, SettingError, "l1 must be 0 or more"),
        ({"l2": float("nan")}, SettingError, "l2 must be 0 or more"),
        ({"y": np.zeros(7, dtype=np.int64)}, LabelError, "length"),
        ({"n_classes": 1, "y": np.zeros(300, dtype=np.int64)}, LabelError, "two or more classes"),
        ({"n_classes": 3}, LabelError, "labels run from 0 to 3"),
        ({"X": np.full((300, 20), np.nan, dtype=np.float32)}, InputError, "neuron 0 is nan"),
        ({"X": np.zeros((0, 20), dtype=np.float32)}, InputError, "no tokens"),
        ({"X": np.zeros((300, 0), dtype=np.float32)}, InputError, "no neurons"),
        ({"sample_weight": np.full(300, -1.0)}, InputError, "sample weights"),
        ({"sample_weight": np.zeros(300)}, InputError, "sample weights"),
    ],
)
def test_wrong_input_is_named(change, error, words):
    X, y, C = problem()
    given_values = {"X": X, "y": y, "n_classes": C, "l1": 1e-3, "l2": 1e-3} | change
    # Lengths that disagree are caught by the shape checks of the tests before our own.
    if len(given_values["y"]) != len(given_values["X"]):
        with pytest.raises(Exception, match=r"length|jaxtyped|Type"):
            fit_elastic_net(**given_values)
        return
    with pytest.raises(error, match=words):
        fit_elastic_net(**given_values)


def test_predicted_scores_are_the_logits():
    X, y, C = problem()
    fit = fit_elastic_net(X, y, C, l1=5e-3, l2=1e-3)
    want = X.astype(np.float64) @ fit.coef.T + fit.intercept
    assert np.abs(predict_scores(X, fit.coef, fit.intercept) - want).max() < 1e-4
