"""Planted truth: the ranking finds exactly the neurons that carry the classes."""

from __future__ import annotations

import numpy as np
import pytest

from nissl.methods import fit_probe, rank, rank_lca
from nissl.testing import planted_task

SETTINGS = {
    "n_tokens": 4000,
    "n_neurons": 400,
    "n_classes": 4,
    "informative": 8,
    "shift": 1.5,
    "scales": (100.0,),
    "noisy": 4,
    "noise_scale": 1000.0,
}


@pytest.mark.parametrize("seed", range(5))
def test_the_eight_best_neurons_are_the_eight_planted(seed):
    task, planted = planted_task(**SETTINGS, seed=seed)
    ranking = rank_lca(task, fit_probe(task))
    assert sorted(ranking.top(8).tolist()) == planted.informative.tolist()
    raw = planted.X.std(axis=0)
    assert (raw[planted.informative] > 50).sum() == 1  # one is a hundred times as large
    assert raw[planted.noisy].min() > 5 * raw[planted.informative].max()


@pytest.mark.parametrize("seed", range(5))
def test_each_class_finds_its_own_two(seed):
    task, planted = planted_task(**SETTINGS, seed=seed)
    ranking = rank_lca(task, fit_probe(task))
    inside = np.stack([planted.X[planted.y == c].mean(axis=0) for c in range(4)])
    overall = planted.X.std(axis=0)
    for c, label in enumerate(task.classes):
        lift = (inside[c] - np.delete(inside, c, axis=0).mean(axis=0)) / overall
        own = planted.informative[np.argsort(-lift[planted.informative])[:2]]
        assert set(ranking.top_of(label, 2).tolist()) == set(own.tolist())


@pytest.mark.parametrize("method", ["lca", "mean-difference", "f"])
def test_every_ranking_but_chance_finds_them(method):
    task, planted = planted_task(**SETTINGS, seed=11)
    assert sorted(rank(task, method).top(8).tolist()) == planted.informative.tolist()


def test_chance_does_not_find_them():
    task, planted = planted_task(**SETTINGS, seed=11)
    assert len(set(rank(task, "random").top(8).tolist()) & set(planted.informative.tolist())) <= 2


def test_without_standardisation_weights_would_mislead():
    """The raw mean difference falls for scale: the reason why a task standardises."""
    task, planted = planted_task(**SETTINGS, seed=1)
    train = task.train.rows
    X, y = planted.X[train], planted.y[train]
    raw = np.max(
        [np.abs(X[y == c].mean(axis=0) - X[y != c].mean(axis=0)) for c in range(4)], axis=0
    )
    best = np.argsort(-raw)[:8]
    assert set(planted.noisy.tolist()) <= set(best.tolist())


@pytest.mark.parametrize("seed", range(2))
def test_label_sorted_rows_give_the_same_result_as_shuffled_ones(seed):
    plain, planted = planted_task(**SETTINGS, seed=seed)
    by_label = np.argsort(planted.y, kind="stable")
    shuffled = np.random.default_rng(seed).permutation(len(planted.y))
    found = []
    for order in (by_label, shuffled):
        task, _ = planted_task(**SETTINGS, seed=seed, order=order)
        assert not np.array_equal(task.train.y, plain.train.y)
        found.append(rank_lca(task, fit_probe(task, tol=1e-5)))
    sort, mix = found
    assert np.array_equal(sort.top(8), mix.top(8))
    # Both are certified; a gap of 1e-5 bounds the distance of their weights by far more than this.
    assert np.abs(sort.scores - mix.scores).max() < 1e-2


def test_two_runs_with_one_seed_are_bit_identical():
    probes, orders = [], []
    for _ in range(2):
        task, _ = planted_task(**SETTINGS, seed=3)
        probe = fit_probe(task, seed=5)
        probes.append(probe)
        orders.append(rank_lca(task, probe).order)
    one, two = probes
    assert one.coef.tobytes() == two.coef.tobytes()
    assert (one.low, one.high, one.gap) == (two.low, two.high, two.gap)
    assert np.array_equal(*orders)
    assert one.provenance.inputs == two.provenance.inputs
