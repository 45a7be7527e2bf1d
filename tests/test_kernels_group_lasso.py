"""Group lasso and sparse-group lasso against scipy, brute force and optimality."""

import numpy as np
import pytest
from scipy.optimize import minimize

from nissl.errors import InputError, NotConverged, SettingError
from nissl.kernels._group_certificate import certify_groups
from nissl.kernels._group_descent import shrink_groups
from nissl.kernels.dense import fit_dense
from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.group_lasso import fit_group_lasso, group_lasso_path, largest_group_penalty


def draw(n=200, d=8, n_classes=3, seed=0, informative=3, shift=1.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    X = rng.standard_normal((n, d))
    X += 0.5 * X @ rng.standard_normal((d, d)) / np.sqrt(d)
    for j in range(informative):
        X[:, j] += shift * (y == j % n_classes)
    X = (X - X.mean(0)) / X.std(0)
    return np.asfortranarray(X, dtype=np.float32), y


def objective(X, y, W, b, group, l1, l2, weight=None):
    theta = np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum()
    E = X.astype(np.float64) @ W.T + b
    top = E.max(1)
    loss = theta @ (top + np.log(np.exp(E - top[:, None]).sum(1)) - E[np.arange(len(y)), y])
    norm = np.linalg.norm(W, axis=0).sum()
    return loss + group * norm + l1 * np.abs(W).sum() + 0.5 * l2 * (W**2).sum()


def by_scipy(X, y, n_classes, group, l1, l2):
    """The same problem smoothed (|t| ≈ √(t² + ε²)), by L-BFGS from several ε downwards."""
    n, d = X.shape
    Z, own = X.astype(np.float64), np.eye(n_classes)[y]
    z = np.zeros(n_classes * (d + 1))
    for eps in (1e-2, 1e-4, 1e-6):

        def value(z, eps=eps):
            W, b = z[: n_classes * d].reshape(n_classes, d), z[n_classes * d :]
            E = Z @ W.T + b
            P = np.exp(E - E.max(1, keepdims=True))
            P /= P.sum(1, keepdims=True)
            R = (P - own) / n
            norm, size = np.sqrt((W**2).sum(0) + eps**2), np.sqrt(W**2 + eps**2)
            loss = -np.log(P[np.arange(n), y]).mean()
            f = loss + group * norm.sum() + l1 * size.sum() + 0.5 * l2 * (W**2).sum()
            g = R.T @ Z + group * W / norm + l1 * W / size + l2 * W
            return f, np.concatenate([g.ravel(), R.sum(0)])

        z = minimize(
            value,
            z,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 20000, "gtol": 1e-9, "ftol": 0},
        ).x
    return z[: n_classes * d].reshape(n_classes, d), z[n_classes * d :]


CASES = [
    (0.05, 0.0, 0.0),
    (0.03, 0.01, 0.0),
    (0.04, 0.0, 0.05),
    (0.02, 0.01, 0.01),
    (0.0, 0.02, 0.0),
]


@pytest.mark.parametrize(("group", "l1", "l2"), CASES)
def test_objective_is_that_of_scipy(group, l1, l2):
    X, y = draw(seed=1)
    fit = fit_group_lasso(X, y, 3, group=group, l1=l1, l2=l2, tol=1e-6)
    W, b = by_scipy(X, y, 3, group, l1, l2)
    want = objective(X, y, W, b, group, l1, l2)
    assert fit.objective == pytest.approx(want, rel=2e-5)
    assert fit.objective == pytest.approx(
        objective(X, y, fit.coef, fit.intercept, group, l1, l2), rel=1e-9
    )
    # Zeros are exact, and where scipy's weights are next to nothing.
    if group:
        assert np.array_equal(fit.coef.any(axis=0), np.linalg.norm(W, axis=0) > 1e-3)


@pytest.mark.parametrize(("group", "l1", "l2"), CASES)
def test_conditions_of_optimality(group, l1, l2):
    """By hand: 0 is in the subdifferential of every neuron."""
    X, y = draw(seed=2, n=300, d=15)
    fit = fit_group_lasso(X, y, 3, group=group, l1=l1, l2=l2, tol=1e-7)
    E = X.astype(np.float64) @ fit.coef.T + fit.intercept
    P = np.exp(E - E.max(1, keepdims=True))
    P /= P.sum(1, keepdims=True)
    R = (P - np.eye(3)[y]) / len(y)
    G = R.T @ X.astype(np.float64) + l2 * fit.coef
    assert np.abs(R.sum(0)).max() < 1e-8
    worst = 0.0
    for j in range(15):
        w, g = fit.coef[:, j], G[:, j]
        if w.any():
            g = g + group * w / np.linalg.norm(w)
            part = np.where(w != 0, np.abs(g + l1 * np.sign(w)), np.maximum(np.abs(g) - l1, 0))
            worst = max(worst, np.linalg.norm(part))
        else:
            worst = max(worst, np.linalg.norm(np.maximum(np.abs(g) - l1, 0)) - group)
    assert worst < 5e-4
    assert fit.kkt == pytest.approx(max(worst, 0), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize(("group", "l1", "l2"), CASES)
def test_the_gap_bounds_the_distance_anywhere(group, l1, l2):
    X, y = draw(seed=3)
    theta = np.full(200, 1 / 200)
    best = fit_group_lasso(X, y, 3, group=group, l1=l1, l2=l2, tol=1e-7).objective
    rng = np.random.default_rng(0)
    for size in (0.0, 0.01, 0.3):
        W, b = size * rng.standard_normal((3, 8)), rng.standard_normal(3)
        primal, dual, c, G = certify_groups(X.T, y, W, b, theta, group=group, l1=l1, l2=l2)
        assert primal == pytest.approx(objective(X, y, W, c, group, l1, l2), rel=1e-10)
        assert dual <= best * (1 + 1e-7)
        assert primal >= best * (1 - 1e-6)
    assert G.shape == W.shape


def test_shrinking_is_the_proximal_map():
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((4, 6))
    out = shrink_groups(Z, 0.7, 0.3)
    for j in range(6):

        def cost(w, z=Z[:, j]):
            return 0.5 * ((w - z) ** 2).sum() + 0.7 * np.linalg.norm(w) + 0.3 * np.abs(w).sum()

        for move in rng.standard_normal((200, 4)) * 0.05:
            assert cost(out[:, j]) <= cost(out[:, j] + move) + 1e-12
    assert np.array_equal(shrink_groups(Z, 5.0, 0.0), np.zeros_like(Z))


def test_without_groups_it_is_the_elastic_net_and_the_ridge():
    X, y = draw(seed=4, n=300)
    lasso = fit_group_lasso(X, y, 3, group=0.0, l1=0.02, l2=0.01, tol=1e-6)
    want = fit_elastic_net(X, y, 3, l1=0.02, l2=0.01, tol=1e-6)
    assert lasso.objective == pytest.approx(want.objective, rel=1e-5)
    ridge = fit_group_lasso(X, y, 3, group=0.0, l2=0.01, tol=1e-6)
    want = fit_dense(X, y, 3, l2=0.01, tol=1e-6)
    assert ridge.objective == pytest.approx(want.objective, rel=1e-5)


def test_largest_penalty_is_where_weights_begin():
    X, y = draw(seed=5)
    for l1 in (0.0, 0.02):
        top = largest_group_penalty(X, y, 3, l1=l1)
        assert not fit_group_lasso(X, y, 3, group=top * 1.0001, l1=l1).coef.any()
        inside = fit_group_lasso(X, y, 3, group=top * 0.97, l1=l1, tol=1e-6).coef.any(axis=0)
        assert inside.sum() == 1


def test_weights_stand_for_repeated_tokens():
    X, y = draw(n=150, seed=6)
    weight = np.random.default_rng(0).integers(0, 3, 150)
    rows = np.repeat(np.arange(150), weight)
    a = fit_group_lasso(X, y, 3, group=0.04, sample_weight=weight.astype(float), tol=1e-6)
    b = fit_group_lasso(np.asfortranarray(X[rows]), y[rows], 3, group=0.04, tol=1e-6)
    assert a.objective == pytest.approx(b.objective, rel=1e-5)
    assert a.coef == pytest.approx(b.coef, abs=2e-3)


def test_a_class_without_tokens():
    X, y = draw(seed=7)
    fit = fit_group_lasso(X, y, 5, group=0.04, tol=1e-6)
    want = fit_group_lasso(X, y, 3, group=0.04, tol=1e-6)
    assert fit.objective == pytest.approx(want.objective, rel=1e-9)
    assert not fit.coef[3:].any()
    assert objective(X, y, fit.coef, fit.intercept, 0.04, 0, 0) == pytest.approx(
        want.objective, rel=1e-9
    )


@pytest.mark.parametrize("seed", range(3))
def test_path_lets_planted_neurons_in_first(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, 1500)
    X = rng.standard_normal((1500, 60))
    place = rng.permutation(60)[:8]
    for i, j in enumerate(place):
        X[:, j] += (0.8 if i % 2 else -0.8) * (y == i % 4)
    X = np.asfortranarray((X - X.mean(0)) / X.std(0), dtype=np.float32)
    path = group_lasso_path(X, y, 4, steps=12, smallest=0.05)
    assert set(path.order[:8].tolist()) == set(place.tolist())
    assert sorted(path.order.tolist()) == list(range(60))
    assert (np.diff(path.entered[path.order]) >= 0).all()
    for i, fit in enumerate(path.fits):
        new = fit.coef.any(axis=0)
        assert (path.entered[new] <= i).all()
        assert not new[path.entered > i].any()
    # Warm starts end where cold ones do.
    cold = fit_group_lasso(X, y, 4, group=float(path.group[-1]), tol=1e-4)
    assert path.fits[-1].objective == pytest.approx(cold.objective, rel=1.1e-2)
    short = group_lasso_path(X, y, 4, steps=12, smallest=0.05, enough=3)
    assert len(short.fits) < 12
    assert (short.fits[-1].coef.any(axis=0)).sum() >= 3


def test_refuses_and_warns():
    X, y = draw(n=60, d=5)
    with pytest.raises(SettingError, match="group"):
        fit_group_lasso(X, y, 3, group=-1.0)
    with pytest.raises(SettingError, match="steps ≥ 2"):
        group_lasso_path(X, y, 3, steps=1)
    with pytest.raises(SettingError, match="one penalty"):
        group_lasso_path(X, y, 3, group=[])
    with pytest.raises(InputError, match="the start has weights"):
        fit_group_lasso(X[:, :4], y, 3, group=0.1, start=fit_group_lasso(X, y, 3, group=0.1))
    with pytest.warns(NotConverged, match="group-lasso probe stopped"):
        fit_group_lasso(X, y, 3, group=0.01, tol=1e-6, max_iter=2)
    with pytest.warns(NotConverged, match="group-lasso fits stopped"):
        group_lasso_path(X, y, 3, steps=3, tol=1e-6, max_iter=1)
    X[1, 1] = np.nan
    with pytest.raises(InputError, match="neuron 1 is nan at token 1"):
        fit_group_lasso(X, y, 3, group=0.1)
