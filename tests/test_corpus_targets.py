"""Numbers that follow from a corpus, against counts by hand and the bundled treebank."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from nissl.corpus import read_corpus
from nissl.corpus.targets import TARGETS, sentence_position, tree_depth, word_frequency
from nissl.errors import InputError, LabelError

TREEBANK = Path(__file__).resolve().parents[1] / "nissl" / "data" / "treebank"


def table(heads, sentence=None, forms=None, split=None):
    n = len(heads)
    sentence = sentence or [0] * n
    return pl.DataFrame(
        {
            "sentence": pl.Series(sentence, dtype=pl.Int32),
            "position": pl.Series([sentence[:i].count(s) for i, s in enumerate(sentence)]),
            "form": forms or [f"w{i}" for i in range(n)],
            "split": split or ["train"] * n,
            "head": pl.Series(heads, dtype=pl.Int32),
        }
    )


def test_depth_counts_arcs_up_to_the_root():
    # She < saw > dogs > big ; a second sentence of one word, a third that is a chain.
    tokens = table([2, 0, 4, 2, 0, 2, 3, 0], sentence=[0, 0, 0, 0, 1, 2, 2, 2])
    assert tree_depth(tokens).tolist() == [1, 0, 2, 1, 0, 2, 1, 0]


def test_depth_on_the_treebank_is_one_more_than_the_heads():
    tokens = read_corpus(TREEBANK / "en_nissl-dev.conllu", split="dev").tokens
    depth = tree_depth(tokens)
    head, sentence = tokens["head"].to_numpy(), tokens["sentence"].to_numpy()
    first = np.searchsorted(sentence, sentence)
    root = head == 0
    assert (depth[root] == 0).all()
    assert np.array_equal(depth[~root], depth[(first + head - 1)[~root]] + 1)
    assert root.sum() == len(np.unique(sentence))
    assert depth.max() > 4


def test_words_without_a_head_and_those_below_have_no_depth():
    depth = tree_depth(table([0, None, 2, 3, 1]))
    assert np.isnan(depth).tolist() == [False, True, True, True, False]
    assert depth[4] == 1


def test_heads_that_are_no_tree_are_named():
    with pytest.raises(InputError, match=r'sentence 1 run in a circle above "w2"'):
        tree_depth(table([0, 1, 3, 2, 1], sentence=[0, 0, 1, 1, 1]).with_columns())
    with pytest.raises(InputError, match=r'head of "w1" in sentence 0 is word 5, .* has 3'):
        tree_depth(table([0, 5, 1]))
    with pytest.raises(LabelError, match='needs a column "head"'):
        tree_depth(table([0]).drop("head"))


def test_frequency_counts_training_words_alone_whatever_their_case():
    tokens = table(
        [0] * 6,
        forms=["The", "the", "cat", "THE", "dog", "cat"],
        split=["train", "train", "train", "test", "dev", "test"],
    )
    assert word_frequency(tokens) == pytest.approx(np.log([3, 3, 2, 3, 1, 2]))
    with pytest.raises(LabelError, match="train split, which has none"):
        word_frequency(tokens.with_columns(split=pl.lit("dev")))


def test_frequency_on_the_treebank():
    tokens = read_corpus(TREEBANK / "en_nissl-train.conllu", split="train").tokens
    forms = [form.casefold() for form in tokens["form"]]
    count = Counter(forms)
    assert word_frequency(tokens) == pytest.approx([math.log(1 + count[form]) for form in forms])


def test_position_starts_again_with_each_sentence():
    assert sentence_position(table([0] * 5, sentence=[0, 0, 1, 1, 1])).tolist() == [0, 1, 0, 1, 2]
    assert set(TARGETS) == {"tree-depth", "frequency", "position"}
