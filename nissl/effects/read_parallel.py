"""Readers of parallel inputs: tables and JSON Lines with ``input, language, answer``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nissl.corpus import read_corpus
from nissl.corpus.lines import read_lines, source_name
from nissl.effects.parallel_inputs import ParallelInputs, make_parallel
from nissl.errors import InputError, did_you_mean

__all__ = ["PLAIN", "read_aligned", "read_parallel"]

PLAIN = ("", ".txt")
"""Suffixes of plain text; other files are corpora."""
COLUMNS = ("input", "language", "answer", "group", "candidates", "task")
SEPARATOR = "|"
NOTHING: tuple[Any, ...] = (None, "", [])
"""What a cell or key holds that says nothing."""


def read_parallel(source: str | Path, *, name: str | None = None) -> ParallelInputs:
    """Read parallel inputs from ``.csv``, ``.tsv`` or ``.jsonl``.

    Parameters
    ----------
    source
        One row an input and language, with columns (or keys) ``input`` and ``language``, and
        perhaps ``answer``; ``group``, what ties the versions of one input together (else the k-th
        row of every language is one input); ``candidates``, answers to choose from, separated by
        ``|`` in tables and a list in JSON; ``task``. Others are not read.

    Raises
    ------
    InputError
        Another suffix, a missing column, a row that cannot be used (``file:line``); see
        :func:`~nissl.effects.parallel_inputs.make_parallel`.
    """
    suffix = Path(source_name(source)).suffix
    readers = {".csv": _table, ".tsv": _table, ".jsonl": _objects}
    if suffix not in readers:
        raise InputError(
            f'"{suffix}" is no format of parallel inputs; give .csv, .tsv or .jsonl',
            where=str(source),
        )
    found: dict[str, list[Any]] = {key: [] for key in COLUMNS}
    places: list[str] = []
    for where, row in readers[suffix](source):
        for key in ("input", "language"):
            if not isinstance(row.get(key), str) or not row[key].strip():
                raise InputError(f'needs "{key}", a text', where=where)
        for key in ("answer", "group", "candidates", "task"):
            given = row.get(key)
            known = found[key][0] if found[key] else given
            if (given in NOTHING) != (known in NOTHING):
                raise InputError(
                    f'"{key}" is there in some rows and not in this one'
                    if given in NOTHING
                    else f'"{key}" is there, and not in rows before',
                    where=where,
                )
        for key in COLUMNS:
            found[key].append(_value(key, row.get(key), where))
        places.append(where)
    if not places:
        raise InputError("holds no input", where=str(source))
    given = {key: None if found[key][0] is None else found[key] for key in COLUMNS}
    return make_parallel(
        name or Path(source_name(source)).stem,
        found["input"],
        found["language"],
        group=given["group"],
        answer=given["answer"],
        candidates=given["candidates"],
        task=given["task"],
        place=places,
    )


def read_aligned(files: Mapping[str, Path], *, name: str = "texts") -> ParallelInputs:
    """Read texts that are aligned line by line, or sentence by sentence of a corpus.

    Parameters
    ----------
    files
        Language → plain text, one text a line (blank lines separate), or a corpus.

    Raises
    ------
    InputError
        A line that is blank in one language only: all that follow it would be paired wrongly; a
        file without text; see :func:`~nissl.effects.parallel_inputs.make_parallel`.
    """
    plain = {path: read_lines(path) for path in files.values() if path.suffix in PLAIN}
    for number in range(max((len(lines) for lines in plain.values()), default=0)):
        there = {p: bool(x[number].strip()) for p, x in plain.items() if number < len(x)}
        blank = next((path for path, text in there.items() if not text), None)
        full = next((path for path, text in there.items() if text), None)
        if blank is not None and full is not None:
            raise InputError(
                f"is blank, and that line of {full} is not; parallel texts are aligned by line",
                where=f"{blank}:{number + 1}",
            )
    rows: list[tuple[str, str, str]] = []
    for language, path in files.items():
        if path in plain:
            pairs = [(x, f"{path}:{i}") for i, x in enumerate(plain[path], 1) if x.strip()]
        else:
            pairs = [(sentence.text, sentence.where) for sentence in read_corpus(path)]
        if not pairs:
            raise InputError("holds no text", where=str(path))
        rows += [(text, language, place) for text, place in pairs]
    texts, languages, places = ([row[i] for row in rows] for i in range(3))
    return make_parallel(name, texts, languages, place=places)


def _value(key: str, given: Any, where: str) -> Any:
    if given in NOTHING:
        return None
    if key == "candidates":
        each = given.split(SEPARATOR) if isinstance(given, str) else given
        if not isinstance(each, list) or not all(isinstance(c, str) and c.strip() for c in each):
            raise InputError('"candidates" must be answers, none of them empty', where=where)
        return [c.strip() for c in each]
    if key in ("group", "task"):
        return str(given)
    if not isinstance(given, str):
        raise InputError(f'"{key}" must be a text', where=where)
    return given.strip() if key == "language" else given


def _table(source: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = read_lines(source)
    mark = "\t" if Path(source_name(source)).suffix == ".tsv" else ","
    reader = csv.reader((line + "\n" for line in lines), delimiter=mark, strict=True)
    head: list[str] | None = None
    before = 0
    try:
        for cells in reader:
            where, before = f"{source}:{before + 1}", reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if head is None:
                head = [cell.strip() for cell in cells]
                for key in ("input", "language"):
                    if key not in head:
                        raise InputError(
                            f'has no column "{key}"; it has {", ".join(head)}.'
                            f"{did_you_mean(key, head)}",
                            where=where,
                        )
                for key in COLUMNS:
                    if head.count(key) > 1:
                        raise InputError(f'has a column "{key}" twice', where=where)
                continue
            if len(cells) != len(head):
                raise InputError(f"{len(cells)} cells in {len(head)} columns", where=where)
            yield where, dict(zip(head, cells, strict=True))
    except csv.Error as error:
        raise InputError(f"is no table ({error})", where=f"{source}:{reader.line_num}") from None


def _objects(source: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(read_lines(source), start=1):
        where = f"{source}:{number}"
        if not line.strip():
            continue
        try:
            item: Any = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"not JSON ({error.msg} at column {error.colno})", where=where
            ) from None
        if not isinstance(item, dict):
            raise InputError("must be an object with input and language", where=where)
        yield where, item
