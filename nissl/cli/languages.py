"""The command that compares the neurons of one category across languages: languages."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nissl.cli.app import app
from nissl.cli.options import Device, Quiet, Seed, Sites, Threads, ready
from nissl.errors import SettingError


@app.command
def languages(
    *,
    model: Annotated[
        str, Parameter(name=["--model", "-m"], help="Alias (see nissl models), folder or hub name.")
    ],
    treebanks: Annotated[
        list[Path],
        Parameter(
            negative="",
            help="Folder of CoNLL-U files such as en_pud-ud-test.conllu; may be repeated.",
        ),
    ],
    out: Annotated[
        Path, Parameter(name=["--out", "-o"], help="Folder for stores, rankings and the page.")
    ],
    categories: Annotated[
        str | None,
        Parameter(
            help="UniMorph dimensions, such as Number,Gender "
            "[default: Number,Gender,Tense,Person,Case,Mood,POS]."
        ),
    ] = None,
    languages: Annotated[
        str | None,
        Parameter(help="Codes, names or treebanks, such as en,de,tr_web [default: all]."),
    ] = None,
    k: Annotated[
        list[int], Parameter(negative="", help="Neurons of each ranking; may be repeated.")
    ] = [50],  # noqa: B006  # read by the command line, never changed
    k_of: Annotated[
        list[str] | None,
        Parameter(negative="", help="LANGUAGE=K: sets of another size; may be repeated."),
    ] = None,
    ranking: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="See nissl methods; settings after colons; may be repeated "
            "[default: gaussian:max_tokens=1000 and latent:max_steps=500].",
        ),
    ] = None,
    site: Sites = None,
    layers: Annotated[
        str | None, Parameter(help="Of the hidden states, such as 0,6,12 or 3-5 [default: all].")
    ] = None,
    sentences: Annotated[
        int | None, Parameter(help="Most sentences of a treebank, drawn [default: all].")
    ] = None,
    random_weights: Annotated[
        bool, Parameter(negative="", help="Also rank a model with random weights: the null.")
    ] = False,
    seeds: Annotated[
        int, Parameter(help="How often splits, samples and rankings are made anew.")
    ] = 1,
    min_count: Annotated[
        tuple[int, int, int],
        Parameter(negative="", help="Fewest words of a value in train, dev and test."),
    ] = (50, 5, 5),
    max_tokens: Annotated[int, Parameter(help="Most training words of a ranking.")] = 3000,
    data: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="LANGUAGE=AMOUNT of pre-training text, in any unit, by the code or treebank of a "
            "language; may be repeated.",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "dask", "ray"], Parameter(help="Who runs the workers (docs/scale.md).")
    ] = "local",
    jobs: Annotated[
        int | None, Parameter(name=["--jobs", "-j"], help="Worker processes [default: none].")
    ] = None,
    address: Annotated[str | None, Parameter(help="Of a running Dask or Ray cluster.")] = None,
    device: Device = "cpu",
    on_long: Literal["error", "window"] = "error",
    page_only: Annotated[
        bool,
        Parameter(
            negative="", help="Extract and rank nothing: tables and page of what is finished."
        ),
    ] = False,
    seed: Seed = 0,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Compare the neurons that encode one category, such as Number, in different languages.

    Words get UniMorph categories, are split by lemma, and the neurons of each layer are ranked for
    each category and language; of each two languages the best k are compared: exact
    hypergeometric p, Holm. The folder gets languages.html, CSV tables, SVG figures and results. An
    interrupted run goes on where it stopped when the command is given again.

    Examples

    ```
    nissl languages -m my-model --treebanks ud-pud --out same-neurons --random-weights
    nissl languages -m my-model --treebanks ud --languages en,de,tr --categories Number --layers 6
    nissl languages -m my-model --treebanks ud --k 20 --k 50 --data en=300 --data tr=20 -o out
    ```
    """
    ready(threads, quiet)
    from nissl.methods import DEFAULT_LANGUAGE_RANKINGS
    from nissl.report.languages import write_language_overlap
    from nissl.study.languages import CATEGORIES, run_languages

    if site and layers:
        raise SettingError("give --layers or --site, not both")
    sites = [f"hidden.{i}" for i in _layers(layers)] if layers else site or ["hidden"]
    outcome = run_languages(
        model,
        treebanks,
        out,
        categories=_words(categories) or CATEGORIES,
        languages=_words(languages),
        sites=sites,
        sentences=sentences,
        rankings=ranking or DEFAULT_LANGUAGE_RANKINGS,
        random_weights=random_weights,
        compute=not page_only,
        command=shlex.join(["nissl", *sys.argv[1:]]),
        load={"device": device},
        extraction={"engine": engine, "jobs": jobs, "address": address, "on_long": on_long},
        seed=seed,
        k=k,
        k_of=_wholes(k_of, "--k-of"),
        seeds=seeds,
        min_count=min_count,
        max_tokens=max_tokens,
        pretraining=_amounts(data, "--data"),
    )
    page = write_language_overlap(outcome, out)
    for line in outcome.found.summary():
        print(f"{line}\n")
    print(f"report: {page.resolve()}")


def _words(given: str | None) -> list[str] | None:
    return [word.strip() for word in given.split(",") if word.strip()] if given else None


def _layers(given: str) -> list[int]:
    found: list[int] = []
    for part in given.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise SettingError(f'--layers "{given}" is no list such as 0,6,12 or 3-5')
        if int(last or first) < int(first):
            raise SettingError(f'--layers "{given}": {part.strip()} ends before it begins')
        found += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(found))


def _amounts(given: list[str] | None, option: str) -> dict[str, float]:
    found: dict[str, Any] = {}
    for each in given or []:
        name, mark, value = (part.strip() for part in each.partition("="))
        if name in found:
            raise SettingError(f"{option} names {name} twice")
        try:
            found[name] = float(value)
        except ValueError:
            mark = ""
        if not mark or not name or not math.isfinite(found[name]):
            raise SettingError(f'{option} "{each}" is not LANGUAGE=NUMBER, such as en=50')
    return found


def _wholes(given: list[str] | None, option: str) -> dict[str, int]:
    amounts = _amounts(given, option)
    for name, value in amounts.items():
        if value != int(value):
            raise SettingError(f"{option} {name}={value:g} must be a whole number")
    return {name: int(value) for name, value in amounts.items()}
