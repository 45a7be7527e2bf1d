"""Explanations of neurons as one page: layers, best neurons, a table to search, a part a neuron."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from nissl.methods.explain_versus import ExplainedVersus
from nissl.methods.explanation import Explanation
from nissl.report.figures import picture
from nissl.report.render import render_page, write_figure, write_page
from nissl.report.sections import Block
from nissl.report.tables import MISSING, Column, count, make_table, number, share, small, text

__all__ = ["explain_blocks", "write_explain", "write_explain_files"]

MOST_ROWS = 5000
TOP = 10
TINY = 1.1754944e-38
"""Smallest normal float32."""
CAVEAT = (
    "A formula says which {item}s a neuron is on for in these data; it does not show that the "
    "model uses the neuron for that, and another formula may fit as well. P-values are too small "
    "where both hold throughout whole {group}s of different lengths."
)


def write_explain(
    found: Explanation,
    path: str | os.PathLike[str],
    *,
    title: str,
    examples: pl.DataFrame | None = None,
    versus: Sequence[ExplainedVersus] = (),
) -> Path:
    """Write an explanation as one HTML file that loads nothing; return its path.

    Parameters
    ----------
    found
        The explanation.
    path
        The file; folders on the way are made.
    title
        Heading of the page.
    examples
        Tokens in context (:func:`~nissl.methods.explain_examples.explanation_examples`); each of
        its neurons gets a part of the page.
    versus
        Correlations with other numbers of the neurons.
    """
    shown = _neurons(found, examples)
    best = found.best().head(MOST_ROWS)
    page = render_page(
        "explain.html.j2",
        script="explain.js",
        title=title,
        opening=_opening(found),
        lines=[*found.summary(), *(line for each in versus for line in each.summary())],
        caveat=CAVEAT.format(item=found.item, group=found.group),
        item=found.item,
        group=found.group,
        permutations=found.permutations,
        blocks=[*explain_blocks(found), *(_versus(each) for each in versus)],
        table=make_table(best, "Every neuron's best mask", _columns(found)),
        cut=found.best().height - best.height,
        anchors={each["neuron"]: each["anchor"] for each in shown},
        beyond=best["beyond"].to_list(),
        neurons=shown,
    )
    return write_page(page, path)


def write_explain_files(
    found: Explanation,
    out: Path,
    *,
    title: str,
    examples: pl.DataFrame | None = None,
    versus: Sequence[ExplainedVersus] = (),
) -> Path:
    """Write a folder: ``results/``, ``tables/*.csv``, ``figures/*.svg``, ``explain.html``."""
    (out / "tables").mkdir(parents=True, exist_ok=True)
    (out / "figures").mkdir(exist_ok=True)
    tables = {
        "explanation": found.frame(),
        "layers": found.layers(),
        "top": found.top(TOP),
        "concepts": found.concepts,
        "noise": found.noise,
    }
    if examples is not None:
        tables["examples"] = examples
    for i, each in enumerate(versus):
        name = "versus" if len(versus) == 1 else f"versus-{i + 1}"
        each.save(out / "results" / name)
        tables[name] = each.frame()
    found.save(out / "results" / "explanation")
    for name, frame in tables.items():
        frame.write_csv(out / "tables" / f"{name}.csv")
    for name, draw in (("layers", found.plot), ("overlap", found.plot_overlap)):
        write_figure(draw, out / "figures" / f"{name}.svg")
    return write_explain(found, out / "explain.html", title=title, examples=examples, versus=versus)


def explain_blocks(found: Explanation) -> list[Block]:
    """Return the blocks on layers, on the best neurons, and on what was left out."""
    layers = make_table(
        found.layers(),
        "Neurons explained beyond chance",
        (
            text("site", "site"),
            count("neurons", "neurons"),
            count("beyond", "beyond chance"),
            share("share", "share"),
            share("low", "from"),
            share("high", "to"),
            number("iou_train", "training IoU", 3),
            number("iou", "held-out IoU", 3),
            number("chance", "shifted IoU", 3),
        ),
    )
    top = make_table(
        found.top(TOP),
        f"The {TOP} best-explained neurons of each site",
        (text("site", "site"), count("rank", "rank"), *_columns(found)[:-1]),
    )
    noise = make_table(
        found.noise,
        "What the search reaches on shifted masks",
        (
            text("neuron", "neuron"),
            text("side", "side"),
            number("score", f"training {found.score}", 3),
        ),
    )
    concepts = Block(
        title="Concepts",
        sentences=(f"Formulas are made of {found.concepts.height:,} concepts.",),
        left_out=found.no_concepts,
    )
    return [
        Block(
            title="Layers",
            caveat="Medians over neurons; intervals of shares are Wilson's, over neurons.",
            figures=(
                picture(
                    found.plot,
                    alt="Share of neurons explained beyond chance, by site",
                    caption=f"Neurons whose formula fits held-out {found.item}s better than "
                    f"shifted masks, at a false discovery rate of {found.fdr:g}.",
                ),
            ),
            tables=(layers,),
        ),
        Block(
            title="Best-explained neurons",
            caveat=f"Chosen by their score on training {found.group}s; held-out scores are not "
            "flattered by that choice.",
            figures=(
                picture(
                    found.plot_overlap,
                    alt="Held-out against training intersection over union",
                    caption="Each dark dot is a neuron, the pale one its shifted masks; on the "
                    f"line, nothing is lost on held-out {found.item}s.",
                ),
            ),
            tables=(top, noise),
            left_out=found.left_out,
        ),
        *([concepts] if found.no_concepts else []),
    ]


def _opening(found: Explanation) -> str:
    return (
        f"Model {found.model}, {found.tokens:,} {found.item}s, {found.concepts.height:,} concepts"
    )


def _columns(found: Explanation) -> tuple[Column, ...]:
    return (
        text("neuron", "neuron"),
        text("side", "side"),
        text("formula", "formula"),
        number("iou_train", "training IoU", 3),
        _overlap(),
        number("chance", "shifted IoU", 3),
        small("q", "q"),
        number("precision", "precision"),
        number("recall", "recall"),
        number("f1", "F1"),
        number("matthews", "Matthews"),
        count("size", f"{found.item}s on"),
    )


def _overlap() -> Column:
    def cell(row: Mapping[str, Any]) -> str:
        value = row["iou"]
        if value is None or not math.isfinite(value):
            return MISSING
        return f"{value:.3f} [{row['low']:.3f}, {row['high']:.3f}]"

    return Column("held-out IoU", cell)


def _versus(each: ExplainedVersus) -> Block:
    return Block(
        title=f"Explained and {each.name}",
        sentences=each.summary(),
        figures=(
            picture(
                each.plot,
                alt=f"{each.name} against {each.score} of each neuron",
                caption=f"{each.name} against {each.score}; each dot is a neuron.",
            ),
        ),
        tables=(
            make_table(
                each.table,
                "Rank correlations",
                (
                    text("neurons", "neurons"),
                    count("count", "number"),
                    number("spearman", "rank correlation"),
                    number("low", "from"),
                    number("high", "to"),
                ),
            ),
        ),
        left_out=each.left_out,
    )


def _neurons(found: Explanation, examples: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Return what the page says of each neuron that has examples."""
    if examples is None:
        return []
    best = {row["neuron"]: row for row in found.best().iter_rows(named=True)}
    out = []
    for i, name in enumerate(examples["neuron"].unique(maintain_order=True).to_list()):
        here = examples.filter(pl.col("neuron") == name)
        out.append(
            {
                "neuron": name,
                "anchor": f"neuron-{i + 1}",
                "row": best[name],
                "bounds": _bounds(best[name]),
                "groups": [
                    (group, list(part.iter_rows(named=True)))
                    for (group,), part in here.group_by("group", maintain_order=True)
                ],
            }
        )
    return out


def _bounds(row: Mapping[str, Any]) -> str:
    """Say in which values the neuron counts as on."""
    low, high = row["above"], row["at_most"]
    if math.isinf(high):
        return f"above {low:.4g}"
    if math.isinf(low) and high < 0 and -high < TINY:
        # The neighbour of zero, which leaves zero out.
        return "below 0"
    if math.isinf(low):
        return f"up to {high:.4g}"
    return f"above {low:.4g} and up to {high:.4g}"
