"""Print sentences of a CoNLL-U file tersely, one token a line, for reading and correcting.

``python tools/treebank/show.py FILE [--genre essay] [--range 1-20] [--line]``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from tree import Sentence, read


def rows(sentence: Sentence) -> Iterator[str]:
    """Yield the aligned lines of one sentence."""
    table = [
        (str(i), t.form, t.lemma, t.upos, t.xpos, str(t.head), t.deprel, t.chunk)
        for i, t in zip(sentence.ids(), sentence.tokens, strict=True)
    ]
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    yield f"{sentence.sent_id}  {sentence.text}"
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield " ".join(cells).rstrip()
    yield ""


def line(sentence: Sentence) -> str:
    """Return one sentence as one line of ``form/xpos>head:deprel``."""
    cells = (f"{t.form}/{t.xpos}>{t.head}:{t.deprel}" for t in sentence.tokens)
    return f"{sentence.sent_id}  " + " ".join(cells)


def chosen(path: Path, genre: str | None, span: str | None) -> Iterator[Sentence]:
    """Yield the sentences of a genre whose number within the genre is in ``first-last``."""
    first, _, last = (span or "").partition("-")
    low = int(first or 0)
    high = int(last or first or 10**9)
    for sentence in read(path):
        number = sentence.sent_id.rpartition("-")[2]
        inside = not span or (number.isdigit() and low <= int(number) <= high)
        if inside and genre in (None, sentence.genre):
            yield sentence


def main() -> None:
    """Read the options and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--genre")
    parser.add_argument("--range", dest="span", help="such as 1-20, counted within the genre")
    parser.add_argument("--line", action="store_true", help="one line a sentence")
    options = parser.parse_args()
    for sentence in chosen(options.file, options.genre, options.span):
        print(line(sentence) if options.line else "\n".join(rows(sentence)))


if __name__ == "__main__":
    main()
