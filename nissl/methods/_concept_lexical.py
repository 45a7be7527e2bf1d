"""Concepts of word meaning: WordNet's hypernyms, and neighbours in an embedding space."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl

from nissl.errors import InputError, LabelError, SettingError
from nissl.methods._concept_families import Candidate

__all__ = ["Hypernyms", "near_words", "wordnet", "wordnet_hypernyms"]

Hypernyms = Callable[[str, str], Sequence[str]]
"""``(lemma, "n" or "v") -> names of everything that its first sense is a kind of``."""

_WORDNET_TAGS = {"NOUN": "n", "VERB": "v"}


def wordnet_hypernyms() -> Hypernyms:
    """Return WordNet's hypernyms of a lemma's most frequent sense, that sense included.

    Raises
    ------
    SettingError
        The package nltk, or its WordNet, is not on this machine.
    """
    try:
        reader = importlib.import_module("nltk.corpus").wordnet
    except ImportError:
        raise SettingError(
            "WordNet's hypernyms need the package nltk; install it (pip install nltk), or leave "
            "the family wordnet out"
        ) from None
    try:
        reader.synsets("word")
    except LookupError:
        raise SettingError(
            "nltk has no WordNet on this machine; get it (python -m nltk.downloader wordnet), or "
            "leave the family wordnet out"
        ) from None

    def hypernyms(lemma: str, tag: str) -> Sequence[str]:
        senses = reader.synsets(lemma, pos=tag)
        if not senses:
            return ()
        return sorted({each.name() for path in senses[0].hypernym_paths() for each in path})

    return hypernyms


def wordnet(tokens: pl.DataFrame, hypernyms: Hypernyms) -> Iterator[Candidate]:
    """Yield ``wordnet=SYNSET`` for each synset that nouns and verbs of the corpus are a kind of.

    Words of other classes, and those that WordNet does not know, are in no such concept.

    Raises
    ------
    LabelError
        The corpus has no lemma or no upos.
    """
    for need in ("lemma", "upos"):
        if need not in tokens.columns:
            raise LabelError(
                f"WordNet's hypernyms need the column {need}, which this corpus has not; leave "
                "the family wordnet out"
            )
    groups = (
        tokens.select("lemma", "upos")
        .with_row_index("row")
        .drop_nulls()
        .filter(pl.col("upos").is_in(list(_WORDNET_TAGS)))
        .group_by("lemma", "upos")
        .agg("row")
        .sort("lemma", "upos")
    )
    rows_of: dict[str, list[list[int]]] = {}
    for lemma, upos, rows in groups.iter_rows():
        for name in hypernyms(lemma, _WORDNET_TAGS[upos]):
            rows_of.setdefault(name, []).append(rows)
    for name in sorted(rows_of):
        yield f"wordnet={name}", np.sort(np.concatenate(rows_of[name]).astype(np.int64))


def near_words(
    tokens: pl.DataFrame, words: Sequence[str], vectors: np.ndarray, *, nearest: int, min_count: int
) -> Iterator[Candidate]:
    """Yield ``near=WORD``: tokens of a word or of its nearest words by cosine.

    Parameters
    ----------
    words, vectors
        Vocabulary, (V,), and its embeddings, (V, d), such as the model's own input embeddings.
        Only words of the corpus (lower-cased) take part.
    nearest
        Number of neighbours besides the word itself.
    min_count
        Words seen less often are neighbours, but give no concept of their own.

    Raises
    ------
    InputError
        Words and vectors differ in number, or no word of the corpus has a vector.
    """
    table = np.asarray(vectors, dtype=np.float32)
    if table.ndim != 2 or len(table) != len(words):
        raise InputError(f"there are {len(words)} words for embeddings of shape {table.shape}")
    if nearest < 1:
        raise SettingError(f"a word has 1 neighbour or more, not {nearest}")
    lower = pl.DataFrame({"word": [form.lower() for form in tokens["form"]]}).with_row_index("row")
    rows_of = dict(lower.group_by("word").agg("row").sort("word").iter_rows())
    place = {word: i for i, word in reversed(list(enumerate(words))) if word in rows_of}
    names = sorted(place)
    if not names:
        raise InputError("no word of the corpus is among the words with an embedding")
    unit = table[[place[name] for name in names]]
    length = np.linalg.norm(unit, axis=1, keepdims=True)
    unit = unit / np.where(length > 0, length, 1)
    for i, name in enumerate(names):
        if len(rows_of[name]) < min_count:
            continue
        close = unit @ unit[i]
        close[i] = np.inf
        best = np.argsort(-close, kind="stable")[: nearest + 1]
        rows = np.concatenate([rows_of[names[j]] for j in best.tolist()])
        yield f"near={name}", np.sort(rows.astype(np.int64))
