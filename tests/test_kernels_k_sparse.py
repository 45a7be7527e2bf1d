"""k-sparse probing against brute force and planted truth."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from nissl.errors import InputError, SettingError
from nissl.kernels.k_sparse import k_sparse, k_sparse_scores, preselect, refine, thin_out
from nissl.testing import check_scorer


def draw(n=400, d=10, n_classes=2, seed=0, informative=3, shift=1.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    X = rng.standard_normal((n, d))
    for j in range(informative):
        X[:, j] += shift * (y == j % n_classes)
    X = (X - X.mean(0)) / X.std(0)
    return np.asfortranarray(X, dtype=np.float32), y


def xor_like(seed=0, n=1200, d=10):
    """Neurons 0 and 1 share a large noise: alone they say little, together nearly all."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    X = rng.standard_normal((n, d))
    noise = 2.0 * rng.standard_normal(n)
    X[:, 0], X[:, 1] = noise + 0.9 * (2 * y - 1), noise - 0.9 * (2 * y - 1)
    for j in (2, 3, 4):
        X[:, j] += 0.65 * (2 * y - 1)
    X = (X - X.mean(0)) / X.std(0)
    return np.asfortranarray(X, dtype=np.float32), y


def objective(X, y, chosen, l2):
    """Ridge objective by scikit-learn. Its binary weights v stand for W = (−v/2, v/2)."""
    n, binary = len(y), y.max() == 1
    m = LogisticRegression(C=1 / (n * l2 * (0.5 if binary else 1)), tol=1e-9, max_iter=5000)
    Z = X[:, list(chosen)]
    logp = m.fit(Z, y).predict_log_proba(Z)[np.arange(n), y]
    return -logp.mean() + 0.5 * l2 * (m.coef_**2).sum() * (0.5 if binary else 1)


@pytest.mark.parametrize(("n_classes", "k"), [(2, 2), (2, 3), (3, 2)])
def test_exhaustive_refinement_is_brute_force(n_classes, k):
    X, y = draw(d=7, n_classes=n_classes, informative=4, shift=0.6, seed=k)
    want = {s: objective(X, y, s, 1e-2) for s in itertools.combinations(range(7), k)}
    best = min(want, key=want.__getitem__)
    chosen, value, exact, tried = refine(
        X, y, n_classes, np.arange(7 - k, 7), pool=np.arange(7), l2=1e-2
    )
    assert tuple(chosen.tolist()) == best
    assert value == pytest.approx(want[best], rel=3e-4)
    assert exact
    assert tried == len(want)


@pytest.mark.parametrize("seed", range(3))
def test_swaps_end_where_no_exchange_helps(seed):
    X, y = draw(d=9, informative=6, shift=0.5, seed=seed)
    chosen, value, exact, tried = refine(
        X, y, 2, np.array([6, 7, 8]), pool=np.arange(9), l2=1e-2, exhaustive=0, candidates=9
    )
    assert not exact
    assert tried > 10
    assert value == pytest.approx(objective(X, y, chosen, 1e-2), rel=3e-4)
    for gone, new in itertools.product(chosen, set(range(9)) - set(chosen.tolist())):
        other = [*(j for j in chosen if j != gone), new]
        assert objective(X, y, other, 1e-2) > value * (1 - 5e-4)


def test_larger_sets_are_exchanged_until_single_exchanges_fail():
    X, y = draw(d=24, informative=16, shift=0.6, seed=3)
    start = np.arange(16, 24)
    chosen, value, exact, tried = refine(X, y, 2, start, pool=np.arange(24), l2=1e-2, few=5)
    thorough = refine(X, y, 2, start, pool=np.arange(24), l2=1e-2, few=50, exhaustive=0)
    assert not exact
    assert tried > 8
    assert len(set(chosen.tolist())) == 8
    assert value == pytest.approx(objective(X, y, chosen, 1e-2), rel=3e-4)
    assert value < 0.9 * objective(X, y, start, 1e-2)
    assert value <= thorough[1] * 1.005


def test_refinement_finds_what_single_neurons_hide():
    X, y = xor_like()
    assert not {0, 1} & set(preselect(X, y, 2)[:3].tolist())
    for limit in (2000, 0):
        chosen, _, exact, _ = refine(
            X, y, 2, np.array([2, 3]), pool=np.arange(10), exhaustive=limit
        )
        assert exact == (limit > 0)
        if exact:
            assert chosen.tolist() == [0, 1]
    found = k_sparse(X, y, 2, 2, pool=10)
    assert found.chosen.tolist() == [0, 1]
    assert found.exact
    assert set(found.order[:2].tolist()) == {0, 1}
    assert sorted(found.order.tolist()) == list(range(10))


def test_thinning_out_keeps_pairs_that_work_together():
    X, y = xor_like(seed=1)
    order = thin_out(X, y, 2, pool=10)
    assert set(order[:2].tolist()) == {0, 1}
    assert sorted(order.tolist()) == list(range(10))
    # Outside the pool, neurons keep the sequence of their mean differences.
    assert thin_out(X, y, 2, pool=4)[4:].tolist() == preselect(X, y, 2)[4:].tolist()


def test_preselection_is_by_mean_difference():
    X, y = draw(n_classes=3, seed=2)
    gap = [max(abs(X[y == c, j].mean() - X[y != c, j].mean()) for c in range(3)) for j in range(10)]
    assert preselect(X, y, 3).tolist() == np.argsort(-np.array(gap)).tolist()


@pytest.mark.parametrize("seed", range(2))
def test_planted_neurons(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, 2000)
    X = rng.standard_normal((2000, 96))
    place = rng.permutation(96)[:12]
    for i, j in enumerate(place):
        X[:, j] += (0.8 if i < 6 else -0.8) * (y == i % 4)
    X = np.asfortranarray((X - X.mean(0)) / X.std(0), dtype=np.float32)
    assert set(thin_out(X, y, 4, pool=60).tolist()[:12]) == set(place.tolist())
    scores = k_sparse_scores(X, y, 4)
    for c in range(4):
        best = set(np.argsort(-scores[c])[:3].tolist())
        assert best == {int(j) for i, j in enumerate(place) if i % 4 == c}


def test_scores_keep_the_contract_of_a_ranking():
    check_scorer(lambda X, y: k_sparse_scores(X, y, 3))


def test_a_class_without_tokens_scores_nothing():
    X, y = draw(d=6)
    scores = k_sparse_scores(X, y, 3)
    assert (scores[2] == 0).all()
    assert (scores[:2].max(axis=1) == 1).all()


def test_refuses():
    X, y = draw(d=6)
    with pytest.raises(SettingError, match="between 1 and 6"):
        k_sparse(X, y, 2, 7)
    with pytest.raises(SettingError, match="refine_pool"):
        k_sparse(X, y, 2, 2, refine_pool=-1)
    with pytest.raises(SettingError, match="keep=1"):
        thin_out(X, y, 2, keep=1.0)
    with pytest.raises(SettingError, match="l2 above 0"):
        refine(X, y, 2, np.array([1]), pool=np.arange(3), l2=0.0)
    X[2, 3] = np.inf
    with pytest.raises(InputError, match="neuron 3 is inf"):
        thin_out(X, y, 2)
