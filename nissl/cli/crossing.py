"""The command that studies several models alike and compares them: study."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from nissl.cli.app import app
from nissl.cli.options import Quiet, Threads, ready
from nissl.errors import SettingError


@app.command
def study(
    config: Annotated[
        Path | None, Parameter(help="YAML or TOML file with models, corpora and properties.")
    ] = None,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="Folder of the study.")] = Path(
        "cross-study"
    ),
    page_only: Annotated[
        bool,
        Parameter(
            negative="",
            help="Only compare again and write the page, from the finished studies in the folder; "
            "no model is loaded.",
        ),
    ] = False,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Study several models alike and compare them: models × properties in one page.

    The configuration is that of `nissl run`, with `models`, a list, instead of `model`. Each model
    is an ordinary study in `models/` with a page of its own; running again goes on where it
    stopped. Then the four questions of Durrani et al. (2020) are answered from all of them: how
    few neurons suffice, where they sit, localised or distributed, disjoint or shared. The folder
    gets cross.html, CSV tables, SVG figures, and results/cross (read back by nissl.load_result).

    Examples

    ```
    nissl study examples/architectures.yaml --out runs/architectures
    nissl study --page-only --out runs/architectures
    ```
    """
    ready(threads, quiet)
    from nissl.study import load_cross, load_cross_config, run_cross

    if page_only:
        if config is not None:
            raise SettingError("--page-only takes everything from --out; leave the file away")
        _write(load_cross(out), out)
        return
    if config is None:
        raise SettingError("give a configuration file; to write the page again: --page-only")
    found = run_cross(
        load_cross_config(config),
        out,
        command=f"nissl study {config} --out {out}",
        finished=_pages,
    )
    _write(found, out)


def _pages(name: str, outcome: Any, folder: Path) -> None:
    """Write the page and figures of one model's study."""
    from nissl.report import write_figures, write_report

    write_figures(outcome, folder / "figures")
    write_report(outcome, folder / "report.html")
    print(f"{name}: {folder / 'report.html'}", file=sys.stderr)


def _write(found: Any, out: Path) -> None:
    from nissl.report.cross import write_cross

    page = write_cross(found, out)
    for paragraph in found.findings.summary():
        print(f"{paragraph}\n")
    print(f"report: {page.resolve()}")
