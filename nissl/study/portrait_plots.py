"""Figures of models beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.plotting import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nissl.study.portrait import CrossFindings

__all__ = ["labels", "layers", "sets"]

COLOURS = ("#0072b2", "#d55e00", "#007a5e", "#cc79a7", "#e69f00", "#5b6470", "#56b4e9")
"""Hues of Okabe and Ito, one a model; marks differ, too, where there are more models."""
MARKS = "os^Dvx"


def sets(found: CrossFindings, ax: Axes | None) -> Axes:
    """Minimal sets in per cent of the neurons, with the sizes that the dev tokens allow."""
    ax = _ready(ax, found)
    for i, (place, rows) in enumerate(_grouped(found)):
        value, low, high = (rows[c].to_numpy() for c in ("percent", "percent_low", "percent_high"))
        error = np.stack([value - low, high - value]).clip(min=0)
        ax.errorbar(place, value, yerr=error, color=_colour(i), fmt=_mark(i), label=found.models[i])
    delta = found.overview["delta"][0]
    ax.set_ylabel(f"% of neurons within {delta:g} point{'' if delta == 1 else 's'} of all")
    return _finish(ax, found)


def labels(found: CrossFindings, ax: Axes | None) -> Axes:
    """Neurons a label: every label a dot, the median of a model and property a bar."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax = _ready(ax, found)
    for i, (place, rows) in enumerate(_grouped(found)):
        model = found.models[i]
        for x, name in zip(place, rows["property"], strict=True):
            member = (pl.col("model") == model) & (pl.col("property") == name)
            values = found.labels.filter(member & (pl.col("neurons") > 0))["neurons"].to_numpy()
            ax.plot(np.full(len(values), x), values, ".", color=_colour(i), alpha=0.35)
        ax.plot(
            place,
            rows["label_neurons"].to_numpy(),
            "_",
            color=_colour(i),
            markersize=11,
            markeredgewidth=2,
            label=model,
        )
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylabel(f"neurons that hold {found.mass:.0%} of a label's weight")
    return _finish(ax, found)


def layers(found: CrossFindings, ax: Axes | None, properties: Sequence[str]) -> Axes:
    """Accuracy of each layer alone against relative depth: a panel a property, a line a model."""
    if ax is not None and len(properties) != 1:
        raise SettingError("one set of axes shows the layers of one property; name it (property=)")
    if ax is not None:
        panels = [ax]
    else:
        first = new_axes(None, size=(2.2 + 2.4 * len(properties), 3.2))
        figure = first.get_figure(root=True)
        assert figure is not None
        first.remove()
        panels = [
            figure.add_subplot(1, len(properties), i + 1, axes_class=type(first))
            for i in range(len(properties))
        ]
    for panel, name in zip(panels, properties, strict=True):
        for i, model in enumerate(found.models):
            rows = found.layers.filter(
                (pl.col("model") == model) & (pl.col("property") == name)
            ).sort("depth", maintain_order=True)
            x, y, low, high = (rows[c].to_numpy() for c in ("depth", "accuracy", "low", "high"))
            panel.fill_between(x, low, high, color=_colour(i), alpha=0.14, linewidth=0)
            panel.plot(x, y, color=_colour(i), marker=_mark(i), markersize=3, label=model)
        panel.set_xlabel("relative depth")
    panels[0].set_ylabel("test accuracy of the layer alone")
    if len(panels) == 1:
        panels[0].legend()
        return panels[0]
    for panel, name in zip(panels, properties, strict=True):
        panel.set_title(name, fontsize=8.5, loc="left", parse_math=False)
    figure = panels[0].get_figure(root=True)
    assert figure is not None
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside upper center", ncols=len(names), frameon=False)
    return panels[0]


def _grouped(found: CrossFindings) -> list[tuple[np.ndarray, pl.DataFrame]]:
    """Return where each model's marks stand, one a property, and its rows of the overview."""
    index = {name: i for i, name in enumerate(found.properties)}
    step = 0.8 / max(1, len(found.models))
    out = []
    for i, model in enumerate(found.models):
        rows = found.overview.filter(pl.col("model") == model)
        middle = np.array([index[name] for name in rows["property"]], dtype=np.float64)
        out.append((middle + step * (i - (len(found.models) - 1) / 2), rows))
    return out


def _ready(ax: Axes | None, found: CrossFindings) -> Axes:
    return new_axes(ax, size=(min(10.0, 2.6 + 1.3 * len(found.properties)), 3.4))


def _finish(ax: Axes, found: CrossFindings) -> Axes:
    ax.set_xticks(np.arange(len(found.properties)), list(found.properties))
    ax.set_xlim(-0.5, len(found.properties) - 0.5)
    ax.grid(False, axis="x")
    ax.legend()
    return ax


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _mark(i: int) -> str:
    return MARKS[i % len(MARKS)]
