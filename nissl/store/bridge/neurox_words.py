"""Whether a word of a NeuroX file is a word of the corpus.

NeuroX does not write the words it was given: it writes each word's subwords, strung together
(``play##ing``, ``Ġplaying``, ``▁playing``, ``[UNK]``), as the model's tokenizer spells them, so in
lower case and without accents for some models. That is enough to tell whether a file belongs to a
corpus, but a comparison letter by letter would refuse nearly every file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

__all__ = ["match", "without_count"]

UNKNOWN = re.compile(r"\[UNK\]|<unk>|<\|?unk\|?>", re.IGNORECASE)
MARKS = re.compile("##|@@|</w>|[\u2581\u0120\u010a]")
BYTE = re.compile(r"(?:<0x[0-9A-Fa-f]{2}>)+")
COUNTED = re.compile(r"(.*) \(Occurrence \d+\)", re.DOTALL)


def match(token: str, form: str) -> str | None:
    """Tell how a file's word is the corpus's: ``equal``, ``spelled``, ``unknown``, or not at all.

    ``spelled`` means by the same letters once marks of subwords, case, accents and compatibility
    forms are set aside; ``unknown``, that the tokenizer knew only some letters, or none.
    """
    if token == form:
        return "equal"
    want = _fold(form)
    readings = [_fold(text) for text in _readings(token)]
    if want in readings:
        return "spelled"
    if UNKNOWN.search(token):
        # MARKS first: a mark may stand on either side of an unknown piece.
        parts = [_fold(part) for part in UNKNOWN.split(MARKS.sub("", token))]
        if re.fullmatch(".*".join(map(re.escape, parts)), want, re.DOTALL):
            return "unknown"
    return None


def without_count(sentence: str) -> str:
    """Return a sentence without the count that NeuroX appends to one that was there before."""
    found = COUNTED.fullmatch(sentence)
    return found[1] if found else sentence


def _readings(token: str) -> Iterator[str]:
    """Yield the words that the subwords may stand for."""
    yield token
    plain = MARKS.sub("", token)
    yield plain
    yield BYTE.sub(_decoded, plain)
    letters = _byte_letters()
    if all(letter in letters for letter in token):
        yield bytes(letters[letter] for letter in token).decode("utf-8", "replace")


def _decoded(run: re.Match[str]) -> str:
    """Return the text of a run of bytes such as ``<0xC3><0xA9>``."""
    return bytes.fromhex(run[0][3:-1].replace("><0x", "")).decode("utf-8", "replace")


def _fold(text: str) -> str:
    """Return the letters alone: no case, accents, compatibility forms, spaces or control marks."""
    wide = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(c for c in wide if unicodedata.category(c) not in ("Mn", "Cc", "Cf", "Zs"))


@cache
def _byte_letters() -> dict[str, int]:
    """Letter → byte in vocabularies of bytes: printable Latin-1 stays, the others follow U+0100."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    return {chr(b): b for b in kept} | {chr(256 + i): b for i, b in enumerate(others)}
