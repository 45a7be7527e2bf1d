"""One door to all readers: the format is named, or told from the file's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nissl.corpus.columns import PMB, read_columns
from nissl.corpus.conllu import read_conllu
from nissl.corpus.corpus import SPLITS, Corpus
from nissl.corpus.jsonl import read_jsonl
from nissl.corpus.lines import member_of, missing_file
from nissl.corpus.pairs import read_pairs
from nissl.corpus.tables import read_table
from nissl.corpus.text import read_text
from nissl.errors import InputError, SettingError, did_you_mean

__all__ = ["FORMATS", "read_corpus"]


def _read_parquet(source: str | Path, **options: Any) -> Corpus:
    import polars as pl

    path = Path(source)
    if not path.is_file():
        raise missing_file(path)
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"cannot be read as Parquet ({first})", where=str(source)) from None
    options["name"] = options.get("name") or path.name
    return read_table(frame, **options)


FORMATS: dict[str, Callable[..., Corpus]] = {
    "conllu": read_conllu,
    "columns": read_columns,
    "pmb": lambda source, **options: read_columns(
        source, **{"columns": PMB, "blank": "~", **options}
    ),
    "pairs": read_pairs,
    "jsonl": read_jsonl,
    "parquet": _read_parquet,
    "text": read_text,
}
SUFFIXES = {
    ".conllu": "conllu",
    ".conll": "columns",
    ".col": "columns",
    ".tsv": "columns",
    ".word": "pairs",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}


def read_corpus(
    source: Any,
    *,
    format: str | None = None,
    name: str | None = None,
    split: str | None = None,
    **options: Any,
) -> Corpus:
    """Read a corpus.

    Parameters
    ----------
    source
        A file, a member of a zip archive (``archive.zip!member``), a list of files, a folder whose
        file names contain train, dev (or valid) and test, a mapping of split → file, or a table in
        memory (polars, pandas, Arrow, ``datasets``).
    format
        One of :data:`FORMATS`; told from the suffix when ``None``.
    split
        Split of every sentence; otherwise told from the file name (``train``, ``dev``, ``valid``,
        ``test``), or none.
    options
        Passed to the reader, for instance ``columns=("form", "pos", "chunk")``.

    Raises
    ------
    InputError
        The source cannot be read; ``file:line`` is named.
    SettingError
        Unknown format or option.
    """
    if format is not None and format not in FORMATS:
        raise SettingError(
            f'no format "{format}"; there are {", ".join(FORMATS)}.{did_you_mean(format, FORMATS)}'
        )
    if split is not None and split not in SPLITS:
        raise SettingError(
            f'split "{split}" is none of {", ".join(SPLITS)}.{did_you_mean(split, SPLITS)}'
        )
    if (
        isinstance(source, Mapping)
        and source
        and all(isinstance(v, str | Path) for v in source.values())
    ):
        unknown = [key for key in source if key not in SPLITS]
        if unknown:
            raise SettingError(f'split "{unknown[0]}" is none of train, dev, test')
        parts = [_read_file(p, format, key, options) for key, p in source.items()]
        return Corpus.concat(parts, name=name or parts[0].name)
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            return _read_folder(path, format, name, options)
        return _read_file(source, format, split, options, name=name)
    if isinstance(source, Sequence) and source and all(isinstance(v, str | Path) for v in source):
        parts = [_read_file(p, format, split, options) for p in source]
        return Corpus.concat(parts, name=name or parts[0].name)
    if format is not None:
        raise SettingError("a table in memory has no file format; leave format out")
    return _call(
        "a table in memory", read_table, source, name=name or "table", split=split, **options
    )


def _read_file(
    source: str | Path,
    format: str | None,
    split: str | None,
    options: Mapping[str, Any],
    *,
    name: str | None = None,
) -> Corpus:
    member = member_of(source) or str(source)
    if format is None:
        suffix = Path(member).suffix.lower()
        format = SUFFIXES.get(suffix)
        if format is None:
            if member_of(source) is None and not Path(source).exists():
                raise missing_file(Path(source))
            raise SettingError(
                f'cannot tell the format of "{Path(member).name}" from its suffix; name it with '
                f"--format ({', '.join(FORMATS)})"
            )
    reader = FORMATS[format]
    if split is None:
        split = split_of_name(member)
    return _call(f"format {format}", reader, source, split=split, name=name, **options)


def _call(what: str, reader: Callable[..., Corpus], source: Any, **options: Any) -> Corpus:
    try:
        return reader(source, **options)
    except TypeError as error:
        found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if found and found[1] in options:
            raise SettingError(f'{what} has no option "{found[1]}"') from None
        raise


def split_of_name(path: str | Path) -> str | None:
    """Return the split that a file name speaks of, or None."""
    words = re.split(r"[^a-z]+", Path(path).name.lower())
    for word, split in (
        ("train", "train"),
        ("dev", "dev"),
        ("valid", "dev"),
        ("validation", "dev"),
        ("test", "test"),
    ):
        if word in words:
            return split
    return None


def _read_folder(
    folder: Path, format: str | None, name: str | None, options: Mapping[str, Any]
) -> Corpus:
    known = set(SUFFIXES) if format is None else {s for s, f in SUFFIXES.items() if f == format}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        side = split_of_name(path.name)
        if side is None or not path.is_file() or (known and path.suffix.lower() not in known):
            continue
        if side in found:
            raise InputError(
                f"{found[side].name} and {path.name} are both {side}; name the files one by one",
                where=str(folder),
            )
        found[side] = path
    if not found:
        raise InputError(
            "no file whose name says train, dev or test; name the files one by one",
            where=str(folder),
        )
    ordered = [(side, found[side]) for side in SPLITS if side in found]
    parts = [_read_file(path, format, side, options) for side, path in ordered]
    return Corpus.concat(parts, name=name or folder.name)
