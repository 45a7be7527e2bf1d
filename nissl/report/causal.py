"""What edits of the running model showed, as one page that loads and runs nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from nissl.methods.causal_ablation import CausalAblation
from nissl.methods.causal_steer import DoseResponse
from nissl.methods.encoded_used import EncodedVsUsed
from nissl.methods.neuron_scan import NeuronScan
from nissl.plotting import new_axes
from nissl.report.figures import picture
from nissl.report.render import render_page, write_figure, write_page
from nissl.report.sections import Block
from nissl.report.tables import MISSING, Column, Table, count, make_table, number, small, text

__all__ = ["Causal", "causal_blocks", "write_causal", "write_causal_files"]

Causal = CausalAblation | NeuronScan | DoseResponse | EncodedVsUsed
CAVEAT = (
    "A change shows that the model's answers depend on these neurons as they were edited; it does "
    "not show that the property is stored in them, nor that no other neurons would do as much."
)
MOST_ROWS = 50


def write_causal(found: Sequence[Causal], path: str | os.PathLike[str], *, title: str) -> Path:
    """Write results of edits as one HTML file that loads and runs nothing; return its path."""
    page = render_page(
        "causal.html.j2",
        title=title,
        opening=f"Model {', '.join(dict.fromkeys(_model(each) for each in found))}",
        lines=[line for each in found for line in each.summary()],
        caveat=CAVEAT,
        sections=[(_name(each), causal_blocks(each)) for each in found],
    )
    return write_page(page, path)


def write_causal_files(found: Sequence[Causal], out: Path, *, title: str) -> Path:
    """Write a folder: ``results/``, ``tables/*.csv``, ``figures/*.svg``, ``causal.html``."""
    (out / "tables").mkdir(parents=True, exist_ok=True)
    (out / "figures").mkdir(exist_ok=True)
    for each in found:
        name = each.kind.replace(" ", "-")
        each.save(out / "results" / name)
        each.frame().write_csv(out / "tables" / f"{name}.csv")
        if isinstance(each, DoseResponse):
            each.texts.write_csv(out / "tables" / "generated-text.csv")
        write_figure(each.plot, out / "figures" / f"{name}.svg")
        if isinstance(each, NeuronScan) and each.joint is not None:
            each.joint.frame().write_csv(out / "tables" / "top-neurons-together.csv")
    return write_causal(found, out / "causal.html", title=title)


def causal_blocks(found: Causal) -> list[Block]:
    """Return the blocks of one result."""
    if isinstance(found, CausalAblation):
        return _ablation(found)
    if isinstance(found, NeuronScan):
        return _scan(found)
    if isinstance(found, DoseResponse):
        return _doses(found)
    return [_encoded(found)]


def _name(found: Causal) -> str:
    return {
        "causal ablation": "Neurons removed together",
        "neuron scan": "Neurons removed one at a time",
        "dose response": "Steering",
        "encoded or used": "Encoded or used",
    }[found.kind]


def _model(found: Causal) -> str:
    return getattr(found, "model", "") or "as scanned"


def _signed(name: str, head: str, digits: int) -> Column:
    """Return a column of changes with their interval, if there is one, in the effect's own unit."""

    def cell(row: Mapping[str, Any]) -> str:
        value, low, high = (row[name + end] for end in ("", "_low", "_high"))
        if value is None or not math.isfinite(value):
            return MISSING
        if not math.isfinite(low):
            return f"{value:+.{digits}f}"
        return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"

    return Column(head, cell)


def _digits(effect: Mapping[str, Any]) -> int:
    """Return decimals that show a change: nats are small numbers, points are not."""
    return 2 if effect["scale"] == 100 else 3


def _ablation(found: CausalAblation) -> list[Block]:
    blocks = []
    for row in found.effects.iter_rows(named=True):
        name = row["effect"]
        part = found.table.filter(pl.col("effect") == name).rename(
            {"low": "change_low", "high": "change_high"}
        )
        unit = "points" if row["scale"] == 100 else row["unit"]
        digits = _digits(row)
        tables: list[Table] = []
        for where, caption in (
            (pl.col("group") == "all", f"{name}: all items"),
            (pl.col("group") != "all", f"{name}: by condition"),
        ):
            here = part.filter(where)
            if here.height:
                tables.append(
                    make_table(
                        here.sort(["k", "group", "kind"], descending=[False, False, True]),
                        caption,
                        (
                            text("group", "items"),
                            text("kind", "removed"),
                            count("k", "k"),
                            number("base", "unedited", digits),
                            number("value", "edited", digits),
                            _signed("change", f"change, {unit} [95% interval]", digits),
                            number("sd", "SD over draws", digits),
                            _signed("beyond", "beyond random", digits),
                            small("p", "random sets as harmful"),
                        ),
                    )
                )
        blocks.append(
            Block(
                title=name,
                caveat=f"{row['items']:,} items, {unit}; changes are paired item by item.",
                figures=(
                    picture(
                        lambda name=name: found.plot(new_axes(None), effect=name),
                        alt=f"{name} against the number of neurons removed",
                        caption=f"{name} with the top, bottom and same-layer random neurons "
                        f"{'at their mean' if found.how == 'mean' else 'at zero'}.",
                    ),
                ),
                tables=tuple(tables),
            )
        )
    return blocks


def _scan(found: NeuronScan) -> list[Block]:
    conditions = [name for name in found.table.columns if name.startswith("change: ")]
    digits = 1 if found.scale == 100 else 3
    table = make_table(
        found.table,
        "Neurons that matter most",
        (
            count("rank", "rank"),
            text("neuron", "neuron"),
            number("change", "change", digits),
            number("margin", "margin, nats", 4),
            number("screen", "first-order screen", 4),
            *(number(name, name.removeprefix("change: "), digits) for name in conditions),
        ),
        limit=MOST_ROWS,
    )
    blocks = [
        Block(
            title=found.effect,
            caveat="The best of many neurons is best partly by luck"
            + (
                "."
                if found.joint is None
                else "; the sets below are tested on the same items."
                if found.same_items
                else "; the sets below are tested on other items."
            ),
            figures=(
                picture(
                    found.plot,
                    alt=f"Change of {found.effect} by each neuron removed alone",
                    caption="Each dot is a neuron; below zero, removing it lowers the effect.",
                ),
            ),
            tables=(table,),
        )
    ]
    if found.joint is not None:
        blocks += _ablation(found.joint)
    return blocks


def _doses(found: DoseResponse) -> list[Block]:
    part = found.table.rename({"low": "change_low", "high": "change_high"})
    tables = [
        make_table(
            part.filter(pl.col("measure") == row["effect"]),
            row["effect"],
            (
                text("kind", "neurons"),
                number("dose", "dose"),
                number("base", "unedited", _digits(row)),
                number("value", "edited", _digits(row)),
                _signed("change", "change [95% interval]", _digits(row)),
                number("sd", "SD over draws", _digits(row)),
            ),
        )
        for row in found.effects.iter_rows(named=True)
    ]
    if found.texts.height:
        tables.append(
            make_table(
                found.texts.sort(["prompt", "dose"]),
                "What the model writes",
                (text("prompt", "prompt"), number("dose", "dose"), text("text", "goes on")),
            )
        )
    figures = tuple(
        picture(
            lambda name=name: found.plot(new_axes(None), measure=name),
            alt=f"{name} against the dose",
            caption=f"{name} when {len(found.neurons)} neurons are pushed.",
        )
        for name in found.effects["effect"]
    )
    return [Block(title="Dose and response", figures=figures, tables=tuple(tables))]


def _encoded(found: EncodedVsUsed) -> Block:
    table = make_table(
        found.table,
        "Rankings against the effect of each neuron",
        (
            text("ranking", "ranking"),
            number("spearman", "rank correlation"),
            number("low", "from"),
            number("high", "to"),
            count("k", "k"),
            count("shared", "of the k that matter most"),
            number("by_chance", "by chance", 1),
            small("p", "p, Holm"),
            small("top_harm", "mean harm of the k best"),
            small("all_harm", "of all"),
        ),
    )
    return Block(
        title=found.property,
        sentences=(found.conclusion(),),
        figures=(
            picture(
                found.plot,
                alt="Rank correlation of each ranking with causal effects",
                caption="1: ordered exactly as the model uses them; 0: unrelated.",
            ),
        ),
        tables=(table,),
    )
