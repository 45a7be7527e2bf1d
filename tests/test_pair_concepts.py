"""Concepts of pairs of sentences: sets counted by hand, and the same answers for single pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.errors import InputError, SettingError
from nissl.methods.pair_concepts import Pair, holds, pair_concepts, word_concept


def pair(premise: str, hypothesis: str) -> Pair:
    return Pair(tuple(premise.split()), tuple(hypothesis.split()))


PAIRS = [
    pair("A dog runs in the park .", "the Dog runs ."),
    pair("A dog sleeps .", "nobody sleeps ."),
    pair("two men play chess outside", "men play"),
    pair("two men play chess outside", "a cat is at home with two of its young and a dog"),
]


def rows(concepts, name: str) -> list[int]:
    at = next(i for i, names in enumerate(concepts.same) if name in names)
    return np.flatnonzero(concepts.masks()[at]).tolist()


def test_words_of_either_side_in_lower_case() -> None:
    concepts = pair_concepts(PAIRS, min_count=1)
    assert rows(concepts, "pre:dog") == [0, 1]
    assert rows(concepts, "hyp:dog") == [0, 3]
    assert rows(concepts, "hyp:nobody") == [1]
    assert not any("pre:nobody" in names for names in concepts.same)


def test_overlap_is_the_share_of_different_hypothesis_words_without_punctuation() -> None:
    # All of the, dog, runs; sleeps, not nobody; men and play; of twelve, only two.
    shares = [p.overlap() for p in PAIRS]
    assert shares == [1.0, 0.5, 1.0, 1 / 12]
    concepts = pair_concepts(PAIRS, min_count=1, overlaps=(0.0, 0.25, 0.5, 0.75))
    assert rows(concepts, "overlap>25%") == [0, 1, 2]
    # "More than": a half is not more than 50 %.
    assert rows(concepts, "overlap>50%") == [0, 2]
    assert rows(concepts, "overlap>75%") == [0, 2]
    assert concepts.left_out["overlap: all tokens"] == 1


def test_an_empty_or_punctuation_hypothesis_shares_nothing() -> None:
    assert pair("a dog .", ".").overlap() == 0.0
    assert pair("a dog .", "").overlap() == 0.0


def test_lengths_and_which_is_longer() -> None:
    concepts = pair_concepts(PAIRS, min_count=1, lengths=[3, 6])
    assert rows(concepts, "hyp length>3") == [0, 3]
    assert rows(concepts, "pre length>6") == [0]
    assert rows(concepts, "hyp longer") == [3]
    quartiles = pair_concepts(PAIRS * 5, min_count=1)
    # Premises have 7, 4, 5, 5 words: quartiles 4, 5 and 5.
    assert rows(quartiles, "pre length>4")[:3] == [0, 2, 3]
    assert rows(quartiles, "pre length>5")[:1] == [0]


def test_tags_of_either_side() -> None:
    tags = [(["X"] * len(p.premise), ["Y"] * len(p.hypothesis)) for p in PAIRS]
    tags[1] = (["X", "NOUN", "X", "X"], ["PRON", "Y", "Y"])
    concepts = pair_concepts(PAIRS, tags=tags, min_count=1)
    assert rows(concepts, "pre:upos=NOUN") == [1]
    assert rows(concepts, "hyp:upos=PRON") == [1]
    with pytest.raises(InputError, match=r"pair 2 has 1 tags of 2 words \(hyp\)"):
        pair_concepts(PAIRS, tags=[*tags[:2], (tags[2][0], ["Y"]), tags[3]])
    with pytest.raises(InputError, match="tags of 3 pairs"):
        pair_concepts(PAIRS, tags=tags[:3])


def test_what_is_rare_is_left_out_and_counted() -> None:
    concepts = pair_concepts(PAIRS, min_count=2)
    assert not any("hyp:nobody" in names for names in concepts.same)
    assert concepts.left_out["hyp word: fewer than 2 tokens"] > 5
    with pytest.raises(InputError, match="no pair"):
        pair_concepts([])
    with pytest.raises(SettingError, match="overlap"):
        pair_concepts(PAIRS, overlaps=(1.0,))


WORD = st.sampled_from(["a", "B", ">", "overlap>0%", "x:y", "dog", ".", "length"])
SENTENCE = st.lists(WORD, max_size=6).map(tuple)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.builds(Pair, SENTENCE, SENTENCE), min_size=3, max_size=8))
def test_each_concept_holds_of_just_the_pairs_in_its_set(pairs: list[Pair]) -> None:
    try:
        concepts = pair_concepts(pairs, min_count=1)
    except InputError:
        return
    for names, mask in zip(concepts.same, concepts.masks(), strict=True):
        for name in names:
            assert [holds(name, each) for each in pairs] == mask.tolist(), name


def test_names() -> None:
    assert word_concept("hyp", "Nobody") == "hyp:nobody"
    assert holds("hyp:upos=NOUN", PAIRS[0]) is None
    with pytest.raises(InputError, match="upos=NOUN"):
        holds("upos=NOUN", PAIRS[0])


def test_thresholds_on_overlap_are_read_back_as_they_are() -> None:
    """By its name a concept is looked at again: its threshold may not be rounded there."""
    thirds = [pair("a b c", "a x y"), pair("a b c", "a b y"), pair("a b c", "x y z")]
    overlaps = [1 / 3, 2 / 3, 0.07, 0.29, 1 / 7, 0.123456789]
    concepts = pair_concepts(thirds, overlaps=overlaps, min_count=1)
    for names, mask in zip(concepts.same, concepts.masks(), strict=True):
        for name in names:
            assert [holds(name, each) for each in thirds] == mask.tolist(), name
    plain = pair_concepts(thirds, overlaps=[0.07, 0.5], min_count=1)
    assert {"overlap>7%", "overlap>50%"} <= {name for names in plain.same for name in names}
