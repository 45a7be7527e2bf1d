"""Power against statsmodels' values and against simulated t-tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind
from statsmodels.stats.power import TTestIndPower

from nissl.errors import SettingError
from nissl.kernels.power import design_effect, minimal_effect, power_of, tokens_needed


@pytest.mark.parametrize(
    ("d", "n1", "alpha", "ratio"),
    [(0.2, 400, 0.05, 1), (0.3, 144, 0.01, 9), (0.8, 50, 0.05 / 96, 4), (0.25, 40, 0.05, 2)],
)
def test_power_of_statsmodels(d, n1, alpha, ratio):
    want = TTestIndPower().power(d, n1, alpha, ratio)
    assert 0.2 < want < 0.95
    n, share = n1 * (1 + ratio), 1 / (1 + ratio)
    assert power_of(n, d, alpha=alpha, share=share) == pytest.approx(want, abs=1e-9)
    assert power_of(n, -d, alpha=alpha, share=share) == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("d", [0.2, 0.3, 0.5])
def test_tokens_needed_of_statsmodels(d, two_sided):
    side = "two-sided" if two_sided else "larger"
    part = TTestIndPower().solve_power(d, alpha=0.05, power=0.8, alternative=side)
    assert tokens_needed(d, two_sided=two_sided) == pytest.approx(2 * part, abs=1)


def test_smallest_effect_of_statsmodels():
    alpha = 0.05 / 768
    want = TTestIndPower().solve_power(nobs1=200, ratio=3, alpha=alpha, power=0.8)
    assert minimal_effect(800, share=0.25, n_neurons=768) == pytest.approx(want, abs=1e-7)


def test_power_of_simulated_t_tests():
    rng = np.random.default_rng(0)
    inside = rng.standard_normal((6000, 30)) + 0.5
    outside = rng.standard_normal((6000, 70))
    hit = (ttest_ind(inside, outside, axis=1).pvalue <= 0.05).mean()
    assert power_of(100, 0.5, share=0.3) == pytest.approx(hit, abs=0.02)


def test_sentences_cost_what_the_design_effect_says():
    # One label a sentence, ten tokens each, correlation .3: a t-test on sentence means.
    rng = np.random.default_rng(1)
    sentences, length, icc = 120, 10, 0.3
    common = np.sqrt(icc) * rng.standard_normal((4000, sentences, 1))
    values = (common + np.sqrt(1 - icc) * rng.standard_normal((4000, sentences, length))).mean(-1)
    values[:, :60] += 0.35
    hit = (ttest_ind(values[:, :60], values[:, 60:], axis=1).pvalue <= 0.05).mean()
    effect = design_effect(length, icc)
    assert effect == pytest.approx(1 + 9 * 0.3)
    found = power_of(sentences * length, 0.35, design=effect)
    assert found == pytest.approx(hit, abs=0.03)
    assert power_of(sentences * length, 0.35) > hit + 0.1


@pytest.mark.parametrize("share", [0.5, 0.02])
@pytest.mark.parametrize("n_neurons", [1, 2688])
@pytest.mark.parametrize("d", [0.05, 0.4, 3.0])
def test_smallest_number_and_smallest_effect_are_inverse(d, n_neurons, share):
    settings = {"n_neurons": n_neurons, "share": share, "design": 1.7}
    n = tokens_needed(d, power=0.9, **settings)
    assert power_of(n, d, **settings) >= 0.9
    if n > 2 / min(share, 1 - share) + 1:
        assert power_of(n - 1, d, **settings) < 0.9
        assert minimal_effect(n, power=0.9, **settings) <= d
        assert minimal_effect(n - 1, power=0.9, **settings) > d


def test_level_design_and_multiplicity():
    assert power_of(500, 0.0) == pytest.approx(0.05)
    assert power_of(500, 0.0, n_neurons=10) == pytest.approx(0.005)
    assert power_of(500, 0.2, design=2.5) == pytest.approx(power_of(200, 0.2))
    assert power_of(500, 0.2, n_neurons=10) == pytest.approx(power_of(500, 0.2, alpha=0.005))
    assert tokens_needed(0.1, n_neurons=2688) > 2 * tokens_needed(0.1)
    assert design_effect(20, 0.1, length_cv=0.5) == pytest.approx(1 + (1.25 * 20 - 1) * 0.1)
    assert design_effect(1, 0.9) == 1


def test_bad_settings_are_named():
    for call, match in (
        (lambda: tokens_needed(0.0), "no number of tokens"),
        (lambda: tokens_needed(1e-7), "over 1e12"),
        (lambda: tokens_needed(0.2, power=1.0), "power must lie"),
        (lambda: power_of(2, 0.2), "more than 2"),
        (lambda: power_of(100, 0.2, share=1.0), "share"),
        (lambda: power_of(100, 0.2, alpha=0.0), "alpha"),
        (lambda: power_of(100, 0.2, n_neurons=0), "n_neurons"),
        (lambda: power_of(100, 0.2, design=0.5), "design effect"),
        (lambda: design_effect(0.5, 0.1), "one token or more"),
        (lambda: design_effect(5, 1.5), "icc"),
        (lambda: minimal_effect(2), "more than 2"),
    ):
        with pytest.raises(SettingError, match=match):
            call()
