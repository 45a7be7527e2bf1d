"""Options that several commands share, and what each command does before anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

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
        name="--site",
        negative="",
        help="hidden, mlp, head, state, a stack, a site, module.PATH; may be repeated "
        "[default: hidden].",
    ),
]
Device = Annotated[str, Parameter(help="As torch names it: cpu, cuda, cuda:1, mps.")]
Seed = Annotated[int, Parameter(help="Seed of everything random.")]


def ready(threads: int | None, quiet: bool = False) -> None:
    """Set threads before any numerical library is loaded, and the progress lines."""
    from nissl.parallel import set_threads
    from nissl.progress import set_quiet

    set_threads(threads)
    set_quiet(quiet)


def reader_options(columns: str | None, tagger: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if columns is not None:
        options["columns"] = [name.strip() for name in columns.split(",")]
    if tagger is not None:
        options["tagger"] = tagger
    return options


def shown(model: str) -> str:
    """Return a model's name for a heading: of a folder its own name, not the way to it."""
    path = Path(model)
    return path.resolve().name if path.is_dir() else model
