"""Tests on pairs: exact permutations against brute force, the null, and error rates."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from nissl.errors import InputError, SettingError
from nissl.kernels.multiple_tests import holm
from nissl.kernels.overlap_tests import expected_overlap, hypergeometric_overlap, pair_tests
from nissl.kernels.pair_null import permuted_mean_shares
from nissl.kernels.pair_permutation import (
    bootstrap_pairs,
    group_permutation,
    mean_share,
    overlap_shares,
    random_mean_shares,
    rank_permutation,
)


def random_members(rng, s, d, k):
    out = np.zeros((s, d), dtype=bool)
    for row in out:
        row[rng.choice(d, k, replace=False)] = True
    return out


def test_the_known_numbers():
    assert expected_overlap(768, 50, 50) == pytest.approx(3.2552, abs=5e-5)
    assert hypergeometric_overlap(768, 50, 50, 7) == pytest.approx(0.03676, abs=5e-6)
    assert hypergeometric_overlap(768, 50, 50, 12) == pytest.approx(2.912e-5, abs=5e-9)
    assert expected_overlap(1024, 50, 50) == pytest.approx(2.4414, abs=5e-5)
    assert hypergeometric_overlap(1024, 50, 50, 6) == pytest.approx(0.03048, abs=5e-6)


def test_false_findings_among_twenty_languages_without_anything_shared():
    rng = np.random.default_rng(0)
    first = random_members(rng, 20, 768, 50)
    exact = np.array([hypergeometric_overlap(768, 50, 50, o) for o in range(51)])
    a, b = np.triu_indices(20, k=1)
    # The same p as pair_tests takes, looked up: 200 trials have 38,000 of them.
    assert pair_tests(first).p == pytest.approx(exact[(first[a] & first[b]).sum(axis=1)])
    wrong = 0
    for _ in range(200):
        members = random_members(rng, 20, 768, 50)
        wrong += bool((holm(exact[(members[a] & members[b]).sum(axis=1)]) <= 0.05).any())
    assert wrong / 200 <= 0.05


def test_shares_by_hand():
    members = np.zeros((3, 10), dtype=bool)
    members[0, :4] = members[1, 2:8] = members[2, 9] = True
    got = overlap_shares(members)
    assert got[0, 1] == 2 / 4
    assert got[0, 2] == 0
    assert np.isnan(got[1, 1])
    assert mean_share(got) == pytest.approx(0.5 / 3)
    with pytest.raises(InputError, match="no neurons"):
        overlap_shares(np.zeros((2, 3), dtype=bool))


def test_null_of_the_mean_has_its_known_mean_and_variance():
    d, sizes = 60, (10, 10, 6)
    null = random_mean_shares(d, sizes, draws=4000)
    pairs = [(10, 10), (10, 6), (10, 6)]
    want = np.mean([a * b / d / min(a, b) for a, b in pairs])
    # Overlaps of independent random sets are pairwise independent: variances add.
    variances = [a * b * (d - a) * (d - b) / (d * d * (d - 1)) / min(a, b) ** 2 for a, b in pairs]
    assert null.mean() == pytest.approx(want, abs=3e-3)
    assert null.var() == pytest.approx(sum(variances) / 9, rel=0.1)
    with pytest.raises(SettingError):
        random_mean_shares(5, (6, 2))


@pytest.mark.parametrize("lacking", [False, True])
def test_group_permutation_is_exact(lacking):
    rng = np.random.default_rng(5)
    groups = np.array(["x", "x", "y", "y", "z"])
    matrix = rng.random((5, 5))
    matrix = (matrix + matrix.T) / 2
    if lacking:
        matrix[0, 4] = matrix[4, 0] = np.nan
    stats = []
    for order in permutations(range(5)):
        g = groups[list(order)]
        inside, outside = [], []
        for i in range(5):
            for j in range(i):
                if not np.isnan(matrix[i, j]):
                    (inside if g[i] == g[j] else outside).append(matrix[i, j])
        stats.append(np.mean(inside) - np.mean(outside))
    got = group_permutation(matrix, groups)
    assert got.exact
    assert got.value == pytest.approx(stats[0])
    assert got.p == pytest.approx(np.mean(np.array(stats) >= stats[0] - 1e-12))
    assert got.smallest == pytest.approx(1 / 15)


def test_group_permutation_of_many_and_of_nothing_to_compare():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(5), 4)
    matrix = rng.random((20, 20)) * 0.1
    matrix = matrix + matrix.T
    found = group_permutation(matrix, groups, draws=999)
    assert not found.exact
    assert found.p > 0.05
    planted = matrix + 0.1 * (groups[:, None] == groups)
    assert group_permutation(planted, groups, draws=999).p == pytest.approx(1 / 1000)
    assert np.isnan(group_permutation(matrix, np.arange(20)).value)
    assert group_permutation(matrix, np.zeros(20)).p == 1


def test_p_of_the_group_test_is_uniform_at_most_without_an_effect():
    rng = np.random.default_rng(2)
    groups = np.array([0, 0, 0, 1, 1, 1, 1])
    p = []
    for _ in range(200):
        matrix = overlap_shares(random_members(rng, 7, 100, 10))
        p.append(group_permutation(matrix, groups).p)
    assert np.mean(np.array(p) <= 0.1) <= 0.15


def spearman(x, y) -> float:
    found: Any = spearmanr(x, y)
    return float(found.statistic)


def test_rank_permutation():
    x, y = np.array([1.0, 2, 2, 5, 7]), np.array([2.0, 1, 4, 4, 9])
    want = spearman(x, y)
    got = rank_permutation(x, y)
    assert got.value == pytest.approx(want)
    every = [spearman(x, y[list(o)]) for o in permutations(range(5))]
    assert got.p == pytest.approx(np.mean(np.array(every) >= want - 1e-9))
    other = rank_permutation(x, -y, sign=-1)
    assert other.p == pytest.approx(got.p)
    assert other.value == pytest.approx(-want)
    assert rank_permutation(np.arange(5.0), np.arange(5.0)).smallest == pytest.approx(1 / 120)
    assert np.isnan(rank_permutation(np.ones(4), np.arange(4.0)).value)
    # Of drawn orders even the best is one of them: p cannot be below what they can give.
    many = rank_permutation(np.arange(12.0), np.arange(12.0), draws=99)
    assert many.p == many.smallest == pytest.approx(1 / 100)


def test_bootstrap_resamples_members():
    matrix = np.full((6, 6), 0.2)
    assert bootstrap_pairs(matrix) == (pytest.approx(0.2), pytest.approx(0.2))
    groups = np.array([0, 0, 0, 1, 1, 1])
    matrix = 0.1 + 0.3 * (groups[:, None] == groups)
    low, high = bootstrap_pairs(matrix, groups)
    assert (low, high) == (pytest.approx(0.3), pytest.approx(0.3))
    # One odd member moves the mean of 15 pairs by five at once: wider than if pairs were alone.
    matrix = np.full((6, 6), 0.2)
    matrix[0] = matrix[:, 0] = 0.8
    low, high = bootstrap_pairs(matrix)
    assert low == pytest.approx(0.2)
    assert high > 0.55
    assert np.isnan(bootstrap_pairs(np.full((3, 3), 0.2))[0])


def test_counts_weigh_entries_as_the_values_they_are_means_of():
    rng = np.random.default_rng(0)
    matrix = rng.random((6, 6))
    matrix += matrix.T
    assert bootstrap_pairs(matrix, counts=np.full((6, 6), 7.0)) == bootstrap_pairs(matrix)
    counts = np.ones((6, 6))
    counts[0] = counts[:, 0] = 1e9
    low, high = bootstrap_pairs(matrix, counts=counts)
    assert matrix[0, 1:].min() < low < high < matrix[0, 1:].max()


def test_null_of_sets_that_belong_together():
    rng = np.random.default_rng(1)
    members = random_members(rng, 4, 40, 8)
    members[3] = members[2]
    got = permuted_mean_shares(members, np.array([0, 1, 2, 2]), draws=4000)
    # 0–1 once, 0–2 and 1–2 twice each: variances of three independent overlaps, weighted.
    one = 8 * 8 * 32 * 32 / (40 * 40 * 39) / 64
    assert got.mean() == pytest.approx(0.2, abs=3e-3)
    assert got.var() == pytest.approx(one * (1 + 4 + 4) / 25, rel=0.1)
    # Sets alone: the null of random ones.
    alone = permuted_mean_shares(members[:3], np.arange(3), draws=4000)
    want = random_mean_shares(40, (8, 8, 8), draws=4000)
    assert alone.var() == pytest.approx(want.var(), rel=0.1)
    with pytest.raises(InputError, match="two owners"):
        permuted_mean_shares(members, np.zeros(4, dtype=np.int64))
