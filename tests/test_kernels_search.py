"""The beam search against planted formulas and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.errors import InputError, SettingError
from nissl.kernels import search as module
from nissl.kernels._formula_bounds import relaxed_bounds
from nissl.kernels._formula_loops import ceiling
from nissl.kernels.exhaustive import exhaustive_formulas
from nissl.kernels.formula_scores import SCORES, score_of_counts
from nissl.kernels.formulas import OPS, Formula, PackedMasks, pack, unpack
from nissl.kernels.search import search_formulas


def text_like(rng, count=60, n=5000):
    """Concepts whose sizes fall as 1 / rank."""
    return rng.random((count, n)) < np.maximum(0.4 / np.arange(1, count + 1), 20 / n)[:, None]


def test_a_union_that_is_worse_than_its_parts_is_kept_for_what_it_could_become():
    """B alone 0.51, A OR B 0.47, (A OR B) AND NOT C right: hundreds of unions are better."""
    rng = np.random.default_rng(0)
    n = 4000
    concepts = rng.random((300, n)) < 0.002
    concepts[:3] = False
    concepts[0, 120:435], concepts[1, :120] = True, True
    concepts[2, 110:120] = concepts[2, 214:435] = True
    planted = Formula((0, 1, 2), ("or", "and not"))
    mask = planted.mask(concepts)
    pair = counted(Formula((0, 1), ("or",)), concepts, mask)
    assert pair < counted(Formula((1,)), concepts, mask)
    found = search_formulas(concepts, mask[None], length=3)
    assert found.formulas[0] == planted
    assert found.scores[0] == 1.0


def counted(formula, concepts, mask, score="iou"):
    m = formula.mask(concepts)
    counts = (np.array([x.sum()]) for x in (m & mask, m, mask))
    return score_of_counts(*counts, len(mask), score)[0]


def every_mask(concepts, length):
    """Masks of all left-deep formulas of at most 1 … length leaves, repeated leaves too."""
    single = {c.tobytes() for c in concepts}
    sets = [single]
    for _ in range(1, length):
        grown = set(sets[-1])
        for m in sets[-1]:
            m = np.frombuffer(m, dtype=bool)
            for f in concepts:
                grown |= {(m | f).tobytes(), (m & f).tobytes(), (m & ~f).tobytes()}
        sets.append(grown)
    return sets


def best_of(masks, mask, score, least=1):
    """Best score of masks of enough tokens, -inf if there is none."""
    all_masks = np.array([np.frombuffer(m, dtype=bool) for m in masks])
    all_masks = all_masks[all_masks.sum(axis=1) >= least]
    if not len(all_masks):
        return -np.inf
    counts = (all_masks & mask).sum(1), all_masks.sum(1), np.full(len(all_masks), mask.sum())
    return score_of_counts(*counts, len(mask), score).max()


PLANTED = {
    "noun and not plural": Formula((3, 7), ("and not",)),
    "bracket": Formula((4, 6, 2), ("or", "and not")),
    "union": Formula((5, 8, 11), ("or", "or")),
    "five": Formula((4, 6, 9, 1, 12), ("or", "or", "and not", "or")),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", PLANTED)
def test_planted_formulas_are_found(name, seed):
    concepts = text_like(np.random.default_rng(seed))
    planted = PLANTED[name]
    found = search_formulas(concepts, planted.mask(concepts)[None], length=5)
    assert found.scores[0] == 1.0
    assert found.optimal[0]
    assert not found.partial[0]
    assert found.formulas[0] == planted, found.formulas[0]
    assert found.hits[0] == found.support[0] == found.sizes[0] == planted.mask(concepts).sum()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", PLANTED)
def test_planted_formulas_are_found_under_noise(name, seed):
    rng = np.random.default_rng(seed)
    concepts, planted = text_like(rng), PLANTED[name]
    mask = planted.mask(concepts)
    # One in twenty labels of the neuron's tokens is wrong, and as many others are on for them.
    off = rng.permutation(np.flatnonzero(mask))[: mask.sum() // 20]
    on = rng.permutation(np.flatnonzero(~mask))[: mask.sum() // 20]
    mask[off], mask[on] = False, True
    found = search_formulas(concepts, mask[None], length=len(planted))
    reachable = counted(planted, concepts, mask)
    assert found.scores[0] >= reachable - 1e-12
    assert reachable > 0.9
    assert found.formulas[0] == planted


def test_noun_and_not_plural_where_plural_never_meets_the_neuron():
    rng = np.random.default_rng(0)
    n = 20_000
    noun = rng.random(n) < 0.3
    plural = noun & (rng.random(n) < 0.3)
    concepts = np.vstack([rng.random((20, n)) < 0.1, noun, plural])
    mask = noun & ~plural
    found = search_formulas(concepts, mask[None], length=2)
    assert not (plural & mask).any()
    assert found.scores[0] == 1.0
    assert found.formulas[0] == Formula((20, 21), ("and not",))
    # Every twentieth label flipped: of 4,200 tokens that are on and 15,800 that are not.
    flipped = mask ^ (rng.random(n) < 0.05 * np.where(mask, 1, mask.mean() / (1 - mask.mean())))
    noisy = search_formulas(concepts, flipped[None], length=3)
    assert noisy.best_by_length[0][1] == Formula((20, 21), ("and not",))
    # 95 % of a kept, 5 % of a added: 0.95 / 1.05 on average.
    assert noisy.by_length[0, 1] == pytest.approx(0.95 / 1.05, abs=0.01)


@given(st.integers(0, 10**6), st.sampled_from(SCORES), st.integers(1, 4))
@settings(max_examples=30)
def test_a_wide_beam_is_brute_force(seed, score, least):
    rng = np.random.default_rng(seed)
    concepts = rng.random((5, 70)) < rng.random((5, 1))
    mask = rng.random(70) < 0.4
    mask[0] = True
    found = search_formulas(
        concepts, mask[None], length=3, beam=1000, score=score, min_support=least
    )
    best = [best_of(masks, mask, score, least) for masks in every_mask(concepts, 3)]
    assert found.bounds[0] >= best[-1] - 1e-12
    # A parent below min_support is not kept, so that what needs one can be missed.
    if least == 1 and np.isfinite(best[-1]):
        assert np.nan_to_num(found.by_length[0], nan=-np.inf) == pytest.approx(best, abs=1e-12)
    if found.formulas[0] is None:
        assert least > 1 or best[-1] == -np.inf
        return
    formula = found.formulas[0]
    assert formula is not None
    assert counted(formula, concepts, mask, score) == pytest.approx(found.scores[0], abs=1e-12)
    assert formula.mask(concepts).sum() == found.support[0] >= least
    assert (formula.mask(concepts) & mask).sum() == found.hits[0]


@given(st.integers(0, 10**6), st.sampled_from(SCORES))
@settings(max_examples=40)
def test_skipping_by_bounds_changes_nothing(seed, score):
    """The same beam as one that is kept by looking at every candidate."""
    rng = np.random.default_rng(seed)
    concepts = np.round(rng.random((9, 90)) * rng.random((9, 1)), 0).astype(bool)
    concepts[5] = concepts[2]
    mask = rng.random(90) < 0.3
    mask[0] = True
    beam = module.Beam(pack(concepts), 3, 3, 1, score)
    beam.climb = lambda found, *_: found
    gathered = module.Gathered(pack(mask[None]), 3, score)
    beam.one(0, pack(mask[None]), gathered, np.inf)
    found = gathered.result(1.0)

    def by_score(m):
        counts = (np.array([x.sum()]) for x in (m & mask, m, mask))
        return score_of_counts(*counts, 90, score)[0]

    def by_reach(m):
        return (m & mask).sum() / (mask.sum() + 0.15 * (m & ~mask).sum())

    kept: list[tuple[Formula, np.ndarray]] = []
    seen: set[bytes] = set()
    best = -np.inf
    for length in range(1, 4):
        candidates = []
        if length == 1:
            candidates = [((0, 0, k), Formula((k,)), concepts[k]) for k in range(9)]
        for rank, (parent, m) in enumerate(kept):
            for k, f in enumerate(concepts):
                for op, joined in enumerate((m | f, m & f, m & ~f)):
                    formula = Formula((*parent.leaves, k), (*parent.ops, OPS[op]))
                    # A mask that is its concept's or its parent's has a shorter formula.
                    if joined.tobytes() != m.tobytes() and not (
                        op < 2 and joined.tobytes() == f.tobytes()
                    ):
                        candidates.append(((op, rank, k), formula, joined))
        kept = []
        for rule, room in ((by_score, 3), (by_reach, 1)) if length < 3 else ((by_score, 1),):
            ranked = sorted((-rule(m), m.sum(), key, i) for i, (key, _, m) in enumerate(candidates))
            for *_, i in ranked:
                _, formula, m = candidates[i]
                if room and m.any() and m.tobytes() not in seen:
                    seen.add(m.tobytes())
                    kept.append((formula, m))
                    room -= 1
        if not kept:
            break
        best = max(best, by_score(kept[0][1]))
        assert found.by_length[0, length - 1] == pytest.approx(best, abs=1e-12)
        mine = found.best_by_length[0][length - 1]
        if mine is not None and len(mine) == length:
            assert mine == kept[0][0]
        if found.bounds[0] <= best:
            break


@given(st.integers(0, 10**6))
@settings(max_examples=60)
def test_no_score_is_above_its_ceiling(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 60))
    m, f, a = rng.random((3, n)) < rng.random((3, 1))
    a[0] = True
    h, p, c, q = ((x & side).sum() for x in (m, f) for side in (a, ~a))
    for metric, name in enumerate(SCORES):
        for op, joined in enumerate((m | f, m & f, m & ~f)):
            counts = (np.array([x.sum()]) for x in (joined & a, joined, a))
            score = score_of_counts(*counts, n, name)[0]
            assert score <= ceiling(metric, op, h, p, c, q, a.sum(), n) + 1e-12, (name, op)
    # And each is reached, so that none could be lower: disjoint or nested masks reach it.
    for op, joined, x, y in (
        (0, a, a & m, a & ~m),
        (1, a & m, a | m, a & m),
        (2, a, a | ~m, ~(a | m)),
        (2, a, np.ones(n, bool), ~a),
    ):
        counts = [int((z & side).sum()) for z in (x, y) for side in (a, ~a)]
        counted_one = (np.array([z.sum()]) for z in (joined & a, joined, a))
        exact = score_of_counts(*counted_one, n, "iou")[0]
        assert ceiling(0, op, *counts, int(a.sum()), n) == pytest.approx(exact)


@pytest.mark.parametrize("op", OPS)
def test_bounds_allow_for_every_operator(op):
    """With two concepts, the bound of length 2 must let the one formula that is right be."""
    rng = np.random.default_rng(0)
    concepts = rng.random((2, 500)) < 0.9  # so wide that only AND NOT can leave little
    mask = Formula((0, 1), (op,)).mask(concepts)
    hits, counts = (concepts & mask).sum(axis=1), concepts.sum(axis=1)
    for score in SCORES:
        bounds = relaxed_bounds(hits, counts, int(mask.sum()), 500, 2, score)
        assert bounds[1] == pytest.approx(1.0)
        assert bounds[0] == score_of_counts(hits, counts, 0 * hits + mask.sum(), 500, score).max()
    # It is no mere 1: one rare concept cannot explain what is ten times as large.
    rare = relaxed_bounds(np.array([5]), np.array([9]), 100, 500, 2, "iou")
    assert list(rare) == pytest.approx([5 / 104, 10 / 104])


def test_no_two_formulas_kept_have_the_same_mask():
    rng = np.random.default_rng(0)
    concepts = rng.random((5, 40)) < 0.4
    masks = pack(rng.random((1, 40)) < 0.3)
    search = module.Beam(pack(concepts), 4, 30, 1, "iou")
    search.one(0, masks, module.Gathered(masks, 4, "iou"), np.inf)
    kept = search.masks[search.counts[:, 1] > 0]
    assert len(kept) > 60
    assert len(np.unique(kept, axis=0)) == len(kept)


def test_masks_that_are_equal_do_not_fill_the_beam():
    rng = np.random.default_rng(0)
    concepts = text_like(rng, 12, 2000)
    twins = np.repeat(concepts, 30, axis=0)
    planted = Formula((4, 6, 2, 8), ("or", "and not", "or")).mask(concepts)
    once = search_formulas(concepts, planted[None], length=4, beam=4)
    many = search_formulas(twins, planted[None], length=4, beam=4)
    assert once.by_length == pytest.approx(many.by_length)
    assert many.formulas[0] == Formula(
        tuple(30 * leaf for leaf in once.formulas[0].leaves), once.formulas[0].ops
    )


def test_packed_batched_and_repeated_are_the_same():
    rng = np.random.default_rng(1)
    concepts, masks = text_like(rng, 40, 3001), rng.random((6, 3001)) < 0.1
    together = search_formulas(pack(concepts), pack(masks), length=4)
    for u in range(6):
        alone = search_formulas(concepts, masks[u : u + 1], length=4)
        assert alone.best_by_length[0] == together.best_by_length[u]
        assert alone.scores[0] == together.scores[u] <= together.bounds[u]
    # Rare concepts are counted from lists; here none is.
    unlisted = PackedMasks(pack(concepts).words, 3001)
    start = np.zeros(41, dtype=np.int64)
    object.__setattr__(unlisted, "lists", (unlisted.words, start, *pack(concepts).lists[2:]))
    assert search_formulas(unlisted, masks, length=4).formulas == together.formulas


def test_penalty_chooses_the_length_and_scores_stay_unpenalised():
    rng = np.random.default_rng(0)
    concepts = text_like(rng)
    mask = Formula((3, 30), ("or",)).mask(concepts)[None]
    free, strict = (search_formulas(concepts, mask, length=2, penalty=p) for p in (1.0, 0.5))
    assert len(free.formulas[0]) == 2
    assert free.scores[0] == 1.0
    assert strict.formulas[0] == Formula((3,))
    assert strict.scores[0] == free.by_length[0, 0]
    assert (strict.by_length == free.by_length).all()


def test_ties_go_to_the_shorter_then_smaller_then_lower():
    concepts = np.zeros((4, 8), dtype=bool)
    mask = np.zeros(8, dtype=bool)
    mask[:4] = True
    concepts[0, [0, 1, 4, 5]] = True  # precision 1/2, support 4
    concepts[1, [2, 6]] = True  # precision 1/2, support 2
    concepts[2, [3, 7]] = True  # the same
    concepts[3, [4, 5]] = True  # A AND NOT D has precision 1
    one = search_formulas(concepts[:3], mask[None], length=1, score="precision")
    assert one.formulas[0] == Formula((1,))
    three = search_formulas(concepts, mask[None], length=3, score="precision")
    assert three.formulas[0] == Formula((0, 3), ("and not",))
    assert three.optimal[0]


def test_neurons_that_are_on_nowhere_or_everywhere():
    rng = np.random.default_rng(0)
    concepts = text_like(rng, 10, 500)
    masks = np.stack([np.zeros(500, bool), np.ones(500, bool), concepts[2]])
    for score in SCORES:
        found = search_formulas(concepts, masks, score=score)
        assert found.formulas[0] is None
        assert np.isnan(found.scores[0])
        assert found.without == 1
        assert found.hits[0] == found.support[0] == found.sizes[0] == 0
        assert not found.optimal[0]
        assert not found.partial.any()
        assert found.best_by_length[0] == (None, None, None)
        assert found.formulas[1] is not None
        assert found.formulas[2] is not None
    none = search_formulas(np.zeros((2, 500), bool), masks)
    assert none.without == 3
    assert not none.partial.any()


def test_stopping_early_gives_what_is_there(monkeypatch):
    rng = np.random.default_rng(0)
    concepts, masks = text_like(rng, 30, 900), rng.random((5, 900)) < 0.2
    whole = search_formulas(concepts, masks, length=3)
    assert search_formulas(concepts, masks, time_limit=-1.0).without == 5
    assert search_formulas(concepts, masks, time_limit=-1.0).partial.all()
    assert search_formulas(concepts, masks, time_limit=1000.0).formulas == whole.formulas

    # The clock runs out after the second neuron's first level.
    ticks = iter([0.0] + [0.5] * 5 + [2.0] * 10)
    monkeypatch.setattr(module.time, "monotonic", lambda: next(ticks))
    some = search_formulas(concepts, masks, length=3, time_limit=1.0)
    monkeypatch.undo()
    assert list(some.partial) == [False, True, True, True, True]
    assert some.formulas[0] == whole.formulas[0]
    assert some.formulas[1] == whole.best_by_length[1][0]
    assert some.formulas[2] is None
    assert (some.bounds[:2] >= whole.scores[:2]).all()
    assert (some.bounds[2:] == 1).all()

    def interrupt(count):
        done.append(count)
        if len(done) == 3:
            raise KeyboardInterrupt

    done: list[int] = []
    stopped = search_formulas(concepts, masks, progress=interrupt, interruptible=True)
    assert list(stopped.partial) == [False, False, False, True, True]
    assert stopped.formulas[:3] == whole.formulas[:3]
    done.clear()
    with pytest.raises(KeyboardInterrupt):
        search_formulas(concepts, masks, progress=interrupt)


def test_what_cannot_be_searched():
    concepts, masks = np.ones((2, 9), bool), np.ones((1, 9), bool)
    with pytest.raises(InputError, match="9 tokens and the neurons' masks over 8"):
        search_formulas(pack(concepts), masks[:, :8])
    with pytest.raises(InputError, match="no concepts"):
        search_formulas(concepts[:0], masks)
    for bad in ({"length": 0}, {"beam": 0}, {"penalty": 0.0}, {"penalty": 1.5}, {"min_support": 0}):
        with pytest.raises(SettingError, match=next(iter(bad))):
            search_formulas(concepts, masks, **bad)
    with pytest.raises(SettingError, match="precision"):
        search_formulas(concepts, masks, score="precisoin")
    assert (unpack(pack(concepts)) == concepts).all()


def test_a_beam_starts_from_concepts_of_min_support_and_trying_everything_does_not():
    """As the docstring of min_support says."""
    concepts = np.zeros((2, 300), dtype=bool)
    concepts[0, :3] = concepts[1, 10:13] = True
    wanted = concepts.any(axis=0)[None]
    assert search_formulas(concepts, wanted, min_support=5).formulas == (None,)
    every = exhaustive_formulas(concepts, wanted, min_support=5)
    assert every.formulas == (Formula((0, 1), ("or",)),)
