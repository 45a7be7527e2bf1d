"""NMI lies in [0, 1] for every pair of labelings and is scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from nissl.errors import InputError
from nissl.kernels.information import nmi

AVERAGES = ("arithmetic", "geometric", "min", "max")


@st.composite
def labelings(draw):
    n = draw(st.integers(1, 40))
    one = st.lists(st.integers(0, draw(st.integers(0, 12))), min_size=n, max_size=n)
    other = st.lists(st.integers(0, draw(st.integers(0, 40))), min_size=n, max_size=n)
    return np.array(draw(one)), np.array(draw(other))


@settings(max_examples=150)
@given(labelings(), st.sampled_from(AVERAGES))
def test_in_the_unit_interval_and_scikit_learns(pair, average):
    a, b = pair
    found = nmi(a, b, average=average)
    assert 0.0 <= found <= 1.0
    want = normalized_mutual_info_score(a, b, average_method=average)
    assert found == pytest.approx(want, abs=1e-9)
    assert found == pytest.approx(nmi(b, a, average=average), abs=1e-12)


@pytest.mark.parametrize("average", AVERAGES)
def test_degenerate_labelings(average):
    same, one = np.arange(50) % 7, np.zeros(50, dtype=int)
    assert nmi(same, same + 3, average=average) == pytest.approx(1.0, abs=1e-12)
    assert nmi(one, one, average=average) == 1.0
    assert nmi(one, same, average=average) == 0.0
    assert nmi(np.arange(50), np.arange(50)[::-1].copy(), average=average) == pytest.approx(1.0)
    words = np.array(["a", "b"] * 25)
    assert nmi(words, np.arange(50) % 2, average=average) == pytest.approx(1.0)


def test_large_and_nearly_equal_labelings_stay_below_one():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 40_000, 60_000)
    b = a.copy()
    b[:3] = 0
    assert 0.999 < nmi(a, b) <= 1.0
    assert nmi(rng.integers(0, 5, 100_000), rng.integers(0, 5, 100_000)) < 1e-3


def test_bad_input_is_named():
    with pytest.raises(InputError, match="3 and 2 tokens"):
        nmi(np.arange(3), np.arange(2))
    with pytest.raises(InputError, match="cannot be compared"):
        nmi(np.array([], dtype=int), np.array([], dtype=int))
