"""Commands that read a store: probe, rank, neuron."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nissl.cli.app import app
from nissl.cli.options import (
    Absent,
    Label,
    MinCount,
    Quiet,
    Seed,
    Threads,
    ready,
)
from nissl.errors import SettingError


def _task(store: Path, label: str, min_count: int, absent: Literal["error", "leave-out"]) -> Any:
    """Open a store and make a task, telling what was left out."""
    from nissl.methods import make_task
    from nissl.store import Activations

    task = make_task(Activations.open(store), label, min_count=min_count, absent=absent)
    for reason, count in task.left_out.items():
        print(f"left out: {count:,} {reason}", file=sys.stderr)
    return task


def _target(store: Path, name: str, absent: Literal["error", "leave-out"]) -> Any:
    """Open a store and make a target of numbers from a column, or from what a corpus tells."""
    from nissl.corpus.targets import TARGETS
    from nissl.methods import make_target
    from nissl.store import Activations

    acts = Activations.open(store)
    derived = name in TARGETS and name not in acts.labels
    values = TARGETS[name](acts.tokens) if derived else name
    target = make_target(acts, values, name=name, absent=absent)
    for reason, count in target.left_out.items():
        print(f"left out: {count:,} {reason}", file=sys.stderr)
    return target


@app.command
def probe(
    store: Annotated[Path, Parameter(help="Activation store, made by nissl extract.")],
    *,
    label: Label,
    l1: Annotated[float | None, Parameter(help="λ₁; searched by ablation if not given.")] = None,
    l2: Annotated[float | None, Parameter(help="λ₂; λ₁ if not given.")] = None,
    min_count: MinCount = 1,
    absent: Absent = "error",
    out: Annotated[Path | None, Parameter(help="Folder to save the probe in.")] = None,
    seed: Seed = 0,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Fit the elastic-net probe of a label and print how well it does.

    The certificate says how close the fit is to the optimum, and what it cost.

    Examples

    ```
    nissl probe acts --label upos
    nissl probe acts --label xpos --l1 1e-3 --absent leave-out --out probes/xpos
    ```
    """
    ready(threads, quiet)
    task = _task(store, label, min_count, absent)
    fitted = _fit(task, l1, l2, seed)
    _show((*fitted.summary(), fitted.certificate()), fitted.frame())
    if out is not None:
        fitted.save(out)


def _fit(task: Any, l1: float | None, l2: float | None, seed: int) -> Any:
    from nissl.methods import fit_probe, search_lambda

    if l1 is not None:
        return fit_probe(task, l1=l1, l2=l1 if l2 is None else l2, seed=seed)
    if l2 is not None:
        raise SettingError("--l2 needs --l1; give both, or none to search them")
    search, fit = search_lambda(task)
    for line in search.summary():
        print(line)
    return fit_probe(task, l1=search.l1, l2=search.l2, start=fit, seed=seed)


def _show(lines: tuple[str, ...], frame: Any, rows: int = 60) -> None:
    import polars as pl

    for line in lines:
        print(line)
    with pl.Config(
        tbl_rows=rows,
        tbl_cols=-1,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        float_precision=3,
        fmt_str_lengths=60,
        tbl_width_chars=120,
    ):
        print(frame)


@app.command
def rank(
    store: Annotated[Path, Parameter(help="Activation store, made by nissl extract.")],
    *,
    label: Annotated[
        str | None,
        Parameter(
            name=["--label", "-l"],
            help="Label column, such as upos, xpos or feats.Number; this or --target.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        Parameter(help="Column of numbers instead, or tree-depth, frequency or position."),
    ] = None,
    method: Annotated[
        str | None,
        Parameter(
            help="A ranking (see nissl rankings); settings follow a colon: forward:k_max=50 "
            "[default: lca; weights for --target]."
        ),
    ] = None,
    of: Annotated[str | None, Parameter(help="Rank for this class alone.")] = None,
    top: Annotated[int, Parameter(help="Neurons to print.")] = 20,
    l1: Annotated[float | None, Parameter(help="λ₁ of lca; searched if not given.")] = None,
    l2: Annotated[float | None, Parameter(help="λ₂ of lca; λ₁ if not given.")] = None,
    min_count: MinCount = 1,
    absent: Absent = "error",
    out: Annotated[Path | None, Parameter(help="CSV file of all neurons.")] = None,
    seed: Seed = 0,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Rank the neurons of a store for a label, or for a number.

    Examples

    ```
    nissl rank acts --label upos --top 30
    nissl rank acts --label upos --of NOUN --method mean-difference
    nissl rank acts --label xpos --l1 1e-3 --out ranking.csv
    nissl rank acts --label xpos --method weights:over=max:penalty=ridge
    nissl rank acts --target tree-depth --method spearman
    ```
    """
    ready(threads, quiet)
    from nissl.methods import parse_method, rank_lca
    from nissl.methods import rank as run_rank

    if (label is None) == (target is None):
        raise SettingError("give --label for classes or --target for a number, one of them")
    method = method or ("lca" if target is None else "weights")
    parse_method(method, targets=target is not None)
    if method != "lca" and (l1 is not None or l2 is not None):
        raise SettingError(f"--l1 and --l2 go with lca; write {method}:l1=… for another ranking")
    if target is not None:
        if of is not None or min_count != 1:
            raise SettingError("--of and --min-count are about classes; a target has none")
        ranking = run_rank(_target(store, target, absent), method, seed=seed)
    else:
        task = _task(store, str(label), min_count, absent)
        if method == "lca":
            ranking = rank_lca(task, _fit(task, l1, l2, seed))
        else:
            ranking = run_rank(task, method, seed=seed)
    frame = ranking.frame()
    if of is not None:
        frame = ranking.frame_of(of)
    _show(ranking.summary() if of is None else (), frame.head(top), top)
    if out is not None:
        frame.write_csv(out)


@app.command
def neuron(
    name: Annotated[str, Parameter(name="neuron", help="Its id, such as hidden.3:117.")],
    *,
    store: Annotated[Path, Parameter(help="Activation store, or folder of a study.")],
    n: Annotated[int, Parameter(help="Words and contexts for each sign.")] = 10,
    min_count: Annotated[int, Parameter(help="Leave out rarer words.")] = 2,
) -> None:
    """Show the words and contexts that move one neuron, up and down.

    Examples

    ```
    nissl neuron hidden.3:117 --store acts
    nissl neuron hidden.0:12 --store demo-report --n 20
    ```
    """
    ready(None)
    import polars as pl

    from nissl.methods import show_neuron
    from nissl.store import Activations

    view = show_neuron(Activations.open(_store_of(store)), name, n=n, min_count=min_count)
    _show(view.summary(), view.frame().with_columns(pl.col("mean_z").round(2)))
    for row in view.contexts.iter_rows(named=True):
        print(f"{row['z']:+6.2f}  {row['left']} [{row['word']}] {row['right']}")


def _store_of(folder: Path) -> Path:
    """Return the store itself, or that of a study's only corpus."""
    inside = folder / "activations"
    if not inside.is_dir():
        return folder
    stores = sorted(path for path in inside.glob("*/model") if path.is_dir())
    if len(stores) != 1:
        names = ", ".join(str(path) for path in stores) or "none"
        raise SettingError(f"name one of the study's stores: {names}", where=str(folder))
    return stores[0]
