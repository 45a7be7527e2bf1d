"""Commands that run whole studies: demo, run, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nissl.cli.app import app
from nissl.cli.options import (
    Absent,
    Columns,
    DevShare,
    Format,
    MinCount,
    Model,
    Quiet,
    Seed,
    Sites,
    SplitBy,
    Tagger,
    Threads,
    reader_options,
    ready,
)
from nissl.errors import SettingError


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder of the study.")] = Path("demo-report"),
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Analyse MiniLM on Nissl's own treebank and write a report page.

    The study is that of `nissl run` with the configuration that comes with Nissl; it takes a few
    minutes on two cores and needs no network.

    Examples

    ```
    nissl demo
    nissl demo --out my-demo --threads 2
    ```
    """
    ready(threads, quiet)
    from nissl.data import demo_config
    from nissl.study import load_config

    _study(load_config(demo_config()), out, command=f"nissl demo --out {out}")


@app.command
def run(
    config: Annotated[Path | None, Parameter(help="YAML or TOML file of the study.")] = None,
    *,
    corpus: Annotated[
        list[str] | None,
        Parameter(
            name=["--corpus", "-c"],
            negative="",
            help="File, or folder with train, dev and test files; nissl:treebank is ours.",
        ),
    ] = None,
    model: Model = "minilm",
    label: Annotated[
        list[str] | None,
        Parameter(name=["--label", "-l"], negative="", help="Label column; may be repeated."),
    ] = None,
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="Folder of the study.")] = Path(
        "study"
    ),
    format: Format = None,
    columns: Columns = None,
    tagger: Tagger = None,
    split_by: SplitBy = None,
    dev_share: DevShare = None,
    sample_train: Annotated[
        int | None, Parameter(help="Use this many random training sentences.")
    ] = None,
    sample_dev: Annotated[int | None, Parameter(help="Use this many random dev sentences.")] = None,
    min_count: MinCount = 1,
    absent: Absent = "error",
    site: Sites = None,
    pooling: Annotated[
        Literal["last", "first", "mean"], Parameter(help="Subword(s) that stand for a word.")
    ] = "last",
    on_long: Annotated[
        Literal["error", "window"], Parameter(help="Sentences beyond the model's maximum length.")
    ] = "error",
    dtype: Annotated[str, Parameter(help="auto, float32, float16 or bfloat16.")] = "auto",
    random_weights: Annotated[
        bool, Parameter(help="Compare with the same model with random weights.")
    ] = True,
    title: Annotated[str | None, Parameter(help="Title of the report.")] = None,
    seed: Seed = 0,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Run a study: corpus × model × labels → a folder with results, figures and a report.

    Everything comes either from a configuration file or from options. The resolved configuration
    is saved as `study.yaml`. Running again with the same folder goes on where it stopped.

    Examples

    ```
    nissl run --corpus my.conllu --split-by sentence --label upos --label feats.Number
    nissl run -c en_ewt/ -l upos -l xpos --sample-train 2000 --absent leave-out -o runs/ewt
    nissl run study.yaml --out runs/levels
    ```
    """
    ready(threads, quiet)
    from nissl.study import load_config, make_config

    if config is not None:
        if corpus or label:
            raise SettingError(
                "give a configuration file or --corpus and --label, not both: put them in the file"
            )
        _study(load_config(config), out, command=f"nissl run {config} --out {out}")
        return
    if not corpus or not label:
        raise SettingError(
            "give a configuration file, or --corpus and --label; for a first look: nissl demo"
        )
    sample = {"train": sample_train, "dev": sample_dev}
    values = {
        "title": title,
        "model": {"name": model, "dtype": dtype},
        "corpora": {
            _corpus_name(corpus): {
                "source": corpus if len(corpus) > 1 else corpus[0],
                "format": format,
                "options": reader_options(columns, tagger),
                "split_by": split_by,
                "dev_share": dev_share,
                "sample": {split: n for split, n in sample.items() if n is not None},
            }
        },
        "properties": list(label),
        "extraction": {"sites": site or ["hidden"], "pooling": pooling, "on_long": on_long},
        "analysis": {"min_count": min_count, "absent": absent, "random_weights": random_weights},
        "seed": seed,
    }
    study = make_config(values)
    _study(study, out, command=f"nissl run {Path(out) / 'study.yaml'} --out {out}")


def _corpus_name(sources: list[str]) -> str:
    name = sources[0].rpartition("!")[2] if "!" in sources[0] else sources[0]
    return "treebank" if name.startswith("nissl:") else Path(name).stem or "corpus"


def _study(config: Any, out: Path, *, command: str) -> None:
    from nissl.report import write_figures, write_report
    from nissl.study import run_study

    outcome = run_study(config, out, command=command)
    write_figures(outcome, out / "figures")
    page = write_report(outcome, out / "report.html")
    print(f"report: {page.resolve()}")


@app.command
def report(
    study: Annotated[Path, Parameter(help="Folder of a finished study.")],
    *,
    out: Annotated[Path | None, Parameter(help="Page [default: report.html there].")] = None,
) -> None:
    """Write the report page of a finished study again.

    Examples

    ```
    nissl report runs/ewt
    ```
    """
    ready(None)
    from nissl.report import write_report
    from nissl.study import load_study

    page = write_report(load_study(study), out or study / "report.html")
    print(f"report: {page.resolve()}")
