"""The Gaussian probe against a loop that refits every candidate with SciPy, and planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from nissl.errors import InputError, LabelError, SettingError
from nissl.kernels._gaussian_loops import _exp
from nissl.kernels._gaussian_model import Prior, build
from nissl.kernels.gaussian import gaussian_curve, gaussian_scores, gaussian_selection
from nissl.testing import check_scorer
from nissl.testing_bench import planted_bench


def data(seed=0, n=300, d=24, n_classes=3):
    """Correlated neurons with class means and class covariances, float32 in Fortran order."""
    rng = np.random.default_rng(seed)
    y = rng.choice(n_classes, n, p=np.arange(1, n_classes + 1) / (n_classes * (n_classes + 1) / 2))
    mix = rng.standard_normal((n_classes, d, d)) / np.sqrt(d)
    X = np.einsum("nd,nde->ne", rng.standard_normal((n, d)), (np.eye(d) + 0.4 * mix)[y])
    X += 0.25 * rng.standard_normal((n_classes, d))[y]
    return np.asfortranarray((X - X.mean(axis=0)) / X.std(axis=0), dtype=np.float32), y


def refit(X, y, S, scored, covariance="map", kappa=0.01, m=1.0):
    """Fit the neurons S from nothing and return log-probabilities of classes (n, C).

    The textbook's posterior (Murphy 2012, section 4.6.3) with ν₀ = k + 1 + m, scale m·diag(pooled
    variance) and mean μ₀ of all tokens; mode Λ / (ν + k + 2), mean Λ / (ν − k − 1).
    """
    A, B = X[:, S].astype(np.float64), scored[:, S].astype(np.float64)
    k, found = len(S), []
    classes = np.unique(y)
    pooled = sum(((A[y == c] - A[y == c].mean(0)) ** 2).sum(0) for c in classes) / len(A)
    for c in classes:
        own = A[y == c]
        n, mean, top = len(own), own.mean(axis=0), A.mean(axis=0)
        scatter = (own - mean).T @ (own - mean) + m * np.diag(pooled)
        scatter += kappa * n / (kappa + n) * np.outer(mean - top, mean - top)
        size = X.shape[1] if covariance == "joint" else k
        nu = size + 1 + m + n
        by = nu - size - 1 if covariance == "mean" else nu + size + 2
        centre = (kappa * top + n * mean) / (kappa + n)
        gauss = multivariate_normal(centre, scatter / by)
        found.append(np.log(n / len(A)) + gauss.logpdf(B).reshape(len(B)))
    joint = np.stack(found, axis=1)
    return joint - logsumexp(joint, axis=1, keepdims=True)


def naive(X, y, steps, criterion="likelihood", held_out=None, covariance="map"):
    """The greedy loop, every candidate refitted."""
    there, labels = (X, y) if held_out is None else held_out
    code = np.searchsorted(np.unique(y), labels)
    picks, curve = [], []
    for _ in range(steps):
        value = np.full(X.shape[1], -np.inf)
        for j in set(range(X.shape[1])) - set(picks):
            log_p = refit(X, y, [*picks, j], there, covariance)
            if criterion == "likelihood":
                value[j] = log_p[np.arange(len(code)), code].mean()
            else:
                value[j] = (np.exp(log_p) * log_p).sum(axis=1).mean()
        picks.append(int(value.argmax()))
        log_p = refit(X, y, picks, there, covariance)
        right = (log_p.argmax(axis=1) == code).mean()
        curve.append((log_p[np.arange(len(code)), code].mean(), right))
    return picks, np.array(curve).T


@pytest.mark.parametrize("covariance", ["map", "mean", "joint"])
@pytest.mark.parametrize("criterion", ["likelihood", "information"])
def test_picks_and_curves_are_those_of_the_naive_loop(criterion, covariance):
    X, y = data()
    picks, (log_p, right) = naive(X, y, 6, criterion, covariance=covariance)
    found = gaussian_selection(X, y, 3, steps=6, criterion=criterion, covariance=covariance)
    assert found.picks.tolist() == picks
    assert found.log_likelihood == pytest.approx(log_p, abs=1e-6)
    assert found.accuracy == pytest.approx(right, abs=1e-12)
    share = np.bincount(y) / len(y)
    assert found.entropy == pytest.approx(-(share * np.log(share)).sum())
    assert found.information == pytest.approx(found.entropy + log_p, abs=1e-6)


def test_picks_are_those_of_the_naive_loop_on_held_out_tokens_and_with_an_empty_class():
    X, y = data(seed=1, n=500, n_classes=4)
    y = np.where(y == 1, 0, y)
    dev = (X[300:], y[300:])
    picks, (log_p, right) = naive(X[:300], y[:300], 5, held_out=dev)
    found = gaussian_selection(np.asfortranarray(X[:300]), y[:300], 4, steps=5, held_out=dev)
    assert found.picks.tolist() == picks
    assert found.log_likelihood == pytest.approx(log_p, abs=1e-6)
    assert found.accuracy == pytest.approx(right, abs=1e-12)


def test_more_tokens_and_candidates_than_a_block_score_as_one_by_one():
    X, y = data(seed=2, n=1100, d=37)
    found = gaussian_selection(X, y, 3, steps=12)
    picks, (log_p, _) = naive(X, y, 2)
    assert found.picks[:2].tolist() == picks
    log_p = refit(X, y, found.picks.tolist(), X)[np.arange(len(y)), y].mean()
    assert found.log_likelihood[-1] == pytest.approx(log_p, abs=1e-6)
    last = [refit(X, y, [*found.picks[:11].tolist(), int(j)], X) for j in found.order[11:]]
    value = np.array([a[np.arange(len(y)), y].mean() for a in last])
    assert (np.diff(value) < 1e-6).all()  # the order of the rest is by the last step's value


def test_quick_scores_are_those_in_float64():
    X, y = data(seed=7, n=1100, d=37)
    model = build(X.T, y, 3, None, Prior(0.01, 1.0, "map"))
    model.reserve(3)
    for j in (5, 30, 11):
        left = np.setdiff1d(np.arange(37), model.picks)
        want = np.array([model.exact(int(k)) for k in left]).T
        assert model.scores(left) == pytest.approx(want, abs=1e-6)
        model.add(j)


def test_curve_of_a_given_order_is_that_of_refitting():
    X, y = data(seed=3)
    order = np.array([7, 2, 19, 4])
    found = gaussian_curve(X, y, 3, order, covariance="mean", scatter_tokens=3.0, mean_tokens=0.5)
    for k in range(1, 5):
        log_p = refit(X, y, order[:k].tolist(), X, "mean", 0.5, 3.0)[np.arange(len(y)), y].mean()
        assert found.log_likelihood[k - 1] == pytest.approx(log_p, abs=1e-8)
    assert sorted(found.order.tolist()) == list(range(24))
    chosen = gaussian_selection(X, y, 3, steps=4)
    again = gaussian_curve(X, y, 3, chosen.picks)
    assert np.array_equal(again.log_likelihood, chosen.log_likelihood)


@pytest.mark.parametrize("seed", range(5))
def test_finds_all_planted_neurons(seed):
    bench = planted_bench(seed)
    found = gaussian_selection(bench.Z, bench.y, 2, steps=18)
    assert set(found.picks.tolist()) == set(bench.planted.tolist())
    assert sorted(found.order.tolist()) == list(range(96))
    assert found.accuracy[-1] > 0.9


def test_two_neurons_that_only_tell_together_are_found():
    """Exclusive or: no single neuron knows anything, class covariances differ."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 20))
    y = (X[:, 3] * X[:, 11] > 0).astype(np.int64)
    X = np.asfortranarray(X, dtype=np.float32)
    pair = gaussian_curve(X, y, 2, np.array([3, 11]))
    assert pair.information[0] < 0.005
    assert pair.information[1] > 0.2


def test_exact_copies_and_constant_neurons_do_no_harm():
    X, y = data(seed=4)
    X = np.asfortranarray(np.column_stack([X, X[:, :4], np.zeros(len(y)), X[:, 0]]), np.float32)
    found = gaussian_selection(X, y, 3, steps=40)
    assert len(found.picks) == 29
    assert found.order[-1] == 28  # the constant one
    assert np.isfinite(found.log_likelihood).all()
    # A copy adds next to nothing: both copies of a neuron are never among the first.
    first = [min(int(j), int(j) - 24) if 24 <= j < 28 else int(j) % 29 for j in found.picks[:10]]
    assert len(set(first)) == 10


def test_rare_classes_and_curves_stay_in_bounds():
    X, y = data(seed=5, n=120, d=40, n_classes=6)
    y[y == 0], y[0] = 1, 0  # a class of one token
    for covariance in ("map", "mean", "joint"):
        found = gaussian_selection(X, y, 6, steps=40, covariance=covariance)
        assert np.isfinite(found.log_likelihood).all()
        assert (found.information >= 0).all()
        assert (found.normalised_information <= 1).all()


def test_small_classes_survive_the_marginal_mode_but_not_the_joint_one():
    rng = np.random.default_rng(6)
    y = (rng.random(4000) < 0.02).astype(np.int64)
    X = rng.standard_normal((4000, 200))
    X[:, 0] += 1.5 * y
    X = np.asfortranarray(X, dtype=np.float32)
    order = np.array([0, *range(50, 55)])
    bits = {
        c: gaussian_curve(X[:2000], y[:2000], 2, order, held_out=(X[2000:], y[2000:]), covariance=c)
        for c in ("map", "joint")
    }
    assert bits["map"].log_likelihood[-1] > bits["joint"].log_likelihood[-1]


def test_scores_keep_the_contract_of_rankings():
    check_scorer(lambda X, y: gaussian_scores(X, y, int(y.max()) + 1, steps=6))


def test_the_written_out_exponential_is_right():
    x = np.linspace(-87, 0, 3001).astype(np.float32)
    found = np.array([_exp(v) for v in x], dtype=np.float64)
    assert found == pytest.approx(np.exp(x.astype(np.float64)), rel=3e-7)
    assert 0 <= _exp(np.float32(-1e9)) < 1e-37


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"steps": 0}, SettingError, "steps"),
        ({"criterion": "likelyhood"}, SettingError, "Did you mean"),
        ({"covariance": "mode"}, SettingError, "no covariance"),
        ({"scatter_tokens": 0.0}, SettingError, "scatter_tokens"),
        ({"y": np.zeros(300, np.int64)}, LabelError, "one class"),
        ({"X": np.zeros((300, 24), np.float32)}, InputError, "constant"),
        ({"X": np.full((300, 24), np.nan, np.float32)}, InputError, "finite"),
        ({"held_out": (np.zeros((3, 2), np.float32), np.zeros(3, int))}, InputError, "held_out"),
        ({"held_out": (np.zeros((3, 24), np.float32), np.array([0, 1, 3]))}, LabelError, "class 3"),
    ],
)
def test_bad_input_is_named(change, error, says):
    X, y = data()
    settings = {"X": X, "y": y, **change}
    with pytest.raises(error, match=says):
        gaussian_selection(settings.pop("X"), settings.pop("y"), 4, **settings)


def test_bad_orders_are_named():
    X, y = data()
    with pytest.raises(InputError, match="different neurons"):
        gaussian_curve(X, y, 3, np.array([1, 1]))
    X[:, 2] = 0
    with pytest.raises(InputError, match="neuron 2 is constant"):
        gaussian_curve(X, y, 3, np.array([1, 2]))
