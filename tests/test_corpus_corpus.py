"""The corpus: splits, filters, samples, joining, control labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
import tiny_models as tiny
from hypothesis import given
from hypothesis import strategies as st

from nissl.corpus import SPLITS, Corpus, Sentence, build_corpus
from nissl.corpus.corpus import joined
from nissl.errors import InputError, LabelError, SettingError


def make(n=200, seed=0, name="c"):
    """A corpus of n random sentences with tags, some of them missing, and lemmas."""
    rng = np.random.default_rng(seed)
    rows, tags, lemmas = [], [], []
    for i in range(n):
        words = [f"w{j}" for j in rng.integers(0, 40, rng.integers(1, 7))]
        text, spans = joined(words)
        rows.append(Sentence(f"{name}{i}", text, tuple(words), tuple(spans), f"{name}.txt:{i + 1}"))
        tags += [None if j > 7 else f"T{j}" for j in rng.integers(0, 10, len(words))]
        lemmas += [f"l{int(w[1:]) % 17}" for w in words]
    columns = {"tag": tags, "lemma": lemmas}
    return build_corpus(name, rows, columns, labels=["tag"])


def shuffled(corpus, seed):
    """The same sentences in another order."""
    order = np.random.default_rng(seed).permutation(corpus.n_sentences)
    parts = []
    for i in order:
        keep = np.zeros(corpus.n_sentences, dtype=bool)
        keep[i] = True
        parts.append(corpus.select_sentences(keep))
    return Corpus.concat(parts, name=corpus.name), order


def split_of(corpus, key):
    """Split of each group; fails if a group is on two sides."""
    found: dict[str, set[str]] = {}
    ids = corpus.sentences["id"].to_list()
    for row in corpus.tokens.iter_rows(named=True):
        group = ids[row["sentence"]] if key == "sentence" else row[key]
        found.setdefault(group, set()).add(row["split"])
    assert all(len(sides) == 1 for sides in found.values())
    return {group: sides.pop() for group, sides in found.items()}


@pytest.mark.parametrize("by", ["sentence", "lemma", "form", "tag"])
def test_splits_keep_groups_whole(by):
    corpus = make()
    if by == "tag":
        corpus = corpus.with_column("tag", corpus.tokens["tag"].fill_null("none"))
    one = corpus.with_splits(by=by, seed=4)
    assert set(split_of(one, by).values()) <= set(SPLITS)
    assert one.tokens.drop("split").equals(corpus.tokens.drop("split"))
    assert one.with_splits(by=by, seed=4).tokens.equals(one.tokens)
    assert not one.with_splits(by=by, seed=5).tokens.equals(one.tokens)


@pytest.mark.parametrize("by", ["sentence", "lemma"])
def test_splits_do_not_depend_on_order_or_company(by):
    corpus = make(60)
    want = split_of(corpus.with_splits(by=by), by)
    other, order = shuffled(corpus, 1)
    assert not np.array_equal(order, np.sort(order))
    assert split_of(other.with_splits(by=by), by) == want
    half = corpus.select_sentences(np.arange(60) < 30).with_splits(by=by)
    assert split_of(half, by).items() <= want.items()


def test_split_shares():
    corpus = make(3000).with_splits(fractions=(0.5, 0.3, 0.2))
    sides, counts = np.unique(corpus.sentence_splits().astype(str), return_counts=True)
    share = dict(zip(sides.tolist(), (counts / 3000).tolist(), strict=True))
    # Four standard deviations of a binomial with n = 3,000.
    assert share == pytest.approx({"train": 0.5, "dev": 0.3, "test": 0.2}, abs=0.037)
    assert corpus.has_splits
    assert not make(9).has_splits
    only = make(9).with_splits(fractions=(1.0, 0.0, 0.0))
    assert set(only.tokens["split"]) == {"train"}


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.6, -0.1), (0.5, 0.5, 0.5)])
def test_bad_fractions(fractions):
    with pytest.raises(SettingError, match="three numbers that sum to 1"):
        make(5).with_splits(fractions=fractions)


def test_split_by_an_unknown_column():
    with pytest.raises(SettingError, match=r'no column "lema".*Did you mean "lemma"'):
        make(5).with_splits(by="lema")


# Filters ----------------------------------------------------------------------------------------


def test_min_count():
    corpus = make()
    tags = [t for t in corpus.tokens["tag"] if t is not None]
    counts = {t: tags.count(t) for t in set(tags)}
    n = sorted(counts.values())[3]
    kept = corpus.min_count("tag", n)
    want = [t if t is not None and counts[t] >= n else None for t in corpus.tokens["tag"]]
    assert kept.tokens["tag"].to_list() == want
    gone = sum(c for c in counts.values() if c < n)
    assert gone > 0
    assert kept.left_out == {f"tag tags seen fewer than {n} times": gone}
    assert kept.n_tokens == corpus.n_tokens
    assert corpus.min_count("tag", 1).left_out == {}


def test_where_label():
    corpus = make()
    kept = corpus.where_label("tag", "T[0-2]").where_label("tag", "T[1-9]")
    want = [t if t in ("T1", "T2") else None for t in corpus.tokens["tag"]]
    assert kept.tokens["tag"].to_list() == want
    tags = corpus.tokens["tag"].to_list()
    assert kept.left_out == {
        "tag tags that do not match T[0-2]": sum(t is not None and t > "T2" for t in tags),
        "tag tags that do not match T[1-9]": tags.count("T0"),
    }
    # Whole tags: a pattern that only begins one does not match it.
    assert corpus.where_label("tag", "T").tokens["tag"].null_count() == corpus.n_tokens
    with pytest.raises(SettingError, match=r"not a regular expression: '\('"):
        corpus.where_label("tag", "(")


def test_unknown_label():
    with pytest.raises(LabelError, match=r'no label "tga" in c; it has tag. Did you mean "tag"'):
        make(3).label("tga")
    with pytest.raises(LabelError, match='no label "lemma"'):
        make(3).min_count("lemma", 2)


# Selecting --------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=12, max_size=12).filter(any))
def test_select_sentences(keep):
    corpus = make(12)
    got = corpus.select_sentences(np.array(keep))
    want = [s for s, k in zip(corpus, keep, strict=True) if k]
    assert list(got) == want
    assert got.sentences["sentence"].to_list() == list(range(len(want)))
    assert sum(got.left_out.values()) == keep.count(False)
    tags = corpus.tokens.filter(pl.Series(np.array(keep)[corpus.tokens["sentence"]]))["tag"]
    assert got.tokens["tag"].equals(tags)


def test_select_nothing_or_with_a_wrong_mask():
    with pytest.raises(InputError, match="no sentence of c is left"):
        make(3).select_sentences(np.zeros(3))
    with pytest.raises(SettingError, match="a mask of 2 does not fit 3 sentences"):
        make(3).select_sentences(np.ones(2))


def test_sample_sentences():
    corpus = make(50).with_splits()
    got = corpus.sample_sentences(20, seed=1)
    assert got.n_sentences == 20
    assert got.left_out == {"sentences not drawn": 30}
    assert list(got) == list(corpus.sample_sentences(20, seed=1))
    assert list(got) != list(corpus.sample_sentences(20, seed=2))
    ids = corpus.sentences["id"].to_list()
    places = [ids.index(s.id) for s in got]
    assert places == sorted(places), "order is kept"
    before = corpus.sentence_splits().tolist()
    few = corpus.sample_sentences(7, split="train")
    after = few.sentence_splits().tolist()
    assert after.count("train") == 7
    assert [after.count(s) for s in ("dev", "test")] == [before.count(s) for s in ("dev", "test")]
    with pytest.raises(SettingError, match="cannot draw 51 of 50 sentences"):
        corpus.sample_sentences(51)
    with pytest.raises(SettingError, match="cannot draw 0 of"):
        corpus.sample_sentences(0)


# Joining ----------------------------------------------------------------------------------------


def test_concat():
    one, two = make(5, name="a"), make(4, seed=1, name="b")
    two = two.with_column("more", ["x"] * two.n_tokens)
    one = dataclasses.replace(one, left_out={"words": 2})
    two = dataclasses.replace(two, left_out={"words": 1, "nodes": 3})
    both = Corpus.concat([one, two])
    assert list(both) == [*one, *two]
    assert both.labels == ("tag", "more")
    assert both.tokens["more"].to_list() == [None] * one.n_tokens + ["x"] * two.n_tokens
    assert both.left_out == {"words": 3, "nodes": 3}
    assert both.name == "a"
    with pytest.raises(InputError, match=r'^a.txt:1: sentence id "a0" is used twice'):
        Corpus.concat([one, two, one])
    with pytest.raises(InputError, match="no corpus to join"):
        Corpus.concat([])


# Columns, control, identity ---------------------------------------------------------------------


def test_with_column():
    corpus = make(5)
    values = ["x"] * corpus.n_tokens
    assert corpus.with_column("new", values).labels == ("tag", "new")
    assert corpus.with_column("new", values, label=False).labels == ("tag",)
    assert corpus.with_column("tag", values).labels == ("tag",)
    with pytest.raises(LabelError, match="has 1 values for"):
        corpus.with_column("new", ["x"])
    with pytest.raises(SettingError, match='"form" is a column that every corpus has'):
        corpus.with_column("form", values)


def test_control_labels():
    corpus = make(400)
    got = corpus.with_control("tag", seed=2)
    assert got.labels == ("tag", "control(tag)")
    label, control = got.tokens["tag"], got.tokens["control(tag)"]
    assert control.is_null().equals(label.is_null())
    pairs = got.tokens.filter(pl.col("tag").is_not_null()).select("form", "control(tag)").unique()
    assert pairs["form"].is_duplicated().sum() == 0, "one label a word type"
    assert set(control.drop_nulls()) <= set(label.drop_nulls())
    assert pairs["control(tag)"].n_unique() > 3
    assert got.tokens.equals(corpus.with_control("tag", seed=2).tokens)
    assert not got.tokens.equals(corpus.with_control("tag", seed=3).tokens)
    by_lemma = corpus.with_control("tag", key="lemma").tokens.filter(pl.col("tag").is_not_null())
    assert by_lemma.select("lemma", "control(tag)").unique()["lemma"].is_duplicated().sum() == 0
    other, _ = shuffled(corpus, 3)
    again = other.with_control("tag", seed=2).tokens.filter(pl.col("tag").is_not_null())
    assert set(again.select("form", "control(tag)").rows()) == set(pairs.rows())


def test_fingerprint_follows_content():
    corpus = make(20)
    assert make(20).fingerprint == corpus.fingerprint
    moved = dataclasses.replace(
        corpus,
        name="x",
        sentences=corpus.sentences.with_columns(pl.lit("elsewhere").alias("where")),
    )
    assert moved.fingerprint == corpus.fingerprint
    seen = {corpus.fingerprint, make(20, seed=1).fingerprint, corpus.with_splits().fingerprint}
    tags = corpus.tokens["tag"].to_list()
    tags[0] = "other"
    seen.add(corpus.with_column("tag", tags).fingerprint)
    assert len(seen) == 4


def test_iteration_and_repr():
    corpus = tiny.corpus()
    assert [s.text for s in corpus] == list(tiny.SENTENCES)
    assert len(corpus) == corpus.n_sentences == len(tiny.SENTENCES)
    assert repr(corpus) == "Corpus('tiny': 8 sentences, 73 words, labels tag)"


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "c has no sentence"),
        ([Sentence("a", "", (), (), "f:1")], {}, "f:1: the sentence has no word"),
        ([Sentence("a", " ", (" ",), ((0, 1),), "f:1")], {}, "f:1: word 1 is empty"),
        ([Sentence("a", "x", ("x",), ((0, 1),), "f:1")] * 2, {}, 'f:1: sentence id "a" was used'),
        (
            [Sentence("a", "\ud800", ("x",), ((0, 1),), "f:1")],
            {},
            "f:1: character 1 .* half of one",
        ),
        ([Sentence("a", "x", ("x",), ((0, 1),), "f:1")], {"splits": ["tets"]}, 'split "tets"'),
    ],
)
def test_build_corpus_errors(rows, options, message):
    with pytest.raises(InputError, match=message):
        build_corpus("c", rows, {}, labels=[], **options)
    ok = [Sentence("a", "x", ("x",), ((0, 1),), "f:1")]
    with pytest.raises(InputError, match='column "t" has 2 values for 1 words'):
        build_corpus("c", ok, {"t": ["X", "Y"]}, labels=["t"])
