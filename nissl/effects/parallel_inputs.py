"""The same inputs in several languages, with or without an answer that a model should give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from nissl.errors import InputError, SettingError

__all__ = ["ParallelInputs", "make_parallel", "parallel_texts"]


@dataclass(frozen=True, eq=False)
class ParallelInputs:
    """Inputs, group by group, and in each group language by language, in one order.

    Attributes
    ----------
    name
        What they are called in tables.
    languages
        In the order in which they first come.
    input, answer
        (groups × languages,); answers are None where there is no task but text.
    candidates
        Answers that the model chooses from, own answer among them; none: it may say anything.
    group, task
        (groups,): name of each group and of its task.
    place
        ``file:line`` of each input.
    left_out
        What was left out, and how often: groups that lack a language.
    """

    name: str
    languages: tuple[str, ...]
    input: tuple[str, ...]
    answer: tuple[str | None, ...]
    candidates: tuple[tuple[str, ...], ...]
    group: tuple[str, ...]
    task: tuple[str, ...]
    place: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.input)

    def __repr__(self) -> str:
        what = "with answers" if self.answered else "without answers"
        return (
            f"ParallelInputs({self.name!r}: {len(self.group):,} inputs in "
            f"{', '.join(self.languages)}, {what})"
        )

    @property
    def answered(self) -> bool:
        """Whether there are answers."""
        return self.answer[0] is not None

    @property
    def language(self) -> tuple[str, ...]:
        """Language of each input."""
        return self.languages * len(self.group)

    def rows(self) -> np.ndarray:
        """Group of each input, by number."""
        return np.repeat(np.arange(len(self.group)), len(self.languages))

    def frame(self) -> pl.DataFrame:
        """One row an input: ``task, group, language, input, answer, candidates, place``."""
        rows = self.rows()
        return pl.DataFrame(
            {
                "task": [self.task[int(g)] for g in rows],
                "group": [self.group[int(g)] for g in rows],
                "language": list(self.language),
                "input": list(self.input),
                "answer": pl.Series(list(self.answer), dtype=pl.String),
                "candidates": ["|".join(each) for each in self.candidates],
                "place": list(self.place),
            }
        )

    def take(self, n: int, *, seed: int = 0) -> ParallelInputs:
        """Return n groups of each task, drawn by a seed and in their old order.

        Raises
        ------
        SettingError
            n is not positive.
        """
        if n < 1:
            raise SettingError(f"at least one input a task must be taken, not {n}")
        rng = np.random.default_rng(seed)
        kept: list[int] = []
        for task in dict.fromkeys(self.task):
            there = np.array([g for g, each in enumerate(self.task) if each == task])
            kept += [int(g) for g in rng.permutation(there)[:n]]
        kept.sort()
        left = dict(self.left_out)
        if len(kept) < len(self.group):
            left[f"inputs beyond {n} a task"] = len(self.group) - len(kept)
        size = len(self.languages)
        items = [g * size + j for g in kept for j in range(size)]
        return ParallelInputs(
            self.name,
            self.languages,
            tuple(self.input[i] for i in items),
            tuple(self.answer[i] for i in items),
            tuple(self.candidates[i] for i in items),
            tuple(self.group[g] for g in kept),
            tuple(self.task[g] for g in kept),
            tuple(self.place[i] for i in items),
            left,
        )

    def chance(self) -> float:
        """Return the accuracy of guessing: one of the candidates, or the commonest answer.

        The larger of both, over all inputs; the commonest answer is that of a task and language.

        Raises
        ------
        SettingError
            There are no answers.
        """
        if not self.answered:
            raise SettingError(f"{self.name} has no answers, so nothing can be guessed")
        drawn = [1 / len(each) if each else 0.0 for each in self.candidates]
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for g, language, answer in zip(self.rows(), self.language, self.answer, strict=True):
            there = counts.setdefault((self.task[int(g)], language), {})
            there[str(answer)] = there.get(str(answer), 0) + 1
        common = sum(max(there.values()) for there in counts.values()) / len(self)
        return max(float(np.mean(drawn)), common)


def make_parallel(
    name: str,
    inputs: Sequence[str],
    languages: Sequence[str],
    *,
    group: Sequence[str] | None = None,
    answer: Sequence[str] | None = None,
    candidates: Sequence[Sequence[str]] | None = None,
    task: Sequence[str] | None = None,
    place: Sequence[str] | None = None,
) -> ParallelInputs:
    """Return parallel inputs of one's own, one entry an input and language.

    Parameters
    ----------
    inputs, languages
        Text, and its language, (n,).
    group
        What ties the versions of one input together; by default the k-th input of every language
        is one group, and then all must have as many.
    answer, candidates, task, place
        As in :class:`ParallelInputs`, (n,); one task, and ``name:number``, by default.

    Raises
    ------
    InputError
        Lists of different length, an empty text, one language, a version that is there twice, an
        answer that is no candidate, a candidate twice, a language or task called all, or no group
        that has all languages; with its place.
    """
    n = len(inputs)
    places = [f"{name}:{i + 1}" for i in range(n)] if place is None else list(place)
    columns = {
        "language": list(languages),
        "group": group,
        "answer": answer,
        "candidates": candidates,
        "task": task,
        "place": places,
    }
    if not n:
        raise InputError("holds no input", where=name)
    for key, values in columns.items():
        if values is not None and len(values) != n:
            raise InputError(f"{len(values)} values of {key} for {n} inputs", where=name)
    order = tuple(dict.fromkeys(languages))
    if len(order) < 2:
        raise InputError(f"all inputs are in {languages[0]}; sharing needs 2 languages", where=name)
    groups = _numbered(name, languages, order) if group is None else [str(g) for g in group]
    tasks = [name] * n if task is None else [str(t) for t in task]
    choices = [tuple(c) for c in candidates] if candidates is not None else [()] * n
    several = dict.fromkeys(tasks)
    if "all" in order or ("all" in several and len(several) > 1):
        i = next(i for i in range(n) if "all" in (languages[i], tasks[i]))
        raise InputError(
            'a language or task is called "all", as results over all of them are; call it '
            "something else",
            where=places[i],
        )
    for i in range(n):
        if not inputs[i].strip():
            raise InputError("the input is empty", where=places[i])
        if answer is not None and not answer[i].strip():
            raise InputError("the answer is empty", where=places[i])
        if len(set(choices[i])) < len(choices[i]):
            raise InputError(
                f"a candidate is there twice: {', '.join(choices[i])}", where=places[i]
            )
        if answer is not None and choices[i] and answer[i].strip() not in choices[i]:
            raise InputError(
                f'the answer "{answer[i]}" is none of the candidates {", ".join(choices[i])}',
                where=places[i],
            )
    index: dict[tuple[str, str], dict[str, int]] = {}
    for i, key in enumerate(zip(tasks, groups, strict=True)):
        there = index.setdefault(key, {})
        if languages[i] in there:
            raise InputError(
                f"input {key[1]} is there in {languages[i]} already, at "
                f"{places[there[languages[i]]]}",
                where=places[i],
            )
        there[languages[i]] = i
    whole = {key: there for key, there in index.items() if len(there) == len(order)}
    if not whole:
        raise InputError(f"no input is there in all of {', '.join(order)}", where=name)
    items = [there[language] for there in whole.values() for language in order]
    left = len(index) - len(whole)
    return ParallelInputs(
        name,
        order,
        tuple(inputs[i].strip() for i in items),
        tuple(None if answer is None else answer[i].strip() for i in items),
        tuple(choices[i] for i in items),
        tuple(key[1] for key in whole),
        tuple(key[0] for key in whole),
        tuple(places[i] for i in items),
        {"inputs that lack a language": left} if left else {},
    )


def parallel_texts(texts: Mapping[str, Sequence[str]], *, name: str = "texts") -> ParallelInputs:
    """Return line-aligned texts, language → texts: the k-th of each is one input.

    Raises
    ------
    InputError
        Languages with different numbers of texts, or fewer than two.
    """
    inputs = [text for each in texts.values() for text in each]
    languages = [language for language, each in texts.items() for _ in each]
    places = [f"{name}.{lang}:{i + 1}" for lang, each in texts.items() for i in range(len(each))]
    return make_parallel(name, inputs, languages, place=places)


def _numbered(name: str, languages: Sequence[str], order: Sequence[str]) -> list[str]:
    """Number the inputs of each language; refuse languages with fewer than others."""
    count = dict.fromkeys(order, 0)
    found = []
    for language in languages:
        count[language] += 1
        found.append(str(count[language]))
    if len(set(count.values())) > 1:
        sizes = ", ".join(f"{n} in {language}" for language, n in count.items())
        raise InputError(
            f"inputs cannot be paired by their order: there are {sizes}; add a column group",
            where=name,
        )
    return found
