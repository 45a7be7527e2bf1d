"""Tables of a page: frames turned into rows of formatted cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

__all__ = [
    "Column",
    "Table",
    "count",
    "interval",
    "make_table",
    "number",
    "percent",
    "points",
    "small",
    "text",
]

MISSING = "–"
Format = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Column:
    """A heading, how to make a cell of a row, and whether cells are numbers."""

    head: str
    cell: Format
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table ready to print: ``rows`` holds text, which the template escapes."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def make_table(
    frame: pl.DataFrame, caption: str, columns: Sequence[Column], *, limit: int | None = None
) -> Table:
    """Format a frame; more rows than ``limit`` are cut, and the note says so."""
    shown = frame if limit is None else frame.head(limit)
    note = ""
    if shown.height < frame.height:
        note = f"The first {shown.height:,} of {frame.height:,} rows."
    rows = tuple(
        tuple(column.cell(row) for column in columns) for row in shown.iter_rows(named=True)
    )
    return Table(caption=caption, columns=tuple(columns), rows=rows, note=note)


def known(value: Any) -> bool:
    """Return whether there is a value that can be printed as a number."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def percent(value: float | None) -> str:
    """Format a share, such as ``95.1%``."""
    return f"{value:.1%}" if value is not None and known(value) else MISSING


def text(name: str, head: str) -> Column:
    """Return a column of text."""
    return Column(head, lambda row: MISSING if row[name] is None else str(row[name]), False)


def count(name: str, head: str) -> Column:
    """Return a column of whole numbers."""
    return Column(head, lambda row: f"{row[name]:,.0f}" if known(row[name]) else MISSING)


def number(name: str, head: str, digits: int = 2) -> Column:
    """Return a column of numbers with so many decimals."""
    return Column(head, lambda row: f"{row[name]:,.{digits}f}" if known(row[name]) else MISSING)


def small(name: str, head: str, digits: int = 2) -> Column:
    """Return a column of numbers of any size, such as p-values."""
    return Column(head, lambda row: f"{row[name]:.{digits}g}" if known(row[name]) else MISSING)


def share(name: str, head: str) -> Column:
    """Return a column of shares as percentages."""
    return Column(head, lambda row: percent(row[name]))


def points(name: str, head: str) -> Column:
    """Return a column of differences between shares, in signed points."""
    return Column(head, lambda row: f"{100 * row[name]:+.1f}" if known(row[name]) else MISSING)


def interval(name: str, head: str, low: str = "low", high: str = "high") -> Column:
    """Return a column of shares, each with its interval."""

    def cell(row: Mapping[str, Any]) -> str:
        if not known(row[name]):
            return MISSING
        if not (known(row[low]) and known(row[high])):
            return percent(row[name])
        return f"{row[name]:.1%} [{100 * row[low]:.1f}, {100 * row[high]:.1f}]"

    return Column(head, cell)
