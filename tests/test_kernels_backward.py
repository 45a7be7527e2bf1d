"""Backward elimination against brute force and planted truth."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from nissl.errors import InputError, NotConverged, SettingError
from nissl.kernels.backward import backward_elimination, removal_costs
from nissl.kernels.dense import fit_dense


def draw(n=500, d=10, n_classes=3, seed=0, informative=3, shift=1.2):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    X = rng.standard_normal((n, d))
    for j in range(informative):
        # All different, so that no two are tied.
        X[:, j] += shift * (0.5 + 0.3 * j) * (y == j % n_classes)
    X = (X - X.mean(0)) / X.std(0)
    return np.asfortranarray(X, dtype=np.float32), y


def objective(X, y, chosen, l2):
    return fit_dense(
        np.asfortranarray(X[:, chosen]), y, int(y.max()) + 1, l2=l2, tol=1e-6
    ).objective


def test_costs_are_exact_for_a_quadratic():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((50, 6))
    A = Z.T @ Z / 50 + 0.1 * np.eye(6)
    W, s = rng.standard_normal((3, 6)), np.array([0.1, 0.2, 0.05])
    costs = removal_costs(W, np.linalg.inv(A), s)
    for j in range(6):
        free = [i for i in range(6) if i != j]
        total = 0.0
        for c in range(3):
            # Move away from the optimum W with w_j = 0, the others free.
            delta = np.zeros(6)
            delta[j] = -W[c, j]
            delta[free] = np.linalg.solve(A[np.ix_(free, free)], A[free, j] * W[c, j])
            total += 0.5 * s[c] * delta @ A @ delta
        assert costs[j] == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_one_at_a_time_is_the_naive_loop(seed):
    """Drop the neuron without which a refit is best: every subset fitted anew."""
    X, y = draw(seed=seed, informative=5)
    left, gone = list(range(10)), []
    while len(left) > 1:
        _, j = min((objective(X, y, [i for i in left if i != j], 1e-2), j) for j in left)
        left.remove(j)
        gone.append(j)
    found = backward_elimination(X, y, 3, l2=1e-2, drop=0.0, tol=1e-5)
    # Neurons without information are all but tied; those that matter must go in the same sequence.
    naive = [*left, *gone[::-1]]
    assert found.order[:5].tolist() == naive[:5]
    assert sorted(found.order.tolist()) == list(range(10))
    assert found.sizes.tolist() == list(range(10, 0, -1))
    assert (np.diff(found.losses) > -1e-6).all()


def test_losses_are_those_of_converged_probes():
    X, y = draw(seed=4)
    found = backward_elimination(X, y, 3, l2=1e-2, drop=0.4, tol=1e-5)
    for k, loss in zip(found.sizes, found.losses, strict=True):
        m = LogisticRegression(C=1 / (500 * 1e-2), tol=1e-10, max_iter=5000)
        Z = X[:, found.order[:k]]
        logp = m.fit(Z, y).predict_log_proba(Z)[np.arange(500), y]
        want = -logp.mean() + 0.5e-2 * (m.coef_**2).sum()
        assert loss == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_planted_neurons_survive(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, 2000)
    X = rng.standard_normal((2000, 96))
    place = rng.permutation(96)[:12]
    for i, j in enumerate(place):
        X[:, j] += (0.8 if i < 6 else -0.8) * (y == i % 4)
    X = np.asfortranarray((X - X.mean(0)) / X.std(0), dtype=np.float32)
    assert set(backward_elimination(X, y, 4, drop=0.2).order[:12].tolist()) == set(place.tolist())


def test_of_two_copies_one_stays():
    X, y = draw(n=800, d=9, seed=1)
    X = np.asfortranarray(np.column_stack([X, X[:, :3]]))
    # Nearly all go at once: the copy must count for more once its twin is gone.
    found = backward_elimination(X, y, 3, drop=0.75, smallest=3)
    assert found.sizes.tolist() == [12, 3]
    assert {int(j) % 9 for j in found.order[:3]} == {0, 1, 2}


def test_the_pool_comes_first():
    X, y = draw(d=12, informative=3)
    pool = np.array([1, 5, 7, 2])
    found = backward_elimination(X, y, 3, pool=pool)
    assert set(found.order[:4].tolist()) == set(pool.tolist())
    # Neuron 0 carries a class and was left out: it is the next best.
    assert found.order[4] == 0
    assert sorted(found.order.tolist()) == list(range(12))


def test_weights_stand_for_repeated_tokens():
    X, y = draw(n=300, d=8, seed=3)
    weight = np.random.default_rng(0).integers(0, 3, 300)
    rows = np.repeat(np.arange(300), weight)
    a = backward_elimination(X, y, 3, sample_weight=weight.astype(float), tol=1e-4)
    b = backward_elimination(np.asfortranarray(X[rows]), y[rows], 3, tol=1e-4)
    assert a.order.tolist() == b.order.tolist()
    assert a.losses == pytest.approx(b.losses, rel=1e-4)


def test_constant_neurons_go_first():
    X, y = draw(d=6)
    X[:, 4] = 0
    assert backward_elimination(X, y, 3, drop=0.0).order[-1] == 4


def test_refuses_and_warns():
    X, y = draw(n=60, d=5)
    with pytest.raises(SettingError, match="needs a ridge"):
        backward_elimination(X, y, 3, l2=0.0)
    with pytest.raises(SettingError, match="drop"):
        backward_elimination(X, y, 3, drop=1.0)
    with pytest.raises(SettingError, match="0…4, each once"):
        backward_elimination(X, y, 3, pool=np.array([1, 1]))
    with pytest.raises(SettingError, match="0…4, each once"):
        backward_elimination(X, y, 3, pool=np.array([5]))
    with pytest.warns(NotConverged, match="backward elimination"):
        backward_elimination(X, y, 3, tol=1e-14)
    X[4, 1] = np.nan
    with pytest.raises(InputError, match="neuron 1 is nan at token 4"):
        backward_elimination(X, y, 3)
