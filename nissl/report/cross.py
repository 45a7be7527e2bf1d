"""A study of several models as one page that loads and runs nothing, and as files."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import polars as pl
import yaml

from nissl.report.cross_blocks import Models, blocks_of, models_of
from nissl.report.render import render_page, write_figure, write_page
from nissl.report.tables import Column, Table
from nissl.study.cross import CrossOutcome
from nissl.study.portrait import FIGURES

__all__ = ["write_cross"]


def write_cross(outcome: CrossOutcome, folder: str | os.PathLike[str]) -> Path:
    """Write ``cross.html``, ``tables/*.csv`` and ``figures/*.svg``; return the page.

    Equal outcomes give equal bytes. The pages of the models' own studies are linked by relative
    links, if they are there.
    """
    out = Path(folder)
    found = outcome.findings
    for place in ("tables", "figures"):
        (out / place).mkdir(parents=True, exist_ok=True)
    for name, frame in found.frames().items():
        frame.write_csv(out / "tables" / f"{name}.csv")
    for what in FIGURES:
        write_figure(partial(found.plot, what=what), out / "figures" / f"{what}.svg")
    return write_page(_render(outcome, out), out / "cross.html")


def _render(outcome: CrossOutcome, out: Path) -> str:
    found, config = outcome.findings, outcome.config
    models: Models = models_of(outcome, out)
    return render_page(
        "cross.html.j2",
        title=config.title or f"{', '.join(found.properties)} in {', '.join(found.models)}",
        opening=f"{len(found.models)} models × {len(found.properties)} properties",
        models=models,
        answers=list(zip(found.answers(), blocks_of(found), strict=True)),
        resamples=config.analysis.resamples,
        command=outcome.command,
        again=f"nissl study --page-only --out {out}",
        config=yaml.safe_dump(
            config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=88
        ),
        tables=(_inputs(outcome), _versions(outcome), _times(outcome)),
    )


def _two(caption: str, rows: pl.DataFrame | dict[str, str], heads: tuple[str, str]) -> Table:
    pairs = rows.rows() if isinstance(rows, pl.DataFrame) else rows.items()
    return Table(
        caption=caption,
        columns=tuple(Column(head, str, False) for head in heads),
        rows=tuple((str(a), str(b)) for a, b in pairs),
    )


def _inputs(outcome: CrossOutcome) -> Table:
    inputs = dict(outcome.findings.provenance.inputs)
    return _two("Fingerprints of models and corpora", inputs, ("what", "fingerprint"))


def _versions(outcome: CrossOutcome) -> Table:
    versions = dict(outcome.findings.provenance.versions)
    return _two("Versions", versions, ("what", "version"))


def _times(outcome: CrossOutcome) -> Table:
    said = {name: f"{seconds:,.1f}" for name, seconds in outcome.seconds.items()}
    return _two("CPU seconds of the analysis", said, ("model", "seconds"))
