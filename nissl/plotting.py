"""The few marks that results draw with, in one calm style.

Nothing here goes through pyplot, so figures can be made without a display, in any thread, and
without being kept alive by pyplot's own list. matplotlib is imported on first use.
"""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PALETTE", "bars", "curve", "figure_bytes", "heatmap", "new_axes", "style"]

PALETTE = {
    "top": "#0072b2",
    "random": "#8f99a6",
    "bottom": "#d55e00",
    "all": "#007a5e",
    "majority": "#5b6470",
    "control": "#cc79a7",
    "selected": "#e69f00",
}
"""Colour of each role: hues of Okabe and Ito, which colour-blind readers tell apart."""

INK = "#30363d"
RULE = "#d8dde3"

_STYLE: dict[str, Any] = {
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    # Labels such as "$" and "PRP$" are text, never the start of a formula.
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "errorbar.capsize": 0,
    # Text stays text: small files, and the reader's fonts have the scripts that ours lack.
    "svg.fonttype": "none",
    # Ids in an SVG are random without a salt; equal results must give equal bytes.
    "svg.hashsalt": "nissl",
}
_LOCK = threading.RLock()
LONGEST = 28


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of this module while the block runs; the user's settings come back."""
    import matplotlib

    # Two threads that leave in the other order would put back each other's settings.
    with _LOCK, matplotlib.rc_context(cast("Any", _STYLE)):
        yield


def new_axes(ax: Axes | None, size: tuple[float, float] = (5.6, 3.4)) -> Axes:
    """Return ``ax``, or the axes of a new figure of ``size`` inches when it is ``None``.

    The new axes and their figure show themselves as the value of a notebook cell.
    """
    if ax is not None:
        return ax
    figure_class, axes_class = _classes()
    with style():
        figure = figure_class(figsize=size, layout="constrained")
        made = figure.add_subplot(axes_class=axes_class)
    _ticks(made)
    return made


def curve(
    ax: Axes,
    x: np.ndarray,
    y: np.ndarray,
    low: np.ndarray | None,
    high: np.ndarray | None,
    label: str,
    role: str,
) -> None:
    """Draw a line with dots, and the band from ``low`` to ``high`` if there is one."""
    colour = PALETTE[role]
    if low is not None and high is not None:
        ax.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    ax.plot(x, y, color=colour, marker="o", markersize=3.5, linewidth=1.5, label=label)


def bars(
    ax: Axes,
    names: Sequence[str],
    values: np.ndarray,
    low: np.ndarray | None,
    high: np.ndarray | None,
) -> None:
    """Draw one horizontal bar a name, the first on top, with whiskers if there are intervals."""
    place = np.arange(len(names))
    value = np.asarray(values, dtype=np.float64)
    error = None
    if low is not None and high is not None:
        error = np.stack([value - low, np.asarray(high, dtype=np.float64) - value]).clip(min=0)
    # A missing value has no bar, but its name stays on the axis.
    ax.barh(
        place,
        np.nan_to_num(value),
        height=0.66,
        color=PALETTE["top"],
        xerr=error,
        error_kw={"ecolor": INK, "elinewidth": 1.0},
    )
    ax.set_yticks(place, [_short(name) for name in names], parse_math=False)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", length=0)


def heatmap(ax: Axes, matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Draw a matrix of shares; a square one over the same names leaves its diagonal grey."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    shown = np.array(matrix, dtype=np.float64)
    if list(rows) == list(columns) and shown.shape[0] == shown.shape[1]:
        # The diagonal is 1 by definition and would hide every difference beside it.
        np.fill_diagonal(shown, np.nan)
    blues = colormaps["Blues"](np.linspace(0.02, 0.9, 256))
    colours = LinearSegmentedColormap.from_list("nissl", blues).with_extremes(bad="#e4e7eb")
    finite = shown[np.isfinite(shown)]
    top = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    image = ax.imshow(shown, cmap=colours, vmin=0, vmax=top, aspect="equal", interpolation="none")
    text = {"parse_math": False, "fontsize": 8 if len(rows) <= 16 else 6.5}
    ax.set_xticks(np.arange(len(columns)), [_short(n, 16) for n in columns], rotation=90, **text)
    ax.set_yticks(np.arange(len(rows)), [_short(n, 16) for n in rows], **text)
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if len(rows) <= 12 and len(columns) <= 12:
        for (i, j), value in np.ndenumerate(shown):
            if math.isfinite(value):
                colour = "white" if value > 0.6 * top else INK
                ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
    bar.outline.set_visible(False)  # type: ignore[operator]  # a spine, whatever the stubs say
    bar.ax.tick_params(labelsize=7, length=2)


def figure_bytes(figure: Figure, kind: Literal["svg", "png"]) -> bytes:
    """Return a figure as SVG or PNG, the same bytes each time."""
    out = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with style(), warnings.catch_warnings():
        # Words in scripts that the measuring font lacks are drawn by the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(out, format=kind, metadata=metadata)
    return out.getvalue()


def _short(name: str, longest: int = LONGEST) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _ticks(ax: Axes) -> None:
    # matplotlib makes ticks when they are first needed, by then under other settings.
    ax.tick_params(which="both", color=INK, labelcolor=INK, labelsize=8, width=0.7, length=3)


@lru_cache(maxsize=1)
def _classes() -> tuple[type[Figure], type[Axes]]:
    """Return the figure and axes classes that keep the style for marks that are drawn later."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    class CalmFigure(Figure):
        def _repr_png_(self) -> bytes:
            return figure_bytes(self, "png")

    class CalmAxes(Axes):
        def _repr_png_(self) -> bytes:
            return figure_bytes(self.get_figure(root=True), "png")  # type: ignore[arg-type]

        def legend(self, *args: Any, **kwargs: Any) -> Any:
            count = len(args[0]) if args else len(self.get_legend_handles_labels()[0])
            # Above the axes, where it can hide nothing.
            kwargs.setdefault("loc", "lower left")
            kwargs.setdefault("bbox_to_anchor", (0.0, 1.0))
            kwargs.setdefault("ncols", min(max(count, 1), 5))
            kwargs.setdefault("borderaxespad", 0.2)
            kwargs.setdefault("columnspacing", 1.2)
            kwargs.setdefault("handlelength", 1.4)
            kwargs.setdefault("handletextpad", 0.5)
            kwargs.setdefault("markerscale", 0.75)
            with style():
                return super().legend(*args, **kwargs)

        def twinx(self, *args: Any, **kwargs: Any) -> Any:
            with style():
                twin = super().twinx(*args, **kwargs)
            _ticks(twin)
            twin.spines["right"].set_visible(True)
            return twin

        def axhline(self, *args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("color", PALETTE["majority"])
            return super().axhline(*args, **kwargs)

        def axvline(self, *args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("color", PALETTE["majority"])
            return super().axvline(*args, **kwargs)

        def bar(self, *args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("error_kw", {"ecolor": INK, "elinewidth": 1.0})
            self.grid(False, axis="x")
            return super().bar(*args, **kwargs)

        def plot(self, *args: Any, **kwargs: Any) -> Any:
            if "color" not in kwargs and len(args) < 3:
                kwargs["color"] = PALETTE["top"]
            return super().plot(*args, **kwargs)

        def annotate(self, text: str, *args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("color", INK)
            kwargs.setdefault("parse_math", False)
            return super().annotate(_short(text), *args, **kwargs)

        def set_xticks(self, ticks: Any, labels: Any = None, **kwargs: Any) -> Any:
            if labels is not None:
                kwargs.setdefault("parse_math", False)
            return super().set_xticks(ticks, labels, **kwargs)

        def set_xscale(self, value: Any, **kwargs: Any) -> None:
            super().set_xscale(value, **kwargs)
            if value == "log":
                axis = self.xaxis

                def label(tick: float, _: int | None) -> str:
                    low, high = axis.get_view_interval()
                    wide = high > 300 * max(low, 1e-300)
                    first = f"{tick:e}"[0]
                    return f"{tick:,.6g}" if first == "1" or not wide else ""

                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_minor_locator(NullLocator())
                axis.set_major_formatter(FuncFormatter(label))

    return CalmFigure, CalmAxes
