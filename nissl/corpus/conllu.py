"""CoNLL-U: Universal Dependencies treebanks.

Policy. Syntactic words are the tokens. A multiword range (``3-4 don't``) is not a token: its words
take the piece of the surface form where they can be found in it, else its whole span. Empty nodes
(``8.1``) are left out and counted. Of the comments ``sent_id`` and ``text`` are used and other
``key = value`` comments that every sentence has become sentence columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nissl.corpus.corpus import Corpus, Sentence, build_corpus, joined
from nissl.corpus.lines import blocks, read_lines, source_name
from nissl.errors import InputError

__all__ = ["read_conllu"]

COLUMNS = 10


def read_conllu(source: str | Path, *, split: str | None = None, name: str | None = None) -> Corpus:
    """Read a CoNLL-U file.

    Label columns: ``upos, xpos, deprel``, one ``feats.X`` for each feature, ``misc.X`` for each
    MISC attribute but SpaceAfter, and ``chunk`` for MISC ``Chunk``. ``lemma`` and ``head`` are
    columns too.

    Raises
    ------
    InputError
        With ``file:line``: not ten columns, ids out of order, a head outside the sentence, a bad
        range, an empty form, a duplicate sent_id.
    """
    from pyconll.exception import ParseError
    from pyconll.unit.sentence import Sentence as Parsed

    rows: list[Sentence] = []
    base: dict[str, list[str | None]] = {key: [] for key in ("lemma", "upos", "xpos", "deprel")}
    open_: dict[str, list[str | None]] = {}
    heads: list[int | None] = []
    comments: list[dict[str, str]] = []
    dropped = {"empty nodes": 0, "multiword ranges (their words are kept)": 0}
    count = 0
    for first, block in blocks(read_lines(source)):
        if all(line.startswith("#") for line in block):
            raise InputError("the sentence has comments but no word", where=f"{source}:{first}")
        lines = _check(block, source, first)
        try:
            parsed = Parsed("\n".join(block))
        except ParseError as error:
            raise InputError(f"not CoNLL-U: {error}", where=f"{source}:{first}") from None
        words: list[Any] = []
        surface: list[tuple[str, str, bool]] = []
        for token in parsed:
            if token.is_empty_node():
                dropped["empty nodes"] += 1
            elif token.is_multiword():
                dropped["multiword ranges (their words are kept)"] += 1
                surface.append((token.id, token.form or "", _space_after(token)))
            else:
                words.append(token)
                surface.append((token.id, token.form or "", _space_after(token)))
        # A form or lemma of "_" is that character when the word is an underscore.
        forms = [token.form or "_" for token in words]
        meta = _comments(block)
        ident = meta.get("sent_id") or f"{source_name(source)}-{len(rows) + 1}"
        where = f"{source}:{first}"
        text, spans = _place(forms, surface, meta.get("text"), where)
        for token, line in zip(words, lines, strict=True):
            head = _head(token.head, len(words), f"{source}:{line}")
            heads.append(head)
            base["lemma"].append(token.lemma)
            base["upos"].append(token.upos)
            base["xpos"].append(token.xpos)
            base["deprel"].append(token.deprel)
            values = {f"feats.{key}": ",".join(sorted(v)) for key, v in token.feats.items()}
            for key, found in token.misc.items():
                if key != "SpaceAfter" and found:
                    values["chunk" if key == "Chunk" else f"misc.{key}"] = ",".join(sorted(found))
            for key, value in values.items():
                if key not in open_:
                    open_[key] = [None] * count
                open_[key].append(value)
            count += 1
            for column in open_.values():
                if len(column) < count:
                    column.append(None)
        rows.append(Sentence(ident, text, tuple(forms), tuple(spans), where))
        comments.append(meta)
    columns = {**base, **{key: open_[key] for key in sorted(open_)}}
    columns = {key: values for key, values in columns.items() if any(v is not None for v in values)}
    shared = set.intersection(*(set(meta) for meta in comments)) if comments else set()
    extra = {
        key: [meta[key] for meta in comments]
        for key in sorted(shared - {"sent_id", "text", "id", "sentence", "where"})
    }
    return build_corpus(
        name or source_name(source),
        rows,
        columns,
        labels=[key for key in columns if key != "lemma"],
        splits=[split] * len(rows),
        extra=extra,
        heads=heads,
        left_out=dropped,
    )


def _check(block: list[str], source: str | Path, first: int) -> list[int]:
    """Check columns and ids; return the line number of each word."""
    lines = []
    last, until = 0, 0
    for number, line in enumerate(block, start=first):
        if line.startswith("#"):
            continue
        where = f"{source}:{number}"
        cells = line.split("\t")
        if len(cells) != COLUMNS:
            raise InputError(
                f"{len(cells)} columns where CoNLL-U has {COLUMNS}, separated by tabs", where=where
            )
        ident = cells[0]
        if cells[1] == "":
            raise InputError("the form is empty; remove the word", where=where)
        if ident.isdecimal():
            if int(ident) != last + 1:
                raise InputError(f"word id {ident} follows {last}; ids run 1, 2, 3…", where=where)
            last = int(ident)
            lines.append(number)
            continue
        a, dash, b = ident.partition("-")
        if dash and a.isdecimal() and b.isdecimal():
            if int(a) != last + 1 or int(b) < int(a) or int(a) <= until:
                raise InputError(
                    f"multiword range {ident} must start at the next word and end after it",
                    where=where,
                )
            until = int(b)
            continue
        a, dot, b = ident.partition(".")
        if not (dot and a.isdecimal() and b.isdecimal()):
            raise InputError(f'"{ident}" is not a word id', where=where)
    if until > last:
        raise InputError(
            f"a multiword range ends at word {until} but the sentence has {last}",
            where=f"{source}:{first}",
        )
    if not lines:
        raise InputError("the sentence has no word", where=f"{source}:{first}")
    return lines


def _comments(block: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in block:
        if line.startswith("#"):
            key, equals, value = line[1:].partition("=")
            if equals and key.strip() not in found:
                found[key.strip()] = value.strip()
    return found


def _space_after(token: Any) -> bool:
    return "No" not in (token.misc.get("SpaceAfter") or set())


def _head(value: str | None, n: int, where: str) -> int | None:
    if value is None or value == "_":
        return None
    if not value.isdecimal() or int(value) > n:
        raise InputError(f'head "{value}" is not a word of the sentence (0…{n})', where=where)
    return int(value)


def _place(
    forms: list[str], surface: list[tuple[str, str, bool]], text: str | None, where: str
) -> tuple[str, list[tuple[int, int]]]:
    """Return the text and the span of each word in it."""
    pieces = _surface_pieces(surface)
    if text is None:
        text = "".join(form + (" " if space else "") for _, form, space in pieces).strip()
    spans: list[tuple[int, int]] = []
    place = 0
    for ident, form, _ in pieces:
        found = text.find(form, place)
        if found < 0:
            raise InputError(
                f'word "{form}" is not where the "# text" comment says; correct the comment or '
                "remove it",
                where=where,
            )
        stop = found + len(form)
        place = stop
        a, dash, b = ident.partition("-")
        if not dash:
            spans.append((found, stop))
            continue
        inside = found
        for word in forms[int(a) - 1 : int(b)]:
            at = text.find(word, inside, stop)
            if at < 0:
                spans.append((found, stop))
            else:
                spans.append((at, at + len(word)))
                inside = at + len(word)
    return (text, spans) if spans else joined(forms)


def _surface_pieces(surface: list[tuple[str, str, bool]]) -> list[tuple[str, str, bool]]:
    """Drop the words that a multiword range covers."""
    out, until = [], 0
    for ident, form, space in surface:
        a, dash, b = ident.partition("-")
        if dash:
            until = int(b)
            out.append((ident, form or "_", space))
        elif int(a) > until:
            out.append((ident, form or "_", space))
    return out
