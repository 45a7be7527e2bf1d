"""Tests of formulas against loops over tokens, and on noise and planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nissl.errors import InputError, SettingError
from nissl.kernels.exhaustive import exhaustive_formulas
from nissl.kernels.formula_scores import SCORES, score_of_counts
from nissl.kernels.formula_stability import formula_stability
from nissl.kernels.formula_tests import (
    bootstrap_interval,
    held_out,
    permutation_p,
    sentence_starts,
    shifted,
    shuffled_search,
)
from nissl.kernels.formulas import Formula, pack
from nissl.kernels.search import search_formulas


def text(seed, n=1500, neurons=12, count=15):
    """Sentences of 1 … 12 tokens, concepts, and neurons that know nothing of them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 13, n)
    groups = np.repeat(np.arange(n), lengths)[:n]
    concepts = rng.random((count, n)) < np.maximum(0.5 / np.arange(1, count + 1), 0.02)[:, None]
    masks = rng.random((neurons, n)) < 0.2
    return groups, concepts, masks


def score(a, b, name):
    counts = (np.array([x.sum()]) for x in (a & b, a, b))
    return score_of_counts(*counts, len(a), name)[0]


FORMULAS = (Formula((1, 2), ("or",)), None, Formula((0, 3), ("and not",)))


def test_held_out_scores():
    _, concepts, masks = text(0)
    found = held_out(FORMULAS, pack(concepts), masks[:3])
    for u in (0, 2):
        m = FORMULAS[u].mask(concepts)
        assert found["hits"][u] == (m & masks[u]).sum()
        assert (found["support"][u], found["sizes"][u]) == (m.sum(), masks[u].sum())
        for name in SCORES:
            assert found[name][u] == pytest.approx(score(m, masks[u], name), abs=1e-12)
    assert all(np.isnan(found[name][1]) for name in SCORES)
    assert found["support"][1] == 0


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n", [1500, 1499])
def test_permutation_p_is_a_loop_over_shifts(name, n):
    groups, concepts, masks = text(1, n)
    masks[0] |= concepts[1] & (np.random.default_rng(0).random(n) < 0.2)
    p, null = permutation_p(FORMULAS, concepts, masks[:3], groups, permutations=None, score=name)
    starts = [i for i in range(1, n) if groups[i] != groups[i - 1]]
    for u in (0, 2):
        m = FORMULAS[u].mask(concepts)
        here = score(m, masks[u], name)
        there = [score(m, np.roll(masks[u], t), name) for t in starts]
        assert p[u] == (1 + np.sum(np.array(there) >= here)) / (1 + len(starts))
        assert null[u] == pytest.approx(np.mean(there))
    assert p[1] == 1
    assert np.isnan(null[1])


def test_p_values_are_uniform_on_noise_and_small_on_truth():
    groups, concepts, masks = text(2, n=2000, neurons=300)
    train, test = groups < groups[1000], groups >= groups[1000]
    found = search_formulas(concepts[:, train], masks[:, train], length=2, beam=3)
    p, null = permutation_p(found.formulas, concepts[:, test], masks[:, test], groups[test])
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    # On the tokens of the search the very same test is fooled: that is why it is on others.
    fooled, _ = permutation_p(found.formulas, concepts[:, train], masks[:, train], groups[train])
    assert stats.kstest(fooled, "uniform").pvalue < 1e-6
    assert (fooled < 0.05).mean() > 0.1 > (p < 0.05).mean()
    iou = held_out(found.formulas, concepts[:, test], masks[:, test])["iou"]
    assert iou.mean() < found.scores.mean() - 0.005
    planted = FORMULAS[0].mask(concepts)[None]
    p, null = permutation_p([FORMULAS[0]], concepts, planted, groups, permutations=99)
    assert p[0] == 0.01
    assert null[0] < 0.5


def test_what_is_said_of_p_values_over_whole_sentences():
    """Valid for sentences of one length; too small for lengths that vary, as the docstring says."""

    def small(lengths, at):
        rng = np.random.default_rng(0)
        p = []
        for _ in range(25):
            groups = np.repeat(np.arange(300), lengths(rng))
            masks = (rng.random((30, 300)) < 0.1)[:, groups]
            concepts = (rng.random((1, 300)) < 0.2)[:, groups]
            given = [Formula((0,))] * len(masks)
            p.append(permutation_p(given, concepts, masks, groups, permutations=199)[0])
        return (np.concatenate(p) <= at).mean()

    assert small(lambda rng: np.full(300, 12), 0.05) < 0.06
    varied = small(lambda rng: np.clip(rng.gamma(1.1, 11, 300).astype(int), 1, 80), 0.05)
    assert 0.07 < varied < 0.14


def test_bootstrap_is_a_loop_over_sentences():
    groups, concepts, masks = text(3, n=300)
    masks[0] |= concepts[1]
    for name in SCORES:
        found = bootstrap_interval(
            FORMULAS, concepts, masks[:3], groups, draws=40, level=0.8, score=name, seed=5
        )
        count = groups[-1] + 1
        times = np.random.default_rng(5).multinomial(count, np.full(count, 1 / count), size=40)
        for u in (0, 2):
            m = FORMULAS[u].mask(concepts)
            drawn = [np.repeat(np.arange(300), t[groups]) for t in times]
            want = np.quantile([score(m[d], masks[u][d], name) for d in drawn], [0.1, 0.9])
            assert found[u] == pytest.approx(want, abs=1e-12)
        assert np.isnan(found[1]).all()


def test_search_on_noise_finds_less():
    groups, concepts, masks = text(4)
    masks[:] = [FORMULAS[0].mask(concepts)] * len(masks)
    real = search_formulas(concepts, masks, length=2)
    noise = shuffled_search(concepts, masks, groups, length=2, seed=1)
    assert (real.scores == 1).all()
    assert (noise.scores < 0.6).all()
    assert (noise.sizes == real.sizes).all()
    assert len(set(noise.scores)) > 5
    again = shuffled_search(concepts, masks, groups, search=exhaustive_formulas, length=2, seed=1)
    assert (again.scores >= noise.scores).all()
    one = shifted(masks[:1], np.array([3]))
    assert (one[0, 3:] == masks[0, :-3]).all()
    assert (one[0, :3] == masks[0, -3:]).all()


def test_stability():
    groups, concepts, masks = text(5, neurons=4)
    rng = np.random.default_rng(0)
    masks[0] = FORMULAS[0].mask(concepts) ^ (rng.random(1500) < 0.02)
    masks[1] = False
    concepts[14] = concepts[13] = rng.random(1500) < 0.2
    masks[2] = concepts[13]
    found = search_formulas(concepts, masks, length=2)
    kept = formula_stability(found, concepts, masks, groups, draws=5, length=2)
    assert kept.same[0] == 1
    assert kept.jaccard[0] == 1
    assert kept.draws == 5
    assert np.isnan(kept.same[1])
    assert np.isnan(kept.jaccard[1])
    assert kept.same[2] == 1
    assert kept.same[3] < 1
    assert kept.jaccard[3] < 0.9


def test_what_cannot_be_tested():
    groups, concepts, masks = text(6, n=100, neurons=3)
    assert (sentence_starts(np.array(list("aabbbc")), 6) == [0, 2, 5]).all()
    with pytest.raises(InputError, match="2 formulas"):
        held_out(FORMULAS[:2], concepts, masks)
    with pytest.raises(InputError, match="stand apart"):
        permutation_p(FORMULAS, concepts, masks, groups % 3)
    with pytest.raises(InputError, match="one sentence"):
        permutation_p(FORMULAS, concepts, masks, groups * 0)
    with pytest.raises(InputError, match="each of the 100 tokens"):
        bootstrap_interval(FORMULAS, pack(concepts), pack(masks), groups[:50])
    with pytest.raises(SettingError, match="permutations"):
        permutation_p(FORMULAS, concepts, masks, groups, permutations=0)
    with pytest.raises(SettingError, match="level"):
        bootstrap_interval(FORMULAS, concepts, masks, groups, level=1.0)
    found = search_formulas(concepts, masks)
    with pytest.raises(SettingError, match="draws"):
        formula_stability(found, concepts, masks, groups, draws=0)
