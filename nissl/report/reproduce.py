"""What a reader needs to run a study again: configuration, fingerprints, versions, seeds, times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from nissl.report.tables import Column, Table
from nissl.study.outcome import StudyOutcome

__all__ = ["Recipe", "recipe"]


@dataclass(frozen=True)
class Recipe:
    """Command and configuration as text, and the tables beside them."""

    command: str
    config: str
    tables: tuple[Table, ...]
    left_out: Mapping[str, Mapping[str, int]]


def recipe(outcome: StudyOutcome) -> Recipe:
    """Collect how to repeat the study."""
    return Recipe(
        command=outcome.command,
        config=yaml.safe_dump(
            _plain(outcome.config), sort_keys=False, allow_unicode=True, width=88
        ),
        tables=(
            _pairs("Model", _flat(outcome.model)),
            *(_pairs(f"Corpus {key}", _flat(corpus)) for key, corpus in outcome.corpora.items()),
            _pairs("Versions", outcome.versions),
            _seeds(outcome),
            _times(outcome),
        ),
        left_out={
            str(corpus.get("name", key)): corpus.get("left_out") or {}
            for key, corpus in outcome.corpora.items()
        },
    )


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if key == "left_out":
            continue
        if isinstance(value, Mapping):
            out.update({f"{key}: {inner}": item for inner, item in value.items()})
        else:
            out[key] = value
    return out


def _pairs(caption: str, values: Mapping[str, Any]) -> Table:
    columns = (Column("what", str, False), Column("value", str, False))
    rows = tuple((str(key), _say(value)) for key, value in values.items())
    return Table(caption=caption, columns=columns, rows=rows)


def _say(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return "–" if value is None else str(value)


def _seeds(outcome: StudyOutcome) -> Table:
    names = list(outcome.properties)
    steps = list(dict.fromkeys(s for f in outcome.properties.values() for s in f.results()))
    rows = []
    for step in steps:
        cells = []
        for name in names:
            result = outcome.properties[name].results().get(step)
            seed = None if result is None else result.provenance.seed
            cells.append("–" if seed is None else str(seed))
        rows.append((step, *cells))
    columns = (Column("step", str, False), *(Column(name, str) for name in names))
    note = "A dash: nothing random in that step."
    return Table(caption="Seeds", columns=columns, rows=tuple(rows), note=note)


def _times(outcome: StudyOutcome) -> Table:
    rows = [(stage, f"{value:,.1f}", "wall") for stage, value in outcome.seconds.items()]
    rows += [
        (f"{name}: {step}", f"{value:,.1f}", "CPU")
        for name, findings in outcome.properties.items()
        for step, value in findings.seconds.items()
    ]
    columns = (Column("stage", str, False), Column("seconds", str), Column("clock", str, False))
    return Table(caption="Times", columns=columns, rows=tuple(rows))


def _plain(value: Any) -> Any:
    """Return the value in types that YAML writes plainly."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
