"""Overlap of neurons between languages as one page that loads and runs nothing, and as files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from nissl.methods.language_overlap_result import LanguageOverlap
from nissl.report.figures import picture
from nissl.report.render import render_page, write_figure, write_page
from nissl.report.sections import Block
from nissl.report.tables import (
    MISSING,
    Column,
    Table,
    count,
    known,
    make_table,
    number,
    points,
    share,
    small,
    text,
)
from nissl.study.languages import LanguagesOutcome

__all__ = ["write_language_overlap"]

MOST_ROWS = 400


def write_language_overlap(outcome: LanguagesOutcome, folder: str | os.PathLike[str]) -> Path:
    """Write ``languages.html``, ``tables/*.csv`` and ``figures/*.svg``; return the page.

    Equal outcomes give equal bytes.
    """
    out = Path(folder)
    for place in ("tables", "figures"):
        (out / place).mkdir(parents=True, exist_ok=True)
    for result, mark in ((outcome.found, ""), (outcome.null, "null-")):
        if result is None:
            continue
        for name, frame in result.frames().items():
            frame.write_csv(out / "tables" / f"{mark}{name}.csv")
        for what in ("clusters", "layers") if result.pairs.height and not mark else ():
            write_figure(partial(result.plot, what=what), out / "figures" / f"{what}.svg")
    return write_page(_render(outcome), out / "languages.html")


def _render(outcome: LanguagesOutcome) -> str:
    found = outcome.found
    sizes = " and ".join(str(k) for k in found.ks)
    codes = {outcome.treebanks[name].code for name in found.languages}
    return render_page(
        "languages.html.j2",
        title=f"The same neurons in {len(codes)} languages",
        opening=f"{Path(found.model).name}: {', '.join(found.categories)}; the best {sizes} "
        f"neurons of each of {len(found.sites)} sites",
        lines=found.summary(),
        null_lines=() if outcome.null is None else outcome.null.summary(),
        null_rankings="" if outcome.null is None else ", ".join(outcome.null.rankings),
        sections=[_section(found, outcome.null, ranking) for ranking in found.rankings],
        treebanks=_treebanks(outcome),
        excluded=_excluded(found),
        missing=_missing(found),
        early=_early(found),
        left_out=dict(found.left_out),
        cells=_cells(found),
        command=outcome.command,
        tables=(_inputs(found),),
    )


def _section(
    found: LanguageOverlap, null: LanguageOverlap | None, ranking: str
) -> tuple[str, list[Block]]:
    """Return a ranking's name and a block for each k."""
    blocks = []
    for k in found.ks:
        rows = found.by_site.filter((pl.col("ranking") == ranking) & (pl.col("k") == k))
        pairs = found.chosen(ranking=ranking, k=k)
        if not rows.height:
            blocks.append(Block(title=f"k = {k}", caveat="Nothing is finished yet."))
            continue
        tables = [_sites(rows, _null_of(null, ranking, k)), _questions(found, ranking, k)]
        for category in dict.fromkeys(pairs["category"]):
            tables.append(_pairs(pairs.filter(pl.col("category") == category), category))
        blocks.append(
            Block(
                title=f"k = {k}",
                figures=(
                    picture(
                        lambda k=k: found.plot(what="clusters", ranking=ranking, k=k),
                        alt="Mean overlap of each pair of languages, clustered, with genera",
                        caption="Mean overlap of two languages over categories and sites; "
                        "average-linkage tree of 1 − overlap; genus beside the name.",
                    ),
                    picture(
                        lambda k=k: found.plot(what="layers", ranking=ranking, k=k),
                        alt="Mean overlap of two languages by layer, a line a category",
                        caption="Mean overlap of all pairs of languages by site; dashed: random "
                        "sets.",
                    ),
                ),
                tables=tuple(tables),
            )
        )
    return ranking, blocks


def _null_of(null: LanguageOverlap | None, ranking: str, k: int) -> dict[tuple[str, str], float]:
    """Return (category, site) → mean overlap in the model with random weights."""
    if null is None:
        return {}
    rows = null.by_site.filter((pl.col("ranking") == ranking) & (pl.col("k") == k))
    return {(r["category"], r["site"]): r["share"] for r in rows.iter_rows(named=True)}


def _span(name: str, head: str, low: str, high: str) -> Column:
    def cell(row: Mapping[str, Any]) -> str:
        if not known(row[name]):
            return MISSING
        ends = ""
        if known(row[low]) and known(row[high]):
            ends = f" [{100 * row[low]:.1f}, {100 * row[high]:.1f}]"
        return f"{100 * row[name]:.1f}{ends}"

    return Column(head, cell)


def _sites(rows: pl.DataFrame, null: Mapping[tuple[str, str], float]) -> Table:
    def beside(row: Mapping[str, Any]) -> str:
        value = null.get((row["category"], row["site"]))
        return MISSING if value is None else f"{100 * value:.1f}"

    return make_table(
        rows,
        "Overlap of two languages by category and site",
        (
            text("category", "category"),
            text("site", "site"),
            count("languages", "languages"),
            _span("share", "mean overlap, % [95%]", "low", "high"),
            Column("chance, %", lambda row: f"{100 * row['chance']:.1f}"),
            *((Column("random weights, %", beside),) if null else ()),
            small("p", "p (random sets)"),
            small("p_holm", "p, Holm"),
            Column("pairs above chance", lambda row: f"{row['above']} of {row['pairs']}"),
            points("genus_difference", "within genus, points"),
            small("genus_p", "p (genus)"),
            share("agreement", "with itself"),
        ),
        limit=MOST_ROWS,
    )


def _questions(found: LanguageOverlap, ranking: str, k: int) -> Table:
    rows = found.questions.filter((pl.col("ranking") == ranking) & (pl.col("k") == k))
    return make_table(
        rows,
        "The questions",
        (
            text("question", "question: is the overlap …"),
            number("effect", "effect", 3),
            number("low", "from", 3),
            number("high", "to", 3),
            small("p", "p"),
            small("smallest_p", "smallest p possible"),
        ),
    )


def _pairs(rows: pl.DataFrame, category: str) -> Table:
    return make_table(
        rows,
        f"{category}: pairs of languages",
        (
            text("site", "site"),
            text("a", "language"),
            text("b", "and"),
            count("overlap", "shared"),
            number("expected", "by chance"),
            _span("share", "overlap, % [seeds]", "low", "high"),
            number("ratio", "× chance"),
            small("p", "exact p", 3),
            small("p_holm", "p, Holm", 3),
            small("p_holm_all", "p, Holm over all", 3),
        ),
        limit=MOST_ROWS,
    )


def _treebanks(outcome: LanguagesOutcome) -> Table:
    rows = [
        {
            "language": key,
            "name": t.language.name,
            "genus": t.language.genus or None,
            "family": t.language.family or None,
            "treebank": t.id,
            "files": ", ".join(t.splits),
        }
        for key, t in outcome.treebanks.items()
    ]
    heads = ("language", "name", "genus", "family", "treebank", "files")
    return make_table(
        pl.DataFrame(rows, schema=dict.fromkeys(heads, pl.String)),
        "Languages",
        tuple(text(head, head) for head in heads),
    )


def _excluded(found: LanguageOverlap) -> Table:
    return make_table(
        found.excluded,
        "Values and categories that are not compared" if found.excluded.height else "Nothing is",
        tuple(text(name, name) for name in ("language", "category", "value", "why")),
        limit=MOST_ROWS,
    )


def _missing(found: LanguageOverlap) -> Table | None:
    if not found.missing.height:
        return None
    heads = ("language", "category", "site", "ranking")
    table = tuple(text(name, name) for name in heads)
    return make_table(found.missing, "Rankings that are not finished", table, limit=MOST_ROWS)


def _early(found: LanguageOverlap) -> str:
    """Say how many rankings ended before they had settled."""
    parts = []
    for ranking in found.rankings:
        rows = found.cells.filter(pl.col("ranking") == ranking)
        early = int(rows["early"].sum() or 0)
        if early:
            parts.append(f"{early:,} of {rows.height:,} rankings by {ranking}")
    return f"Ended at the limit of their steps: {'; '.join(parts)}." if parts else ""


def _cells(found: LanguageOverlap) -> Table:
    """Return a row a language, category and ranking, means and sums over sites and seeds."""
    if not found.cells.height:
        return make_table(found.cells, "Nothing is ranked yet", ())
    rows = (
        found.cells.group_by("language", "category", "ranking", maintain_order=True)
        .agg(
            pl.col("words").mean(),
            pl.col("values").mean(),
            pl.col("accuracy").max(),
            pl.col("majority").mean(),
            pl.col("cpu_seconds").sum(),
        )
        .sort("ranking", "category", "language")
    )
    return make_table(
        rows,
        "What was ranked",
        (
            text("language", "language"),
            text("category", "category"),
            text("ranking", "ranking"),
            count("words", "training words"),
            count("values", "values"),
            share("accuracy", "probe on the best, best site"),
            share("majority", "majority"),
            number("cpu_seconds", "CPU s", 1),
        ),
        limit=MOST_ROWS,
    )


def _inputs(found: LanguageOverlap) -> Table:
    facts = {**found.provenance.inputs, **found.provenance.versions}
    facts["model"] = found.model
    return Table(
        caption="Fingerprints and versions",
        columns=(Column("what", str, False), Column("which", str, False)),
        rows=tuple((str(a), str(b)) for a, b in facts.items()),
    )
