"""Readers of minimal pairs: BLiMP's JSON Lines and the tables of number agreement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nissl.corpus.lines import read_lines, source_name
from nissl.effects.items import Pairs, make_pairs
from nissl.errors import InputError

__all__ = ["read_agreement", "read_blimp", "read_items", "read_texts"]


def read_items(source: str | Path) -> Pairs:
    """Read minimal pairs by the suffix: ``.jsonl`` is BLiMP, ``.txt`` and ``.tsv`` tables.

    Raises
    ------
    InputError
        Another suffix, or what :func:`read_blimp` or :func:`read_agreement` raises.
    """
    suffix = Path(source_name(source)).suffix
    if suffix == ".jsonl":
        return read_blimp(source)
    if suffix in (".txt", ".tsv"):
        return read_agreement(source)
    raise InputError(
        f'"{suffix}" is no format of minimal pairs; .jsonl is read as BLiMP, .txt and .tsv as a '
        "table of number agreement",
        where=str(source),
    )


def read_blimp(source: str | Path, *, name: str | None = None) -> Pairs:
    """Read one paradigm of BLiMP (Warstadt et al. 2020), or any file of its format.

    Parameters
    ----------
    source
        A ``.jsonl`` file, or one in an archive: ``BLiMP.zip!data/causative.jsonl``. Each line has
        ``sentence_good`` and ``sentence_bad``; the condition is its ``UID``, the group its
        ``pairID``. Pairs of two equal sentences, of which BLiMP has a few, are kept: see
        :meth:`Pairs.same`.

    Raises
    ------
    InputError
        A line that is not JSON or lacks a sentence (``file:line``).
    """
    rows: list[tuple[str, str, str, str, str]] = []
    short = Path(source_name(source)).stem
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
        texts = []
        for key in ("sentence_good", "sentence_bad"):
            text = item.get(key) if isinstance(item, dict) else None
            if not isinstance(text, str):
                raise InputError(f'needs "{key}", a sentence', where=where)
            texts.append(text)
        uid = str(item.get("UID", short))
        pair = str(item.get("pairID", item.get("pair_id", number)))
        rows.append((texts[0], texts[1], uid, f"{uid} {pair}", where))
    if not rows:
        raise InputError("holds no minimal pair", where=str(source))
    good, bad, condition, group, place = (list(column) for column in zip(*rows, strict=True))
    return make_pairs(name or short, good, bad, condition=condition, group=group, place=place)


def read_agreement(source: str | Path, *, name: str | None = None) -> Pairs:
    """Read a table of number agreement (Lakretz et al. 2019, 2021).

    Columns are separated by tabs: the sentence up to its verb, one or more conditions, ``correct``
    or ``wrong``, and an id that a sentence shares with its counterpart. The prefix is all but the
    last word; items of one prefix are one group.

    Raises
    ------
    InputError
        A line of fewer columns, another word than correct or wrong, an id that is not once correct
        and once wrong, or a pair that differs in more than its last word (``file:line``).
    """
    found: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
    for number, line in enumerate(read_lines(source), start=1):
        where = f"{source}:{number}"
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) < 4:
            raise InputError(
                f"{len(cells)} columns; a line has a sentence, a condition, correct or wrong, and "
                "an id, separated by tabs",
                where=where,
            )
        sentence, side, ident = cells[0], cells[-2], cells[-1]
        condition = "_".join(cells[1:-2])
        if side not in ("correct", "wrong"):
            raise InputError(f'"{side}" is neither correct nor wrong', where=where)
        if len(sentence.split()) < 2:
            raise InputError("the sentence needs a prefix and a last word", where=where)
        sides = found.setdefault((condition, ident), {})
        if side in sides:
            raise InputError(
                f"{ident} of {condition} is {side} already at {sides[side][1]}", where=where
            )
        sides[side] = (sentence, where)
    if not found:
        raise InputError("holds no minimal pair", where=str(source))
    rows: list[tuple[str, str, str, str, str, str]] = []
    for (condition, ident), sides in found.items():
        if len(sides) < 2:
            side, (_, where) = next(iter(sides.items()))
            other = "wrong" if side == "correct" else "correct"
            raise InputError(f"{ident} of {condition} has no {other} sentence", where=where)
        (right, where), (wrong, _) = sides["correct"], sides["wrong"]
        prefix, _, good = right.rpartition(" ")
        before, _, bad = wrong.rpartition(" ")
        if prefix.split() != before.split():
            raise InputError(
                f"the sentences of {ident} differ before their last word: only that may differ",
                where=where,
            )
        rows.append((prefix.rstrip(), good, bad, condition, f"{condition} {prefix}", where))
    prefixes, good, bad, conditions, groups, places = (list(c) for c in zip(*rows, strict=True))
    return make_pairs(
        name or Path(source_name(source)).stem,
        good,
        bad,
        prefix=prefixes,
        condition=conditions,
        group=groups,
        place=places,
    )


def read_texts(source: str | Path) -> tuple[str, ...]:
    """Read plain text, one text a line; blank lines separate and are not texts.

    Raises
    ------
    InputError
        No text in it, or bytes that are not UTF-8.
    """
    texts = tuple(line.strip() for line in read_lines(source) if line.strip())
    if not texts:
        raise InputError("holds no text", where=str(source))
    return texts
