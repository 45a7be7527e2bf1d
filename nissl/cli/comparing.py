"""Commands about rankings: rankings (what there is) and compare (which is best)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from cyclopts import Parameter

from nissl.cli import probing
from nissl.cli.app import app
from nissl.cli.options import Absent, MinCount, Quiet, Seed, Threads, ready
from nissl.errors import SettingError


@app.command
def rankings() -> None:
    """List the ways to rank neurons, with their settings and defaults.

    Examples

    ```
    nissl rankings
    ```
    """
    ready(None)
    from nissl.methods import method_table

    for targets in (False, True):
        print("For numbers (--target):" if targets else "For classes (--label):")
        for row in method_table(targets=targets).iter_rows(named=True):
            slow = " (slow)" if row["slow"] else ""
            settings = f"\n{'':18}{row['settings']}" if row["settings"] else ""
            print(f"{row['method']:18}{row['about']}{slow}{settings}")


@app.command
def compare(
    store: Annotated[Path, Parameter(help="Activation store, made by nissl extract.")],
    label: Annotated[
        list[str] | None,
        Parameter(
            name=["--label", "-l"],
            negative="",
            help="Label columns, such as upos or feats.Number; these or --target.",
        ),
    ] = None,
    *,
    target: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="Columns of numbers instead, or tree-depth, frequency, position; may be repeated.",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        Parameter(
            help="Rankings (see nissl rankings), separated by commas; a setting follows a colon: "
            "lca,lca:penalty=ridge,forward:k_max=100."
        ),
    ] = None,
    k: Annotated[
        str | None,
        Parameter(help="Neurons kept, separated by commas, or percentages: 27,134,10%."),
    ] = None,
    how: Annotated[
        str | None,
        Parameter(
            help="retrain (a new probe on the kept neurons), mask, or both "
            "[default: both; numbers: retrain]."
        ),
    ] = None,
    draws: Annotated[int, Parameter(help="Random sets of each size.")] = 10,
    seeds: Annotated[int, Parameter(help="Seeds for methods that use chance; 1: once.")] = 3,
    splits: Annotated[int, Parameter(help="Halvings of the corpus for stability; 0: none.")] = 2,
    l1: Annotated[float, Parameter(help="λ₁ of the probe that mask keeps.")] = 1e-3,
    l2: Annotated[float, Parameter(help="λ₂ of the probe that mask keeps.")] = 1e-3,
    min_count: MinCount = 1,
    absent: Absent = "error",
    out: Annotated[Path | None, Parameter(help="Folder for the page, tables and result.")] = None,
    seed: Seed = 0,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Compare rankings of neurons: accuracy, agreement, stability and time.

    All rankings meet the same probes, random sets and test tokens. The folder gets
    comparison.html, tables/*.csv and result.json (read back by nissl.load_result). For numbers the
    measure is R², and the folder has a figure a target instead of the page.

    Examples

    ```
    nissl compare acts upos
    nissl compare acts upos xpos --methods lca,probeless,forward --k 1%,5%,10% --out comparison
    nissl compare acts xpos --methods lca,lca:penalty=lasso --k 27,134 --splits 0 --how retrain
    nissl compare acts --target tree-depth --target frequency --methods pearson,weights,random
    ```
    """
    ready(threads, quiet)
    from nissl.methods import DEFAULT_METHODS, parse_method
    from nissl.methods import compare as run_compare

    if bool(label) == bool(target):
        raise SettingError("give labels for classes or --target for numbers, one of them")
    if target:
        if how not in (None, "retrain") or min_count != 1:
            raise SettingError("--how and --min-count are about classes; a target has none")
        _compare_targets(store, target, methods, k, draws, seeds, splits, absent, seed, out)
        return
    chosen = _words(methods, "--methods") if methods is not None else list(DEFAULT_METHODS)
    for name in chosen:
        # A wrong name costs nothing if it is found before the store is read.
        parse_method(name)
    sizes = _words(k, "--k") if k is not None else None
    ways: list[Any] = ["retrain", "mask"] if how is None else _words(how, "--how")
    tasks = [probing._task(store, name, min_count, absent) for name in label or ()]
    kept = None if sizes is None else _sizes(sizes, tasks[0].n_neurons)
    found = run_compare(
        tasks,
        chosen,
        ks=kept,
        how=ways,
        draws=draws,
        seeds=seeds,
        splits=splits,
        l1=l1,
        l2=l2,
        seed=seed,
    )
    for way in ways:
        said = "retrained" if way == "retrain" else "all others masked"
        probing._show((f"Test accuracy of the best k neurons, {said}:",), found.matrix(how=way))
    for line in found.summary():
        print(line)
    if out is not None:
        _write(found, out)


def _compare_targets(
    store: Path,
    names: list[str],
    methods: str | None,
    k: str | None,
    draws: int,
    seeds: int,
    splits: int,
    absent: Literal["error", "leave-out"],
    seed: int,
    out: Path | None,
) -> None:
    from nissl.methods import DEFAULT_TARGET_METHODS, compare_targets, parse_method
    from nissl.plotting import figure_bytes

    chosen = list(DEFAULT_TARGET_METHODS) if methods is None else _words(methods, "--methods")
    for name in chosen:
        parse_method(name, targets=True)
    sizes = _words(k, "--k") if k is not None else None
    targets = [probing._target(store, name, absent) for name in names]
    found = compare_targets(
        targets,
        chosen,
        ks=None if sizes is None else _sizes(sizes, targets[0].n_neurons),
        draws=draws,
        seeds=seeds,
        splits=splits,
        seed=seed,
    )
    probing._show(("Test R² of the best k neurons, refitted:",), found.matrix())
    for line in found.summary():
        print(line)
    if out is not None:
        _tables(found, out)
        for i, name in enumerate(found.targets, start=1):
            figure = found.plot(target=name).figure
            (out / f"r2-{i}.svg").write_bytes(figure_bytes(cast(Any, figure), "svg"))
        print(f"wrote {out}", file=sys.stderr)


def _words(text: str, option: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise SettingError(f"{option} is empty; separate values by commas")
    return words


def _sizes(words: list[str], n_neurons: int) -> list[int]:
    """Return numbers of neurons from numbers and percentages."""
    sizes = []
    for word in words:
        try:
            size = float(word[:-1]) if word.endswith("%") else int(word)
        except ValueError:
            raise SettingError(f'--k: "{word}" is neither a number nor a percentage') from None
        if word.endswith("%"):
            if not 0 < size <= 100:
                raise SettingError(f"--k: {word} is no share of the neurons")
            size = max(1, round(n_neurons * size / 100))
        sizes.append(int(size))
    return sizes


def _write(found: Any, out: Path) -> None:
    from nissl.report.comparison import write_comparison

    _tables(found, out)
    page = write_comparison(found, out / "comparison.html")
    print(f"wrote {page}", file=sys.stderr)


def _tables(found: Any, out: Path) -> None:
    found.save(out)
    tables = out / "tables"
    tables.mkdir(exist_ok=True)
    for name, frame in found.frames().items():
        frame.write_csv(tables / f"{name}.csv")
