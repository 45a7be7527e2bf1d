"""Exact overlap tests against whole numbers, SciPy and permuted sets."""

from __future__ import annotations

from fractions import Fraction
from math import comb, exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from nissl.errors import InputError, SettingError
from nissl.kernels.multiple_tests import benjamini_hochberg, holm
from nissl.kernels.overlap_tests import (
    expected_overlap,
    hypergeometric_overlap,
    log_hypergeometric_overlap,
    pair_tests,
)


def exact(total: int, a: int, b: int, seen: int) -> Fraction:
    ways = sum(
        comb(a, k) * comb(total - a, b - k)
        for k in range(max(seen, a + b - total, 0), min(a, b) + 1)
    )
    return Fraction(ways, comb(total, b))


def test_the_known_numbers():
    assert expected_overlap(768, 50, 50) == pytest.approx(3.2552, abs=5e-5)
    assert hypergeometric_overlap(768, 50, 50, 7) == pytest.approx(0.03676, abs=5e-6)
    assert hypergeometric_overlap(768, 50, 50, 8) == pytest.approx(0.01178, abs=5e-6)
    assert hypergeometric_overlap(768, 50, 50, 12) == pytest.approx(2.912e-5, abs=5e-9)


@settings(max_examples=200)
@given(st.data())
def test_probability_in_whole_numbers(data):
    total = data.draw(st.integers(1, 120))
    a, b = data.draw(st.integers(0, total)), data.draw(st.integers(0, total))
    seen = data.draw(st.integers(0, min(a, b)))
    want = exact(total, a, b, seen)
    found = log_hypergeometric_overlap(total, a, b, seen)
    assert found == pytest.approx(log(want.numerator) - log(want.denominator), rel=1e-9, abs=1e-11)
    assert found == pytest.approx(log_hypergeometric_overlap(total, b, a, seen), abs=1e-11)


def test_unequal_and_large_sets():
    for total, a, b, seen in ((2688, 27, 134, 9), (2000, 300, 800, 90)):
        want = exact(total, a, b, seen)
        assert hypergeometric_overlap(total, a, b, seen) == pytest.approx(float(want), rel=1e-8)
        assert hypergeometric_overlap(total, a, b, seen) == pytest.approx(
            hypergeom.sf(seen - 1, total, a, b), rel=1e-7
        )


def test_logarithm_stays_finite_where_p_does_not():
    found = log_hypergeometric_overlap(10_000, 500, 500, 500)
    assert found == pytest.approx(-log(comb(10_000, 500)), rel=1e-9)
    assert exp(found) == 0.0


def test_certain_overlaps():
    assert hypergeometric_overlap(10, 3, 4, 0) == 1.0
    assert hypergeometric_overlap(10, 8, 7, 5) == 1.0  # 8 + 7 − 10 must be shared
    assert hypergeometric_overlap(10, 10, 7, 7) == 1.0
    with pytest.raises(SettingError, match="cannot be drawn from 5"):
        log_hypergeometric_overlap(5, 6, 1, 1)
    with pytest.raises(SettingError, match="overlap of 4 is impossible"):
        hypergeometric_overlap(10, 3, 5, 4)


def test_all_pairs():
    rng = np.random.default_rng(0)
    members = rng.random((5, 200)) < np.array([0.1, 0.2, 0.3, 0.1, 0.5])[:, None]
    members[3] = members[0]
    found = pair_tests(members)
    assert list(zip(found.a, found.b, strict=True))[:5] == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2)]
    for i, (a, b) in enumerate(zip(found.a, found.b, strict=True)):
        first, second = set(np.flatnonzero(members[a])), set(np.flatnonzero(members[b]))
        assert found.overlap[i] == len(first & second)
        assert found.expected[i] == pytest.approx(len(first) * len(second) / 200)
        want = hypergeom.sf(found.overlap[i] - 1, 200, len(first), len(second))
        assert found.p[i] == pytest.approx(want, rel=1e-8)
    assert (found.p_holm == holm(found.p)).all()
    assert (found.p_bh == benjamini_hochberg(found.p)).all()
    assert np.flatnonzero(found.p_holm < 0.01).tolist() == [2]
    with pytest.raises(InputError, match="two or more sets"):
        pair_tests(members[:1])


def test_random_sets_reject_at_most_at_the_level():
    rng = np.random.default_rng(1)
    p = []
    for _ in range(600):
        members = np.zeros((2, 100), dtype=bool)
        members[0, rng.permutation(100)[:20]] = True
        members[1, rng.permutation(100)[:35]] = True
        p.append(pair_tests(members).p[0])
    # A discrete test: at each of its own levels it rejects exactly that often.
    for seen in (9, 11):
        level = hypergeometric_overlap(100, 20, 35, seen)
        assert np.mean(np.array(p) <= level + 1e-12) == pytest.approx(level, abs=0.035)
