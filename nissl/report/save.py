"""Figures of a study as files, for papers and slides."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nissl.report.render import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nissl.study.outcome import StudyOutcome

__all__ = ["write_figures"]


def write_figures(outcome: StudyOutcome, folder: str | os.PathLike[str]) -> list[Path]:
    """Write every figure of a study as SVG below ``folder``; return the files.

    A property has a folder of its own with one file a step (``xpos/ablation.svg``).
    """
    from nissl.study.saved import slug

    written = []
    for place, draw in _figures(outcome, slug):
        target = Path(folder) / place
        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.with_name(f"{target.name}.svg")
        write_figure(draw, path)
        written.append(path)
    return written


def _figures(
    outcome: StudyOutcome, slug: Callable[[str], str]
) -> Iterator[tuple[str, Callable[[], Axes]]]:
    for name, findings in outcome.properties.items():
        for step, result in findings.results().items():
            yield f"{slug(name)}/{step}", result.plot
        if "mask" in set(findings.ablation.table["how"].to_list()):
            ablation = findings.ablation
            yield f"{slug(name)}/ablation-masked", lambda a=ablation: a.plot(how="mask")
    if outcome.sharing is not None:
        yield "sharing", outcome.sharing.plot
