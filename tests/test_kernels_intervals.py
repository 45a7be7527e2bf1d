"""Bootstrap intervals: exact mean, resampling of whole sentences, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest

from nissl.errors import InputError, SettingError
from nissl.kernels.intervals import bootstrap_accuracy


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


def test_coverage_on_simulated_sentences():
    hits = 0
    for trial in range(200):
        rng = np.random.default_rng([7, trial])
        skill = rng.beta(8, 2, 150)  # mean .8, and sentences differ
        length = rng.integers(3, 20, 150)
        sentence = np.repeat(np.arange(150), length)
        right = rng.random(len(sentence)) < skill[sentence]
        _, low, high = bootstrap_accuracy(right, sentence, n_boot=300, seed=trial)
        hits += low <= 0.8 <= high
    # 95 % of 200 is 190; 178 is three standard deviations of chance and a bit below.
    assert 178 <= hits <= 199


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
