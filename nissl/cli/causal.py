"""Commands that change neurons inside the running model: ablate, scan, steer."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nissl.cli import probing
from nissl.cli.app import app
from nissl.cli.comparing import _sizes, _words
from nissl.cli.options import Device, Label, Quiet, Seed, Threads, ready, shown
from nissl.errors import InputError, SettingError, did_you_mean

Model = Annotated[
    str, Parameter(name=["--model", "-m"], help="Folder or hub name of a model with a head.")
]
Head = Annotated[Literal["causal-lm", "masked-lm"], Parameter(help="What the model predicts.")]
Items = Annotated[
    list[str],
    Parameter(
        name=["--items", "-i"],
        negative="",
        help="Minimal pairs: BLiMP (.jsonl, or BLiMP.zip!data/NAME.jsonl), number agreement "
        "(.txt, .tsv), SyntaxGym (.json); may be repeated, the first is what is tested.",
    ),
]
Text = Annotated[
    Path | None,
    Parameter(help="Unrelated plain text, one text a line, for loss and collateral damage."),
]
Reference = Annotated[
    Path | None,
    Parameter(help="Plain text that neurons' means are taken over [default: --text]."),
]
Start = Annotated[
    str,
    Parameter(
        help="Token that a causal model reads before a text, or none; auto: the tokenizer's, else "
        "<|endoftext|>, else its bos or eos token."
    ),
]
How = Annotated[Literal["mean", "zero"], Parameter(help="What removed neurons are set to.")]
Take = Annotated[int | None, Parameter(help="Items a condition, drawn by the seed [default: all].")]
Draws = Annotated[int, Parameter(help="Random sets of each size, in the same layers.")]
Out = Annotated[
    Path | None, Parameter(name=["--out", "-o"], help="Folder for page, tables, figures, results.")
]
RankingFile = Annotated[
    Path,
    Parameter(help="CSV with a column neuron, best first: of nissl rank --out, or nissl scan."),
]


@app.command
def ablate(
    ranking: RankingFile,
    *,
    model: Model,
    items: Items,
    text: Text = None,
    head: Head = "causal-lm",
    k: Annotated[str, Parameter(help="Neurons removed, by commas, or percentages.")] = "5,20,40",
    start: Start = "auto",
    how: How = "mean",
    reference: Reference = None,
    draws: Draws = 20,
    take: Take = None,
    out: Out = None,
    seed: Seed = 0,
    threads: Threads = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Remove a ranking's neurons inside the running model and see what it can no longer do.

    Top, bottom, and random neurons of the same layers are removed, and every effect is compared
    item by item with the unedited model. A probe shows what is encoded; this shows what is used.

    Examples

    ```
    nissl ablate ranking.csv --model my-model --items nounpp.txt --text other.txt --out ablation
    nissl ablate ranking.csv -m my-model -i nounpp.txt -i BLiMP.zip!data/causative.jsonl --how zero
    nissl ablate scan/tables/neuron-scan.csv -m my-model -i nounpp.txt --k 1,5,20 --take 100
    ```
    """
    ready(threads, quiet)
    from nissl.methods.causal_ablate import ablation_curves

    order = _ranking(ranking)
    sizes = _sizes(_words(k, "--k"), len(order))
    fitting = _fitting(sizes, len(order)) or sizes
    effects = [*_effects(items, take, seed), *_collateral(text)]
    texts = _reference(how, reference, text)
    found = ablation_curves(
        _load(model, head, start, device),
        order,
        effects,
        fitting,
        how=how,
        reference=texts,
        draws=draws,
        seed=seed,
        name=ranking.stem,
    )
    _show([found], out, f"Neurons of {ranking.stem} removed from {shown(model)}")


@app.command
def scan(
    *,
    model: Model,
    items: Items,
    site: Annotated[
        list[str],
        Parameter(name="--site", negative="", help="Sites such as mlp.3; may be repeated."),
    ],
    ranking: Annotated[
        list[Path] | None,
        Parameter(
            negative="",
            help="Rankings (CSV of nissl rank) to compare with the scan: encoded or used?",
        ),
    ] = None,
    text: Text = None,
    head: Head = "causal-lm",
    start: Start = "auto",
    how: How = "mean",
    reference: Reference = None,
    k: Annotated[str, Parameter(help="Top neurons removed together, by commas.")] = "1,5,20",
    same_items: Annotated[
        bool,
        Parameter(negative="", help="Test the top neurons on the items that chose them."),
    ] = False,
    draws: Draws = 20,
    take: Take = None,
    out: Out = None,
    seed: Seed = 0,
    threads: Threads = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Remove every neuron of some sites, one at a time, and rank them by what it does.

    Half of the first --items, minimal pairs, choose the neurons by whole groups; the other half
    tests the top ones together, beside random sets. With --out, an interrupted scan goes on when
    run again.

    Examples

    ```
    nissl scan --model my-model --items nounpp.txt --site mlp.5 --site mlp.6 --how zero --out scan
    nissl scan -m my-model -i nounpp.txt --site mlp --text other.txt --take 50 --out scan
    nissl scan -m my-model -i nounpp.txt --site mlp --ranking lca.csv --ranking gaussian.csv
    ```
    """
    ready(threads, quiet)
    from nissl.corpus.lines import source_name
    from nissl.effects import pair_effect, read_items
    from nissl.methods.causal_scan import scan_neurons
    from nissl.methods.encoded_used import encoded_vs_used

    if source_name(items[0]).endswith(".json"):
        raise SettingError(
            f"a scan chooses neurons on minimal pairs, and {items[0]} is a suite; name pairs first"
        )
    pairs = read_items(items[0])
    pairs = pairs if take is None else pairs.take(take, seed=seed)
    orders = {path.stem: _ranking(path) for path in ranking or []}
    sizes = _whole(k, "--k")
    chosen, tested = (pairs, pairs) if same_items else pairs.halves(seed=seed)
    for why, number in chosen.left_out.items():
        print(f"left out of the scan: {number:,} {why}", file=sys.stderr)
    others = [*_effects(items[1:], take, seed), *_collateral(text)]
    effect = pair_effect(chosen)
    found = scan_neurons(
        _load(model, head, start, device),
        effect,
        site,
        how=how,
        reference=_reference(how, reference, text),
        folder=None if out is None else out / "pieces",
        joint=sizes,
        # With --same-items the effect itself comes first, and the result says so.
        test_effects=[effect if same_items else pair_effect(tested), *others],
        draws=draws,
        seed=seed,
    )
    _fitting(sizes, found.table.height)
    results: list[Any] = [found]
    if orders:
        results.append(encoded_vs_used(found, orders, property=pairs.name, seed=seed))
    _show(
        results,
        out,
        f"Every neuron of {', '.join(site)} removed from {shown(model)}, one at a time",
    )


@app.command
def steer(
    ranking: RankingFile,
    *,
    store: Annotated[Path, Parameter(help="Activation store that the ranking was made from.")],
    label: Label,
    positive: Annotated[str, Parameter(help="Class to push towards.")],
    negative: Annotated[
        str | None, Parameter(help="Class to push away from [default: all others].")
    ] = None,
    model: Model,
    items: Items,
    text: Annotated[Path, Parameter(help="Unrelated plain text, one text a line: fluency.")],
    k: Annotated[int, Parameter(help="Neurons that are pushed.")] = 20,
    dose: Annotated[
        str, Parameter(help="Multiples of the class difference, by commas.")
    ] = "-4,-2,-1,1,2,4",
    start: Start = "auto",
    prompt: Annotated[
        list[str] | None,
        Parameter(negative="", help="Beginning that the model goes on with; may be repeated."),
    ] = None,
    tokens: Annotated[int, Parameter(help="Tokens written after a prompt.")] = 20,
    draws: Draws = 10,
    take: Take = None,
    out: Out = None,
    seed: Seed = 0,
    threads: Threads = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Push a property's ranked neurons by doses of its class difference, and see what it costs.

    What should move is measured on one file of --items, fluency on --text.

    Examples

    ```
    nissl steer number.csv --store acts --label feats.Number --positive Plur --negative Sing \\
        --model my-model --items nounpp.txt --text other.txt --prompt "The boy near the cars"
    nissl steer number.csv --store acts -l feats.Number --positive Plur -m my-model -i nounpp.txt \\
        --text other.txt --dose=-8,8 --k 50 --out steering
    ```
    """
    ready(threads, quiet)
    from nissl.effects import loss_effect, read_texts
    from nissl.methods import make_task
    from nissl.methods.causal_steer import class_difference
    from nissl.methods.causal_steer import steer as run_steer
    from nissl.store import Activations

    if len(items) > 1:
        raise SettingError(f"steer measures one file of items; leave out {items[1]}")
    order = _ranking(ranking)
    levels = _numbers(dose, "--dose")
    effects = _effects(items, take, seed)
    fluency = loss_effect(read_texts(text), name=f"loss on {text.stem}")
    task = make_task(Activations.open(store), label, absent="leave-out")
    found = run_steer(
        _load(model, "causal-lm", start, device),
        order,
        class_difference(task, positive, negative),
        effects[0],
        fluency,
        k=k,
        doses=levels,
        prompts=prompt or [],
        tokens=tokens,
        draws=draws,
        seed=seed,
        name=ranking.stem,
    )
    _show([found], out, f"{shown(model)} steered towards {label}={positive}")


def _load(model: str, head: str, start: str, device: str) -> Any:
    from nissl.model import load_model

    return dataclasses.replace(load_model(model, head=head, device=device), start=start)


def _ranking(path: Path) -> list[str]:
    """Return ids of neurons, best first, from a CSV file.

    Raises
    ------
    InputError
        No such file, not a table, or no column of neurons.
    """
    import polars as pl

    from nissl.corpus.lines import missing_file

    if not path.is_file():
        raise missing_file(path)
    try:
        table = pl.read_csv(path, infer_schema_length=0)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise InputError(f"is not a CSV table ({error})", where=str(path)) from None
    if "neuron" not in table.columns:
        raise InputError(
            f'has no column "neuron"; it has {", ".join(table.columns)}.'
            f"{did_you_mean('neuron', table.columns)}",
            where=str(path),
        )
    return [str(name) for name in table["neuron"].to_list()]


def _effects(items: list[str], take: int | None, seed: int) -> list[Any]:
    """Return the effects of files of minimal pairs and suites, telling what was left out."""
    from nissl.corpus.lines import source_name
    from nissl.effects import pair_effect, read_items, read_suite, suite_effect

    found = []
    for source in items:
        if source_name(source).endswith(".json"):
            found.append(suite_effect(read_suite(source)))
            continue
        pairs = read_items(source)
        pairs = pairs if take is None else pairs.take(take, seed=seed)
        for why, number in pairs.left_out.items():
            print(f"left out of {pairs.name}: {number:,} {why}", file=sys.stderr)
        if same := pairs.same():
            print(
                f"{pairs.name}: {len(same)} pairs of two equal texts ({same[0]}), right by half",
                file=sys.stderr,
            )
        found.append(pair_effect(pairs))
    return found


def _collateral(text: Path | None) -> list[Any]:
    from nissl.effects import divergence, loss_effect, read_texts

    if text is None:
        return []
    lines = read_texts(text)
    places = [f"{text}: text {i + 1}" for i in range(len(lines))]
    return [
        loss_effect(lines, name=f"loss on {text.stem}", places=places),
        divergence(lines, name=f"KL on {text.stem}", places=places),
    ]


def _reference(how: str, reference: Path | None, text: Path | None) -> Any:
    from nissl.effects import read_texts

    if how == "zero":
        return None
    source = reference or text
    if source is None:
        raise SettingError("means need a text: give --reference or --text, or choose --how zero")
    return read_texts(source)


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(word) for word in _words(text, option)]
    except ValueError:
        raise SettingError(f'{option} "{text}" is no list of numbers, such as -2,2') from None


def _whole(text: str, option: str) -> list[int]:
    try:
        return [int(word) for word in _words(text, option)]
    except ValueError:
        raise SettingError(f'{option} "{text}" is no list of whole numbers, such as 1,5') from None


def _fitting(sizes: list[int], most: int) -> list[int]:
    """Return the sizes that so many neurons allow, telling which are left out."""
    if over := [f"{size:,}" for size in sizes if size > most]:
        print(
            f"left out of --k: {', '.join(over)}, for there are {most:,} neurons", file=sys.stderr
        )
    return [size for size in sizes if size <= most]


def _show(found: list[Any], out: Path | None, title: str) -> None:
    import polars as pl
    import polars.selectors as cs

    for each in found:
        frame = each.frame()
        if "group" in frame.columns:
            frame = frame.filter(pl.col("group") == "all")
        # A narrow terminal breaks the names of effects; the files have every column.
        frame = frame.drop(
            "group", "sd", "draws", "site_order", cs.starts_with("beyond"), strict=False
        )
        probing._show(each.summary(), frame.head(20), 20)
    if out is not None:
        from nissl.report.causal import write_causal_files

        page = write_causal_files(found, out, title=title)
        print(f"wrote {page}", file=sys.stderr)
