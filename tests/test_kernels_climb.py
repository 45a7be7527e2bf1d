"""The steps that follow the beam: against brute force, and on formulas that the beam misses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.kernels import _climb_loops as loops
from nissl.kernels import search as module
from nissl.kernels._climb import Climb
from nissl.kernels.exhaustive import exhaustive_formulas
from nissl.kernels.formula_scores import SCORES, score_of_counts
from nissl.kernels.formulas import OPS, Formula, pack
from nissl.kernels.search import search_formulas


def text(seed, count=300, tokens=6000):
    """Words of a Zipf vocabulary and tags that are unions of words: concepts that nest, overlap."""
    rng = np.random.default_rng(seed)
    tags = 30
    words = count - tags
    share = 1 / np.arange(1, words + 1)
    drawn = rng.choice(words, tokens, p=share / share.sum())
    out = np.zeros((count, tokens), dtype=bool)
    for t in range(tags):
        out[t] = (rng.random(words) < np.exp(rng.uniform(np.log(0.02), np.log(0.3))))[drawn]
    out[tags + drawn, np.arange(tokens)] = True
    return out


def leaf_out(leaves, ops, i):
    """All shorter chains by one leaf, as plain masks compare them."""
    return leaves[:i] + leaves[i + 1 :], ops[: max(i - 1, 0)] + ops[max(i, 1) :]


def plant(concepts, ops, seed):
    """A formula each of whose leaves changes a tenth of the mask or more."""
    rng = np.random.default_rng(seed)
    frequent = np.flatnonzero((concepts.mean(axis=1) > 0.01) & (concepts.mean(axis=1) < 0.3))
    while True:
        formula = Formula(tuple(int(k) for k in rng.choice(frequent, len(ops) + 1, False)), ops)
        mask = formula.mask(concepts)
        shorter = [
            Formula(*leaf_out(formula.leaves, formula.ops, i)).mask(concepts)
            for i in range(len(formula))
        ]
        if mask.sum() >= 50 and all((m ^ mask).sum() > 0.1 * mask.sum() for m in shorter):
            return formula


def score(mask, neuron, name="iou"):
    counts = (np.array([m.sum()]) for m in (mask & neuron, mask, neuron))
    return score_of_counts(*counts, len(mask), name)[0]


def chain(leaves, ops, concepts):
    """Mask of a chain whose leaves stay in the order that they have."""
    m = concepts[leaves[0]]
    for op, k in zip(ops, leaves[1:], strict=True):
        m = {"or": m | concepts[k], "and": m & concepts[k], "and not": m & ~concepts[k]}[op]
    return m


def insertions(leaves, ops, count):
    """All chains of one leaf more."""
    for place, k, op in itertools.product(range(len(leaves) + 1), range(count), OPS):
        if place == 0:
            yield (k, *leaves), (op, *ops)
        else:
            yield (*leaves[:place], k, *leaves[place:]), (*ops[: place - 1], op, *ops[place - 1 :])


def parts(concepts, mask, length, name="iou", least=1):
    """What the loops are given."""
    packed, a = pack(concepts), pack(mask[None])
    room = Climb(packed, length, SCORES.index(name), least)
    f = (concepts & mask).sum(axis=1)
    off = packed.counts - f
    orders = np.argsort(-f, kind="stable"), np.argsort(-off, kind="stable")
    given = (*packed.lists, *orders, f, off, a.words[0])
    return room, (*given, SCORES.index(name), int(mask.sum()), len(mask), least)


def small(seed):
    rng = np.random.default_rng(seed)
    concepts = rng.random((7, 90)) < rng.random((7, 1))
    mask = rng.random(90) < 0.4
    mask[0] = True
    length = int(rng.integers(1, 5))
    leaves = tuple(int(k) for k in rng.integers(0, 7, length))
    ops = tuple(OPS[i] for i in rng.integers(0, 3, length - 1))
    return concepts, mask, leaves, ops


@given(st.integers(0, 10**6), st.sampled_from(SCORES), st.integers(1, 20))
@settings(max_examples=60)
def test_the_best_insertion_is_that_of_brute_force(seed, name, least):
    concepts, mask, leaves, ops = small(seed)
    room, rest = parts(concepts, mask, 5, name, least)
    g_leaves, g_ops, out_leaves, out_ops = room.chains[:4]
    g_leaves[: len(leaves)] = leaves
    g_ops[1 : len(leaves)] = [OPS.index(op) for op in ops]
    loops.prepare(rest[0], g_leaves, g_ops, len(leaves), room.everything, *room.room)
    masks = [chain(*x, concepts) for x in insertions(leaves, ops, 7)]
    want = max((score(m, mask, name) for m in masks if m.sum() >= least), default=-9.0)
    for bar in (-9.0, want - 0.01, want):
        room.best[0] = bar
        found = loops.best_insertion(
            *rest, g_ops, len(leaves), *room.room, room.inside, room.outside, room.best, room.made
        )
        assert found == (want > bar)
        if found:
            assert room.best[0] == pytest.approx(want, abs=1e-12)
            loops.insert(g_leaves, g_ops, len(leaves), *room.made[:3], out_leaves, out_ops)
            made = chain(
                out_leaves[: len(leaves) + 1],
                [OPS[op] for op in out_ops[1 : len(leaves) + 1]],
                concepts,
            )
            assert score(made, mask, name) == pytest.approx(want, abs=1e-12)
            assert list(room.made[3:]) == [(made & mask).sum(), made.sum()]


@given(st.integers(0, 10**6), st.sampled_from(SCORES))
@settings(max_examples=40)
def test_no_step_of_one_leaf_is_left_where_a_climb_ends(seed, name):
    concepts, mask, leaves, ops = small(seed)
    leaves, ops = (*leaves, 3), (*ops, OPS[seed % 3])
    length = len(leaves)
    room, rest = parts(concepts, mask, 5, name)
    chains = room.chains
    chains[0, :length] = leaves
    chains[1, 1:length] = [OPS.index(op) for op in ops]
    room.best[0] = start = score(chain(leaves, ops, concepts), mask, name)
    room.short[0] = -9.0
    loops.climb(
        *rest, room.everything, chains[0], chains[1], length, chains[2], chains[3], *room.room,
        room.inside, room.outside, room.best, room.made,
        room.short, room.short_made, chains[4], chains[5],
    )  # fmt: skip
    leaves = tuple(int(k) for k in chains[0, :length])
    ops = tuple(OPS[op] for op in chains[1, 1:length])
    end = score(chain(leaves, ops, concepts), mask, name)
    assert end == pytest.approx(room.best[0], abs=1e-12)
    assert end >= start
    shortest = -9.0
    for i in range(length):
        less = leaf_out(leaves, ops, i)
        run = ops.index("or") if "or" in ops else len(ops)
        if i == 0 and ops and ops[0] == "and not" and "and" in ops[:run]:
            # Of A AND NOT B AND C, what is left without A is C AND NOT B.
            c = ops.index("and") + 1
            less = (leaves[c], *leaves[1:c], *leaves[c + 1 :]), (*ops[: c - 1], *ops[c:])
        shortest = max(shortest, score(chain(*less, concepts), mask, name))
        for x in insertions(*less, 7):
            assert score(chain(*x, concepts), mask, name) <= end + 1e-12, (i, x)
    for k in range(7):
        assert score(chain((k, *leaves[1:]), ops, concepts), mask, name) <= end + 1e-12
    assert room.short[0] >= shortest - 1e-12


@pytest.mark.parametrize(
    ("given_ops", "left", "left_ops"),
    [
        (("and not", "and", "or"), (2, 1, 3), ("and not", "or")),
        (("and not", "or", "and"), (1, 2, 3), ("or", "and")),
        (("and", "and not", "or"), (1, 2, 3), ("and not", "or")),
        (("and not", "and not", "and"), (3, 1, 2), ("and not", "and not")),
    ],
)
def test_without_its_first_leaf_a_formula_begins_with_one_that_is_not_negated(
    given_ops, left, left_ops
):
    out, out_ops = np.zeros((2, 4), dtype=np.int64)
    ops = np.array([0, *(OPS.index(op) for op in given_ops)])
    loops.without(np.arange(4), ops, 4, 0, out, out_ops)
    assert tuple(out[:3]) == left
    assert tuple(OPS[op] for op in out_ops[1:3]) == left_ops


SHAPES = {
    "((A OR B OR C) AND NOT D) OR E": ("or", "or", "and not", "or"),
    "(((A AND NOT B) OR C) AND NOT D) OR E": ("and not", "or", "and not", "or"),
    "(A OR B OR C OR D) AND NOT E": ("or", "or", "or", "and not"),
    "A OR B OR C OR D OR E": ("or",) * 4,
    "((A OR B) AND NOT C) OR D OR E": ("or", "and not", "or", "or"),
}


@pytest.fixture(scope="module")
def texts():
    concepts = [text(seed) for seed in range(8)]
    return concepts, [pack(c) for c in concepts]


@pytest.mark.parametrize("name", SHAPES)
def test_planted_formulas_of_five_are_found(texts, name):
    for seed, (concepts, packed) in enumerate(zip(*texts, strict=True)):
        planted = plant(concepts, SHAPES[name], seed)
        mask = planted.mask(concepts)
        found = search_formulas(packed, mask[None], length=5)
        assert found.scores[0] == 1.0, (seed, planted, found.formulas[0])
        assert (found.formulas[0].mask(concepts) == mask).all()
        # One label in twenty wrong, as many off as on: never below the planted formula's own.
        rng = np.random.default_rng(seed)
        wrong, number = mask.copy(), round(0.025 * mask.sum())
        wrong[rng.permutation(np.flatnonzero(mask))[:number]] = False
        wrong[rng.permutation(np.flatnonzero(~mask))[:number]] = True
        noisy = search_formulas(packed, wrong[None], length=5)
        own = score(mask, wrong)
        assert noisy.scores[0] >= own - 1e-12
        assert own > 0.94


def test_the_beam_alone_misses_some(texts, monkeypatch):
    monkeypatch.setattr(Climb, "__call__", lambda self, found, *_: found)
    missed = 0
    for seed, (concepts, packed) in enumerate(zip(*texts, strict=True)):
        mask = plant(concepts, SHAPES["((A OR B OR C) AND NOT D) OR E"], seed).mask(concepts)
        missed += search_formulas(packed, mask[None], length=5).scores[0] < 1
    assert missed >= 1


def test_no_length_is_worse_than_the_beams_nor_better_than_the_optimum(monkeypatch):
    rng = np.random.default_rng(0)
    concepts = text(3, 60, 2000)
    masks = concepts[rng.integers(0, 30, 40)] ^ (rng.random((40, 2000)) < 0.1)
    climbed = search_formulas(concepts, masks, length=5)
    three = search_formulas(concepts, masks, length=3)
    best = exhaustive_formulas(concepts, masks)
    monkeypatch.setattr(Climb, "__call__", lambda self, found, *_: found)
    beam = search_formulas(concepts, masks, length=5)
    assert (climbed.by_length >= beam.by_length).all()
    assert (climbed.by_length > beam.by_length).any(axis=0)[3:].all()
    for found in (climbed.by_length[:, :3], three.by_length):
        assert (found <= best.by_length + 1e-12).all()
    assert (climbed.bounds >= climbed.by_length[:, -1]).all()
    assert (np.diff(climbed.by_length) >= 0).all()
    for u, row in enumerate(climbed.best_by_length):
        for length, formula in enumerate(row):
            assert formula is not None
            assert len(formula) <= length + 1
            own = score(formula.mask(concepts), masks[u])
            assert own == pytest.approx(climbed.by_length[u, length], abs=1e-12)


@pytest.mark.parametrize("seed", [7, 8, 9, 12])
def test_a_better_shorter_formula_that_is_met_is_climbed_from_too(seed):
    """At every length, no concept in the place of one is better, nor a longer one's part."""
    rng = np.random.default_rng(seed)
    concepts = rng.random((12, 120)) < rng.random((12, 1))
    mask = rng.random(120) < 0.4
    found = search_formulas(concepts, mask[None], length=5, beam=2)
    for length, formula in enumerate(found.best_by_length[0]):
        assert formula is not None
        for i in range(len(formula)):
            if len(formula) > 1 and (i > 0 or formula.ops[0] != "and not"):
                shorter = chain(*leaf_out(formula.leaves, formula.ops, i), concepts)
                assert score(shorter, mask) <= found.by_length[0, length - 1] + 1e-12
            for k in range(12):
                leaves = (*formula.leaves[:i], k, *formula.leaves[i + 1 :])
                other = score(chain(leaves, formula.ops, concepts), mask)
                assert other <= found.by_length[0, length] + 1e-12, (length, i, k)


def test_a_search_whose_time_is_up_before_it_climbs_is_partial(monkeypatch):
    concepts = text(3, 60, 2000)
    mask = concepts[[4]] ^ (np.random.default_rng(0).random((1, 2000)) < 0.1)
    ticks = iter([0.0, 0.5, 0.5, 0.5, 2.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(ticks))
    found = search_formulas(concepts, mask, length=3, time_limit=1.0)
    assert found.partial[0]
    assert found.formulas[0] is not None
