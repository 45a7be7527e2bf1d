"""Correlations with a number against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nissl.errors import InputError, LabelError
from nissl.kernels.correlation import pearson, spearman


def draw(n=800, d=70, seed=0):
    rng = np.random.default_rng(seed)
    t = rng.standard_normal(n)
    X = rng.standard_normal((n, d)) + np.linspace(-2, 2, d) * t[:, None]
    return X.astype(np.float32), t


@pytest.mark.parametrize("kind", ["plain", "far", "ties", "tied target"])
def test_they_are_those_of_scipy(kind):
    X, t = draw()
    if kind == "far":
        X = np.float32(X + 300)
    elif kind == "ties":
        X = np.round(2 * X)
    elif kind == "tied target":
        t = np.round(t)
    for j in range(X.shape[1]):
        x = X[:, j].astype(np.float64)
        assert pearson(X, t)[j] == pytest.approx(stats.pearsonr(x, t).statistic, abs=1e-9)
        if j % 7 == 0:
            assert spearman(X, t)[j] == pytest.approx(stats.spearmanr(x, t).statistic, abs=1e-9)


def test_rank_correlation_is_blind_to_rising_changes_and_signs_follow():
    X, t = draw(d=3)
    assert spearman(np.exp(X), t) == pytest.approx(spearman(X, t), abs=1e-12)
    assert spearman(X, -t) == pytest.approx(-spearman(X, t))
    rising = np.float32(np.exp(t))[:, None]
    assert spearman(rising, t)[0] == pytest.approx(1)
    assert pearson(rising, t)[0] < 0.95


def test_constants_get_zero():
    X, t = draw(d=3)
    X[:, 1] = np.float32(123.456)
    for measure in (pearson, spearman):
        assert measure(X, t)[1] == 0
        assert (measure(X, t)[[0, 2]] != 0).all()
        assert (measure(X, np.full(800, 0.1)) == 0).all()


def test_bad_targets_are_refused():
    X, t = draw(n=20, d=2)
    t[4] = np.nan
    with pytest.raises(LabelError, match="nan at token 4"):
        spearman(X, t)
    with pytest.raises(InputError, match="two or more tokens"):
        pearson(X[:1], t[:1])
