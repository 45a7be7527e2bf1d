"""Write a study as one HTML file that loads nothing and runs only its own script."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nissl.report.data import neuron_rows, page_data, to_json
from nissl.report.render import render_page, write_page
from nissl.report.reproduce import recipe
from nissl.report.sections import blocks, sharing_block
from nissl.report.short import headlines, opening, overview

if TYPE_CHECKING:
    from nissl.study.outcome import StudyOutcome

__all__ = ["render", "write_report"]


def write_report(outcome: StudyOutcome, path: str | os.PathLike[str]) -> Path:
    """Write the report of a study to ``path`` and return it.

    The file is whole by itself: styles, script, figures and data are inside, its content security
    policy forbids it to load anything, and equal outcomes give equal bytes.

    Parameters
    ----------
    outcome
        The study.
    path
        The HTML file to write; folders on the way are made.
    """
    return write_page(render(outcome), path)


def render(outcome: StudyOutcome) -> str:
    """Return the page as HTML."""
    from markupsafe import Markup

    heads = headlines(outcome)
    sections = [
        (head, blocks(findings))
        for head, findings in zip(heads, outcome.properties.values(), strict=True)
    ]
    shared = None
    if outcome.sharing is not None:
        shared = sharing_block(outcome.sharing, "Sharing between properties", "properties")
    return render_page(
        "page.html.j2",
        script="page.js",
        title=outcome.title,
        opening=opening(outcome),
        # Escaped for a script by to_json: not escaped again.
        data=Markup(to_json(page_data(outcome))),
        sections=sections,
        overview=overview(outcome),
        shared=shared,
        neurons=neuron_rows(outcome),
        properties=list(outcome.properties),
        texts=outcome.texts,
        recipe=recipe(outcome),
    )
