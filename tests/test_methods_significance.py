"""How sure: knockoffs, stability and permutations over a task, on planted neurons and on none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes

from nissl.errors import SettingError
from nissl.methods import knockoff_set, permutation_pvalues, rank, stable_set
from nissl.results import load_result
from nissl.testing import planted_task


@pytest.fixture(scope="module")
def planted():
    return planted_task(
        n_tokens=3000, n_neurons=80, n_classes=3, informative=15, shift=1.2, noisy=2, constant=2
    )


@pytest.fixture(scope="module")
def task(planted):
    return planted[0]


@pytest.fixture(scope="module")
def truth(planted):
    return set(planted[1].informative.tolist())


@pytest.fixture(scope="module")
def null(task):
    """The same neurons under labels that mean nothing."""
    rng = np.random.default_rng(8)
    parts = ("train", "dev", "test")
    return task.with_labels("NULL", {s: rng.integers(0, 3, len(task.part(s))) for s in parts})


def test_knockoffs_find_the_planted_neurons_and_few_others(task, truth):
    found = knockoff_set(task, fdr=0.2)
    chosen = set(found.members.tolist())
    assert truth <= chosen
    assert len(chosen - truth) <= 0.4 * len(chosen)
    assert found.frame()["value"].is_sorted(descending=True)
    assert found.ids() == task.neurons["neuron"].to_numpy()[found.members].tolist()
    assert (found.value[found.members] >= found.threshold).all()
    assert f"{len(chosen)} of 80 neurons for PLANTED" in found.summary()[0]
    assert "at most 0.2" in found.summary()[0]


def test_knockoffs_find_nothing_where_nothing_is(null):
    sizes = [len(knockoff_set(null, fdr=0.1, seed=s).members) for s in range(4)]
    assert sizes.count(0) >= 3
    empty = knockoff_set(null, fdr=0.05)
    assert empty.frame().height == 0
    assert isinstance(empty.plot(), Axes)


def test_stable_neurons_are_those_that_halves_choose(task, truth):
    found = stable_set(task, "f", k=15, n_pairs=8)
    assert set(found.members.tolist()) <= truth
    assert len(found.members) >= 12
    assert found.value.max() <= 1
    # 15 picks on each half, whatever they are.
    assert found.value.sum() == pytest.approx(15)
    assert "on 75% or more of 16 halves" in found.summary()[0]


def test_a_random_ranking_has_no_stable_neuron(task):
    found = stable_set(task, "random", k=8, n_pairs=10)
    assert len(found.members) == 0
    assert found.value.sum() == pytest.approx(8)


def test_any_ranking_with_settings_may_choose(task, truth):
    found = stable_set(task, "lca:l1=5e-3", k=10, n_pairs=3, penalty="lasso")
    assert set(found.members.tolist()) <= truth
    assert found.provenance.settings["penalty"] == "lasso"
    with pytest.raises(SettingError, match='no setting "penalti"'):
        stable_set(task, "lca", penalti="lasso")
    with pytest.raises(SettingError, match="a set of 81 neurons"):
        stable_set(task, k=81)


@pytest.mark.parametrize("within", ["all", "sentence", "word"])
def test_permutations_find_the_planted_neurons(task, truth, within):
    found = permutation_pvalues(task, within=within, n_perm=49)
    assert set(found.members().tolist()) == truth
    table = found.table
    assert (table["p"] >= 1 / 50).all()
    assert (table["p_family"] >= table["p"] - 1e-12).all()
    assert (table["q"] >= table["p"] - 1e-12).all()
    assert set(found.frame()["neuron"].head(15)) == set(rank(task, "f").ids(15))
    assert isinstance(found.plot(), Axes)


def test_permutations_find_nothing_where_nothing_is(null):
    wrong = [len(permutation_pvalues(null, n_perm=39, seed=s).members()) for s in range(3)]
    assert sum(n > 0 for n in wrong) <= 1
    p = permutation_pvalues(null, n_perm=99).table["p"]
    assert 0.3 < p.mean() < 0.7


def test_within_words_only_what_the_word_does_not_say_counts():
    """The word decides the label: inside a word nothing is left to know."""
    task, _ = planted_task(
        n_tokens=1500, n_neurons=30, informative=4, words=20, word_decides=True, seed=2
    )
    free = permutation_pvalues(task, n_perm=39)
    assert len(free.members()) >= 4
    # Half of the tokens get another label, so that there is something to permute.
    rng = np.random.default_rng(1)
    y = {
        s: np.where(rng.random(len(task.part(s))) < 0.5, task.part(s).y, rng.integers(0, 3))
        for s in ("train", "dev", "test")
    }
    y["train"] = np.where(rng.random(len(task.train)) < 0.5, task.train.y, 0)
    mixed = task.with_labels("MIXED", y)
    assert len(permutation_pvalues(mixed, n_perm=39).members()) >= 3
    inside = permutation_pvalues(mixed, within="word", n_perm=39)
    assert len(inside.members()) <= 1
    assert "inside each word" in inside.summary()[0]


def test_a_sample_of_tokens_is_the_same_on_each_run(task):
    one, two = (permutation_pvalues(task, n_perm=9, max_tokens=500) for _ in range(2))
    assert one.table.equals(two.table)
    other = permutation_pvalues(task, n_perm=9, max_tokens=500, seed=1)
    assert not one.table["observed"].equals(other.table["observed"])
    assert knockoff_set(task, max_tokens=900).value.shape == (80,)


def test_impossible_settings(task):
    with pytest.raises(SettingError, match="within must be"):
        permutation_pvalues(task, within="document")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="alpha"):
        permutation_pvalues(task, alpha=0)
    with pytest.raises(SettingError):
        knockoff_set(task, fdr=1.5)


def test_results_are_saved_and_read_back(task, tmp_path):
    results = (
        knockoff_set(task),
        stable_set(task, n_pairs=2, k=5),
        permutation_pvalues(task, n_perm=9),
    )
    for i, result in enumerate(results):
        back = load_result(result.save(tmp_path / str(i)))
        assert type(back) is type(result)
        assert isinstance(back.frame(), pl.DataFrame)
        assert back.frame().equals(result.frame())
        assert back.summary() == result.summary()
        assert isinstance(back.plot(), Axes)
