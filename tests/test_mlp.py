"""The probe with a hidden layer: scikit-learn's checks, and what a linear probe cannot learn."""

from __future__ import annotations

import pickle
import time
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from nissl.errors import InputError, LabelError, NotConverged, SettingError
from nissl.mlp import MLPProbe, _hold_out

EXPECTED_FAILED_CHECKS = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a token that is given twice is drawn into two batches, a token of weight 2 into one"
    ),
}


@pytest.mark.filterwarnings("ignore::nissl.errors.NotConverged")
@parametrize_with_checks(
    [MLPProbe(hidden=8, learning_rate=0.05, epochs=30, patience=5, batch=64)],
    expected_failed_checks=lambda _: EXPECTED_FAILED_CHECKS,
)
def test_scikit_learns_own_checks(estimator, check) -> None:
    check(estimator)


def exclusive_or(n=400, seed=0):
    """Two neurons whose product has the class as its sign, six that say nothing."""
    rng = np.random.default_rng(seed)
    X = rng.choice([-1.0, 1.0], size=(n, 8)) + 0.2 * rng.standard_normal((n, 8))
    return X, np.where(X[:, 0] * X[:, 1] > 0, "same", "other")


def quick(**settings):
    return MLPProbe(**({"hidden": 16, "learning_rate": 0.02, "batch": 100} | settings))


@pytest.fixture(scope="module")
def learned():
    return quick().fit(*exclusive_or())


def test_learns_exclusive_or_where_a_linear_probe_cannot(learned) -> None:
    X, y = exclusive_or(seed=1)
    linear = LogisticRegression().fit(*exclusive_or())
    assert linear.score(X, y) < 0.6
    assert learned.score(X, y) > 0.95
    assert learned.converged_
    assert learned.coefs_[0].shape == (16, 8)
    assert learned.coefs_[1].shape == (2, 16)
    used = np.abs(learned.coefs_[0]).max(axis=0)
    assert used[:2].min() > used[2:].max()


def test_numpy_predicts_what_torch_trained(learned) -> None:
    X, _ = exclusive_or(seed=2)
    (W1, W2), (b1, b2) = learned.coefs_, learned.intercepts_
    Z = torch.tensor((X - learned.mean_) / learned.scale_)
    hidden = torch.nn.functional.linear(Z, torch.tensor(W1), torch.tensor(b1)).relu()
    p = torch.nn.functional.linear(hidden, torch.tensor(W2), torch.tensor(b2)).softmax(dim=1)
    np.testing.assert_allclose(learned.predict_proba(X), p.numpy(), rtol=1e-9)


def test_what_it_reaches_is_the_stated_objective() -> None:
    """Without a hold-out, full batches and much decay: compare with L-BFGS on the formula."""
    X, y = exclusive_or(200)
    fit = quick(
        hidden=4, l2=0.03, batch=200, held_out=0, epochs=800, patience=800, learning_rate=0.02
    )
    with pytest.warns(NotConverged, match="800 epochs"):
        fit.fit(X, y)
    Z = torch.tensor((X - fit.mean_) / fit.scale_)
    code = torch.tensor((y == "same").astype(np.int64))
    start = [a for pair in zip(fit.coefs_, fit.intercepts_, strict=True) for a in pair]
    cuts = np.cumsum([a.size for a in start])[:-1]

    def objective(flat):
        W1, b1, W2, b2 = parts = [
            torch.tensor(part.reshape(like.shape), requires_grad=True)
            for part, like in zip(np.split(flat, cuts), start, strict=True)
        ]
        logits = (Z @ W1.T + b1).relu() @ W2.T + b2
        loss = torch.nn.functional.cross_entropy(logits, code)
        value = loss + 0.5 * fit.l2 * ((W1**2).sum() + (W2**2).sum())
        slope = torch.autograd.grad(value, parts)
        return float(value.detach()), np.concatenate([g.numpy().ravel() for g in slope])

    flat = np.concatenate([a.ravel() for a in start])
    here = objective(flat)[0]
    best = minimize(objective, flat, jac=True, method="L-BFGS-B")
    assert best.fun <= here <= 1.02 * best.fun
    np.testing.assert_allclose(np.linalg.norm(best.x), np.linalg.norm(flat), rtol=0.05)


def test_the_same_seed_gives_the_same_bits_and_leaves_others_alone() -> None:
    X, y = exclusive_or(200)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    settings = {"epochs": 5, "patience": 1, "hidden": 5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        one = quick(**settings, random_state=3).fit(X, y)
        two = quick(**settings, random_state=3).fit(X, y)
        other = quick(**settings, random_state=4).fit(X, y)
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(one.coefs_, two.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.coefs_[0], other.coefs_[0])


def test_the_best_epoch_is_kept_and_patience_ends_the_fit() -> None:
    """Random labels: the held-out loss soon rises, and what is kept is from before it did."""
    X, _ = exclusive_or(400)
    y = np.random.default_rng(5).integers(0, 2, 400)
    fit = quick(hidden=64, l2=0.0, held_out=0.5, patience=7).fit(X, y)
    assert fit.converged_
    assert fit.n_iter_ == len(fit.losses_) == fit.best_epoch_ + 8
    assert fit.losses_[-1] > fit.losses_[fit.best_epoch_]
    _, held = _hold_out(y, 0.5, np.random.RandomState(0))
    own = fit.predict_log_proba(X[held])[np.arange(len(held)), y[held]]
    assert -own.mean() == pytest.approx(fit.losses_[fit.best_epoch_], rel=1e-4)


def test_held_out_tokens_are_a_share_of_each_class_but_never_all() -> None:
    code = np.repeat([0, 1, 2, 3], [100, 30, 1, 2])
    train, held = _hold_out(code, 0.2, np.random.RandomState(0))
    assert np.bincount(code[held], minlength=4).tolist() == [20, 6, 0, 0]
    assert np.sort(np.concatenate([train, held])).tolist() == list(range(133))
    train, held = _hold_out(code, 0.99, np.random.RandomState(0))
    assert np.bincount(code[train], minlength=4).tolist() == [1, 1, 1, 1]


def test_weights_decide_between_contradicting_labels() -> None:
    X, y = exclusive_or(300)
    both = np.concatenate([X, X])
    flipped = np.where(y == "same", "other", "same")
    labels = np.concatenate([y, flipped])
    weight = np.repeat([0.9, 0.1], 300)
    fit = quick().fit(both, labels, sample_weight=weight)
    assert fit.score(X, y) > 0.9
    # Weights are frequencies: the probabilities are theirs.
    assert fit.predict_proba(X).max(axis=1).mean() == pytest.approx(0.9, abs=0.05)
    turned = quick().fit(both, labels, sample_weight=1 - weight)
    assert turned.score(X, flipped) > 0.9
    # A class without weight is not there at all.
    extra = np.concatenate([labels, ["third"] * 5])
    third = quick(epochs=2, patience=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        third.fit(np.concatenate([both, X[:5]]), extra, sample_weight=np.r_[weight, np.zeros(5)])
    assert third.classes_.tolist() == ["other", "same"]
    np.testing.assert_allclose(third.mean_, X.mean(axis=0), atol=1e-9)


def test_scale_of_a_neuron_does_not_matter_and_constants_are_ignored() -> None:
    X, y = exclusive_or(300)
    X[:, 7] = 4.2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        one = quick(epochs=3).fit(X, y)
        two = quick(epochs=3).fit(X * np.logspace(-3, 3, 8), y)
        raw = quick(epochs=3, standardise=False).fit(X, y)
    np.testing.assert_allclose(one.coefs_[0], two.coefs_[0], atol=1e-3)
    assert one.constant_.nonzero()[0].tolist() == [7]
    moved = X.copy()
    moved[:, 7] = -100
    np.testing.assert_array_equal(one.predict_proba(X), one.predict_proba(moved))
    assert raw.scale_.tolist() == [1.0] * 8


def test_pickles(learned) -> None:
    X, _ = exclusive_or(50)
    again = pickle.loads(pickle.dumps(learned))  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(X), learned.predict_proba(X))


def test_out_of_time_it_stops_and_warns() -> None:
    began = time.process_time()
    with pytest.warns(NotConverged, match="still fell"):
        fit = quick(time_limit=1e-3, patience=10_000, epochs=10_000).fit(*exclusive_or())
    assert fit.n_iter_ == 1
    assert not fit.converged_
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden": 0}, "hidden must be 1 or more"),
        ({"batch": 0}, "batch must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"patience": 0}, "patience must be"),
        ({"l2": -1}, "l2 must be"),
        ({"learning_rate": 0}, "learning_rate must be"),
        ({"held_out": 1}, "held_out must be"),
        ({"time_limit": 0}, "time_limit must be"),
        ({"device": "abacus"}, "no device 'abacus' to train on"),
        ({"learning_rate": 1e30}, "give a learning_rate below"),
    ],
)
def test_impossible_settings_are_refused(settings, words) -> None:
    with pytest.raises(SettingError, match=words):
        quick(**settings).fit(*exclusive_or(60))


def test_bad_input_is_named(learned) -> None:
    X, y = exclusive_or(60)
    with pytest.raises(LabelError, match="one class"):
        quick().fit(X, np.zeros(60))
    with pytest.raises(InputError, match="all zero"):
        quick().fit(X, y, sample_weight=np.zeros(60))
    with pytest.raises(InputError, match="3 sample weights for 60 tokens"):
        quick().fit(X, y, sample_weight=np.ones(3))
    X[17, 3] = np.inf
    with pytest.raises(InputError, match="neuron 3 is inf at token 17"):
        quick().fit(X, y)
    with pytest.raises(InputError, match="neuron 3 is inf at token 17"):
        learned.predict(X)
