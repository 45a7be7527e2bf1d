"""Overlaps, rank agreement and votes against enumeration, SciPy and their definitions."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from nissl.errors import InputError, SettingError
from nissl.kernels.overlap import (
    average_overlap,
    expected_overlap,
    holm,
    hypergeometric_overlap,
    kendall,
    neuron_vote,
    rank_biased_overlap,
    spearman,
    top_jaccard,
    votes,
)


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


def random_orders(m: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(d) for _ in range(m)])


def jaccard(a, b) -> float:
    a, b = set(a), set(b)
    return len(a & b) / len(a | b)


def test_rank_correlations_are_those_of_scipy():
    orders = random_orders(4, 30)
    ranks = np.argsort(orders, axis=1)
    for found, reference in ((spearman(orders), spearmanr), (kendall(orders), kendalltau)):
        for i in range(4):
            for j in range(4):
                assert found[i, j] == pytest.approx(reference(ranks[i], ranks[j])[0])
    assert spearman(np.stack([orders[0], orders[0][::-1]]))[0, 1] == pytest.approx(-1)


def test_top_jaccard_by_sets():
    orders = random_orders(5, 20)
    found = top_jaccard(orders, 7)
    for i in range(5):
        for j in range(5):
            assert found[i, j] == pytest.approx(jaccard(orders[i, :7], orders[j, :7]))


def test_rank_biased_overlap_by_its_sum():
    orders = random_orders(3, 12)
    for p, depth in ((0.5, 12), (0.9, 7), (0.98, 12)):
        found = rank_biased_overlap(orders, persistence=p, depth=depth)
        for i in range(3):
            for j in range(3):
                share = [
                    len(set(orders[i, :r]) & set(orders[j, :r])) / r for r in range(1, depth + 1)
                ]
                # An infinite list that stays at the last share, summed far out.
                far = share + [share[-1]] * 3000
                want = (1 - p) * sum(a * p**r for r, a in enumerate(far))
                assert found[i, j] == pytest.approx(want, abs=1e-9)
    # What is wrong at the top costs more than what is wrong at the bottom.
    one = np.arange(50)
    top, bottom = one.copy(), one.copy()
    top[:2], bottom[-2:] = [1, 0], [49, 48]
    value = rank_biased_overlap(np.stack([one, top, bottom]), persistence=0.9)
    assert value[0, 1] < value[0, 2] <= 1


def test_average_overlap_by_hand():
    orders = np.array([[0, 1, 2, 3, 4, 5], [1, 0, 3, 2, 4, 5], [5, 4, 0, 1, 2, 3]])
    # The best two: {0, 1}, {0, 1}, {4, 5}; the best three: {0, 1, 2}, {0, 1, 3}, {0, 4, 5}.
    assert average_overlap(orders, 2) == pytest.approx([0.5, 0.5, 0])
    assert average_overlap(orders, 3) == pytest.approx(
        [(2 / 4 + 1 / 5) / 2, (2 / 4 + 1 / 5) / 2, 1 / 5]
    )


def test_neuron_vote_by_hand_and_by_loops():
    orders = np.array([[0, 1, 2, 3], [0, 2, 1, 3], [3, 2, 1, 0]])
    # Voters 1 and 2 on method 0: neuron 0 gets 4 + 1, 1: 2 + 2, 2: 3 + 3, 3: 1 + 4; with ties to
    # the lowest index, 2 and 0 are elected; method 0 chose 0 and 1.
    assert votes(orders).tolist() == [[4, 3, 2, 1], [4, 2, 3, 1], [1, 2, 3, 4]]
    assert neuron_vote(orders, 2)[0] == pytest.approx(1 / 3)
    orders = random_orders(5, 40, seed=3)
    for depth in (40, 10):
        found = neuron_vote(orders, 8, depth=depth)
        for i in range(5):
            points = dict.fromkeys(range(40), 0)
            for j in range(5):
                if j != i:
                    for place, neuron in enumerate(orders[j, :depth]):
                        points[neuron] += depth - place
            elected = sorted(range(40), key=lambda neuron: (-points[neuron], neuron))[:8]
            assert found[i] == pytest.approx(jaccard(orders[i, :8], elected))


def test_agreement_is_not_truth():
    # Three methods share one mistake, and one is right: it scores lowest.
    rng = np.random.default_rng(0)
    truth = np.arange(60)
    wrong = np.stack([np.r_[50 + rng.permutation(10), np.arange(50)] for _ in range(3)])
    orders = np.concatenate([wrong, truth[None]])
    assert average_overlap(orders, 10).argmin() == 3
    assert neuron_vote(orders, 10, depth=10).argmin() == 3
    for function in (average_overlap, neuron_vote):
        assert "Agreement is not truth" in (function.__doc__ or "")


def test_orders_and_sizes_are_checked():
    orders = random_orders(2, 6)
    with pytest.raises(InputError, match="each order must hold"):
        top_jaccard(np.array([[0, 1, 1], [0, 1, 2]]), 2)
    with pytest.raises(SettingError, match="7 neurons cannot be taken from 6"):
        average_overlap(orders, 7)
    with pytest.raises(InputError, match="two or more methods"):
        neuron_vote(orders[:1], 2)
    with pytest.raises(SettingError, match="persistence"):
        rank_biased_overlap(orders, persistence=1.0)
