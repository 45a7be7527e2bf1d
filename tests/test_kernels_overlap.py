"""Overlap probabilities and Holm's correction against enumeration and their definitions."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.errors import SettingError
from nissl.kernels.overlap import expected_overlap, holm, hypergeometric_overlap


@settings(max_examples=40)
@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), *[st.integers(0, n)] * 2)))
def test_probability_by_counting_all_sets(sizes):
    n, a, b = sizes
    first = set(range(a))
    counts = [len(first & set(other)) for other in combinations(range(n), b)]
    assert expected_overlap(n, a, b) == pytest.approx(np.mean(counts))
    for observed in range(min(a, b) + 1):
        want = np.mean([c >= observed for c in counts])
        assert hypergeometric_overlap(n, a, b, observed) == pytest.approx(want, abs=1e-12)


def test_probability_of_a_large_case_in_whole_numbers():
    n, a, b, seen = 2688, 27, 134, 9
    tail = sum(comb(a, k) * comb(n - a, b - k) for k in range(seen, a + 1))
    assert hypergeometric_overlap(n, a, b, seen) == pytest.approx(tail / comb(n, b), rel=1e-9)


def test_impossible_sets_are_refused():
    with pytest.raises(SettingError, match="cannot be drawn from 5"):
        expected_overlap(5, 6, 1)
    with pytest.raises(SettingError, match="overlap of 4 is impossible"):
        hypergeometric_overlap(10, 3, 5, 4)


@settings(max_examples=200)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_smallest_level_that_rejects(p):
    found = holm(np.array(p))
    m = len(p)
    for i in range(m):
        # The definition: walk up the sorted values, stop at the first that fails.
        order = sorted(range(m), key=lambda j: (p[j], j))
        largest = 0.0
        for rank, j in enumerate(order):
            largest = max(largest, (m - rank) * p[j])
            if j == i:
                break
        assert found[i] == pytest.approx(min(1.0, largest), abs=1e-12)
    assert (found >= np.array(p) - 1e-15).all()


def test_holm_of_a_known_case():
    # Holm 1979's rule on p = .01, .04, .03, .005: .03, .06, .06, .02.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_refuses_what_is_no_probability():
    for bad in ([1.5], [-0.1], [np.nan]):
        with pytest.raises(SettingError, match="between 0 and 1"):
            holm(np.array(bad))
