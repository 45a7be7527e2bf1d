"""Minimal pairs: two texts that differ in what a model should find likelier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from nissl.errors import InputError, SettingError, did_you_mean

__all__ = ["Pairs", "make_pairs"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Minimal pairs, one an item.

    Attributes
    ----------
    name
        What they are called in tables.
    prefix
        What both texts begin with and what is not scored; empty for whole sentences. (items,)
    good, bad
        What follows the prefix after a blank: a word, or a whole sentence. (items,)
    condition
        What tables tell apart, such as ``singular_plural``. (items,)
    group
        Items of one group are not independent, such as those with one prefix; bootstraps
        resample whole groups. (items,)
    place
        ``file:line`` of each item.
    left_out
        What filters left out, and how often; readers leave out nothing.
    """

    name: str
    prefix: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]
    condition: tuple[str, ...]
    group: tuple[str, ...]
    place: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.good)

    def __repr__(self) -> str:
        kinds = len(set(self.condition))
        return f"Pairs({self.name!r}: {len(self):,} items, {kinds} conditions)"

    def frame(self) -> pl.DataFrame:
        """One row an item: ``prefix, good, bad, condition, group, place``."""
        names = ("prefix", "good", "bad", "condition", "group", "place")
        return pl.DataFrame({name: list(getattr(self, name)) for name in names})

    def same(self) -> tuple[str, ...]:
        """Places of items whose two texts are the same, as some of BLiMP's are.

        Every model is right on half of such an item.
        """
        both = zip(self.good, self.bad, self.place, strict=True)
        return tuple(place for good, bad, place in both if good == bad)

    def where(self, condition: str | Sequence[str]) -> Pairs:
        """Return the items of some conditions; the others are counted in ``left_out``.

        Raises
        ------
        SettingError
            There is no such condition.
        """
        wanted = [condition] if isinstance(condition, str) else list(condition)
        for name in wanted:
            if name not in self.condition:
                raise SettingError(
                    f'{self.name} has no condition "{name}"; there are '
                    f"{', '.join(dict.fromkeys(self.condition))}."
                    f"{did_you_mean(name, self.condition)}"
                )
        return self._keep(lambda i: self.condition[i] in wanted, "items of other conditions")

    def take(self, n: int, *, seed: int = 0) -> Pairs:
        """Return n items of each condition, drawn by a seed and in their old order.

        Raises
        ------
        SettingError
            n is not positive.
        """
        if n < 1:
            raise SettingError(f"at least one item a condition must be taken, not {n}")
        rng = np.random.default_rng(seed)
        kept: set[int] = set()
        for name in dict.fromkeys(self.condition):
            there = [i for i, each in enumerate(self.condition) if each == name]
            kept |= {there[int(j)] for j in rng.permutation(len(there))[:n]}
        return self._keep(lambda i: i in kept, f"items beyond {n} a condition")

    def halves(self, *, seed: int = 0) -> tuple[Pairs, Pairs]:
        """Split into two halves by whole groups: one to choose neurons on, one to test them on.

        Raises
        ------
        SettingError
            There is one group only.
        """
        names = list(dict.fromkeys(self.group))
        if len(names) < 2:
            raise SettingError(
                f"{self.name} has one group of items, which cannot be halved; add items of another "
                "group, or choose and test neurons on the same items (--same-items)"
            )
        drawn = np.random.default_rng(seed).permutation(len(names))[: len(names) // 2]
        chosen = {names[int(i)] for i in drawn}
        why = "items of the other half"
        return (
            self._keep(lambda i: self.group[i] in chosen, why),
            self._keep(lambda i: self.group[i] not in chosen, why),
        )

    def _keep(self, wanted: Callable[[int], bool], why: str) -> Pairs:
        keep = [i for i in range(len(self)) if wanted(i)]
        left = dict(self.left_out)
        if len(keep) < len(self):
            left[why] = left.get(why, 0) + len(self) - len(keep)
        names = ("prefix", "good", "bad", "condition", "group", "place")
        parts = {name: tuple(getattr(self, name)[i] for i in keep) for name in names}
        return Pairs(self.name, **parts, left_out=left)

    @staticmethod
    def concat(parts: Sequence[Pairs], *, name: str) -> Pairs:
        """Return all items in one, each condition under the name of its part: ``part: condition``.

        A condition that is named as its part, or not at all, is named as the part.

        Raises
        ------
        SettingError
            There is no part.
        """
        if not parts:
            raise SettingError("give at least one set of minimal pairs")
        left: dict[str, int] = {}
        for part in parts:
            for why, count in part.left_out.items():
                left[why] = left.get(why, 0) + count

        def under(part: Pairs, values: Sequence[str]) -> list[str]:
            return [
                part.name if value in ("", part.name) else f"{part.name}: {value}"
                for value in values
            ]

        return Pairs(
            name,
            tuple(text for part in parts for text in part.prefix),
            tuple(text for part in parts for text in part.good),
            tuple(text for part in parts for text in part.bad),
            tuple(text for part in parts for text in under(part, part.condition)),
            tuple(text for part in parts for text in under(part, part.group)),
            tuple(text for part in parts for text in part.place),
            left,
        )


def make_pairs(
    name: str,
    good: Sequence[str],
    bad: Sequence[str],
    *,
    prefix: Sequence[str] | None = None,
    condition: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    place: Sequence[str] | None = None,
) -> Pairs:
    """Return minimal pairs of one's own.

    Parameters
    ----------
    good, bad
        Whole sentences, or words where ``prefix`` is given.
    condition, group, place
        As in :class:`Pairs`; one condition, every item its own group, and ``name:number`` by
        default.

    Raises
    ------
    InputError
        No item, lists of different length, or an empty text.
    """
    n = len(good)
    columns = {
        "prefix": [""] * n if prefix is None else list(prefix),
        "bad": list(bad),
        "condition": [""] * n if condition is None else list(condition),
        "group": [f"{name}:{i + 1}" for i in range(n)] if group is None else list(group),
        "place": [f"{name}:{i + 1}" for i in range(n)] if place is None else list(place),
    }
    if not n:
        raise InputError("holds no minimal pair", where=name)
    for key, values in columns.items():
        if len(values) != n:
            raise InputError(f"{len(values)} values of {key} for {n} items", where=name)
    for i, (one, other) in enumerate(zip(good, bad, strict=True)):
        if not one.strip() or not other.strip():
            raise InputError("one text of the pair is empty", where=columns["place"][i])
    return Pairs(
        name,
        tuple(text.strip() for text in columns["prefix"]),
        tuple(text.strip() for text in good),
        tuple(text.strip() for text in bad),
        tuple(columns["condition"]),
        tuple(columns["group"]),
        tuple(columns["place"]),
    )
