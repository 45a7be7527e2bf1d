"""The opening of a page: what was found in sentences, and one row a property."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from nissl.report.tables import MISSING, Column, Table, percent
from nissl.study.outcome import PropertyFindings, StudyOutcome

__all__ = ["Headline", "headlines", "opening", "overview"]


@dataclass(frozen=True)
class Headline:
    """What was found for one property: its anchor, name and a few sentences."""

    anchor: str
    name: str
    classes: int
    sentences: tuple[str, ...]


def opening(outcome: StudyOutcome) -> str:
    """Return the line below the title: model and corpora."""
    model = outcome.model
    neurons = f"{model['neurons']:,} neurons" if isinstance(model.get("neurons"), int) else ""
    layers = f"{model['layers']} layers" if model.get("layers") is not None else ""
    size = ", ".join(part for part in (layers, neurons) if part)
    corpora = "; ".join(
        f"{corpus.get('name', key)} ({corpus['tokens']:,} tokens in "
        f"{corpus['sentences']:,} sentences)"
        if {"tokens", "sentences"} <= set(corpus)
        else str(corpus.get("name", key))
        for key, corpus in outcome.corpora.items()
    )
    return f"{model.get('name', 'model')}{f' ({size})' if size else ''} × {corpora}"


def headlines(outcome: StudyOutcome) -> list[Headline]:
    """Return the headline of each property."""
    return [
        Headline(
            anchor=f"property-{i}",
            name=name,
            classes=len(findings.probe.classes),
            sentences=tuple(_sentences(findings)),
        )
        for i, (name, findings) in enumerate(outcome.properties.items(), start=1)
    ]


def _sentences(findings: PropertyFindings) -> Iterable[str]:
    probe, base = findings.probe, _baselines(findings)
    beside = [f"{name} {value:.1%}" for name, value in base.items() if name != "probe"]
    beside = beside or [f"majority {probe.majority:.1%}"]
    yield (
        f"A linear probe is right on {probe.accuracy:.1%} of test tokens (95% interval "
        f"{probe.low:.1%} to {probe.high:.1%}); {', '.join(beside)}."
    )
    sets = findings.minimal.sets.sort("delta")
    if sets.height:
        row = sets.row(-1, named=True)
        points = "point" if row["delta"] == 1 else "points"
        yield (
            f"Retrained on {row['k']:,} of {probe.neurons.height:,} neurons "
            f"({row['percent']:.1f}%), it comes within {row['delta']:g} {points} of all of them on "
            f"dev; on test the set gives {row['accuracy']:.1%}, as many random neurons "
            f"{row['random_accuracy']:.1%}."
        )
    near = one_percent(findings)
    if near:
        top, rand, bottom = (near[kind] for kind in ("top", "random", "bottom"))
        yield (
            f"The best {top['k']:,} ({top['percent']:.2g}%) give {top['accuracy']:.1%}, as many "
            f"random ones {rand['accuracy']:.1%}, the worst {bottom['accuracy']:.1%}."
        )
    best = best_layer(findings)
    if best:
        yield f"The best single layer is {best['site']} ({best['accuracy']:.1%})."
    chosen = _selectivity(findings)
    if chosen:
        said = [
            f"{100 * value:.1f} points for {name.replace('minimal', 'the minimal')}"
            for name, value in chosen.items()
        ]
        yield f"Selectivity over the control task is {' and '.join(said)}."


def one_percent(findings: PropertyFindings) -> Mapping[str, Mapping[str, Any]]:
    """Return the retrained rows (top, random, bottom) of the size closest to 1 %."""
    rows = findings.ablation.table.filter(pl.col("how") == "retrain")
    top = rows.filter(pl.col("kind") == "top").sort((pl.col("percent") - 1.0).abs())
    if not top.height:
        return {}
    at = rows.filter((pl.col("k") == top["k"][0]) & (pl.col("kind") != "all"))
    return {row["kind"]: row for row in at.iter_rows(named=True)}


def best_layer(findings: PropertyFindings) -> Mapping[str, Any] | None:
    """Return the row of the layer whose neurons alone do best."""
    table = findings.layers.table
    best = table["accuracy"].arg_max()
    return None if best is None else table.row(best, named=True)


def _baselines(findings: PropertyFindings) -> dict[str, float]:
    table = findings.baselines.table
    return dict(zip(table["name"].to_list(), table["accuracy"].to_list(), strict=True))


def _selectivity(findings: PropertyFindings) -> dict[str, float]:
    if findings.selectivity is None:
        return {}
    rows = {row["neurons"]: row["selectivity"] for row in findings.selectivity.table.to_dicts()}
    sets = [name for name in rows if name.startswith("minimal set")]
    return {name: rows[name] for name in ("all neurons", *sets[-1:]) if name in rows}


def overview(outcome: StudyOutcome) -> Table:
    """Return the table with one row a property."""
    deltas = sorted({d for f in outcome.properties.values() for d in f.minimal.sets["delta"]})
    heads = [
        Column("property", str, False),
        *(Column(head, str) for head in ("classes", "train tokens", "test tokens")),
        Column("accuracy [95%]", str),
        *(Column(head, str) for head in ("majority", "word memory", "random weights")),
        *(Column(f"minimal set, δ\u00a0=\u00a0{delta:g}", str) for delta in deltas),
        Column("selectivity (points)", str),
        Column("best layer", str, False),
    ]
    rows = []
    for name, findings in outcome.properties.items():
        probe, base = findings.probe, _baselines(findings)
        sets = {row["delta"]: row for row in findings.minimal.sets.iter_rows(named=True)}
        best = best_layer(findings)
        selectivity = _selectivity(findings).get("all neurons")
        rows.append(
            (
                name,
                f"{len(probe.classes):,}",
                f"{findings.classes['train'].sum():,}",
                f"{findings.classes['test'].sum():,}",
                f"{probe.accuracy:.1%} [{100 * probe.low:.1f}, {100 * probe.high:.1f}]",
                percent(probe.majority),
                percent(base.get("word memory")),
                percent(base.get("random-weights model")),
                *(
                    f"{sets[delta]['k']:,} ({sets[delta]['percent']:.1f}%)"
                    if delta in sets
                    else MISSING
                    for delta in deltas
                ),
                MISSING if selectivity is None else f"{100 * selectivity:+.1f}",
                f"{best['site']} ({best['accuracy']:.1%})" if best else MISSING,
            )
        )
    note = (
        "Accuracies are on test tokens, with 95% sentence-bootstrap intervals. Selectivity: all "
        "neurons, property minus control task. Best layer: a probe retrained on it alone."
    )
    return Table(caption="All properties", columns=tuple(heads), rows=tuple(rows), note=note)
