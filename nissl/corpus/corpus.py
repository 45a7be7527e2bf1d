"""The corpus: words in sentences, with named label columns."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from nissl.errors import InputError, LabelError, SettingError, did_you_mean
from nissl.kernels.control import control_labels

__all__ = ["SPLITS", "Corpus", "Sentence", "build_corpus"]

SPLITS = ("train", "dev", "test")
FIXED = {
    "sentence": pl.Int32,
    "position": pl.Int32,
    "form": pl.String,
    "start": pl.Int32,
    "end": pl.Int32,
    "split": pl.String,
}


@dataclass(frozen=True)
class Sentence:
    """One sentence: its id, text, words, their character spans and its place in the source."""

    id: str
    text: str
    words: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    where: str


@dataclass(frozen=True, eq=False)
class Corpus:
    """Annotated text.

    Attributes
    ----------
    tokens
        One row a word: ``sentence, position, form, start, end, split``, then label and group
        columns (String; null where a word has no value).
    sentences
        One row a sentence: ``sentence, id, text, where`` and further columns such as ``genre``.
    labels
        Names of the label columns.
    left_out
        What readers and filters left out, and how often.
    """

    name: str
    tokens: pl.DataFrame
    sentences: pl.DataFrame
    labels: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_tokens(self) -> int:
        """Number of words."""
        return self.tokens.height

    @property
    def n_sentences(self) -> int:
        """Number of sentences."""
        return self.sentences.height

    def __len__(self) -> int:
        return self.n_sentences

    def __repr__(self) -> str:
        return (
            f"Corpus({self.name!r}: {self.n_sentences:,} sentences, {self.n_tokens:,} words, "
            f"labels {_listed(self.labels)})"
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of words, spans, labels, splits and texts."""
        digest = hashlib.sha256()
        for frame in (self.tokens, self.sentences.drop("where")):
            for name in frame.columns:
                digest.update(f"{name}\x00".encode())
                for part in frame[name].to_frame().iter_slices(65_536):
                    values = part.to_series().cast(pl.String).fill_null("\x01").to_list()
                    digest.update(("\x00".join(values) + "\x00").encode())
        return digest.hexdigest()

    def __iter__(self) -> Iterator[Sentence]:
        for first in range(0, self.n_sentences, 512):
            yield from self.read(first, min(first + 512, self.n_sentences))

    def read(self, first: int, stop: int) -> list[Sentence]:
        """Return sentences ``first`` to ``stop - 1``; nothing else is made."""
        bounds = self._bounds[first : stop + 1].tolist()
        words, starts, ends = (
            self.tokens[name].slice(bounds[0], bounds[-1] - bounds[0]).to_list()
            for name in ("form", "start", "end")
        )
        table = self.sentences.select("id", "text", "where").slice(first, stop - first)
        out = []
        for i, (ident, text, where) in enumerate(table.iter_rows()):
            a, b = bounds[i] - bounds[0], bounds[i + 1] - bounds[0]
            offsets = tuple(zip(starts[a:b], ends[a:b], strict=True))
            out.append(Sentence(ident, text, tuple(words[a:b]), offsets, where))
        return out

    @property
    def bounds(self) -> np.ndarray:
        """First token of each sentence, and the number of tokens, (sentences + 1,)."""
        return self._bounds

    @cached_property
    def _bounds(self) -> np.ndarray:
        """First token of each sentence, and the number of tokens, (sentences + 1,)."""
        return np.searchsorted(self.tokens["sentence"].to_numpy(), np.arange(self.n_sentences + 1))

    def label(self, name: str) -> pl.Series:
        """Return a label column.

        Raises
        ------
        LabelError
            There is none of that name; the closest is suggested.
        """
        if name not in self.labels:
            raise LabelError(
                f'no label "{name}" in {self.name}; it has {", ".join(self.labels) or "none"}.'
                f"{did_you_mean(name, self.labels)}"
            )
        return self.tokens[name]

    def with_column(
        self, name: str, values: Sequence[str | None] | pl.Series, *, label: bool = True
    ) -> Corpus:
        """Return the corpus with one more token column, a label unless ``label=False``."""
        if name in FIXED:
            raise SettingError(f'"{name}" is a column that every corpus has; choose another name')
        column = pl.Series(name, values, dtype=pl.String)
        if len(column) != self.n_tokens:
            raise LabelError(f'column "{name}" has {len(column)} values for {self.n_tokens} words')
        labels = self.labels if not label or name in self.labels else (*self.labels, name)
        return dataclasses.replace(self, tokens=self.tokens.with_columns(column), labels=labels)

    def with_control(self, name: str, *, key: str = "form", seed: int = 0) -> Corpus:
        """Return the corpus with the label ``control(name)``: one random label a ``key``."""
        values = control_labels(self._group(key), self.label(name).to_numpy(), seed=seed)
        return self.with_column(f"control({name})", values.tolist())

    def _group(self, name: str) -> np.ndarray:
        if name not in self.tokens.columns:
            raise SettingError(
                f'no column "{name}" in {self.name}; it has {", ".join(self.tokens.columns)}.'
                f"{did_you_mean(name, self.tokens.columns)}"
            )
        return self.tokens[name].cast(pl.String).fill_null("").to_numpy().astype(object)

    # Filters ------------------------------------------------------------------------------------

    def _less(self, **what: int) -> dict[str, int]:
        merged = dict(self.left_out)
        for key, count in what.items():
            if count:
                merged[key] = merged.get(key, 0) + count
        return merged

    def where_label(self, name: str, pattern: str) -> Corpus:
        """Return the corpus in which only tags that match the regular expression whole remain."""
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise SettingError(f"not a regular expression: {pattern!r} ({error})") from None
        values = self.label(name).to_list()
        kept = [v if v is not None and compiled.fullmatch(v) else None for v in values]
        gone = sum(a is not None and b is None for a, b in zip(values, kept, strict=True))
        out = self.with_column(name, kept)
        return dataclasses.replace(
            out, left_out=self._less(**{f"{name} tags that do not match {pattern}": gone})
        )

    def min_count(self, name: str, n: int) -> Corpus:
        """Return the corpus in which tags seen fewer than n times have no value."""
        column = self.label(name)
        counts = dict(column.drop_nulls().value_counts().rows())
        rare = {value for value, count in counts.items() if count < n}
        kept = [None if v in rare else v for v in column.to_list()]
        out = self.with_column(name, kept)
        gone = sum(counts[value] for value in rare)
        return dataclasses.replace(
            out, left_out=self._less(**{f"{name} tags seen fewer than {n} times": gone})
        )

    def select_sentences(
        self, keep: np.ndarray, *, reason: str = "sentences not selected"
    ) -> Corpus:
        """Return only the sentences with ``keep`` true, numbered anew."""
        mask = np.asarray(keep, dtype=bool)
        if mask.shape != (self.n_sentences,):
            raise SettingError(f"a mask of {mask.size} does not fit {self.n_sentences} sentences")
        if not mask.any():
            raise InputError(f"no sentence of {self.name} is left")
        number = np.cumsum(mask) - 1
        member = self.tokens["sentence"].to_numpy()
        tokens = self.tokens.filter(pl.Series(mask[member])).with_columns(
            pl.Series("sentence", number[member[mask[member]]], dtype=pl.Int32)
        )
        sentences = self.sentences.filter(pl.Series(mask)).with_columns(
            pl.Series("sentence", np.arange(mask.sum()), dtype=pl.Int32)
        )
        return dataclasses.replace(
            self,
            tokens=tokens,
            sentences=sentences,
            left_out=self._less(**{reason: int((~mask).sum())}),
        )

    def sample_sentences(self, n: int, *, seed: int = 0, split: str | None = None) -> Corpus:
        """Return n random sentences; with ``split``, only that split is sampled."""
        pool = np.arange(self.n_sentences)
        if split is not None:
            pool = pool[self.sentence_splits() == split]
        if not 1 <= n <= len(pool):
            raise SettingError(
                f"cannot draw {n} of {len(pool)} {split or ''} sentences".replace("  ", " ")
            )
        mask = np.ones(self.n_sentences, dtype=bool)
        mask[pool] = False
        mask[np.random.default_rng(seed).choice(pool, n, replace=False)] = True
        return self.select_sentences(mask, reason=f"{split or ''} sentences not drawn".strip())

    # Splits -------------------------------------------------------------------------------------

    def sentence_splits(self) -> np.ndarray:
        """Return the split of each sentence's first word or None, (sentences,)."""
        values = self.tokens["split"].to_numpy().astype(object)
        return values[self._bounds[:-1]]

    @property
    def has_splits(self) -> bool:
        """Whether every word belongs to train, dev or test and each of them has words."""
        found = set(self.tokens["split"].unique().to_list())
        return found == set(SPLITS)

    def with_splits(
        self,
        *,
        by: str = "sentence",
        fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
        seed: int = 0,
    ) -> Corpus:
        """Return the corpus split anew; whole groups stay on one side.

        Parameters
        ----------
        by
            ``sentence``, ``lemma``, ``form`` or any other column; a group's side depends on its
            name and the seed alone, so it does not change when rows are added or reordered.
        fractions
            Shares of train, dev and test, which sum to 1.
        """
        if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
            raise SettingError(f"fractions are three numbers that sum to 1, not {fractions}")
        if by == "sentence":
            ids = self.sentences["id"].to_numpy().astype(object)
            groups = ids[self.tokens["sentence"].to_numpy()]
        else:
            groups = self._group(by)
        edges = np.cumsum(fractions)
        side = {}
        for group in set(groups.tolist()):
            digest = hashlib.sha256(f"{seed}\x00{group}".encode()).digest()
            place = int.from_bytes(digest[:8], "big") / 2**64
            side[group] = SPLITS[min(int(np.searchsorted(edges, place, "right")), 2)]
        values = pl.Series("split", [side[group] for group in groups], dtype=pl.String)
        return dataclasses.replace(self, tokens=self.tokens.with_columns(values))

    @staticmethod
    def concat(corpora: Sequence[Corpus], *, name: str | None = None) -> Corpus:
        """Join corpora one after the other; a label that one lacks is null there."""
        if not corpora:
            raise InputError("there is no corpus to join")
        tokens, sentences, left_out = [], [], {}
        shift = 0
        labels: list[str] = []
        for part in corpora:
            move = (pl.col("sentence") + shift).cast(pl.Int32)
            tokens.append(part.tokens.with_columns(move))
            sentences.append(part.sentences.with_columns(move))
            shift += part.n_sentences
            labels += [label for label in part.labels if label not in labels]
            for key, count in part.left_out.items():
                left_out[key] = left_out.get(key, 0) + count
        table = pl.concat(sentences, how="diagonal")
        again = table.filter(~pl.col("id").is_first_distinct())
        if again.height:
            row = again.row(0, named=True)
            raise InputError(
                f'sentence id "{row["id"]}" is used twice; ids must be unique in a corpus',
                where=row["where"],
            )
        return Corpus(
            name=name or corpora[0].name,
            tokens=pl.concat(tokens, how="diagonal"),
            sentences=table,
            labels=tuple(labels),
            left_out=left_out,
        )


def _listed(names: Sequence[str], most: int = 10) -> str:
    """Return names for a repr; a treebank can have fifty label columns."""
    shown = ", ".join(names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def locate(words: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """Return the span of each word in ``text``, found left to right, or None if one is missing."""
    spans, place = [], 0
    for word in words:
        found = text.find(word, place)
        if found < 0:
            return None
        spans.append((found, found + len(word)))
        place = found + len(word)
    return spans


def joined(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Return the words joined by single spaces, and their spans."""
    spans, place = [], 0
    for word in words:
        spans.append((place, place + len(word)))
        place += len(word) + 1
    return " ".join(words), spans


def build_corpus(
    name: str,
    rows: Sequence[Sentence],
    columns: Mapping[str, Sequence[str | None]],
    *,
    labels: Sequence[str],
    splits: Sequence[str | None] | None = None,
    extra: Mapping[str, Sequence[str | None]] | None = None,
    heads: Sequence[int | None] | None = None,
    left_out: Mapping[str, int] | None = None,
) -> Corpus:
    """Assemble a corpus from sentences and token columns, and check it.

    Parameters
    ----------
    rows
        The sentences.
    columns
        Token columns over all words in order; those named in ``labels`` are labels.
    splits
        Split of each sentence.
    extra
        Further sentence columns.
    heads
        Head position of each word, if there is one.

    Raises
    ------
    InputError
        No sentence, an empty one, an empty word, half a character, an unknown split, or an id
        used twice.
    """
    if not rows:
        raise InputError(f"{name} has no sentence")
    seen: dict[str, str] = {}
    for row in rows:
        if not row.words:
            raise InputError("the sentence has no word; remove it", where=row.where)
        for i, word in enumerate(row.words):
            if not word.strip():
                raise InputError(f"word {i + 1} is empty; remove it", where=row.where)
        try:
            row.text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"character {error.start + 1} of the text is half of one (a lone surrogate); "
                "remove it",
                where=row.where,
            ) from None
        if row.id in seen:
            raise InputError(
                f'sentence id "{row.id}" was used before at {seen[row.id]}; ids must be unique',
                where=row.where,
            )
        seen[row.id] = row.where
    lengths = [len(row.words) for row in rows]
    total = sum(lengths)
    for key, values in columns.items():
        if len(values) != total:
            raise InputError(f'column "{key}" has {len(values)} values for {total} words')
    split = list(splits) if splits is not None else [None] * len(rows)
    for row, side in zip(rows, split, strict=True):
        if side is not None and side not in SPLITS:
            raise InputError(f'split "{side}" is none of {", ".join(SPLITS)}', where=row.where)
    frame: dict[str, pl.Series] = {
        "sentence": pl.Series(np.repeat(np.arange(len(rows)), lengths), dtype=pl.Int32),
        "position": pl.Series([i for n in lengths for i in range(n)], dtype=pl.Int32),
        "form": pl.Series([w for row in rows for w in row.words], dtype=pl.String),
        "start": pl.Series([a for row in rows for a, _ in row.offsets], dtype=pl.Int32),
        "end": pl.Series([b for row in rows for _, b in row.offsets], dtype=pl.Int32),
        "split": pl.Series(
            [s for s, n in zip(split, lengths, strict=True) for _ in range(n)], dtype=pl.String
        ),
    }
    if heads is not None:
        frame["head"] = pl.Series(heads, dtype=pl.Int32)
    for key, values in columns.items():
        frame[key] = pl.Series(key, values, dtype=pl.String)
    table: dict[str, pl.Series] = {
        "sentence": pl.Series(np.arange(len(rows)), dtype=pl.Int32),
        "id": pl.Series([row.id for row in rows], dtype=pl.String),
        "text": pl.Series([row.text for row in rows], dtype=pl.String),
        "where": pl.Series([row.where for row in rows], dtype=pl.String),
    }
    for key, values in (extra or {}).items():
        table[key] = pl.Series(key, values, dtype=pl.String)
    return Corpus(
        name=name,
        tokens=pl.DataFrame(frame),
        sentences=pl.DataFrame(table),
        labels=tuple(label for label in labels if label in columns),
        left_out={k: v for k, v in (left_out or {}).items() if v},
    )
