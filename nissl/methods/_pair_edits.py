"""Fewest words put into, or taken out of, a pair of sentences that make a formula true of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nissl.kernels.formulas import Formula
from nissl.methods.pair_concepts import SIDES, Pair, holds

__all__ = ["Edit", "Words", "apply", "edits_for", "leaf_names", "random_edits", "true_of"]

NEAR = 2.0
"""A control word is at most so many times as frequent, or as rare, where there are enough."""
ENOUGH = 20
CLOSING = frozenset(".!?")


@dataclass(frozen=True)
class Edit:
    """A word put into the end of a side (before its full stop), or taken out of it everywhere."""

    side: str
    word: str
    insert: bool

    def text(self) -> str:
        """Return such as ``+hyp:nobody``."""
        return f"{'+' if self.insert else '−'}{self.side}:{self.word}"


def apply(pair: Pair, edits: Sequence[Edit]) -> Pair:
    """Return the edited pair."""
    sides = {side: list(pair.side(side)) for side in SIDES}
    for edit in edits:
        words = sides[edit.side]
        if edit.insert:
            at = len(words) - (bool(words) and words[-1] in CLOSING)
            words.insert(at, edit.word)
        else:
            words[:] = [word for word in words if word.lower() != edit.word]
    return Pair(tuple(sides["pre"]), tuple(sides["hyp"]))


def edits_for(
    formula: Formula,
    names: Mapping[int, str],
    pair: Pair,
    known: Mapping[int, bool],
    rng: np.random.Generator | None = None,
) -> tuple[Edit, ...] | None:
    """Return the fewest edits that make a formula true, insertions first; None where none do.

    Parameters
    ----------
    formula
        Made of words, overlap and lengths, of which words can be edited; the others are looked at
        again after each edit.
    names
        One name of each leaf.
    pair
        On which the formula is false.
    known
        Truth of leaves that nothing can be said of after an edit (tags): they stay as they are.
    rng
        Draws among equally few edits; by default those of the formula's first leaves are taken.
    """
    possible = [_flip(names[leaf], pair) for leaf in dict.fromkeys(formula.leaves)]
    given = [edit for edit in possible if edit is not None]
    if rng is not None:
        given = [given[i] for i in rng.permutation(len(given)).tolist()]
    given.sort(key=lambda edit: not edit.insert)
    for size in range(1, len(given) + 1):
        for some in combinations(given, size):
            edited = apply(pair, some)
            # A sentence of which nothing is left is no input.
            if all(edited.side(side) for side in SIDES) and true_of(formula, names, edited, known):
                return some
    return None


def true_of(
    formula: Formula, names: Mapping[int, str], pair: Pair, known: Mapping[int, bool]
) -> bool:
    """Whether a formula holds of a pair."""
    said: dict[int, bool] = {}
    for leaf in formula.leaves:
        now = holds(names[leaf], pair)
        said[leaf] = known[leaf] if now is None else now
    out = said[formula.leaves[0]]
    for op, leaf in zip(formula.ops, formula.leaves[1:], strict=True):
        wanted = said[leaf] != (op == "and not")
        out = out or wanted if op == "or" else out and wanted
    return out


class Words:
    """Words of each side by how many pairs have them, from which random ones are drawn."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._words: dict[str, list[str]] = {}
        self._counts: dict[str, np.ndarray] = {}
        self._count: dict[str, dict[str, int]] = {}
        for side in SIDES:
            found = Counter(w for pair in pairs for w in {w.lower() for w in pair.side(side)})
            order = sorted((w for w in found if w not in CLOSING), key=lambda w: (found[w], w))
            self._words[side], self._count[side] = order, dict(found)
            self._counts[side] = np.array([found[w] for w in order])

    def like(self, side: str, word: str) -> list[str]:
        """Return the words of a side that are about as frequent as a word."""
        words, counts = self._words[side], self._counts[side]
        wanted = self._count[side].get(word, 1)
        first = int(np.searchsorted(counts, wanted / NEAR, side="left"))
        last = int(np.searchsorted(counts, wanted * NEAR, side="right"))
        if last - first >= ENOUGH:
            return words[first:last]
        order = np.argsort(np.abs(np.log(counts / wanted)), kind="stable")[:ENOUGH]
        return [words[i] for i in order.tolist()]


def random_edits(
    edits: Sequence[Edit],
    pair: Pair,
    words: Words,
    avoid: frozenset[str],
    rng: np.random.Generator,
) -> tuple[Edit, ...] | None:
    """Return edits of the same kinds and sides with random words; None where there is no word.

    A word put in is one about as frequent on its side as the word that it stands for; a word taken
    out is another one of the sentence.

    Parameters
    ----------
    avoid
        Names of the formula's own words (``hyp:nobody``).
    """
    out: list[Edit] = []
    for edit in edits:
        own = {word.lower() for word in pair.side(edit.side)}
        bad = {e.word for e in out if e.side == edit.side} | CLOSING
        if edit.insert:
            given, bad = words.like(edit.side, edit.word), bad | own
        else:
            given = sorted(own)
        free = [w for w in given if w not in bad and f"{edit.side}:{w}" not in avoid]
        if not free:
            return None
        out.append(Edit(edit.side, free[int(rng.integers(len(free)))], edit.insert))
    edited = apply(pair, out)
    return tuple(out) if all(edited.side(side) for side in SIDES) else None


def _flip(name: str, pair: Pair) -> Edit | None:
    """Return the edit that puts a word in where it is not, or takes it out where it is."""
    side, colon, word = name.partition(":")
    if not colon or side not in SIDES or word.startswith("upos="):
        return None
    return Edit(side, word, insert=not holds(name, pair))


def leaf_names(formula: Formula, same: Sequence[Sequence[str]]) -> Iterator[tuple[int, str]]:
    """Return one name of each leaf: the first of those joined that is a word, or the first."""
    for leaf in formula.leaves:
        words = [name for name in same[leaf] if name.partition(":")[0] in SIDES]
        yield leaf, (words or list(same[leaf]))[0]
