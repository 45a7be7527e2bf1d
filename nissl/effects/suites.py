"""Test suites of SyntaxGym: sentences in regions, and predictions about their surprisals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nissl.corpus.lines import read_bytes, source_name
from nissl.effects.formula import Formula, parse_formula
from nissl.errors import InputError, did_you_mean

__all__ = ["Suite", "read_suite"]


@dataclass(frozen=True, eq=False)
class Suite:
    """A suite: for each item and condition a sentence, cut into regions.

    Attributes
    ----------
    conditions
        Names, the same in every item.
    regions
        (items)(conditions)(regions) texts, in the order of the sentence; empty ones are kept.
    numbers
        Number of each region, as formulas name them.
    predictions
        Formulas that should be true of an item.
    place
        ``file:item N`` of each item.
    """

    name: str
    conditions: tuple[str, ...]
    regions: tuple[tuple[tuple[str, ...], ...], ...]
    numbers: tuple[tuple[tuple[int, ...], ...], ...]
    predictions: tuple[Formula, ...]
    place: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.regions)

    def __repr__(self) -> str:
        return (
            f"Suite({self.name!r}: {len(self)} items, {len(self.conditions)} conditions, "
            f"{len(self.predictions)} predictions)"
        )


def read_suite(source: str | Path) -> Suite:
    """Read a suite of SyntaxGym (Gauthier et al. 2020), a JSON file or one in an archive.

    Raises
    ------
    InputError
        Not such JSON, an item that lacks a condition, or a formula that cannot be read or names
        a condition or region that is not there (``file:item``).
    """
    try:
        tree: Any = json.loads(read_bytes(source).decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"not JSON ({error})", where=str(source)) from None
    items = tree.get("items") if isinstance(tree, dict) else None
    if not isinstance(items, list) or not items:
        raise InputError('needs "items", a list; is it a SyntaxGym suite?', where=str(source))
    meta = tree.get("meta") or {}
    metric = meta.get("metric", "sum")
    if metric != "sum":
        raise InputError(
            f'metric "{metric}" is not known: regions are measured by the sum of their surprisals',
            where=str(source),
        )
    conditions: tuple[str, ...] = ()
    regions, numbers, places = [], [], []
    for i, item in enumerate(items):
        where = (
            f"{source}:item {item.get('item_number', i + 1) if isinstance(item, dict) else i + 1}"
        )
        table = _item(item, where)
        conditions = conditions or tuple(table)
        if set(table) != set(conditions):
            odd = sorted(set(table) ^ set(conditions))
            raise InputError(f"condition {odd[0]} is not in every item", where=where)
        regions.append(tuple(tuple(text for _, text in table[name]) for name in conditions))
        numbers.append(tuple(tuple(number for number, _ in table[name]) for name in conditions))
        places.append(where)
    formulas = []
    for prediction in tree.get("predictions") or []:
        text = prediction.get("formula") if isinstance(prediction, dict) else None
        if not isinstance(text, str):
            raise InputError('a prediction needs a "formula"', where=str(source))
        formula = parse_formula(text, where=str(source))
        if not formula.compares:
            raise InputError(
                f'formula "{text}" is a number, neither true nor false; compare it with another',
                where=str(source),
            )
        for condition, number in formula.regions:
            if condition not in conditions:
                raise InputError(
                    f'formula "{text}" names condition "{condition}"; there are '
                    f"{', '.join(conditions)}.{did_you_mean(condition, conditions)}",
                    where=str(source),
                )
            c = conditions.index(condition)
            for each, where in zip(numbers, places, strict=True):
                if number != "*" and int(number) not in each[c]:
                    raise InputError(f"{condition} has no region {number}", where=where)
        formulas.append(formula)
    if not formulas:
        raise InputError("has no predictions", where=str(source))
    name = str(meta.get("name") or Path(source_name(source)).stem)
    return Suite(name, conditions, tuple(regions), tuple(numbers), tuple(formulas), tuple(places))


def _item(item: Any, where: str) -> dict[str, list[tuple[int, str]]]:
    """Return condition → its regions, each a number and a text."""
    found = item.get("conditions") if isinstance(item, dict) else None
    if not isinstance(found, list) or not found:
        raise InputError('needs "conditions", a list', where=where)
    table: dict[str, list[tuple[int, str]]] = {}
    for condition in found:
        try:
            name = str(condition["condition_name"])
            rows = [(int(r["region_number"]), str(r["content"])) for r in condition["regions"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"a condition needs condition_name and regions with region_number and content "
                f"({type(error).__name__}: {error})",
                where=where,
            ) from None
        if name in table:
            raise InputError(f"condition {name} is there twice", where=where)
        if not any(text.strip() for _, text in rows):
            raise InputError(f"condition {name} has no text", where=where)
        table[name] = rows
    return table
