"""Bootstrap intervals: exact mean, resampling of whole sentences, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score

from nissl.errors import InputError, LabelError, SettingError
from nissl.kernels.intervals import bootstrap_accuracy, bootstrap_r2


def test_mean_is_exact_and_the_interval_holds_it():
    rng = np.random.default_rng(0)
    right = rng.random(1000) < 0.8
    mean, low, high = bootstrap_accuracy(right, np.arange(1000) // 7)
    assert mean == right.mean()
    assert low < mean < high
    draws = rng.random((5, 1000)) < 0.5
    assert bootstrap_accuracy(draws, np.arange(1000))[0] == draws.mean()


def test_independent_tokens_give_the_binomial_interval():
    rng = np.random.default_rng(1)
    right = rng.random(4000) < 0.7
    _, low, high = bootstrap_accuracy(right, np.arange(4000), n_boot=4000)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 4000), rel=0.08)


def test_tokens_of_one_sentence_move_together():
    rng = np.random.default_rng(2)
    right = np.repeat(rng.random(200) < 0.7, 10)
    _, low, high = bootstrap_accuracy(right, np.arange(2000) // 10)
    _, low_alone, high_alone = bootstrap_accuracy(right, np.arange(2000))
    assert (high - low) / (high_alone - low_alone) == pytest.approx(np.sqrt(10), rel=0.15)


@pytest.mark.parametrize(("a", "b"), [(8, 2), (0.8, 0.2)])
def test_coverage_of_two_hundred_planted_accuracies(a, b):
    """Accuracy .8 where sentences differ a little, and where most are all right or all wrong."""
    hits = 0
    for trial in range(200):
        rng = np.random.default_rng([7, trial])
        skill = rng.beta(a, b, 150)
        length = rng.integers(3, 20, 150)
        sentence = np.repeat(np.arange(150), length)
        right = rng.random(len(sentence)) < skill[sentence]
        _, low, high = bootstrap_accuracy(right, sentence, n_boot=300, seed=trial)
        hits += low <= 0.8 <= high
    # At a nominal 95 % nine in ten must hold; an interval that always holds would say nothing.
    assert 180 <= hits <= 199


def test_coverage_of_two_hundred_planted_r2():
    """Words of one sentence share part of the error and of the number."""
    hits = paired = 0
    truth, other = 1 - 1.25 / 3.0, 1 - 2.0 / 3.0
    for trial in range(200):
        rng = np.random.default_rng([8, trial])
        sentence = np.repeat(np.arange(150), rng.integers(3, 20, 150))
        n = len(sentence)

        def mixed(shared, own, rng=rng, sentence=sentence, n=n):
            between = np.sqrt(shared) * rng.standard_normal(150)[sentence]
            return between + np.sqrt(own) * rng.standard_normal(n)

        error, more = mixed(0.5, 0.75), mixed(0.25, 0.5)
        y = error + more + mixed(0.5, 0.5)
        _, low, high = bootstrap_r2(error[None], y, sentence, n_boot=300, seed=trial)
        hits += low <= truth <= high
        _, low, high = bootstrap_r2(
            error[None], y, sentence, minus=(error + more)[None], n_boot=300, seed=trial
        )
        paired += low <= truth - other <= high
    assert 180 <= hits <= 199
    assert 180 <= paired <= 199


def test_r2_is_that_of_scikit_learn_and_its_differences():
    rng = np.random.default_rng(5)
    y = 1e4 + rng.standard_normal(400)
    errors = rng.standard_normal((3, 400)) * np.array([[0.3], [0.6], [1.2]])
    groups = np.arange(400) // 8
    want = [r2_score(y, y - e) for e in errors]
    value, low, high = bootstrap_r2(errors[:1], y, groups)
    assert value == pytest.approx(want[0], abs=1e-9)
    assert low < value < high
    value, low, high = bootstrap_r2(errors, y, groups)
    assert value == pytest.approx(np.mean(want), abs=1e-9)
    assert low < want[2] + 0.2
    assert high > want[0] - 0.05
    value, low, high = bootstrap_r2(errors[:1], y, groups, minus=errors[1:])
    assert value == pytest.approx(want[0] - (want[1] + want[2]) / 2, abs=1e-9)
    assert bootstrap_r2(errors[:1], y, groups, minus=errors[:1]) == (0, 0, 0)


def test_r2_of_replicates_is_that_of_the_resampled_tokens():
    """Few sentences that differ much: the mean of each replicate's own tokens matters."""
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(7), rng.integers(2, 9, 7))
    y = 2 * rng.standard_normal(7)[groups] + 0.5 * rng.standard_normal(len(groups))
    error = rng.standard_normal(len(groups))
    members = [np.flatnonzero(groups == g) for g in range(7)]
    values = []
    for _ in range(3000):
        rows = np.concatenate([members[g] for g in rng.integers(0, 7, 7)])
        values.append(r2_score(y[rows], (y - error)[rows]))
    _, low, high = bootstrap_r2(error[None], y, groups, n_boot=20_000)
    assert [low, high] == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=0.02)


def test_r2_of_one_sentence_or_a_flat_target():
    rng = np.random.default_rng(7)
    y = rng.standard_normal(6)
    value, low, high = bootstrap_r2(0.5 * y[None], y, np.zeros(6))
    assert value == low == high
    # Two sentences, each of one value: a replicate of one of them has no variance.
    y = np.array([1.0, 1.0, 2.0, 2.0])
    value, low, high = bootstrap_r2(np.full((1, 4), 0.1), y, np.array([0, 0, 1, 1]))
    assert (value, low, high) == pytest.approx((0.96, 0.96, 0.96))
    with pytest.raises(LabelError, match="the target is 3 on all tokens"):
        bootstrap_r2(np.ones((1, 4)), np.full(4, 3.0), np.arange(4))
    with pytest.raises(InputError, match="4 tokens cannot have 3"):
        bootstrap_r2(np.ones((1, 4)), y, np.arange(3))
    with pytest.raises(InputError, match="there are 5 errors for 4 numbers"):
        bootstrap_r2(np.ones((1, 4)), y, np.arange(4), minus=np.ones((2, 5)))


def test_spread_of_draws_widens_the_interval():
    rng = np.random.default_rng(3)
    draws = rng.random((6, 2000)) < np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.8])[:, None]
    mean, low, high = bootstrap_accuracy(draws, np.arange(2000))
    assert mean == pytest.approx(draws.mean())
    assert low < 0.33
    assert high > 0.77


def test_same_seed_same_interval_and_names_of_sentences_do_not_matter():
    rng = np.random.default_rng(4)
    right = rng.random(500) < 0.6
    groups = np.arange(500) // 9
    one = bootstrap_accuracy(right, groups, seed=5)
    assert one == bootstrap_accuracy(right, groups * 13 + 4, seed=5)
    assert one != bootstrap_accuracy(right, groups, seed=6)


def test_degenerate_and_impossible_input():
    assert bootstrap_accuracy(np.ones(10, dtype=bool), np.arange(10)) == (1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="3 tokens cannot have 2"):
        bootstrap_accuracy(np.ones(3, dtype=bool), np.arange(2))
    with pytest.raises(SettingError, match="level must lie"):
        bootstrap_accuracy(np.ones(3, dtype=bool), np.arange(3), level=1.0)
