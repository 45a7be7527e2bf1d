"""Sentences → inputs of a model: subwords, windows over long ones, batches sorted by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from nissl.corpus import Sentence, align, align_many
from nissl.errors import InputError
from nissl.model import LoadedModel

__all__ = ["Item", "batches", "make_items"]

CALL_COST = 1 / 16
"""What calling a model costs beside its subwords, as a share of a full batch (MiniLM on a CPU with
512 subwords a batch: about 30)."""


@dataclass(frozen=True, slots=True)
class Item:
    """One input to the model: subword ids, and for each of its words a row and its subwords.

    Attributes
    ----------
    ids
        Subword ids, (length,).
    rows
        Row of each word, (words,).
    pieces, bounds
        Word i has the subwords ``pieces[bounds[i] : bounds[i + 1]]``, positions in ``ids``.
    where
        The sentence's place, for messages.
    context
        Of a window over a long sentence, the fewest subwords that any word of it sees on its
        shorter side; ``None`` where the whole sentence is one input.
    """

    ids: np.ndarray
    rows: np.ndarray
    pieces: np.ndarray
    bounds: np.ndarray
    where: str = ""
    context: int | None = None

    def __len__(self) -> int:
        return len(self.ids)


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
    ids = encoded["input_ids"]
    n_pieces = np.fromiter(map(len, ids), np.int64, len(ids))
    n_words = np.fromiter((len(s.words) for s in sentences), np.int64, len(sentences))
    special = np.fromiter(chain.from_iterable(encoded["special_tokens_mask"]), np.int8)
    offsets = encoded["offset_mapping"]
    found = align_many(
        _spans(s.offsets for s in sentences),
        _spans(offsets),
        special,
        n_words,
        n_pieces,
        np.fromiter((len(s.text) for s in sentences), np.int64, len(sentences)),
    )
    positions, bounds = found or _one_by_one(sentences, offsets, encoded["special_tokens_mask"])
    flat = np.fromiter(chain.from_iterable(ids), np.int64)
    piece_at = np.concatenate([[0], np.cumsum(n_pieces)])
    word_at = np.concatenate([[0], np.cumsum(n_words)])
    limit = loaded.max_length
    items: list[Item] = []
    for j, sentence in enumerate(sentences):
        first, last = int(word_at[j]), int(word_at[j + 1])
        start, stop = int(bounds[first]), int(bounds[last])
        item = Item(
            flat[piece_at[j] : piece_at[j + 1]],
            np.arange(first, last),
            positions[start:stop],
            bounds[first : last + 1] - start,
            sentence.where,
        )
        if limit is None or len(item) <= limit:
            items.append(item)
        elif on_long == "window":
            items += _windows(item, special[piece_at[j] : piece_at[j + 1]], limit, sentence)
        else:
            raise InputError(
                f'sentence "{sentence.id}" has {len(item)} subwords, the model takes {limit}; '
                "split it, or run it in overlapping windows with --on-long window",
                where=sentence.where,
            )
    return items


def _spans(parts: Any) -> np.ndarray:
    """Flatten spans of many sentences to (spans, 2)."""
    return np.fromiter(chain.from_iterable(chain.from_iterable(parts)), np.int64).reshape(-1, 2)


def _one_by_one(
    sentences: Sequence[Sentence], offsets: Any, special: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Align sentence by sentence: names the word that has no subword."""
    hits: list[np.ndarray] = []
    for j, sentence in enumerate(sentences):
        hits += align(
            sentence.offsets,
            offsets[j],
            special[j],
            forms=sentence.words,
            where=sentence.where,
        )
    return np.concatenate(hits), np.concatenate([[0], np.cumsum([len(hit) for hit in hits])])


def _windows(item: Item, special: np.ndarray, limit: int, sentence: Sentence) -> list[Item]:
    """Cut a long input into half-overlapping windows, each with the special tokens at its ends."""
    inner = np.flatnonzero(special == 0)
    first, last = int(inner[0]), int(inner[-1]) + 1
    head, tail = item.ids[:first], item.ids[last:]
    room = limit - len(head) - len(tail)
    if room < 1:
        raise InputError(f"the model takes {limit} subwords, too few for a window")
    starts = list(range(first, max(first + 1, last - room), max(1, room // 2)))
    if starts[-1] + room < last:
        starts.append(last - room)
    chosen: list[tuple[list[int], list[np.ndarray], list[int]]] = [([], [], []) for _ in starts]
    for i, row in enumerate(item.rows.tolist()):
        piece = item.pieces[item.bounds[i] : item.bounds[i + 1]]
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
            form = sentence.words[i]
            raise InputError(
                f'word "{form[:40]}" has {len(piece)} subwords, a window has room for {room}; '
                "shorten or remove it",
                where=sentence.where,
            )
        chosen[best][0].append(row)
        chosen[best][1].append(piece - starts[best] + len(head))
        chosen[best][2].append(room_left)
    return [
        Item(
            np.concatenate([head, item.ids[start : min(last, start + room)], tail]),
            np.array(rows),
            np.concatenate(local),
            np.concatenate([[0], np.cumsum([len(piece) for piece in local])]),
            sentence.where,
            min(context),
        )
        for start, (rows, local, context) in zip(starts, chosen, strict=True)
        if rows
    ]


def batches(
    items: list[Item], batch_tokens: int, *, equal_lengths: bool = False
) -> list[list[Item]]:
    """Cut inputs, sorted by length (longest first, ties by order), into the cheapest batches.

    A batch costs its padded size and a constant for the call; of all ways to cut the sorted list
    the cheapest is found by dynamic programming. Filling each batch to the brim pads more.

    Parameters
    ----------
    batch_tokens
        Most subwords of a batch, padding included; a longer input is a batch by itself.
    equal_lengths
        Pad nothing: every input of a batch has the same length.
    """
    order = sorted(range(len(items)), key=lambda i: (-len(items[i]), i))
    lengths = np.array([len(items[i]) for i in order], dtype=np.int64)
    call = batch_tokens * CALL_COST
    cost = np.full(len(items) + 1, np.inf)
    cost[0] = 0.0
    start = np.zeros(len(items) + 1, dtype=np.int64)
    # Where each run of equal lengths ends: the list is sorted downwards.
    ends = np.searchsorted(-lengths, -lengths, side="right")
    for i, longest in enumerate(lengths.tolist()):
        most = max(1, batch_tokens // max(1, longest))
        last = min(len(items), i + most, int(ends[i]) if equal_lengths else len(items))
        with_this = cost[i] + call + longest * np.arange(1, last - i + 1)
        better = np.flatnonzero(with_this < cost[i + 1 : last + 1])
        cost[i + 1 + better] = with_this[better]
        start[i + 1 + better] = i
    cut: list[list[Item]] = []
    stop = len(items)
    while stop:
        cut.append([items[i] for i in order[start[stop] : stop]])
        stop = int(start[stop])
    return cut[::-1]
