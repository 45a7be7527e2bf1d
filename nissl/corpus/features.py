"""Morphology as UniMorph has it: dimensions and tags from Universal Dependencies' features.

Policy. A word has one tag a dimension or none. Where a feature holds several values at once
(``Case=Acc,Dat``), they count only if all stand for the same tags. Where two features disagree on
a dimension, the word has no tag there. All that has no tag is counted in ``left_out`` with the
reason. ``um.POS`` rests on UPOS, and a VERB is refined by its ``VerbForm`` (``V.PTCP``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import polars as pl

from nissl.corpus._unimorph_table import EXCLUDED, FEATURES, PARTICIPLES, POSSESSOR, UPOS
from nissl.corpus.corpus import Corpus
from nissl.errors import LabelError

__all__ = ["DIMENSIONS", "PREFIX", "unimorph", "unimorph_columns", "why_not"]

PREFIX = "um."
SEVERAL = "several values at once"
NO_VALUE = "not in the tables of Universal Dependencies"

DIMENSIONS: tuple[str, ...] = tuple(
    sorted(
        {
            pair[0]
            for values in FEATURES.values()
            for pairs in values.values()
            if not isinstance(pairs, str)
            for pair in pairs
        }
        | {"POS", "Possession"}
    )
)
"""The dimensions that a word can have a tag in."""


def unimorph(feature: str, value: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of dimension and tag of one UD feature, none where there is no mapping.

    Parameters
    ----------
    feature, value
        Such as ``Number`` and ``Plur``; several values are joined by commas.
    """
    found = {_single(feature, part) for part in value.split(",")}
    pairs = found.pop() if len(found) == 1 else ()
    return pairs if isinstance(pairs, tuple) else ()


def why_not(feature: str, value: str) -> str | None:
    """Return why a value of a UD feature has no tag, or None if it has one."""
    if unimorph(feature, value):
        return None
    if feature in EXCLUDED:
        return EXCLUDED[feature]
    if "[" in feature:
        return "agreement with another word"
    parts = value.split(",")
    if len(parts) > 1:
        return SEVERAL
    found = _single(feature, value)
    return found if isinstance(found, str) else NO_VALUE


def unimorph_columns(corpus: Corpus) -> Corpus:
    """Return the corpus with a label column ``um.X`` for each UniMorph dimension that has tags.

    Parameters
    ----------
    corpus
        Of a Universal Dependencies treebank: label columns ``upos`` and ``feats.X``.

    Returns
    -------
    Corpus
        Its ``left_out`` says how many values have no tag, and why.

    Raises
    ------
    LabelError
        The corpus has neither ``upos`` nor a feature.
    """
    features = [name for name in corpus.labels if name.startswith("feats.")]
    if not features and "upos" not in corpus.labels:
        raise LabelError(
            f"{corpus.name} has no features of Universal Dependencies (upos, feats.X); read it "
            "from CoNLL-U"
        )
    n = corpus.n_tokens
    columns: dict[str, list[str | None]] = {}
    clash: dict[str, set[int]] = {}
    left: dict[str, int] = {}
    implied: list[tuple[int, str, str]] = []
    for label in features:
        feature = label.removeprefix("feats.")
        if feature in ("Number[psor]", "Person[psor]"):
            continue
        values = corpus.tokens[label].to_list()
        known = {v: unimorph(feature, v) for v in set(values) if v is not None}
        for value, pairs in known.items():
            if not pairs:
                what = feature if feature in EXCLUDED else f"{feature}={value}"
                key = f"UD {what} ({why_not(feature, value)})"
                left[key] = left.get(key, 0) + values.count(value)
        for i, value in enumerate(values):
            if value is None or not (pairs := known[value]):
                continue
            dimension, tag = pairs[0]
            column = columns.setdefault(dimension, [None] * n)
            if column[i] is not None and column[i] != tag:
                clash.setdefault(dimension, set()).add(i)
            column[i] = tag
            implied += [(i, *pair) for pair in pairs[1:]]
    for i, dimension, tag in implied:
        # What a tense says of aspect yields to a feature Aspect.
        column = columns.setdefault(dimension, [None] * n)
        column[i] = column[i] or tag
    _possession(corpus, columns, left, clash)
    for dimension, rows in clash.items():
        for i in rows:
            columns[dimension][i] = None
        left[f"UniMorph {dimension} (two features disagree)"] = len(rows)
    _pos(corpus, columns, left)
    out = corpus
    for dimension in sorted(columns):
        if any(value is not None for value in columns[dimension]):
            out = out.with_column(f"{PREFIX}{dimension}", columns[dimension])
    merged = dict(corpus.left_out)
    for key, count in sorted(left.items()):
        merged[key] = merged.get(key, 0) + count
    return dataclasses.replace(out, left_out=merged)


def _single(feature: str, value: str) -> tuple[tuple[str, str], ...] | str:
    """Return what the table says of one value; an empty tuple where it does not have it."""
    if feature == "UPOS":
        tag = UPOS.get(value)
        return (("POS", tag),) if tag else ()
    return FEATURES.get(feature, {}).get(value, ())


def _possession(
    corpus: Corpus,
    columns: dict[str, list[str | None]],
    left: dict[str, int],
    clash: dict[str, set[int]],
) -> None:
    """Compose the possessor's person and number: PSS1S, PSS3P, or PSS3 without a number."""
    lacking = 0
    for i, (person, number) in enumerate(
        zip(_of(corpus, "Person[psor]"), _of(corpus, "Number[psor]"), strict=True)
    ):
        if person is None:
            lacking += number is not None
            continue
        mark = "" if number is None else POSSESSOR.get(number)
        if mark is None or len(person) != 1:
            lacking += 1
            continue
        column = columns.setdefault("Possession", [None] * corpus.n_tokens)
        if column[i] is not None:
            clash.setdefault("Possession", set()).add(i)
        column[i] = f"PSS{person}{mark}"
    if lacking:
        left["UD possessor (its person or number is lacking or several)"] = lacking


def _pos(corpus: Corpus, columns: dict[str, list[str | None]], left: dict[str, int]) -> None:
    if "upos" not in corpus.labels:
        return
    tags: list[str | None] = []
    for upos, form in zip(corpus.tokens["upos"], _of(corpus, "VerbForm"), strict=True):
        tag = None if upos is None else UPOS.get(upos)
        tags.append(PARTICIPLES.get(form or "", tag) if tag == "V" else tag)
        if tag is None and upos is not None:
            why = "no class of words" if upos in UPOS else NO_VALUE
            left[f"UD upos {upos} ({why})"] = left.get(f"UD upos {upos} ({why})", 0) + 1
    columns["POS"] = tags


def _of(corpus: Corpus, feature: str) -> Iterable[str | None]:
    name = f"feats.{feature}"
    return (
        corpus.tokens[name]
        if name in corpus.labels
        else pl.repeat(None, corpus.n_tokens, dtype=pl.String, eager=True)
    )
