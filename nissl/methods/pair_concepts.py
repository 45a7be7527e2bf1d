"""Concepts of pairs of sentences: words of either, tags, lengths, and what the two share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from nissl.errors import InputError, SettingError
from nissl.methods._concept_builder import ConceptBuilder, Concepts, check_limits

__all__ = ["Pair", "holds", "pair_concepts", "word_concept"]

OVERLAPS = (0.0, 0.25, 0.5, 0.75)
"""Thresholds on the share of hypothesis words that the premise has, of Mu & Andreas' code."""
SIDES = ("pre", "hyp")
PUNCTUATION = frozenset(".,;:!?'\"`()-")


@dataclass(frozen=True)
class Pair:
    """Two sentences, as words.

    Attributes
    ----------
    premise, hypothesis
        Words; compared in lower case.
    """

    premise: tuple[str, ...]
    hypothesis: tuple[str, ...]

    def side(self, name: str) -> tuple[str, ...]:
        """Return the words of ``"pre"`` or ``"hyp"``."""
        return self.premise if name == "pre" else self.hypothesis

    def overlap(self) -> float:
        """Share of the hypothesis's different words, without punctuation, that the premise has."""
        mine = _words(self.hypothesis) - PUNCTUATION
        return len(mine & _words(self.premise)) / len(mine) if mine else 0.0


def pair_concepts(
    pairs: Sequence[Pair],
    *,
    tags: Sequence[tuple[Sequence[str], Sequence[str]]] | None = None,
    overlaps: Sequence[float] = OVERLAPS,
    lengths: Sequence[int] | None = None,
    min_count: int = 5,
    max_count: int | None = None,
    most: int | None = None,
) -> Concepts:
    """Make concepts of pairs of sentences (Mu & Andreas 2020, section 4).

    ``pre:dog`` and ``hyp:dog`` (the premise, or the hypothesis, has the word), ``pre:upos=NOUN``,
    ``overlap>50%`` (more than that share of the hypothesis's words is in the premise),
    ``pre length>12``, ``hyp length>7``, ``hyp longer``.

    Parameters
    ----------
    pairs
        N pairs.
    tags
        Tags of the words of premise and hypothesis of each pair, if there are any.
    overlaps
        Thresholds, in [0, 1).
    lengths
        Thresholds on the number of words; by default the quartiles of each side.
    min_count, max_count, most
        As in :func:`~nissl.methods.concepts.make_concepts`; ``most`` counts each side's words.

    Raises
    ------
    InputError
        No pair, another number of tags, or no concept is left.
    SettingError
        An impossible limit or threshold.
    """
    check_limits(min_count, max_count, most)
    if not len(pairs):
        raise InputError("there is no pair to make concepts of")
    if not all(0 <= share < 1 for share in overlaps):
        raise SettingError(f"shares of overlap are from 0 to below 1, not {list(overlaps)}")
    if tags is not None:
        _check_tags(pairs, tags)
    builder = ConceptBuilder(len(pairs), min_count, max_count, most)
    for side in SIDES:
        sets = [_words(pair.side(side)) for pair in pairs]
        builder.add(f"{side} word", _rows(sets, lambda word, side=side: word_concept(side, word)))
    for i, side in enumerate(SIDES):
        if tags is not None:
            sets = [set(map(str, both[i])) for both in tags]
            builder.add(f"{side} tag", _rows(sets, lambda tag, side=side: f"{side}:upos={tag}"))
    builder.add("overlap", _above("overlap", [p.overlap() for p in pairs], overlaps))
    sizes = {side: [len(pair.side(side)) for pair in pairs] for side in SIDES}
    for side, size in sizes.items():
        bounds = (
            np.unique(np.quantile(size, [0.25, 0.5, 0.75], method="lower"))
            if lengths is None
            else lengths
        )
        builder.add("length", _above(f"{side} length", size, [int(x) for x in bounds]))
    longer = np.flatnonzero(np.array(sizes["hyp"]) > np.array(sizes["pre"]))
    builder.add("length", [("hyp longer", longer)])
    return builder.finish({})


def word_concept(side: str, word: str) -> str:
    """Return the name of the concept that a side has a word."""
    return f"{side}:{word.lower()}"


def holds(name: str, pair: Pair) -> bool | None:
    """Whether a concept of :func:`pair_concepts` holds of a pair; None for tags.

    Tags are of whole sentences, and an edited one has none until it is tagged again.

    Parameters
    ----------
    name
        Of one concept, not of several joined ones.
    pair
        Any pair, one that the concepts were not made of included.

    Raises
    ------
    InputError
        No such kind of concept.
    """
    if name == "hyp longer":
        return len(pair.hypothesis) > len(pair.premise)
    side, colon, rest = name.partition(":")
    # "hyp:>" is a word, and so is "pre:overlap>25%", should anybody write it.
    if colon and side in SIDES:
        if rest.startswith("upos="):
            return None
        return rest in _words(pair.side(side))
    kind, more, bound = name.rpartition(">")
    if more and kind == "overlap":
        return pair.overlap() > _share(bound)
    for side in SIDES:
        if more and kind == f"{side} length":
            return len(pair.side(side)) > int(bound)
    raise InputError(f'"{name}" is no concept of pairs of sentences')


def _words(sentence: Sequence[str]) -> set[str]:
    return {word.lower() for word in sentence}


def _rows(sets: Sequence[set[str]], name: Callable[[str], str]) -> list[tuple[str, np.ndarray]]:
    """One candidate a value, in the order of their first rows."""
    count = Counter(value for each in sets for value in sorted(each))
    place = {value: i for i, value in enumerate(count)}
    rows: list[list[int]] = [[] for _ in place]
    for i, each in enumerate(sets):
        for value in each:
            rows[place[value]].append(i)
    return [(name(value), np.array(rows[i])) for value, i in place.items()]


def _above(
    name: str, values: Sequence[float], bounds: Sequence[float]
) -> list[tuple[str, np.ndarray]]:
    array = np.array(values)
    return [(f"{name}>{_shown(name, b)}", np.flatnonzero(array > b)) for b in bounds]


def _shown(name: str, bound: float) -> str:
    """Write a bound so that it is read back as it is: by its name a concept is looked at again."""
    if name != "overlap":
        return str(bound)
    plain = f"{100 * bound:g}%"
    if _share(plain) == bound:
        return plain
    return f"{(100 * Decimal(repr(float(bound)))).normalize():f}%"


def _share(text: str) -> float:
    return float(Decimal(text.removesuffix("%")) / 100)


def _check_tags(pairs: Sequence[Pair], tags: Sequence[tuple[Sequence[str], Sequence[str]]]) -> None:
    if len(tags) != len(pairs):
        raise InputError(f"there are tags of {len(tags):,} pairs, and {len(pairs):,} pairs")
    for i, (pair, both) in enumerate(zip(pairs, tags, strict=True)):
        for side, given in zip(SIDES, both, strict=True):
            if len(given) != len(pair.side(side)):
                raise InputError(
                    f"pair {i} has {len(given)} tags of {len(pair.side(side))} words ({side})"
                )
