"""NeuroX 1.0.9 as a peer: extraction and loading, the way its documentation says.

The functions here do what a NeuroX user does and nothing else, so that other benchmarks can time
Nissl and NeuroX in one process.

NeuroX pins libraries of 2021, so it is installed without its dependencies (:data:`INSTALL`); of
those that are missing then, only its plots need seaborn and svgwrite. It runs on today's libraries
but for one name that numpy dropped.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NeuroXMissing", "extract", "load", "module"]

INSTALL = "pip install --no-deps neurox==1.0.9 imbalanced-learn==0.14.2 sklearn-compat==0.1.6 h5py"
Format = Literal["json", "hdf5"]
FORMATS: tuple[Format, ...] = ("hdf5", "json")


class NeuroXMissing(ImportError):
    """NeuroX, or something that it imports, is not installed."""


def module(name: str) -> Any:
    """Import a module of NeuroX, such as ``interpretation.linear_probe``.

    Raises
    ------
    NeuroXMissing
        It is not there; the message is the command that installs it.
    """
    try:
        with _quiet():
            return importlib.import_module(f"neurox.{name}")
    except ImportError as error:
        raise NeuroXMissing(f"this needs NeuroX, which is missing ({error}): {INSTALL}") from error


def extract(
    sentences: Sequence[Sequence[str]],
    model_folder: str,
    out: Path,
    fmt: Format = "json",
) -> None:
    """Write the activations of every hidden layer, words by their last subword, to a file.

    NeuroX reads one sentence a line, words apart by one space, and runs one sentence at a time.

    Parameters
    ----------
    out
        The file; its name ends with ``.json`` or ``.hdf5``, by which NeuroX goes.

    Raises
    ------
    ValueError
        A word that is empty or has a blank, which NeuroX could not tell from two words, or a
        name that it cannot deal with.
    """
    for row in sentences:
        _check_line(row)
    if out.suffix != f".{fmt}":
        raise ValueError(f'"{out.name}" has to end with .{fmt}, for NeuroX goes by the name')
    if "," in model_folder:
        raise ValueError(f'"{model_folder}" has a comma, at which NeuroX cuts; rename the folder')
    extractor = module("data.extraction.transformers_extractor")
    with tempfile.TemporaryDirectory() as work:
        lines = Path(work) / "sentences.txt"
        lines.write_text("".join(" ".join(row) + "\n" for row in sentences), encoding="utf-8")
        with _quiet():
            extractor.extract_representations(
                model_folder,
                str(lines),
                str(out),
                device="cpu",
                aggregation="last",
                output_type=fmt,
            )


def load(path: Path, labels: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Read a file of :func:`extract`, with the words' labels, into what NeuroX's probes take.

    Returns
    -------
    X
        Words × neurons, float32, layer after layer.
    y
        Class of each word, the classes numbered in the order of ``sorted``. (NeuroX numbers them
        in the order of a Python set, which is another one in every process.)

    Raises
    ------
    ValueError
        An unfit label, or labels that do not go with the file: NeuroX would drop such sentences.
    """
    import numpy as np

    loader, utils = module("data.loader"), module("interpretation.utils")
    for row in labels:
        _check_line(row)
    n_words, longest = sum(map(len, labels)), max(map(len, labels))
    with tempfile.TemporaryDirectory() as work:
        lines = Path(work) / "labels.txt"
        lines.write_text("".join(" ".join(row) + "\n" for row in labels), encoding="utf-8")
        with _quiet(), _old_numpy():
            activations, _ = loader.load_activations(str(path))
            # The words only make a dictionary that is not used here; the labels stand for them,
            # as in NeuroX's own neurox.data.annotate.
            tokens = loader.load_data(str(lines), str(lines), activations, longest)
            X, y, (_, names, _, _) = utils.create_tensors(tokens, activations, "UNKNOWN")
    if len(X) != n_words:
        raise ValueError(f"{path}: {n_words} labels, but NeuroX kept {len(X)} words of the file")
    place = {name: i for i, name in enumerate(sorted(names.values()))}
    return X, np.array([place[names[i]] for i in range(len(names))])[y]


def _check_line(row: Sequence[str]) -> None:
    for word in row:
        if not word or word.split() != [word]:
            raise ValueError(f"NeuroX cannot hold {word!r}: it cuts lines at blanks")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what NeuroX prints about every sentence, and its progress bars."""
    with (
        open(os.devnull, "w", encoding="utf-8") as sink,
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
    ):
        yield


@contextlib.contextmanager
def _old_numpy() -> Iterator[None]:
    """Lend numpy the name ``np.int``, which it dropped in 1.24 and NeuroX uses."""
    import numpy as np

    names = np.__dict__
    if "int" in names:
        yield
        return
    names["int"] = int
    try:
        yield
    finally:
        del names["int"]
