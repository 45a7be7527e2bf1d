"""The ablation score of a probe, against the words of the paper written out."""

from __future__ import annotations

import numpy as np
import pytest

from nissl.errors import SettingError
from nissl.kernels.ablation import Ablated, ablate_probe, ablation_score


def test_score_is_the_papers_formula():
    ablated = Ablated(top=0.8, bottom=0.3, whole=0.85)
    assert ablation_score(ablated, 0.9) == pytest.approx(0.5 * 0.5 - 0.5 * 0.05)
    assert ablation_score(ablated, 0.9, alpha=1.0, beta=0.0) == pytest.approx(0.5)
    assert ablation_score(ablated, 0.9, alpha=0.0, beta=2.0) == pytest.approx(-0.1)


def planted():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500).astype(np.int64)
    X = rng.normal(size=(500, 10)).astype(np.float32)
    X[:, 4] += 4 * (y - 0.5)
    coef = np.zeros((2, 10))
    coef[:, 4] = [-1, 1]
    coef[:, 7] = [-0.01, 0.01]
    return X, y, coef, np.zeros(2)


def test_all_others_are_at_their_mean():
    X, y, coef, intercept = planted()
    found = ablate_probe(X, y, coef, intercept, fraction=0.1)
    assert found.top == ((X[:, 4] > 0) == y).mean()
    # The last neuron in the order has no weight: all tokens get the first class.
    assert found.bottom == (y == 0).mean()
    assert found.whole == ((X @ (coef[1] - coef[0]) > 0) == y).mean()
    # With half of the ten neurons the best five hold both that have a weight.
    half = ablate_probe(X, y, coef, intercept, fraction=0.5)
    assert half.top == found.whole
    assert half.bottom == found.bottom


def test_the_worst_neurons_are_used_not_the_best_reversed():
    X, y, coef, intercept = planted()
    coef[:, 7] = 0
    coef[:] += np.array([[-1], [1]]) * 1e-3 * np.linspace(1, 2, 10)
    found = ablate_probe(X, y, coef, intercept, fraction=0.2)
    worst = np.argsort(np.abs(coef[0]))[:2]
    expected = (X[:, worst] @ (coef[1] - coef[0])[worst] > 0) == y
    assert found.bottom == pytest.approx(expected.mean(), abs=1e-12)


def test_weights_are_repetition():
    X, y, coef, intercept = planted()
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    one = ablate_probe(X, y, coef, intercept, weight=weight.astype(float))
    two = ablate_probe(X.repeat(weight, axis=0), y.repeat(weight), coef, intercept)
    assert (one.top, one.bottom, one.whole) == pytest.approx((two.top, two.bottom, two.whole))
    assert one != ablate_probe(X, y, coef, intercept)


@pytest.mark.parametrize("fraction", [0.0, 0.6, -1.0])
def test_best_and_worst_must_not_overlap(fraction):
    with pytest.raises(SettingError, match="fraction must lie"):
        ablate_probe(*planted(), fraction=fraction)
