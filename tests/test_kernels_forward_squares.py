"""Forward selection and thinning out for least squares against refits of every candidate."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from nissl.errors import LabelError, SettingError
from nissl.kernels.correlation import pearson
from nissl.kernels.forward_squares import forward_squares, thin_out_squares


def draw(n=250, d=10, seed=0):
    """Correlated neurons, one constant; a number that three of them make, far from 0."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    X[:, 5] = X[:, 1] + 0.3 * X[:, 5]
    X[:, 7] = 2.5
    y = 2 * X[:, 1] - X[:, 2] + 0.5 * X[:, 3] + rng.standard_normal(n) + 100
    return np.asfortranarray(X.astype(np.float32)), y


def by_refits(X, y, k, l2):
    """The same by brute force: scikit-learn on every candidate at every step."""
    n, d = X.shape
    order, values = [], []
    for _ in range(k):
        found = []
        for j in (j for j in range(d) if j not in order):
            Z = X[:, [*order, j]].astype(np.float64)
            fit = (Ridge(alpha=n * l2) if l2 else LinearRegression()).fit(Z, y)
            miss = 0.5 * np.mean((y - fit.predict(Z)) ** 2)
            found.append((miss + 0.5 * l2 * (fit.coef_**2).sum(), j))
        value, best = min(found)
        order.append(best)
        values.append(value)
    return order, values


@pytest.mark.parametrize("l2", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_step_is_the_best_of_all_refits(l2, seed):
    X, y = draw(seed=seed)
    found = forward_squares(X, y, k_max=8, l2=l2)
    order, values = by_refits(X, y, 8, l2)
    assert found.order.tolist() == order
    assert found.objective == pytest.approx(values, rel=1e-9)


def test_ridge_counts_what_the_chosen_share():
    """With a strong penalty a copy of a chosen neuron is worth having; without, it adds nothing."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((400, 4))
    X[:, 3] = X[:, 0]
    X = np.asfortranarray(X.astype(np.float32))
    y = 3 * X[:, 0] + 0.2 * X[:, 1] + 0.5 * rng.standard_normal(400)
    assert set(forward_squares(X, y, k_max=2, l2=1.0).order.tolist()) == {0, 3}
    assert forward_squares(X, y, k_max=2, l2=0.0).order.tolist() == [0, 1]


def test_nothing_is_added_that_is_there_already():
    X, y = draw()
    X = np.asfortranarray(np.concatenate([X, X[:, :4]], axis=1))
    found = forward_squares(X, y, k_max=14, l2=0.0)
    assert len(found.order) == 9  # ten neurons less the constant one; no copy
    assert len({j % 10 for j in found.order.tolist()}) == 9
    assert (np.diff(found.objective) <= 0).all()


def test_order_does_not_depend_on_the_unit_of_the_number():
    X, y = draw(d=12)
    one = forward_squares(X, y, k_max=12)
    two = forward_squares(X, 1e6 * y - 3e8, k_max=12)
    assert one.order.tolist() == two.order.tolist()
    assert two.objective == pytest.approx(1e12 * one.objective, rel=1e-6)
    assert np.array_equal(thin_out_squares(X, y), thin_out_squares(X, 1e6 * y - 3e8))


def test_thinning_out_is_ridge_after_ridge():
    X, y = draw(n=300, d=12, seed=4)
    n = len(y)
    first = np.argsort(-np.abs(pearson(X, y)), kind="stable")
    left, gone = first[:8].tolist(), []
    while len(left) > 1:
        size = np.abs(Ridge(alpha=n * 0.01).fit(X[:, left].astype(np.float64), y).coef_)
        stay = max(1, min(len(left) - 1, int(0.6 * len(left))))
        out = np.argsort(size)[: len(left) - stay]
        gone += [left[i] for i in out]
        left = [j for i, j in enumerate(left) if i not in set(out.tolist())]
    want = [*left, *gone[::-1], *first[8:].tolist()]
    assert thin_out_squares(X, y, pool=8, keep=0.6, l2=0.01).tolist() == want


def test_a_neuron_that_another_only_echoes_is_thinned_out():
    X, y = draw(n=2000, seed=5)
    assert abs(pearson(X, y)[5]) > abs(pearson(X, y)[2])
    assert set(thin_out_squares(X, y)[:3].tolist()) == {1, 2, 3}


def test_impossible_input_is_said():
    X, y = draw()
    with pytest.raises(SettingError, match="k_max must be 1 to 10 neurons, not 11"):
        forward_squares(X, y, k_max=11)
    with pytest.raises(SettingError, match="l2"):
        forward_squares(X, y, k_max=1, l2=-1.0)
    with pytest.raises(SettingError, match="0 < keep < 1"):
        thin_out_squares(X, y, keep=1.0)
    bad = y.copy()
    bad[17] = np.nan
    for run in (lambda: forward_squares(X, bad, k_max=1), lambda: thin_out_squares(X, bad)):
        with pytest.raises(LabelError, match="the target is nan at token 17"):
            run()
