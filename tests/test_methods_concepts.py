"""Concepts: what each family makes, against plain loops; limits, equal sets, what is missing."""

from __future__ import annotations

import sys
import types

import numpy as np
import polars as pl
import pytest
from explain_planted import planted_tokens

from nissl.errors import InputError, LabelError, SettingError
from nissl.methods.concepts import FAMILIES, concepts_from_masks, make_concepts

TEXT = [
    ["The", "dogs", "don't", "run", "."],
    ["NASA", "re-entered", "3", "Éire", "The", "dogs"],
    ["walking"],
]


def tokens_of(text=TEXT, **columns):
    rows = [(s, i, form) for s, words in enumerate(text) for i, form in enumerate(words)]
    return pl.DataFrame(
        {
            "sentence": [s for s, _, _ in rows],
            "position": [i for _, i, _ in rows],
            "form": [form for _, _, form in rows],
            **columns,
        }
    )


def sets(concepts):
    """Name → rows, under every name of joined concepts."""
    masks = concepts.masks()
    return {
        name: np.flatnonzero(mask).tolist()
        for names, mask in zip(concepts.same, masks, strict=True)
        for name in names
    }


def made(tokens, *families, **settings):
    return sets(make_concepts(tokens, families, **{"min_count": 1, **settings}))


def test_words_are_lower_cased_forms():
    found = made(tokens_of(), "word")
    assert found["word=the"] == [0, 9]
    assert found["word=dogs"] == [1, 10]
    assert found["word=nasa"] == [5]
    assert "word=The" not in found
    assert len(found) == len({w.lower() for words in TEXT for w in words})


def test_labels_give_a_concept_a_value_and_none_where_missing():
    tag = ["D", "N", "X{0}", "V", None, "N", None, None, "N", "D", "N", "V"]
    many = ["a,b", None, "b", "c", None, "a", "c,b", None, None, None, None, None]
    rel = ["nsubj", "obj", "nsubj:pass", "root", None, "obj", *["dep"] * 6]
    tokens = tokens_of(tag=tag, **{"feats.F": many}, deprel=rel, **{"misc.M": tag})
    concepts = make_concepts(tokens, ["label"], min_count=1)
    found = sets(concepts)
    assert found["tag=N"] == [1, 5, 8, 10]
    assert found["tag=X{0}"] == [2]
    assert found["feats.F=a"] == [0, 5]
    assert found["feats.F=b"] == [0, 2, 6]
    assert found["feats.F=c"] == [3, 6]
    assert "feats.F=a,b" not in found
    assert found["deprel=nsubj"] == [0]
    assert found["deprel=nsubj:*"] == [0, 2]
    assert found["deprel=nsubj:pass"] == [2]
    assert not any(name.startswith("misc") for name in found)
    assert concepts.missing == {"tag": 3, "feats.F": 7, "deprel": 1}
    assert set(concepts.families) == {"tag", "feats.F", "deprel"}
    named = make_concepts(tokens, ["label"], labels=["misc.M"], min_count=1)
    assert sets(named)["misc.M=N"] == [1, 5, 8, 10]


def test_characters_are_affixes_shapes_and_lengths():
    found = made(tokens_of(), "characters")
    assert found["prefix=dog-"] == found["suffix=-ogs"] == [1, 10]
    assert found["suffix=-ing"] == [11]
    assert found["prefix=w-"] == [11]
    assert "prefix=the-" not in found  # as long as the word
    assert "prefix=3-" not in found
    assert not any("'" in name for name in found)
    assert found["shape=capitalised"] == [0, 8, 9]
    assert found["shape=all capitals"] == [5]
    assert found["shape=all digits"] == found["shape=has digit"] == [7]
    assert found["shape=punctuation"] == [4]
    assert found["shape=has hyphen"] == [6]
    assert found["shape=has apostrophe"] == [2]
    assert found["shape=beyond ASCII"] == [8]
    assert found["length=4"] == [1, 5, 8, 10]
    assert found["length=1"] == [4, 7]
    long = made(tokens_of([["a" * 11, "b" * 12, "c" * 30]]), "characters")
    assert long["length=11"] == [0]
    assert long["length=12+"] == [1, 2]


def test_positions_count_inside_the_sentence():
    found = made(tokens_of(), "position")
    assert found["position=first"] == [0, 5, 11]
    assert found["position=last"] == [4, 10, 11]
    assert found["position=1"] == [1, 6]
    assert found["position=2-4"] == [2, 3, 4, 7, 8, 9]
    quarters = [4 * i // len(words) for words in TEXT for i in range(len(words))]
    for q in range(4):
        assert (
            found[f"position=quarter {q + 1}/4"] == np.flatnonzero(np.array(quarters) == q).tolist()
        )


def test_context_stays_in_the_sentence_and_beside_the_word():
    tag = list("ABCDEABCDEFX")
    found = made(tokens_of(tag=tag), "context", context=["tag"])
    assert found["previous tag=A"] == [1, 6]
    assert "next tag=A" not in found
    assert "previous tag=X" not in found
    assert "next tag=X" not in found  # another sentence
    assert found["next tag=E"] == [3, 8]
    assert found["previous tag=E"] == [10]
    # A word that was left out is nobody's neighbour.
    gap = tokens_of(tag=tag).filter(pl.col("position") != 1)
    thin = made(gap, "context", context=["tag"])
    assert thin["previous tag=C"] == [2, 6]
    assert "previous tag=A" not in thin
    one = made(tokens_of([["a"], ["b", "c"]], tag=["A", "B", "C"]), "context", context=["tag"])
    assert one == {"previous tag=B": [2], "next tag=C": [1]}


def test_limits_leave_out_and_count():
    tokens = planted_tokens()
    counts = tokens["upos"].value_counts()
    size = dict(zip(counts["upos"], counts["count"], strict=True))
    found = make_concepts(tokens, ["label"], labels=["upos"], max_count=size["VERB"])
    small = [tag for tag in size if size[tag] <= size["VERB"]]
    assert sorted(found.names) == sorted(f"upos={tag}" for tag in small)
    assert found.left_out == {f"upos: more than {size['VERB']:,} tokens": 4 - len(small)}
    words = make_concepts(tokens, ["word"], most=2)
    top = tokens["form"].str.to_lowercase().value_counts().sort("count", descending=True)
    assert set(words.names) == {f"word={form}" for form in top["form"].head(2)}
    assert words.left_out == {"word: beyond the 2 largest": top.height - 2}
    rare = make_concepts(tokens_of(), ["word"], min_count=2)
    assert rare.names == ("word=dogs", "word=the")
    assert rare.left_out == {"word: fewer than 2 tokens": 8}


def test_equal_sets_are_one_concept_and_said_so():
    tokens = tokens_of([["a", "b"], ["a", "c"]], lemma=["a", "b", "a", "c"])
    found = make_concepts(tokens, ["word", "lemma"], min_count=1)
    assert found.names == ("word=a≡lemma=a", "word=b≡lemma=b", "word=c≡lemma=c")
    assert found.left_out == {"joined with a concept of the same tokens": 3}
    assert found.families == ("word",) * 3
    assert found.counts.tolist() == [2, 1, 1]
    assert found.frame()["same_as"].to_list() == ["lemma=a", "lemma=b", "lemma=c"]
    many = concepts_from_masks(list("ABCDE"), np.array([[True, False]] * 5))
    assert many.names == ("A≡B≡C (≡2 more)",)
    assert many.same == (tuple("ABCDE"),)


def test_a_concept_of_all_tokens_tells_nothing():
    found = make_concepts(tokens_of(tag=["T"] * 12, other=["a", "b"] * 6), ["label"], min_count=1)
    assert found.names == ("other=a", "other=b")
    assert found.left_out == {"tag: all tokens": 1}


def test_masks_of_some_rows_and_the_fingerprint():
    tokens = planted_tokens()
    found = make_concepts(tokens)
    whole, rows = found.masks(), np.array([5, 0, 77, 2999])
    assert (found.masks(rows) == whole[:, rows]).all()
    assert (whole.sum(axis=1) == found.counts).all()
    assert found.fingerprint == make_concepts(tokens).fingerprint
    assert found.fingerprint != make_concepts(tokens, min_count=300).fingerprint
    assert len(set(found.names)) == len(found)


def test_wordnet_hypernyms_by_any_source():
    kinds = {("dog", "n"): ["animal", "dog"], ("cat", "n"): ["animal", "cat"], ("run", "v"): ["go"]}
    tokens = tokens_of(
        [["dogs", "run", "cats", "x", "dog"]],
        lemma=["dog", "run", "cat", "x", "dog"],
        upos=["NOUN", "VERB", "NOUN", "X", "ADJ"],
    )
    found = made(tokens, "wordnet", hypernyms=lambda lemma, tag: kinds.get((lemma, tag), []))
    assert found == {
        "wordnet=animal": [0, 2],
        "wordnet=dog": [0],
        "wordnet=cat": [2],
        "wordnet=go": [1],
    }
    with pytest.raises(LabelError, match="need the column lemma"):
        made(tokens.drop("lemma"), "wordnet", hypernyms=lambda lemma, tag: [])


def test_wordnet_of_nltk(monkeypatch):
    class Synset:
        def __init__(self, *path):
            self.path = path

        def name(self):
            return self.path[-1]

        def hypernym_paths(self):
            return [[Synset(*self.path[: i + 1]) for i in range(len(self.path))]]

    def synsets(word, pos=None):
        return [Synset("entity", "dog.n"), Synset("other")] if word == "dog" else []

    tokens = tokens_of([["dog", "zzz"]], lemma=["dog", "zzz"], upos=["NOUN", "NOUN"])
    module = types.SimpleNamespace(wordnet=types.SimpleNamespace(synsets=synsets))
    monkeypatch.setitem(sys.modules, "nltk", types.ModuleType("nltk"))
    monkeypatch.setitem(sys.modules, "nltk.corpus", module)
    assert made(tokens, "wordnet") == {"wordnet=dog.n": [0], "wordnet=entity": [0]}

    def absent(word, pos=None):
        raise LookupError

    module.wordnet = types.SimpleNamespace(synsets=absent)
    with pytest.raises(SettingError, match=r"no WordNet on this machine; get it"):
        made(tokens, "wordnet")
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    with pytest.raises(SettingError, match="need the package nltk; install it"):
        made(tokens, "wordnet")


def test_near_words_are_the_nearest_by_cosine():
    rng = np.random.default_rng(0)
    tokens = planted_tokens()
    forms = sorted(set(tokens["form"].str.to_lowercase()))
    vocabulary = ["unseen", *forms[1:]]  # the first word has no vector
    vectors = rng.standard_normal((len(vocabulary), 6)) * rng.uniform(0.1, 9, (len(vocabulary), 1))
    found = made(tokens, "near", embeddings=(vocabulary, vectors), nearest=2)
    unit = vectors[1:] / np.linalg.norm(vectors[1:], axis=1, keepdims=True)
    lower = tokens["form"].str.to_lowercase().to_numpy()
    assert set(found) == {f"near={word}" for word in forms[1:]}
    for i, word in enumerate(forms[1:]):
        best = [forms[1:][j] for j in np.argsort(-(unit @ unit[i]))[:3]]
        assert word in best
        assert found[f"near={word}"] == np.flatnonzero(np.isin(lower, best)).tolist()
    with pytest.raises(SettingError, match="needs embeddings"):
        made(tokens, "near")
    with pytest.raises(InputError, match="12 words for embeddings of shape"):
        made(tokens, "near", embeddings=(vocabulary[:12], vectors))
    with pytest.raises(InputError, match="no word of the corpus"):
        made(tokens, "near", embeddings=(["q"], vectors[:1]))


def test_given_sets_of_anything():
    masks = np.array([[True, True, False], [False, False, True], [False, False, False]])
    found = concepts_from_masks(["red", "blue", "none"], masks, families=["colour"] * 3)
    assert found.names == ("red", "blue")
    assert found.families == ("colour", "colour")
    assert (found.masks() == masks[:2]).all()
    assert found.left_out == {"colour: fewer than 1 tokens": 1}
    with pytest.raises(InputError, match='"red" is given twice'):
        concepts_from_masks(["red", "red", "x"], masks)
    with pytest.raises(InputError, match="2 names"):
        concepts_from_masks(["red", "x"], masks)
    with pytest.raises(InputError, match="int64"):
        concepts_from_masks(["a", "b", "c"], masks.astype(np.int64))


def test_errors_say_what_is_known():
    tokens = planted_tokens()
    with pytest.raises(SettingError, match=r'no family of concepts "words".*Did you mean "word"'):
        make_concepts(tokens, ["words"])
    with pytest.raises(LabelError, match=r'no column "uposs".*Did you mean "upos"'):
        make_concepts(tokens, ["label"], labels=["uposs"])
    with pytest.raises(LabelError, match='no column "xpos"'):
        make_concepts(tokens, ["context"], context=["xpos"])
    with pytest.raises(InputError, match='no column "form"'):
        make_concepts(tokens.drop("form"))
    with pytest.raises(InputError, match=r"no concept is left .word: fewer than 9999 tokens: 14"):
        make_concepts(tokens, ["word"], min_count=9999)
    with pytest.raises(SettingError, match="1 token or more"):
        make_concepts(tokens, min_count=0)
    with pytest.raises(SettingError, match="below min_count"):
        make_concepts(tokens, max_count=1)
    with pytest.raises(SettingError, match="1 or more"):
        make_concepts(tokens, most=0)
    assert FAMILIES[0] == "word"


def test_words_without_a_form_are_refused_by_row():
    tokens = pl.DataFrame({"sentence": [0, 0, 1], "form": ["a", None, "b"]})
    with pytest.raises(InputError, match="no form in row 1"):
        make_concepts(tokens, min_count=1)


def test_label_columns_of_a_table_are_those_of_text_and_categories():
    tokens = tokens_of(
        [["a", "b"], ["a", "b"]],
        kind=pl.Series(["x", "y", "y", "x"], dtype=pl.Enum(["x", "y"])),
        rank=[1, 1, 2, 2],
    )
    assert set(made(tokens, "label")) == {"kind=x", "kind=y"}
    assert set(made(tokens, "label", labels=["rank"])) == {"rank=1", "rank=2"}
