"""The scikit-learn regressor: the official estimator checks, and equality with its peers."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nissl.errors import InputError, NotConverged, SettingError
from nissl.regressor import ProbeRegressor


@parametrize_with_checks([ProbeRegressor()])
def test_scikit_learns_own_checks(estimator, check) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 30))
    Y = X[:, :3] @ rng.normal(size=(3, 2)) + 0.5 * rng.normal(size=(400, 2)) + [5, -1]
    X[:, 5] *= 1000
    X[:, 7] = 4.2
    X[:, 8] += 100
    return X, Y


@pytest.mark.parametrize("l1", [0.02, 0.0])
def test_agrees_with_scikit_learn_in_the_documented_conversion(data, l1) -> None:
    X, Y = data
    ours = ProbeRegressor(l1, 0.1, tol=1e-9).fit(X, Y)
    Z = StandardScaler().fit_transform(X)
    if l1:
        peer = ElasticNet(alpha=l1 + 0.1, l1_ratio=l1 / (l1 + 0.1), tol=1e-10, max_iter=10_000)
    else:
        peer = Ridge(alpha=len(X) * 0.1)
    peer.fit(Z, Y)
    np.testing.assert_allclose(ours.coef_, peer.coef_, atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, peer.intercept_, atol=1e-5)
    np.testing.assert_allclose(ours.predict(X), peer.predict(Z), atol=1e-4)
    assert ours.score(X, Y) == pytest.approx(peer.score(Z, Y), abs=1e-6)
    assert ((ours.coef_ == 0).mean() > 0.3) == (l1 > 0)


def test_attributes_and_shapes(data) -> None:
    X, Y = data
    both = ProbeRegressor().fit(X, Y)
    one = ProbeRegressor().fit(X, Y[:, 1])
    column = ProbeRegressor().fit(X, Y[:, [1]])
    assert both.coef_.shape == (2, 30)
    assert one.coef_.shape == column.coef_.shape == (1, 30)
    assert both.predict(X).shape == (400, 2)
    assert one.predict(X).shape == (400,)
    assert column.predict(X).shape == (400, 1)
    np.testing.assert_allclose(both.coef_[1], one.coef_[0], atol=1e-2)
    np.testing.assert_allclose(both.mean_, X.mean(axis=0))
    assert both.scale_[7] == 1.0
    assert both.constant_.nonzero()[0].tolist() == [7]
    assert not both.coef_[:, 7].any()
    residual = Y - both.predict(X)
    objective = 0.5 * (residual**2).mean(axis=0).sum() + 1e-3 * np.abs(both.coef_).sum()
    objective += 0.5e-3 * (both.coef_**2).sum()
    assert both.objective_ == pytest.approx(objective, rel=1e-5)
    assert 0 <= both.gap_ <= 1e-3
    assert both.converged_
    assert both.kkt_ < 0.01
    assert both.n_iter_ >= 1
    assert both.n_gradients_ > 0
    assert both.seconds_ > 0


def test_scale_of_a_neuron_does_not_matter_unless_it_is_to(data) -> None:
    X, Y = data
    scaled = X * np.logspace(-3, 3, X.shape[1])
    one, two = ProbeRegressor(0.02).fit(X, Y), ProbeRegressor(0.02).fit(scaled, Y)
    np.testing.assert_allclose(one.coef_, two.coef_, atol=1e-4)
    Z = (X - one.mean_) / one.scale_
    Z[:, 7] = 0
    plain = ProbeRegressor(0.02, standardise=False).fit(Z, Y)
    np.testing.assert_allclose(plain.coef_, one.coef_, atol=1e-5)
    assert plain.scale_.tolist() == [1.0] * 30
    raw = ProbeRegressor(0.02, standardise=False).fit(X, Y)
    assert np.abs(raw.coef_ - one.coef_).max() > 0.01


def test_weights_count_tokens_in_the_moments_too(data) -> None:
    X, Y = data
    times = np.random.default_rng(2).integers(0, 3, len(X))
    weighted = ProbeRegressor(0.02, tol=1e-8).fit(X, Y, sample_weight=0.1 * times)
    repeated = ProbeRegressor(0.02, tol=1e-8).fit(np.repeat(X, times, 0), np.repeat(Y, times, 0))
    np.testing.assert_allclose(weighted.mean_, repeated.mean_, rtol=1e-9)
    np.testing.assert_allclose(weighted.scale_, repeated.scale_, rtol=1e-9)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)
    plain = ProbeRegressor(0.02).fit(X, Y)
    assert np.abs(plain.coef_ - weighted.coef_).max() > 1e-3


def test_a_path_is_fits_in_the_order_asked_for(data) -> None:
    X, Y = data
    path = ProbeRegressor(tol=1e-8).path(X, Y, grid=[(0.01, 0.1), (1.0, 0.0), (0.1, 0.1)])
    assert path.grid == ((0.01, 0.1), (1.0, 0.0), (0.1, 0.1))
    for one in path:
        alone = ProbeRegressor(one.l1, one.l2, tol=1e-8).fit(X, Y)
        np.testing.assert_allclose(one.coef_, alone.coef_, atol=1e-5)
        np.testing.assert_allclose(one.predict(X), alone.predict(X), atol=1e-4)
    assert path.score(X, Y)[0] > path.score(X, Y)[1]
    assert path.frame()["neurons"].to_list() == [
        int((one.coef_ != 0).any(axis=0).sum()) for one in path
    ]


def test_grids_as_numbers(data) -> None:
    X, Y = data
    path = ProbeRegressor(l2=0.07).path(X, Y[:, 0], grid=5)
    levels = [one.l1 for one in path]
    assert levels[0] / levels[-1] == pytest.approx(1000)
    assert [one.l2 for one in path] == [0.07] * 5
    assert (path[0].coef_ != 0).sum() >= 1
    none = ProbeRegressor(levels[0] / 0.9 * 1.0001).fit(X, Y[:, 0])
    assert not none.coef_.any()
    assert ProbeRegressor(l2=0.07).path(X, Y, grid=[0.5, 0.1]).grid == ((0.5, 0.07), (0.1, 0.07))
    for wrong in (0, []):
        with pytest.raises(SettingError, match="grid"):
            ProbeRegressor().path(X, Y, grid=wrong)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_half_and_single_precision_in_both_orders(data, dtype) -> None:
    X, Y = data
    X = np.where(np.arange(30) == 5, X / 1000, X).astype(dtype)
    one = ProbeRegressor(0.02).fit(X, Y)
    two = ProbeRegressor(0.02).fit(np.asfortranarray(X).astype(np.float64), Y)
    np.testing.assert_allclose(one.coef_, two.coef_, atol=1e-5)


def test_works_in_a_grid_search_and_pickles(data) -> None:
    X, Y = data
    search = GridSearchCV(
        make_pipeline(ProbeRegressor()), {"proberegressor__l1": [1e-3, 10.0]}, cv=3
    ).fit(X, Y)
    assert search.best_params_ == {"proberegressor__l1": 1e-3}
    assert search.best_score_ > 0.6
    again = pickle.loads(pickle.dumps(search.best_estimator_))  # noqa: S301
    np.testing.assert_array_equal(again.predict(X), search.predict(X))


def test_an_early_stop_warns_once_and_says_how_far_it_came(data) -> None:
    X, Y = data
    with pytest.warns(NotConverged, match=r"gap of up to \d\.\de-\d\d instead of 1.0e-14") as seen:
        fit = ProbeRegressor(1e-3, tol=1e-14, max_iter=1).fit(X, Y)
    assert len(seen) == 1
    assert not fit.converged_
    assert fit.gap_ > 1e-14
    with pytest.warns(NotConverged, match=r"[12] of 2 fits") as seen:
        ProbeRegressor(tol=1e-14, max_iter=1).path(X, Y, grid=[0.02, 0.01])
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ProbeRegressor().fit(X, Y)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"l1": -1}, "l1 must be"),
        ({"l2": np.inf}, "l2 must be"),
        ({"tol": 0}, "tol must be"),
        ({"max_iter": 0}, "max_iter must be"),
        ({"time_limit": 0}, "time_limit must be"),
    ],
)
def test_impossible_settings_are_refused(data, settings, words) -> None:
    with pytest.raises(SettingError, match=words):
        ProbeRegressor(**settings).fit(*data)


def test_bad_input_is_named(data) -> None:
    X, Y = data
    bad = X.copy()
    bad[17, 3] = np.nan
    for call in (lambda: ProbeRegressor().fit(bad, Y), lambda: ProbeRegressor().path(bad, Y)):
        with pytest.raises(InputError, match="neuron 3 is nan at token 17"):
            call()
    with pytest.raises(InputError, match="neuron 3 is nan at token 17"):
        ProbeRegressor().fit(X, Y).predict(bad)
    with pytest.raises(InputError, match="3 sample weights for 400 tokens"):
        ProbeRegressor().fit(X, Y, sample_weight=np.ones(3))
    with pytest.raises(InputError, match="all zero"):
        ProbeRegressor().fit(X, Y, sample_weight=np.zeros(400))
