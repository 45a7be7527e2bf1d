"""Inputs made from formulas, on models whose answer is known for every pair."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.errors import InputError, SettingError
from nissl.kernels.formulas import Formula
from nissl.methods import _pair_edits as edit
from nissl.methods.copy_paste import copy_paste
from nissl.methods.pair_concepts import Pair, pair_concepts
from nissl.results import load_result

VOCABULARY = ["dog", "cat", "man", "runs", "sleeps", "park", "nobody", "big", "two", "red"]


def make_pairs(count: int = 240, seed: int = 0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    chance = np.array([3, 3, 3, 2, 2, 2, 1, 1, 1, 1.0])
    chance /= chance.sum()

    def sentence() -> tuple[str, ...]:
        return (*map(str, rng.choice(VOCABULARY, 4, replace=False, p=chance)), ".")

    return [Pair(sentence(), sentence()) for _ in range(count)]


PAIRS = make_pairs()
CONCEPTS = pair_concepts(PAIRS, min_count=2)


def leaf(name: str) -> int:
    return next(i for i, names in enumerate(CONCEPTS.same) if name in names)


def hears(word: str, side: str = "hyp"):
    """Return a model that answers 2 where a side has a word, and else 1."""

    def predict(pairs: Sequence[Pair]) -> np.ndarray:
        has = np.array([word in p.side(side) for p in pairs], dtype=float)
        return np.stack([np.zeros(len(has)), 0.9 - 0.8 * has, 0.1 + 0.8 * has], axis=1)

    return predict


def test_a_word_that_the_model_hears_turns_every_answer_and_random_words_do_not() -> None:
    found = copy_paste(hears("nobody"), PAIRS, Formula((leaf("hyp:nobody"),)), CONCEPTS, 2)
    edited, other = found.at("edited"), found.at("random words")
    without = [p for p in PAIRS if "nobody" not in p.hypothesis]
    assert found.pairs == len(without) > 100
    assert (edited["before"], edited["share"], edited["flipped"]) == (0.0, 1.0, 1.0)
    # The word itself is never drawn, and no other word matters.
    assert (other["share"], other["change"], other["flipped"]) == (0.0, 0.0, 0.0)
    assert found.at("difference")["change"] == 1.0
    assert found.at("difference")["low"] == 1.0
    assert edited["probability"] == pytest.approx(0.8)
    assert "+100.0 points" in found.summary()[1]
    assert found.left_out == {
        "pairs on which the formula is true already": len(PAIRS) - len(without)
    }


def test_a_word_that_the_model_does_not_hear_does_nothing() -> None:
    found = copy_paste(hears("nobody", "pre"), PAIRS, Formula((leaf("hyp:dog"),)), CONCEPTS, 2)
    assert found.at("edited")["change"] == 0.0
    more = found.at("difference")
    assert (more["low"], more["high"]) == (0.0, 0.0)
    assert "may be chance" in found.summary()[1]


def test_the_control_is_as_many_words_and_any_of_them_may_matter() -> None:
    """A model that counts words answers alike to the formula's word and to random ones."""

    def predict(pairs: Sequence[Pair]) -> np.ndarray:
        more = np.array([len(p.hypothesis) > 5 for p in pairs], dtype=float)
        return np.stack([1 - more, more], axis=1)

    found = copy_paste(predict, PAIRS, Formula((leaf("hyp:nobody"),)), CONCEPTS, 1)
    assert found.at("edited")["change"] == found.at("random words")["change"] == 1.0
    assert found.at("difference")["change"] == 0.0


def test_shares_accuracies_and_examples_against_a_count_by_hand() -> None:
    gold = np.array([2 if "dog" in p.premise else 1 for p in PAIRS])
    formula = Formula((leaf("hyp:nobody"),))
    rows = np.arange(100)
    found = copy_paste(
        hears("nobody"), PAIRS, formula, CONCEPTS, 2, rows=rows, gold=gold, classes="abc"
    )
    kept = [i for i in rows if "nobody" not in PAIRS[i].hypothesis]
    assert sorted(found.examples["pair"]) == kept
    assert found.at("edited")["accuracy_before"] == np.mean(gold[kept] == 1)
    assert found.at("edited")["accuracy"] == np.mean(gold[kept] == 2)
    assert set(found.examples["before"]) == {"b"}
    assert set(found.examples["after"]) == {"c"}
    assert set(found.examples["edits"]) == {"+hyp:nobody"}
    assert all(h.endswith("nobody .") for h in found.examples["hypothesis"])
    assert set(found.examples["random"]) == {0.0}


def test_taking_a_word_out() -> None:
    formula = Formula((leaf("pre:dog"), leaf("hyp:dog")), ("and not",))

    def predict(pairs: Sequence[Pair]) -> np.ndarray:
        has = np.array(["dog" in p.hypothesis for p in pairs], dtype=float)
        return np.stack([has, 1 - has], axis=1)

    rows = [i for i, p in enumerate(PAIRS) if "dog" in p.premise and "dog" in p.hypothesis]
    found = copy_paste(predict, PAIRS, formula, CONCEPTS, 1, rows=rows)
    assert found.pairs == len(rows) > 10
    assert set(found.examples["edits"]) == {"−hyp:dog"}
    assert found.at("edited")["share"] == 1.0
    assert found.at("random words")["share"] == 0.0


NAMES = {0: "hyp:dog", 1: "pre:cat", 2: "overlap>50%", 3: "hyp length>5", 4: "hyp:runs"}
OPS = st.lists(st.sampled_from(["or", "and", "and not"]), min_size=3, max_size=3).map(tuple)


@settings(max_examples=150, deadline=None)
@given(st.permutations(range(5)).map(lambda x: tuple(x[:4])), OPS, st.integers(0, 99))
def test_edits_are_the_fewest_of_all_sets_of_edits(leaves, ops, i: int) -> None:
    formula, pair = Formula(leaves, ops), PAIRS[i]
    if edit.true_of(formula, NAMES, pair, {}):
        return
    words = [n for k, n in NAMES.items() if k in leaves and ":" in n]
    flips = []
    for name in words:
        side, word = name.split(":")
        flips.append(edit.Edit(side, word, word not in pair.side(side)))
    works = [
        size
        for size in range(1, len(flips) + 1)
        for some in combinations(flips, size)
        if edit.true_of(formula, NAMES, edit.apply(pair, some), {})
    ]
    found = edit.edits_for(formula, NAMES, pair, {})
    assert (found is None) == (not works)
    if found is not None:
        assert len(found) == min(works)
        assert edit.true_of(formula, NAMES, edit.apply(pair, found), {})


def test_a_formula_is_true_where_its_mask_is() -> None:
    rng = np.random.default_rng(0)
    masks = CONCEPTS.masks()
    for _ in range(60):
        leaves = tuple(rng.choice(len(CONCEPTS), 3, replace=False).tolist())
        ops = tuple(rng.choice(["or", "and", "and not"], 2).tolist())
        formula = Formula(leaves, ops)
        names = dict(edit.leaf_names(formula, CONCEPTS.same))
        said = [edit.true_of(formula, names, p, {}) for p in PAIRS]
        assert said == formula.mask(masks).tolist()


def test_random_words_are_about_as_frequent_new_to_the_sentence_and_not_the_formulas() -> None:
    rng = np.random.default_rng(0)
    # 40 rare words and 40 frequent ones.
    many = [Pair(("x",), tuple(f"often{j}" for j in range(40))) for _ in range(50)]
    some = [Pair(("x",), tuple(f"rare{j}" for j in range(40))) for _ in range(4)]
    words = edit.Words([*many, *some])
    pair = Pair(("x",), ("rare0", "."))
    drawn = set()
    for _ in range(400):
        found = edit.random_edits(
            [edit.Edit("hyp", "rare1", True), edit.Edit("hyp", "rare2", True)],
            pair,
            words,
            frozenset({"hyp:rare1", "hyp:rare2"}),
            rng,
        )
        assert found is not None
        assert len({each.word for each in found}) == 2
        drawn |= {each.word for each in found}
    assert drawn == {f"rare{j}" for j in range(3, 40)}


def test_words_go_before_the_full_stop_and_a_sentence_is_never_emptied() -> None:
    pair = Pair(("a", "Dog", "."), ("dog",))
    put = edit.apply(pair, [edit.Edit("pre", "cat", True), edit.Edit("hyp", "cat", True)])
    assert put == Pair(("a", "Dog", "cat", "."), ("dog", "cat"))
    out = edit.apply(pair, [edit.Edit("pre", "dog", False)])
    assert out.premise == ("a", ".")
    formula = Formula((1, 0), ("and not",))
    assert edit.edits_for(formula, {0: "hyp:dog", 1: "pre:a"}, pair, {}) is None


def test_it_is_saved_whole_and_the_same_for_a_seed(tmp_path) -> None:
    def run(seed: int):
        return copy_paste(
            hears("nobody"), PAIRS, Formula((leaf("hyp:nobody"),)), CONCEPTS, 2, most=40, seed=seed
        )

    first = run(3)
    assert first.pairs == 40
    assert any("beyond the first 40" in why for why in first.left_out)
    assert run(3).examples.equals(first.examples)
    assert not run(4).examples.equals(first.examples)
    loaded = load_result(first.save(tmp_path / "found"))
    assert loaded.summary() == first.summary()


def test_what_cannot_be_is_said() -> None:
    formula = Formula((leaf("hyp:nobody"),))
    with pytest.raises(SettingError, match="class from 0 to 2"):
        copy_paste(hears("nobody"), PAIRS, formula, CONCEPTS, 3)
    with pytest.raises(InputError, match="concepts are of 240 pairs, not 239"):
        copy_paste(hears("nobody"), PAIRS[1:], formula, CONCEPTS, 2)
    with pytest.raises(InputError, match="no pair can be edited"):
        copy_paste(hears("nobody"), PAIRS, Formula((leaf("overlap>50%"),)), CONCEPTS, 2)
    with pytest.raises(InputError, match="probabilities"):
        copy_paste(lambda pairs: np.zeros(3), PAIRS, formula, CONCEPTS, 2)


def test_rows_are_numbers_or_a_boolean_for_each_pair() -> None:
    formula, predict = Formula((leaf("hyp:nobody"),)), hears("nobody")
    some = np.arange(len(PAIRS)) < 60
    by_number = copy_paste(predict, PAIRS, formula, CONCEPTS, 2, rows=np.flatnonzero(some))
    by_mask = copy_paste(predict, PAIRS, formula, CONCEPTS, 2, rows=some)
    assert by_mask.examples.equals(by_number.examples)
    every = np.ones(len(PAIRS), dtype=bool)
    assert (
        copy_paste(predict, PAIRS, formula, CONCEPTS, 2, rows=every)
        .examples["pair"]
        .is_unique()
        .all()
    )
    for rows, message in (
        ([1, 500], "rows name pair 500, and pairs run from 0 to 239"),
        ([-1, 3], "rows name pair -1"),
        ([3, 3], "a pair more than once"),
        (np.array([0.5]), "rows are numbers of pairs"),
        (every[1:], "rows are numbers of pairs"),
    ):
        with pytest.raises(InputError, match=message):
            copy_paste(predict, PAIRS, formula, CONCEPTS, 2, rows=rows)


def test_right_classes_and_names_that_do_not_fit_are_refused() -> None:
    formula, predict = Formula((leaf("hyp:nobody"),)), hears("nobody")
    for gold in (np.full(len(PAIRS), "b"), np.full(len(PAIRS), -1), np.full(len(PAIRS), np.nan)):
        with pytest.raises(InputError, match=r"gold of pair \d+ is .* from 0 to 2"):
            copy_paste(predict, PAIRS, formula, CONCEPTS, 2, gold=gold, classes="abc")
    with pytest.raises(SettingError, match="2 names of 3 classes"):
        copy_paste(predict, PAIRS, formula, CONCEPTS, 1, classes="ab")


def test_one_pair_has_no_interval() -> None:
    i = next(i for i, p in enumerate(PAIRS) if "nobody" not in p.hypothesis)
    found = copy_paste(
        hears("nobody"), PAIRS, Formula((leaf("hyp:nobody"),)), CONCEPTS, 2, rows=[i]
    )
    assert np.isnan(found.at("difference")["low"])
    assert np.isnan(found.at("edited")["probability_high"])
    assert "cannot tell from chance" in found.summary()[1]
    assert "nan" not in found.summary()[1]
    assert found.plot() is not None
