"""Effects on minimal pairs, and on the suites of SyntaxGym."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from nissl.effects._encode import encode, needs_head
from nissl.effects._plan import Plan, Wanted, causal_plan, masked_plan, spans_from
from nissl.effects.effect import LogProbEffect, Prepared, column
from nissl.effects.items import Pairs
from nissl.effects.suites import Suite
from nissl.errors import InputError
from nissl.model import LoadedModel

__all__ = ["pair_effect", "plan_texts", "suite_effect"]

HEADS = ("causal-lm", "masked-lm")


def plan_texts(
    model: LoadedModel,
    texts: Sequence[str],
    starts: Sequence[int],
    places: Sequence[str],
    *,
    whole_words: bool = True,
    windows: bool = False,
) -> Plan:
    """Plan the log-probability of each text from a character on; a slot a text.

    A causal model reads from left to right; a masked one gives the pseudo-log-likelihood.

    Raises
    ------
    ModelError
        The model has neither head.
    InputError
        A text that is too long or cannot be scored, or nothing that is to be scored.
    """
    causal = needs_head(model, *HEADS) == "causal-lm"
    found = encode(model, texts, places, causal=causal)
    wanted = [
        Wanted(i, spans_from(text, start, place), i)
        for i, (text, start, place) in enumerate(zip(found, starts, places, strict=True))
    ]
    for want, text, start in zip(wanted, texts, starts, strict=True):
        if not want.pieces:
            # A sum over nothing would be log-probability 0: certain.
            raise InputError(f'"{text[start:]}" has no subword', where=places[want.text])
    if causal:
        return causal_plan(model, found, wanted, len(texts), places, windows=windows)
    return masked_plan(model, found, wanted, len(texts), places, whole_words=whole_words)


def pair_effect(
    pairs: Pairs, *, value: Literal["accuracy", "margin"] = "accuracy", whole_words: bool = True
) -> LogProbEffect:
    """Return whether a model finds the good text of each pair likelier, or by how much.

    A text's log-probability is the sum of its subwords', from left to right, or for a masked
    model its pseudo-log-likelihood; after a prefix, that of the rest alone. A model that gives
    both texts the same is right by half: it cannot tell them. Where a causal model reads no start
    token, the first subword of a text has no probability and is left out of its sum.

    Parameters
    ----------
    value
        ``accuracy``: 1, ½ or 0 an item; ``margin``: log p(good) − log p(bad), nats.
    whole_words
        For masked models: hide the later subwords of a word with the earlier ones.
    """

    def build(model: LoadedModel) -> Prepared:
        both, starts, places = [], [], []
        for side in (pairs.good, pairs.bad):
            for prefix, text, place in zip(pairs.prefix, side, pairs.place, strict=True):
                both.append(f"{prefix} {text}" if prefix else text)
                starts.append(len(prefix) + 1 if prefix else 0)
                places.append(place)
        plan = plan_texts(model, both, starts, places, whole_words=whole_words)
        n = len(pairs)
        item = np.concatenate([np.arange(n), np.arange(n)])
        margins = (item, np.arange(2 * n), np.repeat([1.0, -1.0], n))
        return Prepared(plan, np.ones(n), margins)

    def accuracy(slots: np.ndarray, prepared: Prepared) -> np.ndarray:
        n = slots.shape[-1] // 2
        return 0.5 * (1.0 + np.sign(slots[..., :n] - slots[..., n:]))

    def margin(slots: np.ndarray, prepared: Prepared) -> np.ndarray:
        n = slots.shape[-1] // 2
        return slots[..., :n] - slots[..., n:]

    right = value == "accuracy"
    return LogProbEffect(
        name=pairs.name if right else f"{pairs.name} (margin)",
        unit="share right" if right else "nats",
        groups=column(pairs.condition),
        clusters=column(pairs.group),
        scale=100.0 if right else 1.0,
        build=build,
        values=accuracy if right else margin,
    )


def suite_effect(suite: Suite) -> LogProbEffect:
    """Return which predictions of a SyntaxGym suite hold, 1 or 0 for each prediction and item.

    The surprisal of a region, in bits, is the sum over subwords that begin in it, or at the blank
    before it. Regions are joined by blanks. Where a causal model reads no start token, the first
    subword is left out of the sum of all regions; a formula that names a region of that subword
    alone is an error.
    """
    n, m = len(suite), len(suite.predictions)
    texts, places, cuts = [], [], []
    slot_of: dict[tuple[int, str, int], int] = {}
    for i, item in enumerate(suite.regions):
        for c, name in enumerate(suite.conditions):
            text, ends = "", []
            for number, content in zip(suite.numbers[i][c], item[c], strict=True):
                part = content.strip()
                text = f"{text} {part}" if text and part else text + part
                slot = slot_of.setdefault((i, name, number), len(slot_of))
                ends.append((len(text), slot))
            texts.append(text)
            places.append(f"{suite.place[i]}, {name}")
            cuts.append(ends)

    named = {
        slot_of[i, condition, int(number)]
        for formula in suite.predictions
        for condition, number in formula.regions
        if number != "*"
        for i in range(n)
    }

    def build(model: LoadedModel) -> Prepared:
        needs_head(model, "causal-lm")
        found = encode(model, texts, places, causal=True)
        wanted: list[Wanted] = []
        for t, encoded in enumerate(found):
            pieces: dict[int, list[int]] = {}
            for i in range(encoded.first, encoded.last):
                # A blank that a subword begins with stands after the region before it.
                begin = encoded.spans[i][0]
                slot = next((slot for stop, slot in cuts[t] if begin < stop), cuts[t][-1][1])
                pieces.setdefault(slot, []).append(i)
            for slot, each in pieces.items():
                if slot in named or any(i > 0 for i in each):
                    wanted.append(Wanted(t, tuple(each), slot))
        plan = causal_plan(model, found, wanted, len(slot_of), places)
        return Prepared(plan, np.ones(n * m))

    def values(slots: np.ndarray, prepared: Prepared) -> np.ndarray:
        bits = -slots / math.log(2)
        right = np.empty((*slots.shape[:-1], m * n))
        for where in np.ndindex(slots.shape[:-1]):
            here = bits[where]
            for i in range(n):

                def surprisal(
                    condition: str, number: str, i: int = i, here: np.ndarray = here
                ) -> float:
                    if number != "*":
                        return float(here[slot_of[i, condition, int(number)]])
                    c = suite.conditions.index(condition)
                    return float(sum(here[slot_of[i, condition, k]] for k in suite.numbers[i][c]))

                for p, formula in enumerate(suite.predictions):
                    right[(*where, p * n + i)] = float(bool(formula.value(surprisal)))
        return right

    names = [f.text for f in suite.predictions]
    return LogProbEffect(
        name=suite.name,
        unit="share of predictions",
        groups=column([name for name in names for _ in range(n)]),
        clusters=column([place for _ in names for place in suite.place]),
        scale=100.0,
        build=build,
        values=values,
    )
