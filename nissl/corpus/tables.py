"""Tables already in memory: polars, pandas, Arrow, or a Hugging Face ``datasets`` dataset.

Either one row a sentence with list columns, or one row a word with a sentence column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from nissl.corpus.corpus import Corpus, Sentence, build_corpus, joined
from nissl.errors import InputError, SettingError, did_you_mean

__all__ = ["read_table"]

SPLIT_NAMES = {"train": "train", "validation": "dev", "valid": "dev", "dev": "dev", "test": "test"}


def read_table(
    table: Any,
    *,
    form: str = "tokens",
    labels: Sequence[str] | None = None,
    sentence: str | None = None,
    split: str | None = None,
    name: str = "table",
) -> Corpus:
    """Read a table, or a mapping of split → table (such as a ``DatasetDict``).

    Parameters
    ----------
    form
        Column of words: strings with ``sentence``, else lists of strings.
    labels
        Label columns; by default every other column of lists (with ``sentence``: every other
        column). Class indices of a ``datasets`` ClassLabel become their names.
    sentence
        Column of sentence numbers or ids, for tables of one row a word.
    split
        Split of every sentence; the keys of a mapping give it otherwise.

    Raises
    ------
    InputError
        No such column, a sentence without words, a missing word, or a label list of another
        length (``name:row``).
    SettingError
        An unknown split, or not a table.
    """
    if isinstance(table, Mapping) and any(not isinstance(part, list) for part in table.values()):
        parts = []
        for key, part in table.items():
            side = SPLIT_NAMES.get(str(key))
            if side is None:
                raise SettingError(
                    f'split "{key}" is none of train, validation, test.'
                    f"{did_you_mean(str(key), SPLIT_NAMES)}"
                )
            parts.append(
                read_table(
                    part, form=form, labels=labels, sentence=sentence, split=side, name=str(key)
                )
            )
        return Corpus.concat(parts, name=name)
    frame = _frame(table)
    if form not in frame.columns:
        raise InputError(
            f'no column "{form}"; there are {", ".join(frame.columns)}.'
            f"{did_you_mean(form, frame.columns)}",
            where=name,
        )
    if sentence is not None:
        if sentence not in frame.columns:
            raise InputError(
                f'no column "{sentence}".{did_you_mean(sentence, frame.columns)}', where=name
            )
        others = [c for c in frame.columns if c not in (form, sentence)]
        frame = frame.group_by(sentence, maintain_order=True).agg(
            pl.col(form), *map(pl.col, others)
        )
    if not isinstance(frame[form].dtype, pl.List):
        raise InputError(
            f'column "{form}" must hold lists of words; for one row a word name the column of '
            'sentences (sentence="...")',
            where=name,
        )
    wanted = (
        list(labels)
        if labels is not None
        else [
            c
            for c in frame.columns
            if c not in (form, sentence) and isinstance(frame[c].dtype, pl.List)
        ]
    )
    for key in wanted:
        if key not in frame.columns:
            raise InputError(f'no column "{key}".{did_you_mean(key, frame.columns)}', where=name)
        if not isinstance(frame[key].dtype, pl.List):
            raise InputError(f'column "{key}" must hold one list of labels a row', where=name)
    words = frame[form].to_list()
    rows: list[Sentence] = []
    columns: dict[str, list[str | None]] = {key: [] for key in wanted}
    lists = {key: frame[key].to_list() for key in wanted}
    for i, tokens in enumerate(words):
        where = f"{name}:{i + 1}"
        if not tokens:
            raise InputError("the sentence has no word", where=where)
        if any(token is None for token in tokens):
            raise InputError("a word is missing (null)", where=where)
        for key in wanted:
            values = lists[key][i]
            if values is None or len(values) != len(tokens):
                size = "no" if values is None else len(values)
                raise InputError(
                    f'"{key}" has {size} values for {len(tokens)} words; name the columns of '
                    "labels with labels=[...]",
                    where=where,
                )
            columns[key] += [None if v is None else str(v) for v in values]
        text, spans = joined([str(t) for t in tokens])
        ident = str(frame[sentence][i]) if sentence else f"{name}-{i + 1}"
        rows.append(Sentence(ident, text, tuple(map(str, tokens)), tuple(spans), where))
    return build_corpus(name, rows, columns, labels=wanted, splits=[split] * len(rows))


def _frame(table: Any) -> pl.DataFrame:
    if isinstance(table, pl.DataFrame):
        return table
    kind = f"{type(table).__module__}.{type(table).__name__}"
    if kind.startswith("pandas."):
        return pl.from_pandas(table)
    if kind.startswith("pyarrow."):
        return pl.DataFrame(pl.from_arrow(table))
    if kind.startswith("datasets.") and hasattr(table, "__len__"):
        return _from_datasets(table)
    if isinstance(table, dict | list):
        try:
            return pl.DataFrame(table)
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise InputError(f"not a table ({str(error).splitlines()[0]})") from None
    raise SettingError(f"cannot read a {kind}; give a polars, pandas, Arrow or datasets table")


def _from_datasets(dataset: Any) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(dataset.with_format("arrow")[:]))
    for key, feature in dataset.features.items():
        names = getattr(getattr(feature, "feature", feature), "names", None)
        if names:
            # -1 is how datasets write a missing class.
            number = dict(enumerate(names))
            kind = pl.List(pl.String) if isinstance(frame[key].dtype, pl.List) else pl.String
            values = [
                None
                if row is None
                else list(map(number.get, row))
                if kind != pl.String
                else number.get(row)
                for row in frame[key].to_list()
            ]
            frame = frame.with_columns(pl.Series(key, values, dtype=kind))
    return frame
