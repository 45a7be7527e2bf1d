"""Formulas, packed masks and scores against plain booleans and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    f1_score,
    jaccard_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
)

from nissl.errors import InputError, SettingError
from nissl.kernels import _bit_loops
from nissl.kernels.formula_scores import SCORES, score_of_counts, scores_of_counts
from nissl.kernels.formulas import OPS, Formula, PackedMasks, formula_masks, pack, unpack

NAMES = list("ABCDEFGH")
TABLE = np.array(list(itertools.product([False, True], repeat=8))).T
"""All rows of a truth table over eight concepts: equal masks are equal functions."""

parts = st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 7)), min_size=1, max_size=6)


def by_hand(leaves, ops):
    out = TABLE[leaves[0]].copy()
    for op, leaf in zip(ops, leaves[1:], strict=True):
        f = TABLE[leaf]
        out = {"or": out | f, "and": out & f, "and not": out & ~f}[op]
    return out


@given(parts)
def test_order_of_leaves_changes_nothing_but_the_order(joined):
    leaves, ops = [k for _, k in joined], [op for op, _ in joined[1:]]
    formula = Formula(tuple(leaves), tuple(ops))
    assert (formula.mask(TABLE) == by_hand(leaves, ops)).all()
    assert sorted(formula.leaves) == sorted(leaves)
    assert len(formula) == len(leaves)
    assert Formula(formula.leaves, formula.ops) == formula


def test_formulas_that_differ_in_order_only_are_equal():
    assert Formula((2, 0, 1), ("or", "or")) == Formula((0, 1, 2), ("or", "or"))
    assert Formula((2, 5, 0), ("and not", "and")) == Formula((0, 2, 5), ("and", "and not"))
    assert Formula((4, 3, 1, 0), ("or", "and not", "and not")) == Formula(
        (3, 4, 0, 1), ("or", "and not", "and not")
    )
    assert Formula((1, 0), ("and not",)) != Formula((0, 1), ("and not",))


@given(parts)
def test_text_says_what_the_mask_is(joined):
    formula = Formula(tuple(k for _, k in joined), tuple(op for op, _ in joined[1:]))
    text = formula.text(NAMES)
    for word, python in (("AND NOT", "& ~"), ("AND", "&"), ("OR", "|")):
        text = text.replace(word, python)
    # Without brackets Python reads & before |, as the text may only where both are the same.
    value = eval(text, {name: TABLE[i] for i, name in enumerate(NAMES)})  # noqa: S307
    assert (value == formula.mask(TABLE)).all()


def test_text():
    assert Formula((0, 1, 2), ("or", "and not")).text(NAMES) == "(A OR B) AND NOT C"
    assert Formula((0, 1, 2), ("and", "and not")).text(NAMES) == "A AND B AND NOT C"
    assert Formula((0, 1, 2), ("and", "or")).text(NAMES) == "(A AND B) OR C"
    assert Formula((3,)).text(NAMES) == "D"


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_packing_loses_nothing(n):
    rng = np.random.default_rng(n)
    masks = rng.random((5, n)) < 0.3
    masks[1], masks[2] = True, False
    given_packed = pack(masks)
    assert (unpack(given_packed) == masks).all()
    assert (given_packed.counts == masks.sum(axis=1)).all()
    whole = formula_masks([Formula((0, 1), ("and not",)), None, Formula((3, 4), ("or",))], masks)
    assert (unpack(whole) == [masks[0] & ~masks[1], masks[2], masks[3] | masks[4]]).all()


def test_counts_from_lists_and_from_rows():
    rng = np.random.default_rng(0)
    share = np.array([0.0, 0.0005, 0.003, 0.2, 1.0])
    masks = rng.random((5, 5000)) < share[:, None]
    concepts = pack(masks)
    assert (concepts.costs[[1, 3, 4]] == [np.count_nonzero(concepts.words[1]), 79, 79]).all()
    m, b = rng.random((2, 5000)) < 0.5
    words = pack(np.stack([m, b])).words
    out = np.zeros(5, dtype=np.int64)
    _bit_loops.all_counts(*concepts.lists, words[0], out)
    assert (out == (masks & m).sum(axis=1)).all()
    for k in range(5):
        s, h = _bit_loops.both_counts(*concepts.lists, k, words[0], words[1])
        assert (s, h) == ((masks[k] & m).sum(), (masks[k] & b).sum())
        # What runs without numba counts the same.
        plain = _bit_loops._plain_both(*concepts.lists, k, words[0], words[1])
        assert plain == (s, h) == (_bit_loops._plain_one(*concepts.lists, k, words[0]), h)


def test_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    mine, its = rng.random((2, 20, 300)) < rng.uniform(0.1, 0.9, (2, 20, 1))
    counts = (mine & its).sum(1), its.sum(1), mine.sum(1)
    found = scores_of_counts(*counts, 300)
    references = (jaccard_score, f1_score, precision_score, recall_score, matthews_corrcoef)
    for name, reference in zip(SCORES, references, strict=True):
        want = [reference(a, b) for a, b in zip(mine, its, strict=True)]
        assert found[name] == pytest.approx(want, abs=1e-12)
        assert (score_of_counts(*counts, 300, name) == found[name]).all()
    nothing = np.zeros(1, dtype=np.int64)
    for value in scores_of_counts(nothing, nothing, nothing, 300).values():
        assert value[0] == 0


def test_what_cannot_be():
    with pytest.raises(SettingError, match="one leaf more"):
        Formula((0, 1), ())
    unchecked = object.__new__(Formula)  # the shape checks of tests would be first
    vars(unchecked).update(leaves=(0, 1), ops=("xor",))
    with pytest.raises(SettingError, match="xor"):
        unchecked.__post_init__()
    with pytest.raises(InputError, match="concept 5"):
        Formula((5,)).mask(np.ones((2, 3), dtype=bool))
    with pytest.raises(InputError, match="boolean"):
        pack(np.ones((2, 3)))
    with pytest.raises(InputError, match="without tokens"):
        pack(np.ones((2, 0), dtype=bool))
    with pytest.raises(InputError, match="past their last"):
        PackedMasks(np.full((1, 1), 8, dtype=np.uint64), 3)
    with pytest.raises(SettingError, match='Did you mean "iou"'):
        score_of_counts(*np.ones((3, 1), dtype=np.int64), 3, "iuo")
