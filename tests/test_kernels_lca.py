"""The LCA order against the definition by prefixes, p by p."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.errors import InputError
from nissl.kernels.lca import NEVER, lca_order


def by_definition(weights: list[list[int]]) -> list[int]:
    """Smallest p at which each neuron is in some class's prefix, in whole numbers throughout."""
    d = len(weights[0])
    first = [NEVER] * d
    for p in range(1, 101):
        merged = set()
        for row in weights:
            size = [abs(w) for w in row]
            total, mass = sum(size), 0
            if total == 0:
                continue
            for j in sorted(range(d), key=lambda j: (-size[j], j)):
                if 100 * mass >= p * total:
                    break
                merged.add(j)
                mass += size[j]
        for j in merged:
            first[j] = min(first[j], p)
    return first


rows = st.integers(1, 4).flatmap(
    lambda c: st.integers(1, 12).flatmap(
        lambda d: st.lists(
            st.lists(st.integers(-30, 30), min_size=d, max_size=d), min_size=c, max_size=c
        )
    )
)


@settings(max_examples=300)
@given(rows)
def test_agrees_with_the_definition(weights):
    coef = np.array(weights, dtype=np.float64)
    found = lca_order(coef)
    assert found.percent.tolist() == by_definition(weights)


@settings(max_examples=100)
@given(rows, st.integers(0, 1000))
def test_order_is_total_and_follows_the_percentages(weights, seed):
    coef = np.array(weights, dtype=np.float64)
    ties = np.random.default_rng(seed).random(coef.shape[1])
    found = lca_order(coef, tie_score=ties)
    d = coef.shape[1]
    assert sorted(found.order.tolist()) == list(range(d))
    assert all(sorted(row.tolist()) == list(range(d)) for row in found.class_order)
    size = np.abs(coef)
    key = list(
        zip(
            found.percent[found.order],
            -size.max(axis=0)[found.order],
            -size.sum(axis=0)[found.order],
            -ties[found.order],
            strict=True,
        )
    )
    assert key == sorted(key)
    for c, row in enumerate(found.class_order):
        assert (np.diff(size[c][row]) <= 0).all()


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_moving_the_neurons_moves_the_order(seed):
    rng = np.random.default_rng(seed)
    coef = rng.standard_normal((3, 15)) * (rng.random((3, 15)) < 0.6)
    ties = rng.random(15)
    moved = rng.permutation(15)
    here = lca_order(coef, tie_score=ties)
    there = lca_order(coef[:, moved], tie_score=ties[moved])
    assert np.array_equal(moved[there.order], here.order)
    assert np.array_equal(there.percent, here.percent[moved])


def test_scale_of_a_class_does_not_matter_to_its_prefixes():
    coef = np.array([[3.0, 1.0, 0.0, 0.5], [0.0, 0.0, 2.0, 1.0]])
    assert np.array_equal(
        lca_order(coef).percent, lca_order(coef * np.array([[7.0], [0.01]])).percent
    )


def test_ties_without_a_score_go_by_index_and_zero_weights_by_score():
    coef = np.array([[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]])
    assert lca_order(coef).order.tolist() == [0, 1, 2, 3, 4, 5, 6]
    ties = np.array([0.0, 0.0, 5.0, 0.0, 1.0, 3.0, 2.0])
    found = lca_order(coef, tie_score=ties)
    assert found.order.tolist()[-3:] == [5, 6, 4]
    assert found.order.tolist()[0] == 2
    assert (found.percent[4:] == NEVER).all()


def test_no_weights_at_all():
    found = lca_order(np.zeros((2, 3)), tie_score=np.array([1.0, 3.0, 2.0]))
    assert found.order.tolist() == [1, 2, 0]


def test_weights_that_are_not_numbers_are_refused():
    coef = np.ones((2, 4))
    coef[1, 2] = np.nan
    with pytest.raises(InputError, match="neuron 2"):
        lca_order(coef)
