"""Parallel files: words in one, labels in the other, a sentence a line (NeuroX's layout)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nissl.corpus.corpus import Corpus, Sentence, build_corpus, joined
from nissl.corpus.lines import read_lines, source_name
from nissl.errors import InputError, SettingError

__all__ = ["read_pairs"]


def read_pairs(
    source: str | Path,
    *,
    labels: str | Path | Mapping[str, str | Path] | None = None,
    split: str | None = None,
    name: str | None = None,
) -> Corpus:
    """Read a file of blank-separated words and one or more parallel label files.

    Parameters
    ----------
    source
        The word file, such as ``train.word``.
    labels
        The label file, or label name → file; by default the file beside it whose suffix is
        ``.label``. A single file gives the label ``label``.

    Raises
    ------
    InputError
        Files of different length, or a line with another number of labels than words.
    """
    if labels is None:
        labels = Path(source).with_suffix(".label")
    files = dict(labels) if isinstance(labels, Mapping) else {"label": labels}
    if not files:
        raise SettingError("there is no label file; give labels={name: file}")
    words = read_lines(source)
    tags = {key: read_lines(path) for key, path in files.items()}
    for key, lines in tags.items():
        if len(lines) != len(words):
            raise InputError(
                f"{len(lines)} lines, but {source} has {len(words)}; the files must be parallel",
                where=f"{files[key]}",
            )
    rows: list[Sentence] = []
    values: dict[str, list[str | None]] = {key: [] for key in files}
    for number, line in enumerate(words, start=1):
        forms = line.split()
        if not forms:
            raise InputError(
                "the sentence has no word; remove the line", where=f"{source}:{number}"
            )
        for key, lines in tags.items():
            found = lines[number - 1].split()
            if len(found) != len(forms):
                raise InputError(
                    f"{len(found)} labels for {len(forms)} words", where=f"{files[key]}:{number}"
                )
            values[key] += found
        text, spans = joined(forms)
        rows.append(
            Sentence(
                f"{source_name(source)}-{number}",
                text,
                tuple(forms),
                tuple(spans),
                f"{source}:{number}",
            )
        )
    return build_corpus(
        name or source_name(source), rows, values, labels=list(values), splits=[split] * len(rows)
    )
