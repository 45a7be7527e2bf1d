"""The probe as a classifier: scikit-learn's own checks, the kernel, weights, types of input."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nissl.errors import InputError, LabelError, NotConverged, SettingError
from nissl.estimators import Probe
from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.fit import predict_scores
from nissl.kernels.standardise import moments, standardise


@parametrize_with_checks([Probe()])
def test_scikit_learns_own_checks(estimator, check) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    X = rng.normal(size=(400, 30))
    X[:, :3] += 1.5 * np.eye(3)[y]
    X[:, 5] *= 1000
    X[:, 7] = 4.2
    return X, np.array(["a", "b", "c"])[y]


def test_agrees_with_scikit_learn_in_the_documented_conversion(data) -> None:
    X, y = data
    l1, l2 = 5e-3, 2e-3
    ours = Probe(l1, l2, tol=1e-6).fit(X, y)
    peer = LogisticRegression(
        solver="saga",
        C=1 / (len(y) * (l1 + l2)),
        l1_ratio=l1 / (l1 + l2),
        max_iter=5000,
        tol=1e-8,
    )
    Z = StandardScaler().fit_transform(X)
    peer.fit(Z, y)
    np.testing.assert_allclose(ours.coef_, peer.coef_, atol=2e-3)
    np.testing.assert_allclose(ours.predict_proba(X), peer.predict_proba(Z), atol=3e-3)
    assert (ours.coef_ == 0).mean() > 0.3


def test_is_the_kernels_fit_with_all_it_says(data) -> None:
    X, y = data
    code = np.unique(y, return_inverse=True)[1].astype(np.int64)
    mean, sd = moments(X)
    Z = standardise(X, mean, sd)
    fit = fit_elastic_net(Z, code, 3, l1=3e-3, l2=1e-3, tol=1e-6)
    ours = Probe(3e-3, 1e-3, tol=1e-6).fit(X, y)
    # The token order differs, so the last bits do.
    assert ours.objective_ == pytest.approx(fit.objective, rel=2e-6)
    np.testing.assert_allclose(ours.coef_, fit.coef, atol=2e-3)
    np.testing.assert_allclose(ours.mean_, mean, atol=1e-12)
    np.testing.assert_allclose(ours.scale_, np.where(sd > 0, sd, 1), rtol=1e-12)
    np.testing.assert_allclose(
        ours.decision_function(X),
        predict_scores(Z, ours.coef_, ours.intercept_),
        atol=1e-4,
    )
    assert ours.converged_
    assert 0 <= ours.gap_ <= 1e-6
    assert 0 <= ours.kkt_ < 1e-3
    assert ours.n_iter_ >= 1
    assert ours.n_gradients_ > 0
    assert ours.seconds_ >= 0
    assert ours.constant_.tolist() == [j == 7 for j in range(30)]
    # The objective in the class's docstring, written out.
    own = ours.predict_log_proba(X)[np.arange(len(y)), code]
    value = -own.mean() + 3e-3 * np.abs(ours.coef_).sum() + 5e-4 * (ours.coef_**2).sum()
    assert ours.objective_ == pytest.approx(value, rel=1e-9)


def test_scale_of_a_neuron_does_not_matter_and_constants_get_no_weight(data) -> None:
    X, y = data
    one = Probe(tol=1e-6).fit(X, y)
    two = Probe(tol=1e-6).fit(X * np.logspace(-3, 3, X.shape[1]), y)
    np.testing.assert_allclose(one.coef_, two.coef_, atol=3e-3)
    assert not one.coef_[:, 7].any()
    np.testing.assert_array_equal(one.constant_, two.constant_)


def test_weights_repetition_and_order_are_the_same_bits(data) -> None:
    X, y = data
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 4, len(y))
    weighted = Probe().fit(X, y, sample_weight=weight)
    repeated = Probe().fit(X.repeat(weight, axis=0), y.repeat(weight))
    mixed = rng.permutation(len(y))
    shuffled = Probe().fit(X[mixed], y[mixed], sample_weight=2.0 * weight[mixed])
    for other in (repeated, shuffled):
        np.testing.assert_array_equal(weighted.coef_, other.coef_)
        np.testing.assert_array_equal(weighted.intercept_, other.intercept_)
        np.testing.assert_array_equal(weighted.mean_, other.mean_)
    plain = Probe().fit(X, y)
    assert np.abs(plain.coef_ - weighted.coef_).max() > 0.01


def test_without_standardising_weights_count_too(data) -> None:
    X, y = data
    X = np.delete(X, (5, 7), axis=1)
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    settings = {"tol": 1e-6, "standardise": False}
    weighted = Probe(**settings).fit(X, y, sample_weight=weight)
    repeated = Probe(**settings).fit(X.repeat(weight, axis=0), y.repeat(weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=3e-3)
    np.testing.assert_array_equal(weighted.scale_, np.ones(28))
    np.testing.assert_array_equal(weighted.mean_, np.zeros(28))
    scaled = Probe(**settings).fit(3 * X, y, sample_weight=weight)
    assert np.abs(weighted.coef_ - scaled.coef_).max() > 0.05


def test_a_class_of_weight_zero_is_no_class(data) -> None:
    X, y = data
    weight = (y != "b").astype(float)
    for standardise_ in (True, False):
        probe = Probe(standardise=standardise_).fit(X[:, :5], y, sample_weight=weight)
        assert probe.classes_.tolist() == ["a", "c"]
        assert set(probe.predict(X[:, :5])) == {"a", "c"}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_floats_and_memory_maps_give_the_fit_of_their_values(data, dtype, tmp_path) -> None:
    X, y = data
    narrow = X.astype(dtype)
    np.save(tmp_path / "x.npy", narrow)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    probe = Probe(tol=1e-6).fit(mapped, y)
    same = Probe(tol=1e-6).fit(np.asfortranarray(narrow), y)
    wide = Probe(tol=1e-6).fit(narrow.astype(np.float64), y)
    np.testing.assert_array_equal(probe.coef_, same.coef_)
    np.testing.assert_allclose(probe.coef_, wide.coef_, atol=2e-2)
    np.testing.assert_allclose(probe.mean_, wide.mean_, atol=1e-9)
    np.testing.assert_allclose(probe.predict_proba(mapped), probe.predict_proba(narrow))


def test_one_float32_copy_is_made(data) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000)
    X = rng.normal(size=(3000, 2000)).astype(np.float16)
    X[:, 0] += 3 * y
    copy = X.size * 4
    Probe(0.1, 0.1).fit(X[:200, :50], y[:200])  # what is compiled or imported once
    tracemalloc.start()
    Probe(0.1, 0.1, tol=0.1).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.8 * copy


def test_works_in_a_grid_search(data) -> None:
    X, y = data
    search = GridSearchCV(make_pipeline(Probe()), {"probe__l1": [1e-3, 1.0]}, cv=3).fit(X, y)
    assert search.best_params_ == {"probe__l1": 1e-3}
    assert search.best_score_ > 0.6


def test_a_fit_that_stops_early_warns_once_and_says_so(data) -> None:
    X, y = data
    with pytest.warns(NotConverged, match="stopped at a relative duality gap") as caught:
        probe = Probe(1e-3, 1e-3, tol=1e-5, time_limit=1e-9).fit(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not probe.converged_
    assert probe.gap_ > 1e-5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"l1": -1.0}, "l1 must be 0 or more"),
        ({"tol": 0.0}, "tol must be above 0"),
        ({"max_iter": 0}, "max_iter must be 1"),
        ({"time_limit": 0.0}, "time_limit must be above 0"),
    ],
)
def test_impossible_settings_are_refused(data, settings, words) -> None:
    with pytest.raises(SettingError, match=words):
        Probe(**settings).fit(*data)


def test_bad_input_is_named(data) -> None:
    X, y = data
    with pytest.raises(LabelError, match="one class"):
        Probe().fit(np.ones((4, 2)), np.zeros(4))
    with pytest.raises(LabelError, match="one class"):
        Probe().fit(X, y, sample_weight=(y == "a").astype(float))
    broken = X.copy()
    broken[3, 11] = np.inf
    with pytest.raises(InputError, match="neuron 11 is inf at token 3"):
        Probe().fit(broken, y)
    with pytest.raises(InputError, match="neuron 11 is inf at token 3"):
        Probe().fit(X, y).predict(broken)
    with pytest.raises(InputError, match="all zero"):
        Probe().fit(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(InputError, match="0 or more"):
        Probe().fit(X, y, sample_weight=-np.ones(len(y)))
    with pytest.raises(InputError, match="399 sample weights for 400 tokens"):
        Probe().fit(X, y, sample_weight=np.ones(len(y) - 1))
