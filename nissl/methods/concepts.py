"""Concepts that formulas are built from, made of a corpus's tokens or of given sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from nissl.errors import InputError, LabelError, SettingError, did_you_mean
from nissl.methods import _concept_families as families_of
from nissl.methods._concept_builder import ConceptBuilder, Concepts, check_limits
from nissl.methods._concept_lexical import Hypernyms, near_words, wordnet, wordnet_hypernyms

if TYPE_CHECKING:
    from nissl.store import Activations

__all__ = ["FAMILIES", "Concepts", "concepts_from_masks", "make_concepts"]

FAMILIES = ("word", "lemma", "label", "characters", "position", "context", "wordnet", "near")
DEFAULT_FAMILIES = FAMILIES[:5]
_NO_LABELS = {"sentence", "position", "form", "start", "end", "split", "head", "lemma"}


def make_concepts(
    source: Activations | pl.DataFrame,
    families: Sequence[str] = DEFAULT_FAMILIES,
    *,
    labels: Sequence[str] | None = None,
    context: Sequence[str] = ("upos",),
    min_count: int = 5,
    max_count: int | None = None,
    most: int | None = None,
    hypernyms: Hypernyms | None = None,
    embeddings: tuple[Sequence[str], np.ndarray] | None = None,
    nearest: int = 10,
) -> Concepts:
    """Make concepts of the tokens of a store, or of a table of tokens.

    Parameters
    ----------
    source
        A store, or a table with ``sentence`` and ``form`` of each token, sentences in one piece.
    families
        ``word`` (forms, lower-cased), ``lemma``, ``label`` (values of label columns: tags,
        features, relations, chunks, CCG categories…), ``characters`` (affixes, shape, length),
        ``position`` in the sentence, ``context`` (tags of the words before and after), ``wordnet``
        (hypernyms of nouns and verbs; needs the package nltk), ``near`` (neighbours of words in an
        embedding space; needs ``embeddings``).
    labels
        Columns of ``label``; by default all label columns but the treebank's ``misc.*``, of a table
        those of text, categories or booleans (columns of numbers have to be named).
    context
        Columns of ``context``; those that the corpus lacks are an error.
    min_count, max_count
        Concepts of fewer, or of more, tokens are left out and counted; so is one of all tokens.
    most
        Largest concepts kept of each family (of each column, for labels); all by default.
    hypernyms
        Another source than nltk's: ``(lemma, "n" or "v") -> names``.
    embeddings, nearest
        Words and their vectors (V, d), and how many neighbours make a concept.

    Raises
    ------
    SettingError
        An unknown family, an impossible limit, nltk or the embeddings are missing.
    LabelError
        No such column.
    InputError
        The table lacks a column that every corpus has, or a value in one; no concept is left.
    """
    check_limits(min_count, max_count, most)
    for name in families:
        if name not in FAMILIES:
            raise SettingError(
                f'no family of concepts "{name}"; there are {", ".join(FAMILIES)}.'
                f"{did_you_mean(name, FAMILIES)}"
            )
    tokens = source if isinstance(source, pl.DataFrame) else source.tokens
    for column in ("sentence", "form"):
        if column not in tokens.columns:
            raise InputError(f'the table of tokens has no column "{column}"')
        if tokens[column].null_count():
            row = tokens[column].is_null().arg_max()
            raise InputError(f"the table of tokens has no {column} in row {row}")
    given = _label_columns(source, tokens) if labels is None else list(labels)
    wanted = {"label": given, "context": list(context)}
    for family, names in wanted.items():
        for name in names if family in families else ():
            if name not in tokens.columns:
                raise LabelError(
                    f'no column "{name}" for concepts; the corpus has '
                    f"{', '.join(tokens.columns)}.{did_you_mean(name, tokens.columns)}"
                )
    missing = {
        name: int(tokens[name].null_count())
        for name in (["lemma"] if "lemma" in families and "lemma" in tokens.columns else [])
        + (given if "label" in families else [])
        if tokens[name].null_count()
    }

    def near() -> Iterator[families_of.Candidate]:
        if embeddings is None:
            raise SettingError("the family near needs embeddings: words and their vectors")
        return near_words(tokens, *embeddings, nearest=nearest, min_count=min_count)

    makers: dict[str, Callable[[], Iterable[families_of.Candidate]]] = {
        "word": lambda: families_of.words(tokens),
        "lemma": lambda: families_of.lemmas(tokens),
        "characters": lambda: families_of.characters(tokens),
        "position": lambda: families_of.positions(tokens),
        "context": lambda: families_of.context(tokens, context),
        "wordnet": lambda: wordnet(tokens, hypernyms or wordnet_hypernyms()),
        "near": near,
    }
    builder = ConceptBuilder(tokens.height, min_count, max_count, most)
    for family in dict.fromkeys(families):
        if family == "label":
            for name in given:
                builder.add(name, families_of.columns(tokens, [name]))
        else:
            builder.add(family, makers[family]())
    return builder.finish(missing)


def concepts_from_masks(
    names: Sequence[str],
    masks: np.ndarray,
    *,
    families: Sequence[str] | None = None,
    min_count: int = 1,
    max_count: int | None = None,
) -> Concepts:
    """Make concepts of given sets, such as segments of images or features of sentence pairs.

    Parameters
    ----------
    names
        (K,), each once.
    masks
        bool (K, n).
    families
        (K,); "given" by default.
    min_count, max_count
        As in :func:`make_concepts`.

    Raises
    ------
    InputError
        Names, families and masks differ in number, a name is given twice, or none is left.
    """
    table = np.asarray(masks)
    kinds = ["given"] * len(names) if families is None else list(families)
    if table.ndim != 2 or table.dtype != bool or not len(names) == len(kinds) == len(table):
        raise InputError(
            f"concepts are boolean masks (concepts, tokens), a name and a family each; there are "
            f"{len(names)} names, {len(kinds)} families and masks {table.dtype} {table.shape}"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f'the concept "{twice}" is given twice')
    check_limits(min_count, max_count, None)
    builder = ConceptBuilder(table.shape[1], min_count, max_count, None)
    for name, kind, line in zip(names, kinds, table, strict=True):
        builder.add(kind, [(name, np.flatnonzero(line))])
    return builder.finish({})


def _label_columns(source: Any, tokens: pl.DataFrame) -> list[str]:
    named = [
        name
        for name in getattr(source, "labels", tokens.columns)
        if name in tokens.columns and not name.startswith("misc.") and name not in _NO_LABELS
    ]
    kinds = (pl.String, pl.Categorical, pl.Enum, pl.Boolean)
    return [name for name in named if tokens[name].dtype in kinds]
