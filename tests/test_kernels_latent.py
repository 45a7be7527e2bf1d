"""Distributions of subsets and the latent-variable probe against enumeration and planted truth."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import chisquare

from nissl.errors import InputError, LabelError, NotConverged, SettingError
from nissl.kernels import latent_probe
from nissl.kernels._latent_family import Family
from nissl.kernels._latent_steps import Weights, likelihoods, logit_gradient
from nissl.kernels.latent_probe import fit_latent_probe, latent_scores
from nissl.kernels.subset_distributions import ConditionalPoisson, Poisson
from nissl.testing_bench import planted_bench


def every_subset(d):
    return np.array(list(itertools.product([False, True], repeat=d)))


def logits(d=8, seed=0, scale=1.5):
    return scale * np.random.default_rng(seed).standard_normal(d)


FAMILY = {
    "poisson": Poisson,
    **{f"of {k}": (lambda x, k=k: ConditionalPoisson(x, k)) for k in (0, 1, 3, 7, 8)},
}


@pytest.fixture(params=list(FAMILY))
def make(request):
    return FAMILY[request.param]


def numeric(fn, x, step=1e-5):
    """Central differences of a number by each coordinate."""
    unit = np.eye(len(x)) * step
    return np.array([(fn(x + e) - fn(x - e)) / (2 * step) for e in unit])


def test_probabilities_sum_to_one_and_the_expected_score_is_zero(make):
    q, subsets = make(logits()), every_subset(8)
    p = np.exp(q.log_prob(subsets))
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert np.abs(p @ q.score(subsets)).max() < 1e-12
    if isinstance(q, ConditionalPoisson):
        assert np.count_nonzero(p) == comb(8, q.size)


def test_probabilities_are_proportional_to_weights(make):
    q, subsets = make(logits(seed=1)), every_subset(8)
    weight = np.exp(subsets @ logits(seed=1))
    if isinstance(q, ConditionalPoisson):
        weight *= subsets.sum(axis=1) == q.size
        assert q.log_normaliser == pytest.approx(np.log(weight.sum()), abs=1e-12)
    assert np.exp(q.log_prob(subsets)) == pytest.approx(weight / weight.sum(), abs=1e-12)


def test_score_is_the_gradient_of_the_log_probability(make):
    q, x = make(logits()), logits()
    z = every_subset(8)
    z = z[np.isfinite(q.log_prob(z))][[0, -1]]
    for i in range(2):
        want = numeric(lambda v, i=i: float(make(v).log_prob(z)[i]), x)
        assert q.score(z)[i] == pytest.approx(want, abs=1e-7)


def test_moments_and_entropy_are_those_of_enumeration(make):
    q, subsets = make(logits(seed=2)), every_subset(8)
    log_p = q.log_prob(subsets)
    p, there = np.exp(log_p), np.isfinite(log_p)
    assert q.inclusion == pytest.approx(p @ subsets, abs=1e-12)
    entropy = -(p[there] * log_p[there]).sum()
    assert q.entropy == pytest.approx(entropy, abs=1e-10)
    centred = subsets - p @ subsets
    direction = logits(seed=3)
    want = (centred.T * p) @ centred @ direction
    assert q.covariance_times(direction) == pytest.approx(want, abs=1e-7)
    assert (q.covariance_times(np.zeros(8)) == 0).all()
    slope = numeric(lambda v: make(v).entropy, logits(seed=2))
    assert q.entropy_gradient == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("rate", [0.5, 0.1])
def test_divergence_and_its_gradient_are_those_of_enumeration(make, rate):
    x, subsets = logits(seed=4), every_subset(8)
    q = make(x)
    log_p = q.log_prob(subsets)
    there = np.isfinite(log_p)
    settings = {}
    if isinstance(q, Poisson):
        settings, k = {"rate": rate}, subsets.sum(axis=1)
        prior = k * np.log(rate) + (8 - k) * np.log(1 - rate)
    else:
        prior = np.full(256, -np.log(comb(8, q.size)))
    found, slope = q.divergence(**settings)
    want = (np.exp(log_p[there]) * (log_p - prior)[there]).sum()
    assert found == pytest.approx(want, abs=1e-10)
    want = numeric(lambda v: make(v).divergence(**settings)[0], x)
    assert slope == pytest.approx(want, abs=1e-6)


def test_draws_have_the_right_frequencies(make):
    q, subsets = make(logits(seed=5)), every_subset(8)
    p = np.exp(q.log_prob(subsets))
    drawn = q.sample(np.random.default_rng(0), 40_000)
    count = np.bincount(drawn @ (1 << np.arange(7, -1, -1)), minlength=256)
    assert count[p == 0].sum() == 0
    # Rare subsets are counted together: the statistic needs some expected draws in every cell.
    often = p * 40_000 >= 5
    seen, want = count[often], p[often] * 40_000
    if not often.all() and p[~often].sum() > 0:
        seen, want = np.append(seen, count[~often].sum()), np.append(want, p[~often].sum() * 40_000)
    assert len(seen) == 1 or chisquare(seen, want * seen.sum() / want.sum()).pvalue > 1e-3


def test_a_constant_changes_nothing_for_a_fixed_size():
    a, b = ConditionalPoisson(logits(), 3), ConditionalPoisson(logits() + 700.0, 3)
    subsets = every_subset(8)
    assert a.inclusion == pytest.approx(b.inclusion, abs=1e-9)
    assert np.exp(a.log_prob(subsets)) == pytest.approx(np.exp(b.log_prob(subsets)), abs=1e-9)


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_many_neurons_and_extreme_logits_keep_their_digits(scale):
    x = logits(600, seed=6, scale=scale)
    for size in (1, 300, 599):
        q = ConditionalPoisson(x, size)
        assert np.isfinite(q.log_normaliser)
        assert q.inclusion.sum() == pytest.approx(size, abs=1e-7)
        assert (np.diff(q.inclusion[np.argsort(x)]) > -1e-9).all()
        assert (q.sample(np.random.default_rng(0), 3).sum(axis=1) == size).all()
        assert 0 <= q.entropy <= np.log(float(comb(600, size)))
    # Subsets of 599 are those without one neuron: exp(-logit) decides which.
    left_out = np.exp(-x - np.logaddexp.reduce(-x))
    assert 1 - ConditionalPoisson(x, 599).inclusion == pytest.approx(left_out, abs=1e-7)


def test_gradient_estimates_are_unbiased_whatever_the_control_variate():
    """All pairs of draws, weighted by their probability: no luck is involved."""
    subsets, rng = every_subset(4), np.random.default_rng(0)
    f = rng.standard_normal(16)
    for q in (Poisson(logits(4)), ConditionalPoisson(logits(4), 2)):
        p = np.exp(q.log_prob(subsets))
        exact = (p * f) @ q.score(subsets)
        for slope in (np.zeros(4), rng.standard_normal(4)):
            mean = np.zeros(4)
            for i, j in itertools.product(np.flatnonzero(p), repeat=2):
                mean += p[i] * p[j] * logit_gradient(q, subsets[[i, j]], f[[i, j]], slope)
            assert mean == pytest.approx(exact, abs=1e-7)


def test_control_variates_take_the_noise_out():
    slope = logits(8, seed=7)
    for q in (Poisson(logits()), ConditionalPoisson(logits(), 4)):
        z = q.sample(np.random.default_rng(0), 2)
        exact = q.covariance_times(slope)
        assert logit_gradient(q, z, z @ slope + 3.0, slope) == pytest.approx(exact, abs=1e-9)
        assert np.abs(logit_gradient(q, z, z @ slope + 3.0, 0 * slope) - exact).max() > 0.01
        # A constant, however large, is no noise at all.
        assert logit_gradient(q, z, np.full(2, 1e6), 0 * slope) == pytest.approx(0, abs=1e-6)


def small(seed=0, n=400, d=6):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    X = rng.standard_normal((n, d))
    X[:, 0] += y
    X[:, 1] += 0.25 * (y == 2)
    return np.asfortranarray((X - X.mean(axis=0)) / X.std(axis=0), dtype=np.float32), y


def test_likelihoods_and_their_gradients():
    X, y = small(d=4)
    rng = np.random.default_rng(1)
    w = Weights(rng.standard_normal((3, 4)), rng.standard_normal(3), np.zeros(4))
    masks = np.array([[1, 0, 1, 1], [0, 0, 0, 1], [0.5, 0.2, 1, 0]])

    def value(W, b, m):
        return log_softmax((X.astype(float) * m) @ W.T + b, axis=1)[np.arange(len(y)), y].mean()

    found, by_masked, by_b = likelihoods(X.T, y, w, masks, gradients=True)
    for i, m in enumerate(masks):
        assert found[i] == pytest.approx(value(w.W, w.b, m), abs=1e-6)
        by_w = numeric(lambda v, m=m: value(v.reshape(3, 4), w.b, m), w.W.ravel()).reshape(3, 4)
        assert m * by_masked[i] == pytest.approx(by_w, abs=1e-5)
        assert by_b[i] == pytest.approx(numeric(lambda v, m=m: value(w.W, v, m), w.b), abs=1e-5)
        by_mask = numeric(lambda v: value(w.W, w.b, v), m.astype(float))
        assert (w.W * by_masked[i]).sum(axis=0) == pytest.approx(by_mask, abs=1e-5)


def exact_bound(X, y, v, size, l2=1e-4):
    """Bound over all subsets and its gradient in float64; v is W (3, d), b (3,), logits (d,)."""
    n, d = X.shape
    W, b, x = v[: 3 * d].reshape(3, d), v[3 * d : -d], v[-d:]
    q = Poisson(x) if size is None else ConditionalPoisson(x, size)
    z = every_subset(d).astype(float)
    p = np.exp(q.log_prob(z > 0))
    log_p = log_softmax(np.einsum("nd,sd,cd->snc", X, z, W, optimize=True) + b, axis=2)
    value = log_p[:, np.arange(n), y].mean(axis=1)
    rest = (np.eye(3)[y] - np.exp(log_p)) / n
    away, slope = q.divergence()
    by_W = np.einsum("s,sd,snc,nd->cd", p, z, rest, X, optimize=True) - l2 * W
    by_b = np.einsum("s,snc->c", p, rest)
    by_x = (p * value) @ q.score(z > 0) - slope / n
    total = p @ value - away / n - 0.5 * l2 * (W**2).sum()
    return total, np.concatenate([by_W.ravel(), by_b, by_x])


@pytest.mark.parametrize("size", [None, 2])
def test_reaches_the_best_bound_there_is(size):
    """The exact bound of 32 subsets, maximised by L-BFGS, against the stochastic fit."""
    X, y = small(n=200, d=5)
    start = np.random.default_rng(0).standard_normal(23)
    slope = numeric(lambda v: exact_bound(X, y, v, size)[0], start)
    assert exact_bound(X, y, start, size)[1] == pytest.approx(slope, abs=1e-6)

    def loss(v):
        value, gradient = exact_bound(X, y, v, size)
        return -value, -gradient

    best = -minimize(loss, np.zeros(23), jac=True).fun
    family = "poisson" if size is None else "conditional-poisson"
    fit = fit_latent_probe(X, y, 3, family=family, size=size, held_out=(X, y))
    ours = exact_bound(X, y, np.concatenate([fit.coef.ravel(), fit.intercept, fit.logits]), size)[0]
    assert best - ours < 0.02 * (best + np.log(3))
    assert fit.order[0] == 0


@pytest.mark.parametrize(
    ("seed", "settings"),
    [
        (0, {}),
        (1, {}),
        (2, {"family": "conditional-poisson", "size": 12}),
        (3, {"family": "conditional-poisson"}),
    ],
    ids=["poisson", "poisson again", "of 12", "of drawn sizes"],
)
def test_planted_mean_shifts_are_included_first(seed, settings):
    bench = planted_bench(seed)
    fit = fit_latent_probe(bench.Z, bench.y, 2, seed=seed, **settings)
    shifted = np.concatenate([bench.raised, bench.lowered])
    assert set(fit.order[:12].tolist()) == set(shifted.tolist())
    others = np.setdiff1d(np.arange(96), shifted)
    assert fit.inclusion[shifted].min() > fit.inclusion[others].max() + 0.02
    assert fit.converged
    assert (np.diff(fit.inclusion[fit.order]) <= 1e-12).all()


def test_the_best_parameters_are_what_is_returned():
    """With few tokens the bound rises, then falls; and the steps run out before that is seen."""
    bench = planted_bench(0, n_tokens=900)
    X, dev = np.asfortranarray(bench.Z[:600]), (np.asfortranarray(bench.Z[600:]), bench.y[600:])
    with pytest.warns(NotConverged, match="max_steps"):
        fit = fit_latent_probe(
            X, bench.y[:600], 2, held_out=dev, learning_rate=0.03, max_steps=60, every=1,
            patience=50,
        )  # fmt: skip
    assert not fit.converged
    assert fit.steps == 60
    assert fit.bound == fit.bounds.max()
    assert 0 < fit.bounds.argmax() < 59
    assert fit.bounds[-1] < fit.bound - 1e-3
    q = Poisson(fit.logits)
    masks = q.sample(np.random.default_rng(1), 32)
    w = Weights(fit.coef, fit.intercept, fit.logits)
    again = float(likelihoods(dev[0].T, dev[1], w, masks)[0].mean())
    assert again == pytest.approx(fit.log_likelihood, abs=1e-12)
    assert again - q.divergence()[0] / 600 == pytest.approx(fit.bound, abs=1e-12)


def test_an_unscaled_divergence_learns_no_subset_and_a_scaled_one_does():
    bench = planted_bench(1, n_tokens=1000)
    kept = fit_latent_probe(bench.Z, bench.y, 2, divergence_weight=1000.0)
    assert np.abs(kept.inclusion - 0.5).max() < 0.1
    learnt = fit_latent_probe(bench.Z, bench.y, 2)
    assert np.abs(learnt.inclusion - 0.5).max() > 0.4


def test_a_sparse_prior_keeps_noise_out():
    bench = planted_bench(2, n_tokens=2000)
    fit = fit_latent_probe(bench.Z, bench.y, 2, rate=0.02)
    shifted = np.concatenate([bench.raised, bench.lowered])
    assert set(fit.order[:12].tolist()) == set(shifted.tolist())
    assert fit.inclusion[np.setdiff1d(np.arange(96), shifted)].mean() < 0.1


def test_same_seed_same_fit_and_scores_for_every_class():
    X, y = small()
    fit, scores = fit_latent_probe(X, y, 3, seed=4), latent_scores(X, y, 3, seed=4)
    assert np.array_equal(scores, np.repeat(fit.inclusion[None], 3, axis=0))


@pytest.mark.parametrize("batch", [90, 256, 300, 512, 5000])
def test_every_training_token_is_in_a_batch(batch, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 4)).astype(np.float32)
    X[:, 0] = np.arange(600)
    seen: list[np.ndarray] = []
    monkeypatch.setattr(latent_probe, "_climb", lambda adam, w, XT, *rest: seen.append(XT[0]))
    epoch = -(-540 // batch)
    with pytest.warns(NotConverged):
        fit_latent_probe(X, rng.integers(0, 2, 600), 2, batch=batch, max_steps=epoch)
    tokens = np.concatenate(seen)
    assert len(np.unique(tokens)) == len(tokens) == 540
    assert max(map(len, seen)) <= batch
    assert max(map(len, seen)) - min(map(len, seen)) <= 1


def sizes_of(q):
    assert isinstance(q, ConditionalPoisson)
    return q.size


def test_sizes_of_a_spread_have_the_mean_of_all_sizes():
    sizes = [sizes_of(q) for q, _ in Family(False, 640, None, 0.5).spread(np.zeros(640))]
    assert np.mean(sizes) == pytest.approx(320.5, abs=0.6)
    sizes = [sizes_of(q) for q, _ in Family(False, 5, None, 0.5).spread(np.zeros(5))]
    assert sizes == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"family": "poison"}, SettingError, "Did you mean"),
        ({"size": 3}, SettingError, "leave out size"),
        ({"family": "conditional-poisson", "size": 7}, SettingError, "size must be from 1"),
        ({"rate": 1.0}, SettingError, "rate"),
        ({"draws": 1}, SettingError, "draws"),
        ({"learning_rate": 0.0}, SettingError, "learning_rate"),
        ({"l2": -1.0}, SettingError, "l2"),
        ({"y": np.zeros(400, np.int64)}, LabelError, "one class"),
        ({"held_out": (np.zeros((3, 2), np.float32), np.zeros(3, int))}, InputError, "held_out"),
        ({"X": np.zeros((4, 6), np.float32), "y": np.array([0, 1, 0, 1])}, InputError, "too few"),
    ],
)
def test_bad_input_is_named(change, error, says):
    X, y = small()
    settings = {"X": X, "y": y, **change}
    with pytest.raises(error, match=says):
        fit_latent_probe(settings.pop("X"), settings.pop("y"), 3, **settings)


def test_bad_logits_and_sizes_are_named():
    with pytest.raises(InputError, match="logit 1 is not finite"):
        Poisson(np.array([0.0, np.nan]))
    with pytest.raises(InputError, match="shape"):
        Poisson(np.zeros((2, 2)))
    with pytest.raises(SettingError, match="size must be from 0"):
        ConditionalPoisson(np.zeros(3), 4)
    with pytest.raises(SettingError, match="rate"):
        Poisson(np.zeros(3)).divergence(0.0)
