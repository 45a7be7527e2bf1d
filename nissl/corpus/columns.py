"""Column files: one word a line, columns apart by tabs or blanks, blank lines between sentences.

CoNLL-2000 (``form pos chunk``), the Parallel Meaning Bank's layers, CoNLL-2003 and the like.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nissl.corpus.corpus import Corpus, Sentence, build_corpus, joined, locate
from nissl.corpus.lines import blocks, read_lines, source_name
from nissl.errors import InputError, SettingError

__all__ = ["CONLL2000", "PMB", "read_columns"]

CONLL2000 = ("form", "pos", "chunk")
PMB = ("form", "_", "lemma", "semtag", "ccg", "sense", "roles")
SKIP = ("_", "-", "")
DOCUMENT = "document lines (-DOCSTART-)"
UNLIKE = "texts unlike their words (the words are joined by blanks instead)"


def read_columns(
    source: str | Path,
    *,
    columns: Sequence[str] = CONLL2000,
    separator: str | None = None,
    comment: str | None = "#",
    text_comment: str = "raw sent",
    missing: Sequence[str] = (),
    blank: str | None = None,
    split: str | None = None,
    name: str | None = None,
) -> Corpus:
    """Read a column file.

    Parameters
    ----------
    columns
        Names of the columns; one is ``form``; ``_`` skips a column; ``lemma`` is no label.
    separator
        What stands between columns; by default tabs if the first word line has one, else blanks.
    comment
        How comment lines start (``None``: there are none). A line that starts so is a word all the
        same when it has as many cells as there are columns; but before a sentence's first word it
        is a comment if a blank follows the mark inside its first tab-separated cell
        (``# tok:gold⇥…``), or, where blanks separate, if it has an equals sign
        (``# id = 5``).
    text_comment
        Key of the comment that holds the sentence's text; without it the words are joined by
        blanks.
    missing
        Values that mean that a word has none.
    blank
        What stands for a blank inside a form or lemma, such as the ``~`` of the Parallel Meaning
        Bank (``Charles~de~Gaulle``).

    A ``-DOCSTART-`` line that stands alone is left out and counted.

    Raises
    ------
    InputError
        A line with another number of columns (``file:line``).
    SettingError
        ``form`` is not among the names, or a name is given twice.
    """
    names = [column.strip() for column in columns]
    used = [column for column in names if column not in SKIP]
    if used.count("form") != 1:
        raise SettingError(f'one of the columns must be called "form": got {", ".join(names)}')
    if len(set(used)) != len(used):
        raise SettingError(f"a column name is given twice: {', '.join(names)}")
    lines = read_lines(source)
    rows: list[Sentence] = []
    values: dict[str, list[str | None]] = {key: [] for key in used if key != "form"}
    if separator is None:
        first_word = next((ln for ln in lines if ln.strip() and not _starts(ln, comment)), "")
        separator = "\t" if "\t" in first_word else None
    apart = {DOCUMENT: 0, UNLIKE: 0}
    for first, block in blocks(lines):
        text = None
        forms: list[str] = []
        start = first
        for number, line in enumerate(block, start=first):
            cells = line.split(separator) if separator else line.split()
            if not forms and len(block) == 1 and cells[0] == "-DOCSTART-":
                apart[DOCUMENT] += 1
                continue
            if _is_comment(line, cells, len(names), comment, separator, bool(forms)):
                key, equals, value = line[len(comment or "") :].partition("=")
                if equals and key.strip() == text_comment:
                    text = value.strip()
                start = number + 1
                continue
            if len(cells) != len(names):
                raise InputError(
                    f"{len(cells)} columns where {len(names)} are expected ({', '.join(names)}); "
                    "name the file's columns with --columns",
                    where=f"{source}:{number}",
                )
            for key, cell in zip(names, cells, strict=True):
                if blank and key in ("form", "lemma") and cell.strip(blank):
                    cell = cell.replace(blank, " ")
                if key == "form":
                    if not cell.strip():
                        raise InputError("the form is empty", where=f"{source}:{number}")
                    forms.append(cell)
                elif key not in SKIP:
                    values[key].append(None if cell in missing or cell == "" else cell)
        if not forms:
            continue
        spans = locate(forms, text) if text is not None else None
        if spans is None:
            apart[UNLIKE] += text is not None
            text, spans = joined(forms)
        rows.append(
            Sentence(
                f"{source_name(source)}-{len(rows) + 1}",
                str(text),
                tuple(forms),
                tuple(spans),
                f"{source}:{start}",
            )
        )
    return build_corpus(
        name or source_name(source),
        rows,
        values,
        labels=[key for key in values if key != "lemma"],
        splits=[split] * len(rows),
        left_out=apart,
    )


def _starts(line: str, comment: str | None) -> bool:
    return comment is not None and line.startswith(comment)


def _is_comment(
    line: str,
    cells: list[str],
    n_columns: int,
    comment: str | None,
    separator: str | None,
    inside: bool,
) -> bool:
    """Whether a line is a comment: losing a word (``# # B-NP``) would be worse than the reverse."""
    if comment is None or not line.startswith(comment):
        return False
    if len(cells) != n_columns:
        return True
    if inside:
        return False
    return cells[0].startswith(comment + " ") if separator else "=" in cells
