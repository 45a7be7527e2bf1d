"""Intersection over union against sets of tokens counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from nissl.errors import SettingError
from nissl.kernels.iou import overlap_scores
from nissl.testing import check_scorer, problems
from nissl.testing_bench import planted_bench


def brute(x, mine, wanted, corrected):
    """Overlap for one neuron (higher is more on), by its threshold."""
    if mine.sum() == 0:
        return 0.0
    threshold = np.sort(x)[::-1][wanted - 1]
    on = x >= threshold
    score = (on & mine).sum() / (on | mine).sum()
    s, p = on.mean(), mine.mean()
    return score - s * p / (s + p - s * p) if corrected else score


def check(X, y, n_classes, share, corrected):
    found = {
        side: overlap_scores(X, y, n_classes, share=share, side=side, corrected=corrected)
        for side in ("high", "low", "outer", "two-sided")
    }
    for c in range(n_classes):
        mine = y == c
        wanted = mine.sum() if share == "prevalence" else max(1, round(share * len(y)))
        for j in range(X.shape[1]):
            x = X[:, j].astype(np.float64)
            ends = {"high": x, "low": -x, "outer": np.abs(x - np.median(x))}
            want = {side: brute(v, mine, wanted, corrected) for side, v in ends.items()}
            want["two-sided"] = max(want.values())
            for side, value in want.items():
                if mine.any():
                    assert found[side][c, j] == pytest.approx(value, abs=1e-12), side
                else:
                    assert abs(found[side][c, j]) < 1e-12


@given(problems())
@settings(max_examples=40)
def test_small_odd_problems(problem):
    X, y, n_classes = problem
    check(X, y, n_classes, "prevalence", True)
    check(np.round(X), y, n_classes, 0.2, False)  # ties


@pytest.mark.parametrize("share", ["prevalence", 0.005, 0.3])
def test_many_classes_with_ties(share):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 700)
    X = (rng.standard_normal((700, 4)) + rng.standard_normal((5, 4))[y]).astype(np.float16)
    check(X.astype(np.float32), y, 5, share, True)


def test_a_neuron_that_tells_a_class_gets_one_and_noise_gets_chance():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 8000)
    X = rng.standard_normal((8000, 3)).astype(np.float32)
    X[:, 0] += 20 * (y == 2)
    X[:, 1] -= 20 * (y == 3)
    raw = overlap_scores(X, y, 4, corrected=False)
    assert raw[2, 0] == raw[3, 1] == 1
    assert np.abs(overlap_scores(X, y, 4, side="high")[:, 2]).max() < 0.02


def test_the_input_is_not_written_to():
    X = np.asfortranarray(np.random.default_rng(0).standard_normal((50, 3)), dtype=np.float32)
    X.setflags(write=False)
    y = np.arange(50) % 2
    y.setflags(write=False)
    before = X.copy()
    overlap_scores(X, y, 2)
    assert np.array_equal(X, before)
    check_scorer(lambda X, y: overlap_scores(X, y, int(y.max()) + 1))


@pytest.mark.parametrize("seed", range(5))
def test_both_mean_groups_of_the_bench_are_found(seed):
    bench = planted_bench(seed)
    order = np.argsort(-overlap_scores(bench.Z, bench.y, 2).max(axis=0))
    assert np.isin(np.r_[bench.raised, bench.lowered], order[:18]).all()


def test_impossible_settings_are_refused():
    X, y = np.zeros((4, 1), dtype=np.float32), np.arange(4) % 2
    with pytest.raises(SettingError, match="between 0 and 1, not 1"):
        overlap_scores(X, y, 2, share=1.0)
    with pytest.raises(SettingError, match='not "prevalent"'):
        overlap_scores(X, y, 2, share="prevalent")
    with pytest.raises(SettingError, match='Did you mean "high"'):
        overlap_scores(X, y, 2, side="hihg")
