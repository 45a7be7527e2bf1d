"""The formula language of SyntaxGym: comparisons of regions' surprisals."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nissl.errors import InputError

__all__ = ["Formula", "parse_formula"]

SAME = 1e-6
"""Surprisals nearer than this, in bits, are equal."""

_TOKEN = re.compile(
    r"\s*(?:(?P<region>\(\s*(?P<number>\d+|\*)\s*;\s*%(?P<condition>[^%]+)%\s*\))"
    r"|(?P<value>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<sign>[\[\]()+\-&|<>=*/]))"
)
_LEVELS = ("|", "&", "<>=", "+-", "*/")
"""Operators from loosest to tightest; those of one level go from left to right."""

_COMPARES = _LEVELS.index("<>=")

Lookup = Callable[[str, str], float]
Node = tuple


@dataclass(frozen=True, eq=False)
class Formula:
    """A parsed formula.

    Attributes
    ----------
    text
        As it was written.
    regions
        The regions that it needs, each ``(condition, number)``; the number may be ``*``, the sum
        of all regions.
    """

    text: str
    regions: tuple[tuple[str, str], ...]
    tree: Node

    @property
    def compares(self) -> bool:
        """Whether it is true or false, not a number."""
        return self.tree[0] == "both" and self.tree[1] in "<>=&|"

    def value(self, surprisal: Lookup) -> float | bool:
        """Evaluate it; ``surprisal`` is called with condition and region."""
        return _value(self.tree, surprisal)


def parse_formula(text: str, *, where: str | None = None) -> Formula:
    """Parse a formula such as ``[(6;%match%) < (6;%mismatch%)] & [(7;%a%) - (7;%b%) > 0]``.

    A region is ``(number;%condition%)``, the number ``*`` for all of a sentence; brackets, round
    or square, group; ``+ - * /`` are sums and products, ``< > =`` compare two values, ``&`` and
    ``|`` join.
    Products bind tightest, then sums, comparisons, ``&``, and ``|``.

    Raises
    ------
    InputError
        A character that has no place; what was expected is said.
    """
    tokens = list(_tokens(text, where))
    tree, rest = _parse(tokens, 0, 0, text, where)
    if rest < len(tokens):
        raise InputError(f'formula "{text}": "{_shown(tokens[rest])}" has no place', where=where)
    return Formula(text, tuple(dict.fromkeys(_regions(tree))), tree)


def _tokens(text: str, where: str | None) -> Iterator[Node]:
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            raise InputError(f'formula "{text}": cannot read "{text[at:][:20]}"', where=where)
        at = found.end()
        if found["region"]:
            yield ("region", found["condition"].strip(), found["number"])
        elif found["value"]:
            yield ("value", float(found["value"]))
        else:
            yield ("sign", found["sign"])


def _parse(
    tokens: list[Node], at: int, level: int, text: str, where: str | None
) -> tuple[Node, int]:
    """Parse operators of a level and those that bind tighter; return the tree and what is next."""
    if level == len(_LEVELS):
        return _single(tokens, at, text, where)
    left, at = _parse(tokens, at, level + 1, text, where)
    again = False
    while at < len(tokens) and tokens[at][0] == "sign" and tokens[at][1] in _LEVELS[level]:
        sign = tokens[at][1]
        right, at = _parse(tokens, at + 1, level + 1, text, where)
        if again and level == _COMPARES:
            # Whether something is smaller is no value that another could be compared with.
            raise InputError(
                f'formula "{text}" compares three values in a row; join two comparisons with &',
                where=where,
            )
        again = True
        left = ("both", sign, left, right)
    return left, at


def _single(tokens: list[Node], at: int, text: str, where: str | None) -> tuple[Node, int]:
    if at == len(tokens):
        raise InputError(f'formula "{text}" ends where a value should follow', where=where)
    token = tokens[at]
    if token[0] in ("region", "value"):
        return token, at + 1
    if token[1] == "-":
        inner, at = _single(tokens, at + 1, text, where)
        return ("both", "-", ("value", 0.0), inner), at
    if token[1] in "[(":
        inner, at = _parse(tokens, at + 1, 0, text, where)
        close = "]" if token[1] == "[" else ")"
        if at == len(tokens) or tokens[at] != ("sign", close):
            raise InputError(f'formula "{text}" lacks a "{close}"', where=where)
        return inner, at + 1
    raise InputError(f'formula "{text}": "{token[1]}" stands where a value should', where=where)


def _shown(token: Node) -> str:
    return f"({token[2]};%{token[1]}%)" if token[0] == "region" else str(token[1])


def _regions(tree: Node) -> Iterator[tuple[str, str]]:
    if tree[0] == "region":
        yield tree[1], tree[2]
    elif tree[0] == "both":
        yield from _regions(tree[2])
        yield from _regions(tree[3])


def _value(tree: Node, surprisal: Lookup) -> float | bool:
    if tree[0] == "region":
        return surprisal(tree[1], tree[2])
    if tree[0] == "value":
        return tree[1]
    sign, one, other = tree[1], _value(tree[2], surprisal), _value(tree[3], surprisal)
    match sign:
        case "&":
            return bool(one) and bool(other)
        case "|":
            return bool(one) or bool(other)
        case "<":
            return one < other
        case ">":
            return one > other
        case "=":
            return math.isclose(one, other, rel_tol=0.0, abs_tol=SAME)
        case "+":
            return one + other
        case "-":
            return one - other
        case "*":
            return one * other
    return one / other if other else math.nan
