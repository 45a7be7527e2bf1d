"""Sentences → inputs of a model: subwords, windows over long ones, batches sorted by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nissl.corpus import Sentence, align
from nissl.errors import InputError
from nissl.model import LoadedModel

__all__ = ["Item", "batches", "make_items"]


@dataclass(frozen=True)
class Item:
    """One input to the model: subword ids, and for each of its words a row and its subwords."""

    ids: list[int]
    rows: list[int]
    pieces: list[np.ndarray]


def make_items(loaded: LoadedModel, sentences: Sequence[Sentence], on_long: str) -> list[Item]:
    """Tokenize the sentences of a shard; rows are counted from the shard's first."""
    encoded = loaded.tokenizer(
        [sentence.text for sentence in sentences],
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        padding=False,
        truncation=False,
        verbose=False,
    )
    items: list[Item] = []
    place = 0
    limit = loaded.max_length
    for j, sentence in enumerate(sentences):
        ids = encoded["input_ids"][j]
        special = encoded["special_tokens_mask"][j]
        pieces = align(
            sentence.offsets,
            encoded["offset_mapping"][j],
            special,
            forms=sentence.words,
            where=sentence.where,
        )
        rows = list(range(place, place + len(pieces)))
        place += len(pieces)
        if limit is None or len(ids) <= limit:
            items.append(Item(ids, rows, pieces))
        elif on_long == "window":
            items += _windows(ids, special, rows, pieces, limit, sentence)
        else:
            raise InputError(
                f'sentence "{sentence.id}" has {len(ids)} subwords, the model takes {limit}; split '
                "it, or run it in overlapping windows with --on-long window",
                where=sentence.where,
            )
    return items


def _windows(
    ids: list[int],
    special: list[int],
    rows: list[int],
    pieces: list[np.ndarray],
    limit: int,
    sentence: Sentence,
) -> list[Item]:
    """Cut a long input into half-overlapping windows, each with the special tokens at its ends."""
    inner = np.flatnonzero(np.asarray(special) == 0)
    first, last = int(inner[0]), int(inner[-1]) + 1
    head, tail = ids[:first], ids[last:]
    room = limit - len(head) - len(tail)
    if room < 1:
        raise InputError(f"the model takes {limit} subwords, too few for a window")
    starts = list(range(first, max(first + 1, last - room), max(1, room // 2)))
    if starts[-1] + room < last:
        starts.append(last - room)
    chosen: list[tuple[list[int], list[np.ndarray]]] = [([], []) for _ in starts]
    for row, piece in zip(rows, pieces, strict=True):
        # The context of a word in a window is its distance to the nearer end of the window; the
        # text's own ends count as far away.
        best, room_left = 0, -1
        for w, start in enumerate(starts):
            stop = min(last, start + room)
            if piece[0] < start or piece[-1] >= stop:
                continue
            left = 10**9 if start == first else int(piece[0]) - start
            right = 10**9 if stop == last else stop - 1 - int(piece[-1])
            if min(left, right) > room_left:
                best, room_left = w, min(left, right)
        if room_left < 0:
            form = sentence.words[row - rows[0]]
            raise InputError(
                f'word "{form[:40]}" has {len(piece)} subwords, a window has room for {room}; '
                "shorten or remove it",
                where=sentence.where,
            )
        chosen[best][0].append(row)
        chosen[best][1].append(piece - starts[best] + len(head))
    return [
        Item(head + ids[start : min(last, start + room)] + tail, picked, local)
        for start, (picked, local) in zip(starts, chosen, strict=True)
        if picked
    ]


def batches(items: list[Item], batch_tokens: int) -> list[list[Item]]:
    """Sort by length (longest first, ties by order) and cut by padded size."""
    order = sorted(range(len(items)), key=lambda i: (-len(items[i].ids), i))
    cut: list[list[Item]] = []
    for i in order:
        longest = len(cut[-1][0].ids) if cut else 0
        if not cut or (len(cut[-1]) + 1) * longest > batch_tokens:
            cut.append([])
        cut[-1].append(items[i])
    return cut
