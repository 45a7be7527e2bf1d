"""Words ↔ subwords: against the definition, and on real tokenizers' odd offsets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tiny_models as tiny
from hypothesis import given
from hypothesis import strategies as st

from nissl.corpus import align
from nissl.errors import InputError
from nissl.extraction import extract


@st.composite
def cut_texts(draw):
    """Word spans apart or touching, and subword spans that cut the same text elsewhere."""
    length = draw(st.integers(1, 24))
    edges = sorted(draw(st.sets(st.integers(0, length), min_size=2, max_size=9)))
    words = [(a, b) for a, b in itertools.pairwise(edges) if draw(st.booleans())]
    cuts = sorted(draw(st.sets(st.integers(0, length), min_size=2, max_size=12)))
    pieces, special = [], []
    for a, b in itertools.pairwise(cuts):
        # Byte-level tokens of one character all have its span; added tokens have an empty one.
        for _ in range(draw(st.integers(1, 2))):
            pieces.append((a, b))
            special.append(int(draw(st.integers(0, 5)) == 0))
    return words, [(0, 0), *pieces, (0, 0)], [1, *special, 1]


@given(cut_texts())
def test_align_is_sharing_a_character(case):
    words, pieces, special = case
    want = [
        [
            i
            for i, (a, b) in enumerate(pieces)
            if not special[i] and set(range(a, b)) & set(range(*w))
        ]
        for w in words
    ]
    empty = [i for i, found in enumerate(want) if not found]
    if empty:
        with pytest.raises(InputError, match=f"word {empty[0] + 1} "):
            align(words, pieces, special)
    else:
        got = align(words, pieces, special)
        assert [g.tolist() for g in got] == want


def test_word_without_subword_names_place_and_word():
    with pytest.raises(InputError, match=r'^a\.conllu:7: word 2 "x" yields no subword') as caught:
        align([(0, 1), (2, 3)], [(0, 1)], [0], forms=["A", "x"], where="a.conllu:7")
    assert caught.value.where == "a.conllu:7"


TEXT = "Naïve 😀 cats, e\u0301 don't 👩‍👩‍👧 ﬁn"
WORDS = ["Naïve", "😀", "cats", ",", "e\u0301", "do", "n't", "👩‍👩‍👧", "ﬁn"]


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_real_tokenizers(kind):
    spans, place = [], 0
    for word in WORDS:
        start = TEXT.index(word, place)
        place = start + len(word)
        spans.append((start, place))
    got = tiny.loaded(kind).tokenizer(
        TEXT, return_offsets_mapping=True, return_special_tokens_mask=True
    )
    offsets, special = got["offset_mapping"], got["special_tokens_mask"]
    found = align(spans, offsets, special, forms=WORDS, where="here")
    assert [f.tolist() for f in found] == tiny.pieces_of(tuple(spans), offsets, special)
    # No subword but blanks and added tokens is lost, and each word's lie side by side.
    covered = set(np.concatenate(found).tolist())
    left = [i for i, (a, b) in enumerate(offsets) if i not in covered and TEXT[a:b].strip()]
    assert left == []
    assert all((np.diff(f) == 1).all() for f in found)


def test_byte_level_spans_with_the_leading_blank():
    got = tiny.loaded("gpt2").tokenizer("the cat sat", return_offsets_mapping=True)
    spans = got["offset_mapping"]
    assert any(a == 3 and b > 4 for a, b in spans), "the tokenizer must include the blank"
    found = align([(0, 3), (4, 7), (8, 11)], spans, [0] * len(spans))
    assert set(found[0]).isdisjoint(found[1])
    assert set(found[1]).isdisjoint(found[2])
    assert spans[found[1][0]][0] == 3


def test_words_in_one_subword_share_it():
    pieces = [(0, 2), (2, 5)]
    found = align([(0, 1), (1, 2), (2, 5), (0, 5)], pieces, [0, 0])
    assert [f.tolist() for f in found] == [[0], [0], [1], [0, 1]]


def test_normaliser_that_drops_a_word(tmp_path):
    # A lone combining accent is stripped by BERT's normaliser: nothing is left of the word.
    corpus = tiny.corpus(("The cat sat .", "The \u0301 sat ."), name="odd")
    with pytest.raises(InputError, match=r'^odd.txt:2: word 2 "\u0301" yields no subword'):
        extract(corpus, tiny.loaded("bert"), tmp_path / "store", progress=False)
