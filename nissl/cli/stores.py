"""Commands that keep activation stores: nissl store info, verify, repair, label, merge, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from nissl.cli.app import app
from nissl.cli.options import Columns, Format, Quiet, Tagger, Threads, reader_options, ready
from nissl.errors import SettingError, StoreError

__all__ = ["store"]

store = App(name="store", help="Look into, check, mend, join and export activation stores.")
app.command(store)

Path1 = Annotated[Path, Parameter(name="store", help="Activation store, made by nissl extract.")]
Corpora = Annotated[
    list[str] | None,
    Parameter(name=["--corpus", "-c"], negative="", help="The corpus it was made from."),
]


@store.command
def info(path: Path1) -> None:
    """Say what a store holds and what made it.

    Examples

    ```
    nissl store info acts
    ```
    """
    ready(None)
    from nissl.store import Activations

    acts = Activations.open(path)
    about = acts.manifest
    size = sum(shard["bytes"] for shard in about["shards"])
    sites = acts.sites
    window = about.get("windows")
    lines = {
        "model": f"{about['model']}" + (" (random weights)" if about.get("random_init") else ""),
        "revision": about.get("revision") or "not given",
        "corpus": about["corpus"],
        "size": f"{acts.sentences.height:,} sentences, {acts.n_tokens:,} words",
        "labels": ", ".join(acts.labels) or "none",
        "left out": "; ".join(f"{n:,} {what}" for what, n in about.get("left_out", {}).items())
        or "nothing",
        "sites": f"{sites[0].name} … {sites[-1].name} ({len(sites)})",
        "neurons": f"{acts.n_neurons:,} ({about['dtype']})",
        "pooling": about.get("pooling", "not known"),
        "windows": "not known"
        if window is None
        else f"{window['count']:,}, at least {window['least_context']} subwords of context"
        if window.get("count")
        else "none: every sentence was one input",
        "shards": f"{len(about['shards'])}, {size / 1e6:,.1f} MB, "
        f"{size / max(1, acts.n_tokens):,.0f} bytes a word",
        "made with": ", ".join(f"{k} {v}" for k, v in about.get("versions", {}).items())
        or "not known",
        "fingerprint": acts.fingerprint,
    }
    for name, text in lines.items():
        print(f"{name:12s} {text}")


@store.command
def verify(path: Path1) -> None:
    """Read every byte of a store and list its faults; the exit status is 2 when there are any.

    Examples

    ```
    nissl store verify acts
    ```
    """
    ready(None)
    from nissl.store import verify_store

    faults = verify_store(path)
    for fault in faults:
        print(fault)
    if faults:
        count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise StoreError(f"has {count}; to mend it: nissl store repair {path}", where=str(path))
    print(f"{path}: no fault")


@store.command
def repair(
    path: Path1,
    *,
    model: Annotated[
        str | None,
        Parameter(name=["--model", "-m"], help="The model, where its name has changed."),
    ] = None,
    corpus: Corpora = None,
    format: Format = None,
    columns: Columns = None,
    tagger: Tagger = None,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Compute damaged shards anew, from the text that the store keeps; mend tables and marks.

    Examples

    ```
    nissl store repair acts
    nissl store repair acts --model models/minilm --corpus my.conllu
    ```
    """
    ready(threads, quiet)
    from nissl.extraction import repair as run_repair
    from nissl.study.corpora import load_corpus

    data = None
    if corpus:
        source = corpus if len(corpus) > 1 else corpus[0]
        data = load_corpus(source, format=format, options=reader_options(columns, tagger))
    done = run_repair(path, model=model, corpus=data)
    for fault in done.faults:
        print(f"found: {fault}")
    for name in done.made:
        print(f"made anew: {name}")
    for name in done.changed:
        print(f"rounded otherwise than before: {name}", file=sys.stderr)
    for fault in done.left:
        print(f"left, for you to look at and remove: {fault}", file=sys.stderr)
    print(f"{path}: {'mended' if done.faults else 'no fault'}")


@store.command
def label(
    path: Path1,
    *,
    corpus: Annotated[
        list[str],
        Parameter(name=["--corpus", "-c"], negative="", help="The same text with other labels."),
    ],
    format: Format = None,
    columns: Columns = None,
    tagger: Tagger = None,
) -> None:
    """Give a store the labels, splits and ids of another annotation of the same text.

    Examples

    ```
    nissl store label acts --corpus semantic-tags.conllu
    ```
    """
    ready(None)
    from nissl.extraction import relabel
    from nissl.study.corpora import load_corpus

    source = corpus if len(corpus) > 1 else corpus[0]
    data = load_corpus(source, format=format, options=reader_options(columns, tagger))
    print(repr(relabel(path, data)))


@store.command
def merge(
    stores: Annotated[list[Path], Parameter(negative="", help="Two stores or more.")],
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="Folder of the new store.")],
) -> None:
    """Join stores: other sites of the same text side by side, other texts one after the other.

    Examples

    ```
    nissl store merge acts-hidden acts-mlp --out acts
    nissl store merge part1 part2 part3 --out whole
    ```
    """
    ready(None)
    from nissl.store import Activations
    from nissl.store.merge import merge_stores

    if len(stores) < 2:
        raise SettingError("name at least two stores to merge")
    print(repr(merge_stores([Activations.open(path) for path in stores], out)))


@store.command(name="import")
def import_(
    file: Annotated[Path, Parameter(help="Activations that NeuroX wrote: .json or .hdf5.")],
    *,
    corpus: Annotated[
        list[str], Parameter(name=["--corpus", "-c"], negative="", help="What it was run on.")
    ],
    model: Annotated[str, Parameter(name=["--model", "-m"], help="What the model is called.")],
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="Folder of the store.")],
    format: Format = None,
    columns: Columns = None,
    tagger: Tagger = None,
) -> None:
    """Make a store of a NeuroX activations file; every word must be the corpus's.

    Examples

    ```
    nissl store import activations.json --corpus my.conllu --model bert-base-cased --out acts
    ```
    """
    ready(None)
    from nissl.store.bridge import from_neurox
    from nissl.study.corpora import load_corpus

    source = corpus if len(corpus) > 1 else corpus[0]
    data = load_corpus(source, format=format, options=reader_options(columns, tagger))
    print(repr(from_neurox(file, data, out, model=model)))


@store.command
def export(
    path: Path1,
    *,
    to: Annotated[
        Literal["numpy", "xarray", "anndata", "neurox-json", "neurox-hdf5"],
        Parameter(help="Folder of .npy, netCDF, .h5ad, or NeuroX's formats."),
    ],
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="File or folder to write.")],
    site: Annotated[
        list[str] | None,
        Parameter(name="--site", negative="", help="Only this site; repeatable [default: all]."),
    ] = None,
) -> None:
    """Write a store for other tools.

    Examples

    ```
    nissl store export acts --to anndata --out acts.h5ad
    nissl store export acts --to numpy --site hidden.3 --out arrays
    ```
    """
    ready(None)
    from nissl.store import Activations
    from nissl.store.bridge import EXPORTS

    print(EXPORTS[to](Activations.open(path), out, site))
