"""Logical formulas over concepts: what they are, say, and cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from jaxtyping import Bool

from nissl.errors import InputError, SettingError
from nissl.kernels._bits import PackedMasks, pack, packed, unpack

__all__ = ["OPS", "Formula", "Op", "PackedMasks", "formula_masks", "pack", "packed", "unpack"]

Op = Literal["or", "and", "and not"]
OPS: tuple[Op, ...] = ("or", "and", "and not")
"""In the order of the numbers by which compiled loops know them."""


@dataclass(frozen=True)
class Formula:
    """A left-deep formula ((l₀ op₀ l₁) op₁ l₂) … as Mu & Andreas (2020, section 2) search them.

    Leaves that may change places are put in order when the formula is made (A OR B is B OR A;
    (A AND NOT C) AND B is (A AND B) AND NOT C), so that formulas that differ only in that compare
    equal. Formulas can still have the same mask and differ.

    Attributes
    ----------
    leaves
        Numbers of the concepts, one or more.
    ops
        What joins each further leaf to all before it; one fewer than leaves.

    Raises
    ------
    SettingError
        No leaves, a negative one, another number of operators, or an unknown operator.
    """

    leaves: tuple[int, ...]
    ops: tuple[Op, ...] = ()

    def __post_init__(self) -> None:
        if len(self.leaves) != len(self.ops) + 1 or min(self.leaves) < 0:
            raise SettingError(
                f"a formula has one leaf more than operators and leaves from 0 on, not "
                f"{self.leaves} and {self.ops}"
            )
        for op in self.ops:
            if op not in OPS:
                raise SettingError(f'an operator is one of {", ".join(OPS)}, not "{op}"')
        leaves, ops = _ordered(tuple(int(leaf) for leaf in self.leaves), self.ops)
        object.__setattr__(self, "leaves", leaves)
        object.__setattr__(self, "ops", ops)

    def __len__(self) -> int:
        """Return the number of leaves."""
        return len(self.leaves)

    def mask(self, concepts: Bool[np.ndarray, "k n"]) -> Bool[np.ndarray, " n"]:
        """Return the tokens that the formula covers, bool (N,).

        Parameters
        ----------
        concepts
            Tokens of each concept, (K, N).

        Raises
        ------
        InputError
            A leaf that is not among the concepts.
        """
        return self._apply(concepts)

    def _apply(self, rows: np.ndarray) -> np.ndarray:
        """Combine rows of booleans or of words."""
        if max(self.leaves) >= len(rows):
            raise InputError(
                f"the formula names concept {max(self.leaves)}, and there are {len(rows)}"
            )
        out = rows[self.leaves[0]].copy()
        for op, leaf in zip(self.ops, self.leaves[1:], strict=True):
            if op == "or":
                out |= rows[leaf]
            elif op == "and":
                out &= rows[leaf]
            else:
                out &= ~rows[leaf]
        return out

    def text(self, names: Sequence[str]) -> str:
        """Write the formula out, such as ``(A OR B) AND NOT C``.

        Parameters
        ----------
        names
            Name of each concept.
        """
        out, before = str(names[self.leaves[0]]), ""
        for op, leaf in zip(self.ops, self.leaves[1:], strict=True):
            # A chain of one kind needs no brackets: AND and AND NOT may stand side by side.
            if before and (before == "or") != (op == "or"):
                out = f"({out})"
            out, before = f"{out} {op.upper()} {names[leaf]}", op
        return out


def formula_masks(
    formulas: Sequence[Formula | None], concepts: Bool[np.ndarray, "k n"] | PackedMasks
) -> PackedMasks:
    """Return the mask of each formula, packed; ``None`` (no formula) covers nothing.

    Raises
    ------
    InputError
        A leaf that is not among the concepts.
    """
    given = packed(concepts)
    words = np.zeros((len(formulas), given.words.shape[1]), dtype=np.uint64)
    for row, formula in zip(words, formulas, strict=True):
        if formula is not None:
            row[:] = formula._apply(given.words)
    return PackedMasks(words, given.n)


def _ordered(
    leaves: tuple[int, ...], ops: tuple[Op, ...]
) -> tuple[tuple[int, ...], tuple[Op, ...]]:
    """Sort what commutes: runs of OR, and runs of AND and AND NOT with the ANDs first."""
    out: list[tuple[str, int]] = []
    i = 0
    while i < len(ops):
        end = i
        while end < len(ops) and (ops[end] == "or") == (ops[i] == "or"):
            end += 1
        run = [
            (str(op), leaf) for op, leaf in zip(ops[i:end], leaves[i + 1 : end + 1], strict=True)
        ]
        if i == 0:
            # The first leaf stands like one that is joined by the (positive) operator of the run.
            run.append(("or" if ops[0] == "or" else "and", leaves[0]))
        out += sorted(run)
        i = end
    if not out:
        return leaves, ops
    kinds, order = zip(*out, strict=True)
    return order, cast("tuple[Op, ...]", kinds[1:])
