"""Figures of a page: drawn by the results, embedded as data, described in words."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nissl.plotting import figure_bytes, style

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

__all__ = ["Picture", "picture"]

LARGEST_SVG = 150_000
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial"


@dataclass(frozen=True)
class Picture:
    """An image as a data address, its size in CSS pixels, and what it shows."""

    src: str
    width: int
    height: int
    alt: str
    caption: str


def picture(draw: Callable[[], Axes], *, alt: str, caption: str) -> Picture:
    """Draw, and embed as SVG, or as PNG where the SVG would be large."""
    with style():
        figure = draw().get_figure(root=True)
    assert figure is not None
    inches = figure.get_size_inches()
    svg = figure_bytes(figure, "svg")  # type: ignore[arg-type]  # root=True gives a Figure
    kind, content = "svg+xml", _with_reader_fonts(svg)
    if len(content) > LARGEST_SVG:
        kind, content = "png", figure_bytes(figure, "png")  # type: ignore[arg-type]
    return Picture(
        src=f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}",
        width=round(96 * inches[0]),
        height=round(96 * inches[1]),
        alt=alt,
        caption=caption,
    )


def _with_reader_fonts(svg: bytes) -> bytes:
    """Name the reader's interface font before ours, which is the wider one."""
    return re.sub(rb"'DejaVu Sans'", FONTS.encode("ascii"), svg)
