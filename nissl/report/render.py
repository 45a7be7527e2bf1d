"""How pages are made: templates escape everything, a policy forbids loading anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from nissl.plotting import figure_bytes, style
from nissl.report.policy import content_policy

__all__ = ["render_page", "write_figure", "write_page"]


def render_page(template: str, *, script: str = "", **values: Any) -> str:
    """Return a page as HTML; equal values give equal bytes.

    Parameters
    ----------
    template
        A template among the assets. It is given ``css``, ``script`` and ``policy`` too.
    script
        A script among the assets; with none the policy allows an empty one.
    values
        What the template shows. Corpus text, labels, names and what a model wrote are other
        people's words: all is escaped but what is marked as ours.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css, code = _asset("style.css"), _asset(script) if script else ""
    # Ours, and hashed in the policy: these two alone are not escaped.
    ours = {"policy": content_policy(css, code), "css": Markup(css), "script": Markup(code)}
    return environment.get_template(template).render(**ours, **values)


def write_page(page: str, path: str | os.PathLike[str]) -> Path:
    """Write a page, whole or not at all, and return its path; folders on the way are made."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    partial.write_text(page, encoding="utf-8", newline="\n")
    partial.replace(target)
    return target


def write_figure(draw: Callable[[], Any], path: Path) -> None:
    """Write what ``draw`` plots (it returns axes) as SVG."""
    with style():
        figure = draw().get_figure(root=True)
    assert figure is not None
    path.write_bytes(figure_bytes(figure, "svg"))


def _asset(name: str) -> str:
    """Return a file of the package; line ends are those that the policy's hash is taken over."""
    text = files("nissl.report").joinpath("assets", name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")
