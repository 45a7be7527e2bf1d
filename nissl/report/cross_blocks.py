"""Figures and tables under each of the four questions, and the table of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from nissl.report.figures import Picture, picture
from nissl.report.sections import Block
from nissl.report.tables import (
    Column,
    Table,
    count,
    interval,
    known,
    make_table,
    number,
    points,
    share,
    small,
    text,
)
from nissl.study.cross import CrossOutcome
from nissl.study.portrait import CrossFindings

__all__ = ["Models", "blocks_of", "models_of"]

WHO = (text("model", "model"), text("property", "property"))
MOST_ROWS = 400


@dataclass(frozen=True)
class Models:
    """One row a model: name, link to its page (empty if there is none), and what it is."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]


def models_of(outcome: CrossOutcome, out: Path) -> Models:
    """Return the table of models; a page is linked by a path relative to that of the whole."""
    rows = []
    named = {model.shown: model.name for model in outcome.config.models}
    for model in outcome.findings.models:
        first = outcome.findings.overview.filter(pl.col("model") == model).row(0, named=True)
        page = f"{outcome.folders[model]}/report.html"
        facts = (
            Path(named[model]).name,
            f"{first['layers']:,}",
            f"{first['neurons']:,}",
            f"{outcome.seconds[model]:,.0f}",
        )
        rows.append((model, page if (out / page).is_file() else "", facts))
    heads = ("from", "layers", "neurons", "CPU s, analysis")
    return Models(heads, tuple(rows))


def blocks_of(found: CrossFindings) -> tuple[Block, Block, Block, Block]:
    """Return one block a question, in the order of the answers; their text is the answers'."""
    return _few(found), _where(found), _local(found), _shared(found)


def _figure(found: CrossFindings, what: Any, alt: str, caption: str) -> Picture:
    return picture(lambda: found.plot(what=what), alt=alt, caption=caption)


def _range(low: str, high: str, head: str, form: Callable[[float], str]) -> Column:
    def cell(row: Any) -> str:
        return f"{form(row[low])} to {form(row[high])}"

    return Column(head, cell)


def _around(name: str, head: str, digits: int) -> Column:
    """Return a column of a number with its interval."""

    def cell(row: Any) -> str:
        value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
        if not known(value):
            return "–"
        ends = f" [{low:,.{digits}f}, {high:,.{digits}f}]" if known(low) and known(high) else ""
        return f"{value:,.{digits}f}{ends}"

    return Column(head, cell)


def _ends(name: str, head: str) -> Column:
    return interval(name, head, low=f"{name}_low", high=f"{name}_high")


def _few(found: CrossFindings) -> Block:
    probes = make_table(
        found.overview,
        "Probes on all neurons (test)",
        (
            *WHO,
            text("level", "level"),
            count("classes", "classes"),
            count("train_tokens", "train tokens"),
            interval("accuracy", "accuracy [95%]"),
            share("majority", "majority"),
            _ends("random_weights", "random weights [95%]"),
            points("selectivity", "selectivity (points)"),
        ),
    )
    sets = make_table(
        found.sets,
        "Minimal sets",
        (
            *WHO,
            small("delta", "δ (points)"),
            count("k", "k"),
            _range("k_low", "k_high", "k by dev", lambda v: f"{v:,}"),
            number("percent", "% of neurons", 1),
            interval("accuracy", "test [95%]"),
            interval(
                "random_accuracy", "random neurons, test", low="random_low", high="random_high"
            ),
        ),
    )
    return Block(
        title="Minimal sets",
        caveat="Sizes are where noisy curves cross, and depend on how many classes a property has "
        "and how frequent they are, not only on its level.",
        figures=(
            _figure(
                found,
                "sets",
                "Size of the minimal set of each model and property in per cent of the neurons",
                "Neurons needed, in per cent; bars are the sizes that the dev tokens allow.",
            ),
        ),
        tables=(probes, sets),
    )


def _where(found: CrossFindings) -> Block:
    figures = tuple(
        picture(
            lambda name=name: found.plot(what="layers", property=name),
            alt=f"{name}: test accuracy of each layer alone against relative depth, by model",
            caption=f"{name}: accuracy of each layer alone, with 95% intervals.",
        )
        for name in found.properties
    )
    table = make_table(
        found.layers,
        "Layers",
        (
            *WHO,
            text("site", "layer"),
            number("depth", "depth"),
            count("neurons", "neurons"),
            interval("accuracy", "alone [95%]"),
            count("selected", "selected"),
            number("expected", "by chance", 1),
            small("p_holm", "p (Holm)"),
        ),
        limit=MOST_ROWS,
    )
    return Block(
        title="Layers",
        caveat="A layer alone has few neurons, and wide models have more of them in each.",
        figures=figures,
        tables=(table,),
    )


def _local(found: CrossFindings) -> Block:
    spread = make_table(
        found.overview,
        "Neurons a label, and how uneven weights are",
        (
            *WHO,
            _around("label_neurons", "neurons, median [95%]", 1),
            _around("label_percent", "% of neurons [95%]", 2),
            number("gini", "Gini"),
            number("layer_entropy", "layer entropy (share)"),
        ),
    )
    labels = make_table(
        found.labels,
        "Every label",
        (
            *WHO,
            text("label", "label"),
            count("train_tokens", "train tokens"),
            Column(
                "neurons [95%]",
                lambda row: f"{row['neurons']:,} [{row['low']:.0f}, {row['high']:.0f}]",
            ),
            number("percent", "% of neurons", 2),
        ),
        limit=MOST_ROWS,
    )
    return Block(
        title="Neurons a label",
        caveat="Rare labels have barely trained weights; counts depend on the penalties, too, "
        "which are chosen for each model and property.",
        figures=(
            _figure(
                found,
                "labels",
                "Neurons that hold a label's weight, by property and model",
                "Neurons a label: every dot a label, the bar the median.",
            ),
        ),
        tables=(spread, labels),
    )


def _shared(found: CrossFindings) -> Block:
    pairs = make_table(
        found.overview.filter(pl.col("pairs").is_not_null()),
        "Pairs of labels",
        (
            *WHO,
            count("pairs", "pairs"),
            count("pairs_shared", "share more than chance"),
            _ends("pair_share", "mean share [95%]"),
            share("pair_expected", "by chance"),
        ),
    )
    tables: tuple[Table, ...] = (pairs,)
    if found.overlaps.height:
        overlaps = make_table(
            found.overlaps,
            "Pairs of properties",
            (
                text("model", "model"),
                text("a", "property"),
                text("b", "and"),
                count("size_a", "size"),
                count("overlap", "shared"),
                number("expected", "by chance", 1),
                share("share", "share"),
                share("expected_share", "by chance"),
                small("p_holm", "p (Holm)"),
            ),
        )
        tables = (pairs, overlaps)
    return Block(
        title="Overlaps",
        caveat="Two labels that a probe tells apart by the same neurons share them by "
        "construction; chance is random sets of the same sizes.",
        tables=tables,
    )
