"""A comparison of rankings as blocks of a page, and as a page of its own."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from nissl.methods.agreement import NOT_TRUTH
from nissl.methods.comparison import Comparison
from nissl.plotting import new_axes
from nissl.report.figures import Picture, picture
from nissl.report.render import render_page, write_page
from nissl.report.sections import KINDS, Block
from nissl.report.tables import (
    MISSING,
    Column,
    count,
    interval,
    known,
    make_table,
    number,
    share,
    text,
)

__all__ = ["comparison_blocks", "time_block", "write_comparison"]


def comparison_blocks(found: Comparison, property: str) -> list[Block]:
    """Return the blocks of one property: accuracy, agreement, stability."""
    every = (_accuracy(found, property), _agreement(found, property), _stability(found, property))
    return [block for block in every if block is not None]


def time_block(found: Comparison) -> Block:
    """Return the block of CPU seconds."""
    table = make_table(
        found.times.sort("cpu_seconds"),
        "CPU seconds of each ranking",
        (text("property", "property"), text("method", "method"), number("cpu_seconds", "CPU s")),
    )
    return Block("Time", (), "A first call may hold the compilation of inner loops.", (), (table,))


def write_comparison(found: Comparison, path: str | os.PathLike[str]) -> Path:
    """Write a comparison as one HTML file that loads and runs nothing; return its path."""
    properties = ", ".join(found.properties)
    page = render_page(
        "comparison.html.j2",
        title=f"Rankings of neurons compared: {properties}",
        opening=f"{len(found.methods)} rankings × {properties}",
        lines=found.summary(),
        caveat=NOT_TRUTH,
        sections=[(name, comparison_blocks(found, name)) for name in found.properties],
        time=time_block(found),
    )
    return write_page(page, path)


def _accuracy(found: Comparison, property: str) -> Block:
    rows = found.table.filter(pl.col("property") == property)
    modes = {
        "retrain": "a new probe is trained on them",
        "mask": "all others are set to their mean",
    }
    present = [mode for mode in modes if (rows["how"] == mode).any()]
    figures: tuple[Picture, ...] = tuple(
        picture(
            lambda how=how: found.plot(new_axes(None, size=(6.4, 4.0)), property=property, how=how),
            alt=f"{property}: test accuracy of each ranking's best k neurons ({how})",
            caption=f"Accuracy when only a ranking's best k neurons are kept and {modes[how]}.",
        )
        for how in present
    )

    def signed(name: str, head: str) -> Column:
        def cell(row: dict[str, float | None]) -> str:
            value, low, high = (row[name + end] for end in ("", "_low", "_high"))
            if value is None or low is None or high is None or not known(value):
                return MISSING
            return f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"

        return Column(head, cell)  # type: ignore[arg-type]

    best = make_table(
        rows.filter(pl.col("kind") != "bottom").sort(
            ["how", "k", "accuracy"], descending=[True, False, True], maintain_order=True
        ),
        "Accuracy of kept neurons (test), best ranking first",
        (
            text("how", "how"),
            count("k", "k"),
            number("percent", "%", 1),
            text("method", "method"),
            interval("accuracy", "accuracy [95% interval]"),
            signed("gain", "over random sets (points)"),
            signed("behind", "behind the best (points)"),
        ),
    )
    worst = make_table(
        rows.filter(pl.col("kind") == "bottom").sort(
            ["how", "k", "accuracy"], descending=[True, False, False], maintain_order=True
        ),
        "Accuracy of the worst neurons (test)",
        (
            text("how", "how"),
            Column("neurons", lambda row: KINDS[row["kind"]], False),
            count("k", "k"),
            text("method", "method"),
            interval("accuracy", "accuracy [95% interval]"),
        ),
    )
    lines = [line for line in found.summary() if f"best on {property}:" in line]
    return Block(
        title="Accuracy",
        sentences=tuple(lines),
        caveat="A probe shows what can be read from neurons, not what the model uses. Random sets "
        "are a strong rival when k is large.",
        figures=figures,
        tables=(best, worst),
    )


def _agreement(found: Comparison, property: str) -> Block | None:
    rows = found.agreement.filter(pl.col("property") == property)
    if not rows.height:
        return None
    scores = make_table(
        rows.sort(["k", "avg_overlap"], descending=[False, True], maintain_order=True),
        "Agreement with the other methods",
        (
            count("k", "k"),
            text("method", "method"),
            number("avg_overlap", "AvgOverlap", 3),
            number("neuron_vote", "NeuronVote", 3),
            number("chance", "by chance", 3),
        ),
    )
    pairs = make_table(
        found.pairs.filter(pl.col("property") == property).sort(
            ["k", "overlap"], descending=[False, True], maintain_order=True
        ),
        "Overlap of each pair of methods",
        (count("k", "k"), text("a", "method"), text("b", "and"), number("overlap", "Jaccard", 3)),
    )
    return Block(
        title="Agreement",
        sentences=("How much each method's best neurons are those of the others.",),
        caveat=NOT_TRUTH,
        tables=(scores, pairs),
    )


def _stability(found: Comparison, property: str) -> Block | None:
    rows = found.stability.filter(pl.col("property") == property)
    if not rows.height:
        return None
    table = make_table(
        rows.sort(["over", "k", "overlap"], descending=[False, False, True], maintain_order=True),
        "Best neurons that come back",
        (
            text("over", "over"),
            count("k", "k"),
            text("method", "method"),
            share("overlap", "come back"),
            share("low", "least"),
            share("high", "most"),
            share("expected", "by chance"),
            count("runs", "pairs"),
        ),
    )
    return Block(
        title="Stability",
        sentences=(
            "Which share of the best neurons come back with another seed, and between two halves "
            "of the training sentences.",
        ),
        caveat="A stable ranking may be stably wrong; a method that chooses one of several "
        "redundant neurons looks unstable and may be right.",
        tables=(table,),
    )
