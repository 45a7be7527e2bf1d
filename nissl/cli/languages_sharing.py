"""Commands on neurons across languages inside the running model: sharing, lape."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nissl.cli import probing
from nissl.cli.app import app
from nissl.cli.options import Device, Quiet, Seed, Threads, ready, shown
from nissl.errors import SettingError

Model = Annotated[str, Parameter(name=["--model", "-m"], help="Folder or hub name of a model.")]
Text = Annotated[
    list[str] | None,
    Parameter(
        name="--text",
        negative="",
        help="LANGUAGE=FILE, such as en=en.txt: plain text, one text a line, or a corpus "
        "(.conllu); once a language.",
    ),
]
Site = Annotated[
    list[str],
    Parameter(name="--site", negative="", help="MLP sites, such as mlp or mlp.3; repeatable."),
]
Read = Annotated[
    Literal["activation", "unit"],
    Parameter(
        help="Value that is compared: the non-linearity's output (of a gated MLP act(gate)), or "
        "the unit that is mapped down (act(gate) × up)."
    ),
]
Threshold = Annotated[float, Parameter(help="A neuron is activated above this value.")]
Draws = Annotated[int, Parameter(help="Random sets beside each set, as many in every layer.")]
Start = Annotated[
    str, Parameter(help="Token that a causal model reads before a text, none, or auto.")
]
Out = Annotated[
    Path | None, Parameter(name=["--out", "-o"], help="Folder for page, tables, figures, results.")
]


@app.command
def sharing(
    source: Annotated[
        Path | None,
        Parameter(
            help="Parallel inputs: .csv, .tsv or .jsonl with input, language, and perhaps answer, "
            "group, candidates (a|b), task."
        ),
    ] = None,
    *,
    model: Model,
    text: Text = None,
    head: Annotated[
        Literal["causal-lm", "masked-lm", "none"], Parameter(help="What the model predicts.")
    ] = "causal-lm",
    site: Site = ["mlp"],  # noqa: B006  # read by the command line, never changed
    threshold: Threshold = 0.0,
    position: Annotated[
        Literal["last", "any", "mean"], Parameter(help="At which subwords of the input.")
    ] = "last",
    read: Read = "activation",
    null: Annotated[
        Path | None, Parameter(help="Unrelated text, for thresholds of each neuron's own.")
    ] = None,
    null_quantile: Annotated[
        float, Parameter(help="With --null: quantile of its values there that is the threshold.")
    ] = 0.95,
    scores: Annotated[
        bool,
        Parameter(help="Also tell what each class adds to the stream: a second pass over it all."),
    ] = True,
    deactivate: Annotated[
        bool,
        Parameter(negative="", help="Switch each class off and count the right answers."),
    ] = False,
    scope: Annotated[
        Literal["input", "corpus"],
        Parameter(help="Switch off each input's own classes, or those that hold over all."),
    ] = "input",
    tokens: Annotated[
        Literal["all", "answer"],
        Parameter(help="Where they are off: everywhere, or from the answer's prediction on."),
    ] = "all",
    pool: Annotated[
        Literal["layer", "active"],
        Parameter(help="Random sets are of all neurons of a layer, or of those that are active."),
    ] = "layer",
    draws: Draws = 20,
    take: Annotated[
        int | None, Parameter(help="Inputs a task, drawn by the seed [default: all].")
    ] = None,
    joint: Annotated[str, Parameter(help="What stands between input and answer.")] = " ",
    start: Start = "auto",
    out: Out = None,
    seed: Seed = 0,
    threads: Threads = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Sort neurons by whether an input activates them in all languages, some, one or none.

    Examples

    ```
    nissl sharing facts.csv --model my-model --deactivate --out sharing
    nissl sharing nli.jsonl -m my-model --null other.txt --null-quantile .99 --position any
    nissl sharing --text en=en.txt --text fr=fr.txt -m my-model --take 200
    ```
    """
    ready(threads, quiet)
    from nissl.effects import read_aligned, read_parallel
    from nissl.methods import deactivate as switch_off
    from nissl.methods import sharing as find

    if (source is None) == (not text):
        raise SettingError("give a file of parallel inputs, or --text LANGUAGE=FILE for each")
    parallel = read_parallel(source) if source else read_aligned(_files(text, "--text"))
    parallel = parallel if take is None else parallel.take(take, seed=seed)
    for why, number in parallel.left_out.items():
        print(f"left out: {number:,} {why}", file=sys.stderr)
    if deactivate and not parallel.answered:
        raise SettingError("--deactivate counts right answers: add a column answer")
    options: dict[str, Any] = {
        "sites": site,
        "threshold": threshold,
        "position": position,
        "read": read,
        "null": None if null is None else _lines(null),
        "null_quantile": None if null is None else null_quantile,
        "joint": joint,
        "seed": seed,
    }
    loaded = _load(model, head, start, device)
    found: list[Any] = [find(loaded, parallel, scores=scores, **options)]
    if deactivate:
        more: dict[str, Any] = {"scope": scope, "tokens": tokens, "pool": pool, "draws": draws}
        found.append(switch_off(loaded, parallel, **options, **more))
    _show(found, out, f"What {shown(model)} shares between {', '.join(parallel.languages)}")


@app.command
def lape(
    *,
    model: Model,
    text: Text,
    test: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="LANGUAGE=FILE for the check [default: every second text is kept back for it].",
        ),
    ] = None,
    head: Annotated[
        Literal["causal-lm", "masked-lm", "none"], Parameter(help="What the model predicts.")
    ] = "causal-lm",
    site: Site = ["mlp"],  # noqa: B006  # read by the command line, never changed
    read: Read = "activation",
    threshold: Threshold = 0.0,
    share: Annotated[float, Parameter(help="Share of all neurons that are picked.")] = 0.01,
    filter_quantile: Annotated[
        float,
        Parameter(help="Only those that some language activates more often than this quantile."),
    ] = 0.95,
    assign_quantile: Annotated[
        float, Parameter(help="They are of languages that activate them more often than this.")
    ] = 0.95,
    check: Annotated[
        bool, Parameter(help="Switch off each language's neurons and read every language's loss.")
    ] = True,
    draws: Draws = 20,
    start: Start = "auto",
    out: Out = None,
    seed: Seed = 0,
    threads: Threads = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Find neurons that few languages activate (LAPE), and see what a language is without them.

    Examples

    ```
    nissl lape --model my-model --text en=en.txt --text fr=fr.txt --text de=de.txt --out lape
    nissl lape -m my-model --text en=en.conllu --text tr=tr.conllu --share .005 --no-check
    ```
    """
    ready(threads, quiet)
    from nissl.methods import language_neurons

    found = language_neurons(
        _load(model, head, start, device),
        _texts(text),
        test=None if test is None else _texts(test, "--test"),
        sites=site,
        read=read,
        threshold=threshold,
        share=share,
        filter_quantile=filter_quantile,
        assign_quantile=assign_quantile,
        check=check,
        draws=draws,
        seed=seed,
    )
    _show([found], out, f"Language neurons of {shown(model)}: {', '.join(found.languages)}")


def _load(model: str, head: str, start: str, device: str) -> Any:
    from nissl.model import load_model

    return dataclasses.replace(load_model(model, head=head, device=device), start=start)


def _texts(given: list[str] | None, option: str = "--text") -> dict[str, tuple[str, ...]]:
    """Return language → texts of ``LANGUAGE=FILE``.

    Raises
    ------
    SettingError
        Something else, or a language that is there twice.
    """
    return {language: _lines(path) for language, path in _files(given, option).items()}


def _files(given: list[str] | None, option: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for each in given or []:
        language, mark, path = each.partition("=")
        if not mark or not language or not path:
            raise SettingError(f'{option} "{each}" is not LANGUAGE=FILE, such as en=en.txt')
        if language in found:
            raise SettingError(f"{option} names {language} twice")
        found[language] = Path(path)
    return found


def _lines(path: Path) -> tuple[str, ...]:
    """Return the texts of plain text, one a line, or of a corpus."""
    from nissl.corpus import read_corpus
    from nissl.effects import read_texts
    from nissl.effects.read_parallel import PLAIN

    if path.suffix in PLAIN:
        return read_texts(path)
    return tuple(sentence.text for sentence in read_corpus(path))


def _show(found: list[Any], out: Path | None, title: str) -> None:
    import polars as pl

    for each in found:
        frame = each.frame()
        for name in ("site", "group"):
            if name in frame.columns and "all" in set(frame[name]):
                frame = frame.filter(pl.col(name) == "all")
        probing._show(each.summary(), frame.head(20), 20)
    if out is not None:
        from nissl.report.sharing import write_language_files

        page = write_language_files(found, out, title=title)
        print(f"wrote {page}", file=sys.stderr)
