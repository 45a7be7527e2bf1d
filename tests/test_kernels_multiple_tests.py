"""Adjusted p-values against their definitions, SciPy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

from nissl.errors import SettingError
from nissl.kernels.multiple_tests import (
    benjamini_hochberg,
    benjamini_yekutieli,
    bonferroni,
    holm,
)

lists = st.lists(st.floats(0, 1), min_size=1, max_size=12).map(np.array)


def test_holm_rejects_the_first_and_the_fourth():
    assert (holm(np.array([0.01, 0.04, 0.03, 0.005])) <= 0.05).tolist() == [
        True,
        False,
        False,
        True,
    ]


SAME = [
    (bonferroni, "bonferroni"),
    (holm, "holm"),
    (benjamini_hochberg, "fdr_bh"),
    (benjamini_yekutieli, "fdr_by"),
]


@pytest.mark.parametrize(("adjust", "name"), SAME)
@settings(max_examples=25)  # statsmodels takes a tenth of a second for Holm
@given(p=lists)
def test_adjusted_values_are_those_of_statsmodels(adjust, name, p):
    assert adjust(p) == pytest.approx(multipletests(p, method=name)[1], abs=1e-12)


@pytest.mark.parametrize(("adjust", "name"), SAME)
def test_rejections_are_those_of_statsmodels(adjust, name):
    rng = np.random.default_rng(0)
    for _ in range(4):
        p = np.concatenate([rng.random(150), 1e-3 * rng.random(30), [0.0, 1.0, 0.05, 0.05]])
        want = multipletests(p, alpha=0.05, method=name)[0]
        assert np.array_equal(adjust(p) <= 0.05, want)
        assert want.any()


@settings(max_examples=150)
@given(lists)
def test_step_up_is_that_of_scipy(p):
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p, method="bh"))
    assert benjamini_yekutieli(p) == pytest.approx(false_discovery_control(p, method="by"))


@settings(max_examples=150)
@given(lists)
def test_order_among_the_corrections(p):
    assert (holm(p) <= bonferroni(p) + 1e-15).all()
    assert (benjamini_hochberg(p) <= holm(p) + 1e-15).all()
    assert (benjamini_hochberg(p) >= p - 1e-15).all()
    assert bonferroni(p) == pytest.approx(np.minimum(1, len(p) * p))


def test_family_wise_error_and_false_discovery_rate_by_simulation():
    rng = np.random.default_rng(0)
    any_false, share = 0, []
    for _ in range(2000):
        p = rng.random(20)
        p[:5] *= 1e-3  # five true effects
        any_false += (holm(p)[5:] <= 0.05).any()
        found = benjamini_hochberg(p) <= 0.1
        share.append(found[5:].sum() / max(1, found.sum()))
    # Holm spends .05 on the 15 nulls once the five are out; BH spends 15/20 of .1.
    assert any_false / 2000 == pytest.approx(0.05, abs=0.015)
    assert np.mean(share) == pytest.approx(0.075, abs=0.01)


@pytest.mark.parametrize("adjust", [bonferroni, holm, benjamini_hochberg, benjamini_yekutieli])
def test_no_tests_and_bad_numbers(adjust):
    assert len(adjust(np.array([]))) == 0
    for bad in ([1.5], [-0.1], [np.nan]):
        with pytest.raises(SettingError, match="between 0 and 1"):
            adjust(np.array(bad))
