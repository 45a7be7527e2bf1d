"""Figures of overlaps between languages: a clustered heat map, and lines over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["clusters", "draw_clusters", "draw_layers"]


def clusters(matrix: np.ndarray) -> np.ndarray | None:
    """Return the linkage (average, distance 1 − share) of languages, None where there are < 3.

    A pair without a share counts as an average one.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    if len(matrix) < 3 or not np.isfinite(matrix).any():
        return None
    distance = 1.0 - np.where(np.isnan(matrix), np.nanmean(matrix), matrix)
    np.fill_diagonal(distance, 0.0)
    return linkage(squareform(distance, checks=False), method="average")


def draw_clusters(
    ax: Axes | None, matrix: np.ndarray, names: Sequence[str], genus: Mapping[str, str]
) -> Axes:
    """Draw shares with languages in the order of their clustering, its tree above."""
    from scipy.cluster.hierarchy import dendrogram

    from nissl.plotting import heatmap, new_axes

    side = 2.6 + 0.34 * len(names)
    ax = new_axes(ax, size=(side + 1.2, side))
    tree = clusters(matrix)
    order = list(range(len(names)))
    if tree is not None:
        drawn = dendrogram(tree, no_plot=True)
        order = [int(i) for i in drawn["leaves"]]
        above = ax.inset_axes((0, 1.02, 1, 0.22))
        for x, y in zip(drawn["icoord"], drawn["dcoord"], strict=True):
            # scipy puts leaf i at 10 i + 5; the heat map puts it at i.
            above.plot((np.asarray(x) - 5) / 10, y, color="#30363d", linewidth=1)
        # Languages that all have the same neurons are at no distance.
        bottom = min((v for y in drawn["dcoord"] for v in y if v > 0), default=0.0)
        top = max(v for y in drawn["dcoord"] for v in y)
        above.set_xlim(-0.5, len(names) - 0.5)
        above.set_ylim(bottom - 0.2 * max(top - bottom, 1e-3), top * 1.001)
        above.set_axis_off()
    shown = matrix[np.ix_(order, order)]
    heatmap(ax, shown, [names[i] for i in order], [names[i] for i in order])
    labels = [f"{names[i]} · {genus[names[i]]}" if genus[names[i]] else names[i] for i in order]
    ax.set_yticks(np.arange(len(names)), labels, parse_math=False, fontsize=8)
    return ax


def draw_layers(ax: Axes | None, rows: pl.DataFrame, sites: Sequence[str]) -> Axes:
    """Draw the mean share of each category over sites, and chance."""
    from matplotlib import colormaps

    from nissl.plotting import new_axes

    ax = new_axes(ax, size=(6.4, 3.6))
    place = {site: i for i, site in enumerate(sites)}
    colours = colormaps["tab10"]
    for i, category in enumerate(dict.fromkeys(rows["category"])):
        own = rows.filter(pl.col("category") == category)
        x = np.array([place[site] for site in own["site"]])
        at = np.argsort(x)
        colour = colours(i % 10)
        ax.plot(x[at], own["share"].to_numpy()[at], color=colour, marker="o", label=category)
    if rows.height:
        mean = rows.group_by("site").agg(pl.col("chance").mean())
        points = sorted((place[site], value) for site, value in mean.iter_rows())
        ax.plot(*zip(*points, strict=True), color="#8f99a6", linestyle="--", label="chance")
        ax.legend(ncols=2)
    ax.set_xticks(range(len(sites)), list(sites), rotation=90, parse_math=False, fontsize=7)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("mean overlap of two languages")
    return ax
