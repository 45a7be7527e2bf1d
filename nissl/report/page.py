"""Write a study as one HTML file that loads nothing and runs only its own script."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from nissl.report.data import neuron_rows, page_data, to_json
from nissl.report.policy import content_policy
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
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    partial.write_text(render(outcome), encoding="utf-8", newline="\n")
    partial.replace(target)
    return target


def render(outcome: StudyOutcome) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    css, script = _asset("style.css"), _asset("page.js")
    environment = Environment(
        loader=FunctionLoader(_asset),
        # Always on: corpus text and labels are other people's words.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    heads = headlines(outcome)
    sections = [
        (head, blocks(findings))
        for head, findings in zip(heads, outcome.properties.values(), strict=True)
    ]
    shared = None
    if outcome.sharing is not None:
        shared = sharing_block(outcome.sharing, "Sharing between properties", "properties")
    return environment.get_template("page.html.j2").render(
        title=outcome.title,
        opening=opening(outcome),
        policy=content_policy(css, script),
        # Ours, and hashed in the policy: these three are the only unescaped text on the page.
        css=Markup(css),
        script=Markup(script),
        data=Markup(to_json(page_data(outcome))),
        sections=sections,
        overview=overview(outcome),
        shared=shared,
        neurons=neuron_rows(outcome),
        properties=list(outcome.properties),
        texts=outcome.texts,
        recipe=recipe(outcome),
    )


def _asset(name: str) -> str:
    """Return a file of the package; line ends are those that the policy's hash is taken over."""
    text = files("nissl.report").joinpath("assets", name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")
