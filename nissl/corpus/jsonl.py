"""JSON Lines: one sentence a line, ``{"tokens": [...], "labels": {"pos": [...]}}``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nissl.corpus.corpus import Corpus, Sentence, build_corpus, joined, locate
from nissl.corpus.lines import read_lines, source_name
from nissl.corpus.tables import SPLIT_NAMES
from nissl.errors import InputError

__all__ = ["read_jsonl"]


def read_jsonl(source: str | Path, *, split: str | None = None, name: str | None = None) -> Corpus:
    """Read sentences with ``tokens`` and ``labels``; ``id``, ``text`` and ``split`` are optional.

    A line is an object such as ``{"tokens": ["A", "b"], "labels": {"pos": ["X", null]}}``. Without
    ``text`` the words are joined by blanks.

    Raises
    ------
    InputError
        Not JSON, a missing key, an unknown split, or a label list of another length
        (``file:line``).
    """
    rows: list[Sentence] = []
    found: list[dict[str, Any]] = []
    splits: list[str | None] = []
    for number, line in enumerate(read_lines(source), start=1):
        where = f"{source}:{number}"
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"not JSON ({error.msg} at column {error.colno})", where=where
            ) from None
        tokens = item.get("tokens") if isinstance(item, dict) else None
        if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
            raise InputError('needs "tokens", a list of strings', where=where)
        labels = item.get("labels", {})
        if not isinstance(labels, dict):
            raise InputError('"labels" must be an object of lists', where=where)
        for key, values in labels.items():
            if not isinstance(values, list) or len(values) != len(tokens):
                size = len(values) if isinstance(values, list) else "no"
                raise InputError(
                    f'label "{key}" has {size} values for {len(tokens)} words', where=where
                )
        text = item.get("text")
        spans = locate(tokens, text) if isinstance(text, str) else None
        if isinstance(text, str) and spans is None:
            raise InputError('the words are not found in "text" in their order', where=where)
        if spans is None:
            text, spans = joined(tokens)
        ident = str(item.get("id", f"{source_name(source)}-{number}"))
        rows.append(Sentence(ident, str(text), tuple(tokens), tuple(spans), where))
        found.append(labels)
        side = item.get("split", split)
        splits.append(side if side is None else SPLIT_NAMES.get(str(side), str(side)))
    keys = list(dict.fromkeys(key for labels in found for key in labels))
    columns: dict[str, list[str | None]] = {key: [] for key in keys}
    for row, labels in zip(rows, found, strict=True):
        for key in keys:
            values = labels.get(key, [None] * len(row.words))
            columns[key] += [None if v is None else str(v) for v in values]
    return build_corpus(name or source_name(source), rows, columns, labels=keys, splits=splits)
