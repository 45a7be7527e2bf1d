"""Which inputs a model is run on, and which log-probabilities of theirs are summed to what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nissl.effects._encode import Encoded
from nissl.errors import InputError, ModelError
from nissl.model import LoadedModel

__all__ = ["Plan", "Wanted", "causal_plan", "masked_plan", "spans_from"]


@dataclass(frozen=True, eq=False)
class Plan:
    """Inputs, each once, and targets: log p(token | input up to position), added up to slots.

    Attributes
    ----------
    rows
        Distinct inputs, subword ids.
    row, position, token, slot
        (targets,): of which input and at which position of its output a target is read, which
        token it is, and which slot it is added to.
    slots
        Number of slots.
    """

    rows: tuple[tuple[int, ...], ...]
    row: np.ndarray
    position: np.ndarray
    token: np.ndarray
    slot: np.ndarray
    slots: int

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum targets' values (targets,) to slots (slots,)."""
        return np.bincount(self.slot, weights=values, minlength=self.slots)

    def counts(self) -> np.ndarray:
        """Number of targets of each slot, (slots,)."""
        return np.bincount(self.slot, minlength=self.slots)


@dataclass(frozen=True)
class Wanted:
    """Subwords of a text that are added up to one slot: positions in its ``ids``."""

    text: int
    pieces: tuple[int, ...]
    slot: int


class _Maker:
    """Collects targets, and every input once."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.rows: dict[tuple[int, ...], int] = {}
        self.targets: list[tuple[int, int, int, int]] = []

    def add(self, ids: tuple[int, ...], position: int, token: int, slot: int) -> None:
        row = self.rows.setdefault(ids, len(self.rows))
        self.targets.append((row, position, token, slot))

    def plan(self, *, merge: bool = False) -> Plan:
        """Return the plan; with ``merge`` an input that begins another one is not run by itself.

        A model that reads from left to right gives the same there, in either.
        """
        rows = list(self.rows)
        home = np.arange(len(rows))
        if merge:
            # In this order an input is followed at once by what it begins, if there is any.
            order = sorted(range(len(rows)), key=rows.__getitem__)
            for i, j in zip(order[-2::-1], order[:0:-1], strict=True):
                if rows[j][: len(rows[i])] == rows[i]:
                    home[i] = home[j]
        kept, place = np.unique(home, return_inverse=True)
        table = np.asarray(self.targets, dtype=np.int64).reshape(-1, 4)
        row, position, token, slot = (np.ascontiguousarray(column) for column in table.T)
        inputs = tuple(rows[int(i)] for i in kept)
        return Plan(inputs, place.reshape(-1)[row], position, token, slot, self.slots)


def spans_from(encoded: Encoded, start: int, place: str) -> tuple[int, ...]:
    """Return the subwords of a text from a character on.

    Raises
    ------
    InputError
        A subword lies on both sides of that character, so that the text after it has no
        probability of its own.
    """
    own = range(encoded.first, encoded.last)
    if start == 0:
        return tuple(own)
    # A subword may begin with the blank that stands before the character, or be that blank.
    pieces = tuple(i for i in own if encoded.spans[i][1] > start - 1)
    if pieces and encoded.spans[pieces[0]][0] < start - 1:
        raise InputError(
            "a subword is partly of the prefix and partly of what follows; put a blank between",
            where=place,
        )
    return pieces


def causal_plan(
    model: LoadedModel,
    texts: Sequence[Encoded],
    wanted: Sequence[Wanted],
    slots: int,
    places: Sequence[str],
    *,
    windows: bool = False,
) -> Plan:
    """Plan log p(subword | all before it): one pass a text, up to the last subword wanted.

    Inputs that are the same are run once: so all verbs after one prefix cost one pass.

    Parameters
    ----------
    windows
        Score texts longer than the model takes in windows that overlap by half, each subword in
        the first that holds it; else such a text is an error.

    Raises
    ------
    InputError
        A text that is too long, or a slot of which nothing can be scored because nothing stands
        before it.
    """
    maker = _Maker(slots)
    for want in wanted:
        text = texts[want.text]
        # Without a start token nothing is said about the first subword.
        pieces = [i for i in want.pieces if i > 0]
        if want.pieces and not pieces:
            raise InputError(
                "a single subword without a start token has no probability; put a word before it",
                where=places[want.text],
            )
        if not pieces:
            continue
        limit = model.max_length
        if limit is None or pieces[-1] <= limit:
            ids = text.ids[: pieces[-1]]
            for i in pieces:
                maker.add(ids, i - 1, text.ids[i], want.slot)
            continue
        if not windows:
            raise InputError(
                f"has {pieces[-1]} subwords before its last, the model takes {limit}; shorten it",
                where=places[want.text],
            )
        _windows(maker, text, pieces, want.slot, limit)
    return maker.plan(merge=True)


def _windows(maker: _Maker, text: Encoded, pieces: list[int], slot: int, limit: int) -> None:
    """Add targets of a long text; each window has the start token, where there is one."""
    lead = text.ids[: text.first]
    room = limit - len(lead)
    if room < 2:
        raise InputError(f"the model takes {limit} subwords, too few for a window")
    begin = text.first
    left = list(pieces)
    while left:
        end = min(begin + room, left[-1])
        ids = lead + text.ids[begin:end]
        now = [i for i in left if i <= end]
        for i in now:
            maker.add(ids, i - 1 - begin + len(lead), text.ids[i], slot)
        left = left[len(now) :]
        if left:
            begin = left[0] - max(1, room // 2)


def masked_plan(
    model: LoadedModel,
    texts: Sequence[Encoded],
    wanted: Sequence[Wanted],
    slots: int,
    places: Sequence[str],
    *,
    whole_words: bool = True,
) -> Plan:
    """Plan log p(subword | the text with it hidden), one pass a subword: pseudo-likelihood.

    Salazar et al. (2020), "Masked Language Model Scoring", equation 1.

    Parameters
    ----------
    whole_words
        Hide the later subwords of the same word too (Kauf and Ivanova 2023): else a word of
        several subwords is easy to guess from its own rest.

    Raises
    ------
    InputError
        A text longer than the model takes.
    ModelError
        The tokenizer has no mask token.
    """
    mask = model.tokenizer.mask_token_id
    if mask is None:
        raise ModelError(f'the tokenizer of model "{model.name}" has no mask token')
    maker = _Maker(slots)
    limit = model.max_length
    for want in wanted:
        text = texts[want.text]
        if limit is not None and len(text.ids) > limit:
            raise InputError(
                f"has {len(text.ids)} subwords, the model takes {limit}; shorten it",
                where=places[want.text],
            )
        for i in want.pieces:
            ids = list(text.ids)
            ids[i] = int(mask)
            if whole_words and text.words[i] >= 0:
                for j in range(i + 1, text.last):
                    if text.words[j] == text.words[i]:
                        ids[j] = int(mask)
            maker.add(tuple(ids), i, text.ids[i], want.slot)
    return maker.plan()
