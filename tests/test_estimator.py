"""The scikit-learn classifier: the official estimator checks, and equality with the kernel."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nissl.errors import LabelError
from nissl.estimator import ElasticNetProbe


@parametrize_with_checks([ElasticNetProbe()])
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
    ours = ElasticNetProbe(l1, l2, tol=1e-6).fit(X, y)
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


def test_scale_of_a_neuron_does_not_matter_and_constants_get_no_weight(data) -> None:
    X, y = data
    one = ElasticNetProbe().fit(X, y)
    scaled = X * np.logspace(-3, 3, X.shape[1])
    two = ElasticNetProbe().fit(scaled, y)
    np.testing.assert_allclose(one.coef_, two.coef_, atol=1e-4)
    assert not one.coef_[:, 7].any()
    assert one.gap_ <= 1e-3


def test_works_in_a_grid_search(data) -> None:
    X, y = data
    search = GridSearchCV(
        make_pipeline(ElasticNetProbe()), {"elasticnetprobe__l1": [1e-3, 1.0]}, cv=3
    ).fit(X, y)
    assert search.best_params_ == {"elasticnetprobe__l1": 1e-3}
    assert search.best_score_ > 0.6


def test_one_class_is_refused() -> None:
    with pytest.raises(LabelError, match="one class"):
        ElasticNetProbe().fit(np.ones((4, 2)), np.zeros(4))
