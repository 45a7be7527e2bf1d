"""Families of concepts that a table of tokens tells: words, labels, characters, places."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import polars as pl

__all__ = [
    "Candidate",
    "by_value",
    "characters",
    "columns",
    "context",
    "lemmas",
    "positions",
    "words",
]

Candidate = tuple[str, np.ndarray]
"""Name of a concept and the rows of its tokens, ascending."""

AFFIXES = (1, 2, 3)
"""Letters of the prefixes and suffixes that become concepts."""
LONGEST = 12
"""Words of this length and more share one concept."""
PLACES = ((1, 1), (2, 4), (5, 9), (10, 19), (20, None))
"""Ranges of positions in the sentence, from 0, that become concepts."""


def by_value(values: Sequence[str | None] | pl.Series, name: str) -> Iterator[Candidate]:
    """Yield a concept for each value of a column, sorted; tokens without one are in none."""
    column = pl.Series("value", values, dtype=pl.String)
    groups = (
        pl.DataFrame({"value": column, "row": np.arange(len(column))})
        .drop_nulls("value")
        .group_by("value")
        .agg("row")
        .sort("value")
    )
    for value, rows in groups.iter_rows():
        yield name.format(value), np.array(rows, dtype=np.int64)


def words(tokens: pl.DataFrame) -> Iterator[Candidate]:
    """Yield ``word=FORM`` for each form, lower-cased."""
    yield from by_value(_lower(tokens), "word={}")


def lemmas(tokens: pl.DataFrame) -> Iterator[Candidate]:
    """Yield ``lemma=LEMMA``; nothing for a corpus without lemmas."""
    if "lemma" in tokens.columns:
        yield from by_value(tokens["lemma"], "lemma={}")


def columns(tokens: pl.DataFrame, names: Iterable[str]) -> Iterator[Candidate]:
    """Yield ``COLUMN=VALUE`` for each value of some columns.

    A feature of several values (``feats.PronType=Int,Rel``) counts for each of them; a dependency
    relation with a subtype (``nsubj:pass``) counts for ``deprel=nsubj:*`` too.
    """
    for name in names:
        column = tokens[name].cast(pl.String)
        if name.startswith("feats.") and column.str.contains(",", literal=True).any():
            yield from _each_of(column, f"{name}=")
            continue
        yield from by_value(column, _plain(name) + "={}")
        if name == "deprel" and column.str.contains(":", literal=True).any():
            head = column.str.split(":").list.first()
            yield from by_value(head, "deprel={}:*")


def context(tokens: pl.DataFrame, names: Iterable[str]) -> Iterator[Candidate]:
    """Yield ``previous COLUMN=VALUE`` and ``next COLUMN=VALUE``.

    The neighbour is that of the same sentence; where it is not in the table (the sentence ends, or
    the word was left out), the token is in none of these concepts.
    """
    sentence = tokens["sentence"].to_numpy()
    joined = sentence[1:] == sentence[:-1]
    if "position" in tokens.columns:
        joined = joined & (np.diff(tokens["position"].to_numpy()) == 1)
    for name in names:
        values = tokens[name].cast(pl.String).to_list()
        before = [None, *(v if ok else None for v, ok in zip(values[:-1], joined, strict=True))]
        after = [*(v if ok else None for v, ok in zip(values[1:], joined, strict=True)), None]
        yield from by_value(before[: len(values)], f"previous {_plain(name)}={{}}")
        yield from by_value(after[-len(values) :], f"next {_plain(name)}={{}}")


def characters(tokens: pl.DataFrame) -> Iterator[Candidate]:
    """Yield prefixes and suffixes of 1 to 3 letters, shapes and lengths of words.

    An affix is shorter than its word, and is of letters alone.
    """
    lower = _lower(tokens).to_list()
    for n in AFFIXES:
        yield from by_value([_affix(w, w[:n], n) for w in lower], "prefix={}-")
    for n in AFFIXES:
        yield from by_value([_affix(w, w[-n:], n) for w in lower], "suffix=-{}")
    forms = tokens["form"].to_list()
    for name, test in _SHAPES.items():
        yield f"shape={name}", np.flatnonzero([test(form) for form in forms])
    lengths = np.array([len(form) for form in forms])
    for n in range(1, LONGEST):
        yield f"length={n}", np.flatnonzero(lengths == n)
    yield f"length={LONGEST}+", np.flatnonzero(lengths >= LONGEST)


def positions(tokens: pl.DataFrame) -> Iterator[Candidate]:
    """Yield first, last, ranges of positions and quarters of the sentence."""
    sentence = tokens["sentence"].to_numpy()
    n = len(sentence)
    new = np.r_[True, sentence[1:] != sentence[:-1]][:n]
    start = np.maximum.accumulate(np.where(new, np.arange(n), 0))
    stop = np.r_[np.flatnonzero(new)[1:], n][np.cumsum(new) - 1] if n else start
    place, size = np.arange(n) - start, stop - start
    yield "position=first", np.flatnonzero(place == 0)
    yield "position=last", np.flatnonzero(place == size - 1)
    for low, high in PLACES:
        inside = place >= low if high is None else (place >= low) & (place <= high)
        name = f"{low}+" if high is None else f"{low}" if low == high else f"{low}-{high}"
        yield f"position={name}", np.flatnonzero(inside)
    quarter = 4 * place // np.maximum(size, 1)
    for q in range(4):
        yield f"position=quarter {q + 1}/4", np.flatnonzero(quarter == q)


def _lower(tokens: pl.DataFrame) -> pl.Series:
    return pl.Series("form", [form.lower() for form in tokens["form"]], dtype=pl.String)


def _plain(name: str) -> str:
    """Return the name of a column with braces that ``format`` leaves alone."""
    return name.replace("{", "{{").replace("}", "}}")


def _each_of(column: pl.Series, lead: str) -> Iterator[Candidate]:
    groups = (
        pl.DataFrame({"value": column, "row": np.arange(len(column))})
        .drop_nulls("value")
        .with_columns(pl.col("value").str.split(","))
        .explode("value")
        .unique(["value", "row"])
        .sort(["value", "row"])
        .group_by("value", maintain_order=True)
        .agg("row")
    )
    for value, rows in groups.iter_rows():
        yield lead + value, np.array(rows, dtype=np.int64)


def _affix(word: str, part: str, n: int) -> str | None:
    return part if len(word) > n and part.isalpha() else None


def _punctuation(form: str) -> bool:
    return bool(form) and all(unicodedata.category(c)[0] in "PS" for c in form)


_SHAPES: dict[str, Callable[[str], bool]] = {
    "capitalised": lambda form: form[:1].isupper() and not (len(form) > 1 and form.isupper()),
    "all capitals": lambda form: len(form) > 1 and form.isupper(),
    "lower case": lambda form: form.islower(),
    "has digit": lambda form: any(c.isdigit() for c in form),
    "all digits": lambda form: form.isdigit(),
    "punctuation": _punctuation,
    "has hyphen": lambda form: len(form) > 1 and "-" in form,
    "has apostrophe": lambda form: "'" in form or "’" in form,
    "beyond ASCII": lambda form: not form.isascii(),
}
