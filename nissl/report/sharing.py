"""Neurons across languages as one page that loads and runs nothing: classes, deactivation, LAPE."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from nissl.methods.deactivation import Deactivation
from nissl.methods.language_set_result import LanguageNeurons
from nissl.methods.sharing_result import ALL, LanguageSharing
from nissl.plotting import new_axes
from nissl.report.figures import picture
from nissl.report.render import render_page, write_figure, write_page
from nissl.report.sections import Block
from nissl.report.tables import (
    MISSING,
    Column,
    Table,
    count,
    interval,
    known,
    make_table,
    number,
    share,
    small,
    text,
)

__all__ = ["Languages", "language_blocks", "write_language_files", "write_languages"]

Languages = LanguageSharing | Deactivation | LanguageNeurons
CAVEAT = (
    "Whether a neuron is activated depends on the rule, which is said; what a model does without "
    "neurons shows that its answers depend on them, not that what they stand for is stored there."
)
NAMES = {
    "language sharing": "Shared, partial, specific, non-activated",
    "deactivation": "Classes switched off",
    "language neurons": "Language neurons",
}
MOST_ROWS = 200


def write_languages(
    found: Sequence[Languages], path: str | os.PathLike[str], *, title: str
) -> Path:
    """Write results as one HTML file that loads and runs nothing; return its path."""
    page = render_page(
        "sharing.html.j2",
        title=title,
        opening=f"Model {', '.join(dict.fromkeys(each.model for each in found))}",
        lines=[line for each in found for line in each.summary()],
        caveat=CAVEAT,
        sections=[(NAMES[each.kind], language_blocks(each)) for each in found],
    )
    return write_page(page, path)


def write_language_files(found: Sequence[Languages], out: Path, *, title: str) -> Path:
    """Write a folder: ``results/``, ``tables/*.csv``, ``figures/*.svg``, ``languages.html``."""
    (out / "tables").mkdir(parents=True, exist_ok=True)
    (out / "figures").mkdir(exist_ok=True)
    for each in found:
        name = each.kind.replace(" ", "-")
        each.save(out / "results" / name)
        for part, frame in {"": each.frame(), **_more(each)}.items():
            if frame.width:
                frame.write_csv(out / "tables" / f"{name}{part}.csv")
        write_figure(each.plot, out / "figures" / f"{name}.svg")
    return write_languages(found, out / "languages.html", title=title)


def _more(found: Languages) -> dict[str, pl.DataFrame]:
    """Return the further tables of a result, by what their file is called."""
    if isinstance(found, LanguageSharing):
        return {"-by-language": found.by_language, "-scores": found.scores}
    if isinstance(found, LanguageNeurons):
        return {"-loss": found.matrix}
    return {}


def language_blocks(found: Languages) -> list[Block]:
    """Return the blocks of one result."""
    if isinstance(found, LanguageSharing):
        return _sharing(found)
    if isinstance(found, Deactivation):
        return [_deactivation(found)]
    return [_neurons(found)]


def _sharing(found: LanguageSharing) -> list[Block]:
    blocks = []
    for task in dict.fromkeys(found.table["task"]):
        here, whose = (
            frame.filter(pl.col("task") == task) for frame in (found.table, found.by_language)
        )
        tables = [
            make_table(
                here,
                "Shares of the classes, means over inputs",
                (
                    text("site", "site"),
                    text("class", "class"),
                    interval("share", "share of the neurons [95% interval]"),
                    number("neurons", "neurons", 1),
                ),
                limit=MOST_ROWS,
            ),
            make_table(
                whose,
                "What each language activates",
                (
                    text("site", "site"),
                    text("language", "language"),
                    share("active", "active"),
                    share("specific", "active in it alone"),
                    share("partial", "partial-shared, with it"),
                ),
                limit=MOST_ROWS,
            ),
        ]
        if task == ALL and found.scores.height:
            tables.append(_scores(found))
        blocks.append(
            Block(
                title=found.name if task == ALL else f"Task {task}",
                caveat=found.rule,
                figures=(
                    picture(
                        lambda task=task: found.plot(new_axes(None), task=task),
                        alt="Share of each class of neurons by layer",
                        caption="Neurons activated by an input in all languages, in some, in one, "
                        "in none; means over inputs.",
                    ),
                ),
                tables=tuple(tables),
            )
        )
    return blocks


def _scores(found: LanguageSharing) -> Table:
    return make_table(
        found.scores,
        "What the classes add",
        (
            text("site", "site"),
            text("class", "class"),
            share("contribution", "share of Σ |m| ‖v‖"),
            number("effective", "to the answer's logit", 3),
        ),
        limit=MOST_ROWS,
    )


def _change(name: str, head: str, low: str, high: str, digits: int) -> Column:
    def cell(row: Mapping[str, Any]) -> str:
        if not known(row[name]):
            return MISSING
        if not known(row[low]):  # one group has no interval
            return f"{row[name]:+.{digits}f}"
        return f"{row[name]:+.{digits}f} [{row[low]:+.{digits}f}, {row[high]:+.{digits}f}]"

    return Column(head, cell)


def _deactivation(found: Deactivation) -> Block:
    trap = found.trap()
    return Block(
        title=found.name,
        sentences=(trap,) if trap else (),
        caveat=f"{found.scope[:1].upper()}{found.scope[1:]} are set to 0 {found.where}; random "
        f"sets are drawn {found.pool} of the same layers, as many for every input.",
        figures=(
            picture(
                found.plot,
                alt="Accuracy lost without each class of neurons, beside random neurons",
                caption=f"Unedited {found.base:.1f}% right, {found.chance:.1f}% by guessing.",
            ),
        ),
        tables=(
            make_table(
                found.table,
                "Accuracy without each class",
                (
                    text("group", "inputs"),
                    text("class", "switched off"),
                    number("neurons", "neurons", 1),
                    number("base", "unedited, %", 1),
                    number("value", "edited, %", 1),
                    _change("change", "points [95% interval]", "low", "high", 1),
                    _change("random", "random, points", "random_low", "random_high", 1),
                    _change("beyond", "beyond random", "beyond_low", "beyond_high", 1),
                    small("p", "random sets as harmful"),
                ),
            ),
        ),
    )


def _neurons(found: LanguageNeurons) -> Block:
    tables = []
    if found.matrix.height:
        tables.append(
            make_table(
                found.matrix,
                "Loss of each language without the neurons of each",
                (
                    text("off", "without"),
                    count("neurons", "neurons"),
                    text("language", "text in"),
                    number("perplexity", "perplexity", 1),
                    number("perplexity_off", "without", 1),
                    _change("change", "nats a subword [95% interval]", "low", "high", 3),
                    number("random", "random", 3),
                    _change("beyond", "beyond random", "beyond_low", "beyond_high", 3),
                    small("p", "random sets as harmful"),
                ),
            )
        )
    tables.append(
        make_table(
            found.neurons,
            "Neurons of lowest entropy",
            (
                text("neuron", "neuron"),
                text("languages", "languages"),
                number("entropy", "entropy, nats", 3),
                *(number(f"p: {each}", f"p in {each}", 3) for each in found.languages),
            ),
            limit=50,
        )
    )
    return Block(
        title=", ".join(found.languages),
        caveat=found.rule,
        figures=(
            picture(
                found.plot,
                alt="Rise of each language's loss without each language's neurons",
                caption="Rows: whose neurons are off. Columns: the language of the text.",
            ),
        ),
        tables=tuple(tables),
    )
