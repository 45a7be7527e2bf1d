"""The command that describes neurons by logical formulas over concepts: explain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from nissl.cli import probing
from nissl.cli.app import app
from nissl.cli.options import Quiet, Seed, Threads, ready
from nissl.errors import InputError, SettingError, did_you_mean

Several = list[str] | None


@app.command
def explain(
    store: Annotated[Path, Parameter(help="Activation store, made by nissl extract.")],
    *,
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="Folder for page, tables, figures, results."),
    ] = None,
    site: Annotated[
        Several,
        Parameter(name="--site", negative="", help="Sites; may be repeated [default: all]."),
    ] = None,
    neuron: Annotated[
        Several,
        Parameter(name="--neuron", negative="", help="Ids such as hidden.3:117, instead of sites."),
    ] = None,
    family: Annotated[
        Several,
        Parameter(
            name="--family",
            negative="",
            help="Concepts: word, lemma, label, characters, position, context, wordnet; may be "
            "repeated [default: the first five].",
        ),
    ] = None,
    label: Annotated[
        Several,
        Parameter(
            name=["--label", "-l"],
            negative="",
            help="Label columns that become concepts; may be repeated [default: all but misc.*].",
        ),
    ] = None,
    min_count: Annotated[int, Parameter(help="Leave out concepts of fewer tokens.")] = 5,
    most: Annotated[
        int | None, Parameter(help="Largest concepts kept of each family or column.")
    ] = None,
    mask: Annotated[
        str, Parameter(help="When a neuron is on: quantile, zero, ranges or clusters.")
    ] = "quantile",
    share: Annotated[float, Parameter(help="Share of tokens on, for --mask quantile.")] = 0.005,
    sides: Annotated[str, Parameter(help="high, low or both.")] = "both",
    ranges: Annotated[int, Parameter(help="Ranges or clusters of a neuron's values.")] = 5,
    length: Annotated[int, Parameter(help="Concepts in a formula, at most.")] = 3,
    beam: Annotated[int, Parameter(help="Formulas of each length that are kept.")] = 10,
    penalty: Annotated[
        float, Parameter(help="Factor on the score for each concept beyond the first.")
    ] = 0.99,
    min_support: Annotated[int, Parameter(help="Tokens that a formula covers, at least.")] = 5,
    score: Annotated[
        str, Parameter(help="What is maximised: iou, f1, precision, recall or matthews.")
    ] = "iou",
    exhaustive: Annotated[
        str, Parameter(help="Try every formula: always, never, or auto (where it is cheap).")
    ] = "auto",
    held_out: Annotated[
        str, Parameter(help="Share of sentences, or a split such as test, to test formulas on.")
    ] = "0.3",
    permutations: Annotated[int, Parameter(help="Shifts of a mask for its p-value.")] = 1000,
    fdr: Annotated[float, Parameter(help="False discovery rate.")] = 0.05,
    time_limit: Annotated[
        float | None, Parameter(help="Seconds of searching; what is found by then is shown.")
    ] = None,
    versus: Annotated[
        Several,
        Parameter(
            negative="",
            help="FILE.csv:COLUMN with numbers of neurons, such as the change in the table of "
            "nissl scan, whose sizes (without their signs) are correlated with; may be repeated.",
        ),
    ] = None,
    top: Annotated[int, Parameter(help="Neurons of each site shown in text on the page.")] = 10,
    stability: Annotated[
        int, Parameter(help="Redrawn texts to search the best neuron of each site in again.")
    ] = 0,
    seed: Seed = 0,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Describe each neuron by the logical formula over concepts that it comes closest to.

    Formulas such as (upos=NOUN AND NOT feats.Number=Plur) OR word=it are chosen on training
    sentences and tested on held-out ones against shifted masks. With --out, an interrupted search
    goes on when run again.

    Examples

    ```
    nissl explain acts --out explained
    nissl explain acts --site hidden.6 --length 5 --family label --family word --out explained
    nissl explain acts --neuron hidden.3:117 --mask zero --sides high --held-out test
    nissl explain acts --out explained --versus scan/tables/neuron-scan.csv:change
    ```
    """
    ready(threads, quiet)
    from nissl.methods.concepts import DEFAULT_FAMILIES, make_concepts
    from nissl.methods.explain import explain as run_explain
    from nissl.methods.explain_stability import explanation_stability
    from nissl.methods.explain_versus import explained_versus
    from nissl.store import Activations

    if stability < 0:
        raise SettingError(f"--stability is a number of redrawn texts, not {stability}")
    acts = Activations.open(store)
    concepts = make_concepts(
        acts, family or DEFAULT_FAMILIES, labels=label, min_count=min_count, most=most
    )
    tables = [_values(text) for text in versus or []]
    found = run_explain(
        acts,
        concepts,
        sites=site,
        neurons=neuron,
        mask=mask,
        share=share,
        sides=sides,
        ranges=ranges,
        length=length,
        beam=beam,
        penalty=penalty,
        min_support=min_support,
        score=score,
        held_out=_held_out(held_out),
        permutations=permutations,
        fdr=fdr,
        exhaustive=exhaustive,
        time_limit=time_limit,
        folder=None if out is None else out / "pieces",
        seed=seed,
    )
    for why, count in {**found.no_concepts, **found.left_out}.items():
        print(f"left out: {count:,} {why}", file=sys.stderr)
    others = [
        explained_versus(found, table, column=column, name=name, size=True, seed=seed)
        for table, column, name in tables
    ]
    shown = ["site", "rank", "neuron", "side", "formula", "iou_train", "iou", "chance", "q"]
    probing._show(found.summary(), found.top(3).select(shown), 40)
    for each in others:
        print(*each.summary(), sep="\n")
    if stability:
        best = found.top(1)["neuron"].to_list()
        again = explanation_stability(acts, concepts, found, best, draws=stability, seed=seed)
        probing._show(again.summary(), again.frame(), 40)
        if out is not None:
            again.save(out / "results" / "stability")
    if out is not None:
        _write(acts, concepts, found, others, top, out)
    if not found.complete and time_limit is None:
        # Ctrl-C: everything found is shown and kept, and the exit status says that it was one.
        raise KeyboardInterrupt


def _write(acts: Any, concepts: Any, found: Any, others: list[Any], top: int, out: Path) -> None:
    from nissl.methods.explain_examples import explanation_examples
    from nissl.report.explain import write_explain_files

    names = found.top(top)["neuron"].to_list() if top > 0 else []
    examples = explanation_examples(acts, concepts, found, names)
    page = write_explain_files(
        found, out, title=f"Neurons of {found.model}, explained", examples=examples, versus=others
    )
    print(f"wrote {page}", file=sys.stderr)


def _held_out(text: str) -> float | str:
    """Return a share of the sentences, or the name of a split."""
    try:
        return float(text)
    except ValueError:
        return text


def _values(text: str) -> tuple[Any, str, str]:
    """Read FILE.csv:COLUMN.

    Raises
    ------
    SettingError
        No column is named.
    InputError
        No such file, not a table, or without these columns.
    """
    import polars as pl

    from nissl.corpus.lines import missing_file

    file, colon, column = text.rpartition(":")
    if not colon or not file:
        raise SettingError(f'--versus "{text}" names no column; write FILE.csv:COLUMN')
    path = Path(file)
    if not path.is_file():
        raise missing_file(path)
    try:
        table = pl.read_csv(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise InputError(f"is not a CSV table ({error})", where=str(path)) from None
    for need in ("neuron", column):
        if need not in table.columns:
            raise InputError(
                f'has no column "{need}"; it has {", ".join(table.columns)}.'
                f"{did_you_mean(need, table.columns)}",
                where=str(path),
            )
    return table, column, f"{column} of {path.stem}"
