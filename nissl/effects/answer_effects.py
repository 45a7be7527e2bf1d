"""Whether a causal model gives each input its answer; told item by item, under row-wise edits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from nissl.effects._encode import encode, needs_head
from nissl.effects._plan import Plan, spans_from
from nissl.effects._score import batches_of, log_softmax_at, run_batch
from nissl.effects.effect import Effect, column
from nissl.effects.parallel_inputs import ParallelInputs
from nissl.errors import InputError, SettingError
from nissl.model import LoadedModel

__all__ = ["AnswerAccuracy", "answer_accuracy"]

BeforePass = Callable[[np.ndarray, np.ndarray], None]
"""Called before each pass with the item of every row, and the column that predicts its answer."""


@dataclass(frozen=True, eq=False)
class _AnswerPlan:
    """A plan without shared rows.

    Attributes
    ----------
    item, start
        (rows,): whose row it is, and the column that predicts the answer's first subword.
    first
        (items + 1,): slots of item i are ``first[i]`` up to ``first[i + 1]``, one a candidate.
    right
        (items,): the slot of the answer.
    """

    plan: Plan
    item: np.ndarray
    start: np.ndarray
    first: np.ndarray
    right: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class AnswerAccuracy(Effect):
    """Whether the answer is the likeliest candidate, or what the model says: 1 or 0 an item."""

    parallel: ParallelInputs
    joint: str
    _kept: WeakKeyDictionary[Any, _AnswerPlan] = field(
        default_factory=WeakKeyDictionary, repr=False
    )

    def measure(self, model: LoadedModel, before: BeforePass | None = None) -> np.ndarray:
        """Return the accuracy of each item, (items,); of n candidates tied for best, 1/n."""
        import torch

        made = self._prepared(model)
        plan = made.plan
        values = np.empty(len(plan.row))
        greedy = np.diff(made.first)[made.item[plan.row]] == 1
        with torch.inference_mode():
            for batch in batches_of(model, plan):
                whose = np.empty(len(batch.ids), dtype=np.int64)
                whose[batch.row] = plan.row[batch.target]
                if before is not None:
                    before(made.item[whose], made.start[whose])
                keep, where = np.unique(batch.position, return_inverse=True)
                logits = run_batch(model, batch.ids, batch.mask, keep)
                index = [
                    torch.as_tensor(x, device=logits.device)
                    for x in (batch.row, where.reshape(-1), batch.token)
                ]
                likely = log_softmax_at(logits, *index).double().cpu().numpy()
                free = greedy[batch.target]
                if free.any():
                    some = torch.as_tensor(np.flatnonzero(free), device=logits.device)
                    row, position, token = (each[some] for each in index)
                    hit = logits[row, position].argmax(dim=1) == token
                    likely[free] = np.where(hit.cpu().numpy(), 0.0, -1.0)
                values[batch.target] = likely
        return self._right(made, plan.total(values))

    def first_tokens(self, model: LoadedModel) -> np.ndarray:
        """Return the first subword of each item's answer, (items,)."""
        made = self._prepared(model)
        slots, where = np.unique(made.plan.slot, return_index=True)
        return made.plan.token[where[np.searchsorted(slots, made.right)]]

    def _right(self, made: _AnswerPlan, slots: np.ndarray) -> np.ndarray:
        found = np.empty(len(self))
        for i, (a, b) in enumerate(zip(made.first[:-1], made.first[1:], strict=True)):
            mine = slots[made.right[i]]
            if b - a == 1:
                found[i] = float(mine == 0)  # each subword was the likeliest
            else:
                found[i] = float(mine >= slots[a:b].max()) / int((slots[a:b] == mine).sum())
        return found

    def _prepared(self, model: LoadedModel) -> _AnswerPlan:
        if model not in self._kept:
            self._kept[model] = self._plan(model)
        return self._kept[model]

    def _plan(self, model: LoadedModel) -> _AnswerPlan:
        needs_head(model, "causal-lm")
        given = self.parallel
        texts, owner, first, right = [], [], [0], []
        for i, (text, answer, choices) in enumerate(
            zip(given.input, given.answer, given.candidates, strict=True)
        ):
            # One candidate is no choice: then, as with none, the model may say anything.
            own = choices if len(choices) > 1 else (str(answer),)
            right.append(first[-1] + own.index(str(answer)))
            texts += [f"{text}{self.joint}{choice}" for choice in own]
            owner += [i] * len(own)
            first.append(first[-1] + len(own))
        places = [given.place[i] for i in owner]
        rows: dict[tuple[int, tuple[int, ...]], int] = {}
        starts: list[int] = []
        targets: list[tuple[int, int, int, int]] = []
        for slot, text in enumerate(encode(model, texts, places, causal=True)):
            i, place = owner[slot], places[slot]
            pieces = _pieces(text, len(given.input[i]), self.joint, place)
            limit = model.max_length
            if not pieces or pieces[0] == 0 or (limit is not None and pieces[-1] > limit):
                raise InputError(
                    f"has {len(text.ids)} subwords, of which the answer's cannot be read; shorten "
                    "the input, or give an answer that the tokenizer knows",
                    where=place,
                )
            ids = text.ids[: pieces[-1]]
            if (i, ids) not in rows:
                rows[i, ids] = len(rows)
                starts.append(pieces[0] - 1)
            targets += [(rows[i, ids], p - 1, text.ids[p], slot) for p in pieces]
        row, position, token, slot = np.asarray(targets, dtype=np.int64).T
        plan = Plan(tuple(ids for _, ids in rows), row, position, token, slot, first[-1])
        return _AnswerPlan(
            plan,
            np.array([i for i, _ in rows], dtype=np.int64),
            np.array(starts, dtype=np.int64),
            np.array(first, dtype=np.int64),
            np.array(right, dtype=np.int64),
        )


def _pieces(text: Any, end: int, joint: str, place: str) -> tuple[int, ...]:
    """Return the subwords of the answer, which begins after ``end`` characters and the joint."""
    if joint.isspace():
        return spans_from(text, end + len(joint), place)
    start = end + len(joint)
    pieces = tuple(i for i in range(text.first, text.last) if text.spans[i][1] > start)
    if pieces and text.spans[pieces[0]][0] < start:
        raise InputError(
            "a subword is partly of the input and partly of the answer; put a blank between "
            '(joint=" ")',
            where=place,
        )
    return pieces


def answer_accuracy(
    parallel: ParallelInputs, *, name: str | None = None, joint: str = " "
) -> AnswerAccuracy:
    """Return whether a causal model answers parallel inputs right.

    With candidates, such as the words of an inference task, the answer counts that has the
    highest log-probability, summed over its subwords. Without, an answer is right if the model,
    always going on with its likeliest token, says it.

    Parameters
    ----------
    joint
        What stands between input and answer: a blank, or nothing in scripts without blanks.

    Raises
    ------
    SettingError
        There are no answers.
    """
    if not parallel.answered:
        raise SettingError(
            f"{parallel.name} has no answers; accuracy needs a column answer (class shares do not)"
        )
    rows = parallel.rows()
    return AnswerAccuracy(
        name=name or parallel.name,
        unit="share right",
        groups=column(list(parallel.language)),
        clusters=column([f"{parallel.task[int(g)]} {parallel.group[int(g)]}" for g in rows]),
        scale=100.0,
        parallel=parallel,
        joint=joint,
    )
