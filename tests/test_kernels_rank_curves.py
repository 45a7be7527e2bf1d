"""Exact curves against scikit-learn, ties and all."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import average_precision_score, roc_auc_score

from nissl.errors import InputError, LabelError
from nissl.kernels.rank_curves import rank_curves, two_sided_precision
from nissl.testing import check_scorer, problems
from nissl.testing_bench import planted_bench


def check(X, y, n_classes):
    found = rank_curves(X, y, n_classes)
    for c in range(n_classes):
        mine = (y == c).astype(int)
        assert found.prevalence[c] == pytest.approx(mine.mean())
        for j in range(X.shape[1]):
            x = X[:, j].astype(np.float64)
            if 0 < mine.sum() < len(y):
                assert found.auc[c, j] == pytest.approx(roc_auc_score(mine, x), abs=1e-12)
            else:
                assert found.auc[c, j] == 0.5
            outer = np.abs(x - np.median(x))
            for name, score in (("high", x), ("low", -x), ("outer", outer)):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a class without tokens
                    want = average_precision_score(mine, score)
                assert getattr(found, name)[c, j] == pytest.approx(want, abs=1e-12), name


@pytest.mark.parametrize("kind", ["continuous", "half", "few values", "zeros", "wide"])
@pytest.mark.parametrize("n", [501, 500])
def test_curves_are_those_of_scikit_learn(kind, n):
    rng = np.random.default_rng(n)
    y = np.minimum(rng.integers(0, 9, n), 5)
    X = rng.standard_normal((n, 4)) + 0.5 * rng.standard_normal((6, 4))[y]
    if kind == "half":
        X = X.astype(np.float16)
    elif kind == "few values":
        X = np.round(X)
    elif kind == "zeros":  # rectified, with zeros of both signs
        X = np.maximum(X, 0) * np.where(rng.random((n, 4)) < 0.5, 1.0, -1.0)
        X[X == 0] *= -1
    elif kind == "wide":
        X = np.sinh(20 * X / np.abs(X).max())
    check(np.asfortranarray(X, dtype=np.float32), y, 7)


@given(problems())
@settings(max_examples=40)
def test_small_odd_problems(problem):
    X, y, n_classes = problem
    check(X, y, n_classes)


def test_one_class_only():
    check(np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32), np.ones(9, int), 2)


def test_scores_are_corrected_for_chance_and_two_sided():
    rng = np.random.default_rng(0)
    y = (rng.random(20000) < 0.1).astype(int)
    X = rng.standard_normal((20000, 4)).astype(np.float32)
    X[:, 1] += y
    X[:, 2] -= y
    X[y == 1, 3] *= 3
    found = rank_curves(X, y, 2)
    assert np.abs(found.two_sided[:, 0]).max() < 0.02
    assert (found.two_sided[1, 1:] > 0.15).all()
    assert found.separation[1, 3] < 0.05 < found.separation[1, 1]
    assert found.separation[1, 2] == pytest.approx(2 * (1 - found.auc[1, 2]) - 1)
    best = np.max([found.high, found.low, found.outer], axis=0)
    assert found.two_sided == pytest.approx(best - found.prevalence[:, None])
    assert (rank_curves(X, y, 3).two_sided[2] == 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_two_sided_precision_finds_all_eighteen(seed):
    bench = planted_bench(seed)
    order = np.argsort(-two_sided_precision(bench.Z, bench.y, 2).max(axis=0))
    assert set(order[:18].tolist()) == set(bench.planted.tolist())


def test_scorers_keep_the_contract():
    check_scorer(lambda X, y: two_sided_precision(X, y, int(y.max()) + 1))
    check_scorer(lambda X, y: rank_curves(X, y, int(y.max()) + 1).separation)


def test_layout_and_half_precision_do_not_matter():
    rng = np.random.default_rng(3)
    half = rng.standard_normal((300, 5)).astype(np.float16)
    y = rng.integers(0, 3, 300)
    want = rank_curves(np.asfortranarray(half.astype(np.float32)), y, 3)
    for other in (half, half.astype(np.float32), half.astype(np.float64)):
        assert np.array_equal(rank_curves(other, y, 3).auc, want.auc)


def test_bad_input_is_refused():
    X = np.zeros((5, 2), dtype=np.float32)
    with pytest.raises(LabelError, match="outside"):
        rank_curves(X, np.full(5, 2), 2)
    X[3, 1] = np.inf
    with pytest.raises(InputError, match="neuron 1 is inf at token 3"):
        rank_curves(X, np.zeros(5, dtype=int), 2)
