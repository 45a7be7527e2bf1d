"""Named sets of tokens: candidates within limits, once each, and a count of what is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from nissl.errors import InputError, SettingError
from nissl.methods._concept_families import Candidate

__all__ = ["ConceptBuilder", "Concepts", "check_limits"]

SHOWN = 3
"""Names of equal concepts that are printed; the others are counted."""


@dataclass(frozen=True, eq=False)
class Concepts:
    """K named sets of tokens.

    Attributes
    ----------
    names
        Name of each concept, (K,), such as ``upos=NOUN``; concepts of exactly the same tokens are
        one, whose name joins theirs by "≡".
    families
        Family of each (of its first name): ``word``, ``lemma``, a label column, ``characters``…
    bits
        The sets, packed along tokens, uint8 (K, ⌈n / 8⌉); :meth:`masks` unpacks them.
    n_tokens
        Number of tokens n.
    counts
        Tokens of each concept, (K,).
    same
        All names of each concept, those that are joined included.
    left_out
        Why candidates are no concepts, and how many.
    missing
        Label column → tokens without a value; they are in none of its concepts.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    bits: np.ndarray
    n_tokens: int
    counts: np.ndarray
    same: tuple[tuple[str, ...], ...]
    left_out: Mapping[str, int]
    missing: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Concepts({len(self):,} of {self.n_tokens:,} tokens)"

    def masks(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the sets as bool (K, n), or (K, len(rows)) for some tokens."""
        shape = (len(self), self.n_tokens if rows is None else len(rows))
        out = np.empty(shape, dtype=bool)
        for i, line in enumerate(self.bits):
            whole = np.unpackbits(line, count=self.n_tokens).view(bool)
            out[i] = whole if rows is None else whole[rows]
        return out

    def frame(self) -> pl.DataFrame:
        """One row a concept: ``concept, family, count, same_as``."""
        return pl.DataFrame(
            {
                "concept": self.names,
                "family": self.families,
                "count": self.counts,
                "same_as": ["≡".join(names[1:]) for names in self.same],
            },
            schema_overrides={"concept": pl.String, "family": pl.String, "same_as": pl.String},
        )

    def not_made(self) -> dict[str, int]:
        """Return :attr:`left_out`, and the tokens that label columns have no value for."""
        lacking = {f"{name}: tokens without a value": n for name, n in self.missing.items()}
        return {**self.left_out, **lacking}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names and sets."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        digest.update(f"\n{self.n_tokens}\n".encode())
        digest.update(np.ascontiguousarray(self.bits).tobytes())
        return digest.hexdigest()


def check_limits(min_count: int, max_count: int | None, most: int | None) -> None:
    """Refuse limits that no concept could be within."""
    if min_count < 1:
        raise SettingError(f"a concept has 1 token or more, not {min_count}")
    if max_count is not None and max_count < min_count:
        raise SettingError(f"max_count {max_count} is below min_count {min_count}")
    if most is not None and most < 1:
        raise SettingError(f"most concepts of a family are 1 or more, not {most}")


class ConceptBuilder:
    """Takes candidates family by family; keeps what is within limits, once."""

    def __init__(self, n: int, min_count: int, max_count: int | None, most: int | None) -> None:
        self.n, self.min_count, self.max_count, self.most = n, min_count, max_count, most
        self.left_out: dict[str, int] = {}
        self.bits: list[np.ndarray] = []
        self.families: list[str] = []
        self.names: list[list[str]] = []
        self.counts: list[int] = []
        self.place: dict[bytes, int] = {}

    def add(self, family: str, candidates: Iterable[Candidate]) -> None:
        kept: list[Candidate] = []
        for name, rows in candidates:
            if len(rows) < self.min_count:
                self._leave(f"{family}: fewer than {self.min_count} tokens")
            elif self.max_count is not None and len(rows) > self.max_count:
                self._leave(f"{family}: more than {self.max_count:,} tokens")
            elif len(rows) == self.n:
                self._leave(f"{family}: all tokens")
            else:
                kept.append((name, rows))
        if self.most is not None and len(kept) > self.most:
            self._leave(f"{family}: beyond the {self.most} largest", len(kept) - self.most)
            order = sorted(range(len(kept)), key=lambda i: (-len(kept[i][1]), i))[: self.most]
            kept = [kept[i] for i in sorted(order)]
        for name, rows in kept:
            self._keep(family, name, rows)

    def _keep(self, family: str, name: str, rows: np.ndarray) -> None:
        mask = np.zeros(self.n, dtype=bool)
        mask[rows] = True
        packed = np.packbits(mask)
        key = hashlib.blake2b(packed.tobytes(), digest_size=16).digest()
        if key in self.place:
            self.names[self.place[key]].append(name)
            self._leave("joined with a concept of the same tokens")
            return
        self.place[key] = len(self.names)
        self.bits.append(packed)
        self.families.append(family)
        self.names.append([name])
        self.counts.append(len(rows))

    def _leave(self, why: str, times: int = 1) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + times

    def finish(self, missing: Mapping[str, int]) -> Concepts:
        if not self.names:
            why = "; ".join(f"{reason}: {count}" for reason, count in self.left_out.items())
            raise InputError(f"no concept is left ({why or 'there was no candidate'})")
        return Concepts(
            names=tuple(_joined(names) for names in self.names),
            families=tuple(self.families),
            bits=np.stack(self.bits),
            n_tokens=self.n,
            counts=np.array(self.counts, dtype=np.int64),
            same=tuple(tuple(names) for names in self.names),
            left_out=dict(self.left_out),
            missing=dict(missing),
        )


def _joined(names: Sequence[str]) -> str:
    """Return one name for equal concepts: the first ones, and how many more there are."""
    more = f" (≡{len(names) - SHOWN} more)" if len(names) > SHOWN else ""
    return "≡".join(names[:SHOWN]) + more
