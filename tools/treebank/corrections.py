"""Apply the correctors' files, ``sent_id  token_id  COLUMN  old  new`` with tabs, one a line.

FEATS, Chunk and the heads of punctuation follow by rule from the other columns. So the other
corrections come first, then the rules, then the corrections of what the rules gave; within each of
the two rounds a file is read from top to bottom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import check
import chunks
import features
import punctuation
from tree import Sentence, Token, TreebankError

ATTRIBUTES = {
    "FORM": "form",
    "LEMMA": "lemma",
    "UPOS": "upos",
    "XPOS": "xpos",
    "FEATS": "feats",
    "HEAD": "head",
    "DEPREL": "deprel",
    "Chunk": "chunk",
}
DERIVED = ("FEATS", "Chunk")


@dataclass(frozen=True)
class Correction:
    """One line of a corrections file."""

    where: str
    sent_id: str
    token_id: int
    column: str
    old: str
    new: str


def load(folder: Path) -> Iterator[Correction]:
    """Read every corrections file of a folder."""
    for path in sorted(folder.glob("*.tsv")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{path.name}:{number}"
            if not line.strip() or line.startswith("#"):
                continue
            cells = line.split("\t")
            if len(cells) != 5:
                raise TreebankError(f"{where}: {len(cells)} tab-separated cells, not 5")
            sent_id, token_id, column, old, new = (cell.strip() for cell in cells)
            if column not in ATTRIBUTES:
                raise TreebankError(f"{where}: no column {column}; use {', '.join(ATTRIBUTES)}")
            if not token_id.isdigit():
                raise TreebankError(f"{where}: the token id {token_id!r} is not a number")
            if column == "HEAD" and not new.isdigit():
                raise TreebankError(f"{where}: the head {new!r} is not a number")
            yield Correction(where, sent_id, int(token_id), column, old, new)


def apply(sentences: list[Sentence], corrections: list[Correction]) -> int:
    """Correct the sentences in place; return how many corrections there were."""
    by_id = {s.sent_id: s for s in sentences}
    automatic = {
        (c.sent_id, c.token_id, c.column): _value(_find(by_id, c), c.column) for c in corrections
    }
    first = [c for c in corrections if not _late(by_id, c)]
    for c in first:
        _set(_find(by_id, c), c, ())
    for sent_id in {c.sent_id for c in first}:
        check.tree(by_id[sent_id])
        punctuation.attach(by_id[sent_id])
    for sentence in sentences:
        punctuation.end(sentence)
        features.derive(sentence)
        chunks.derive(sentence)
    # A corrector who read the automatic output quotes its value, not the newly derived one.
    for c in corrections:
        if c not in first:
            key = (c.sent_id, c.token_id, c.column)
            _set(_find(by_id, c), c, (automatic.pop(key, ""),))
    return len(corrections)


def _late(by_id: dict[str, Sentence], c: Correction) -> bool:
    return c.column in DERIVED or (c.column == "HEAD" and _find(by_id, c).upos == "PUNCT")


def _find(by_id: dict[str, Sentence], c: Correction) -> Token:
    sentence = by_id.get(c.sent_id)
    if sentence is None:
        raise TreebankError(f"{c.where}: no sentence {c.sent_id}")
    if c.token_id not in sentence.ids():
        raise TreebankError(
            f"{c.where}: {c.sent_id} has tokens 1 to {len(sentence.tokens)}, not {c.token_id}"
        )
    return sentence[c.token_id]


def _value(token: Token, column: str) -> str:
    return str(getattr(token, ATTRIBUTES[column]))


def _set(token: Token, c: Correction, also: tuple[str, ...]) -> None:
    current = _value(token, c.column)
    if c.old != current and c.old not in also:
        raise TreebankError(
            f"{c.where}: {c.column} of {c.sent_id} token {c.token_id} ({token.form}) is "
            f"{current!r}, not {c.old!r}"
        )
    new = int(c.new) if c.column == "HEAD" else c.new
    setattr(token, ATTRIBUTES[c.column], new)
