"""The task of the text benchmark: tokens drawn at random from stores of MiniLM's activations."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _probe_make import sample

__all__ = ["held_out", "text_task", "treebank_task"]

DEV_TOKENS = 10_000


def text_task(train: str, test: str, label: str, tokens: int) -> Any:
    """Draw tokens of one store for training; another store is the test part.

    Classes with fewer than 10 of the drawn tokens are given up. The dev part, on which sizes of
    minimal sets are found, is drawn from sentences of the first store of which no token trains.
    """
    from nissl.kernels.standardise import moments, standardise
    from nissl.methods.task import Part, Task
    from nissl.store import Activations

    acts, other = Activations.open(train), Activations.open(test)
    values = acts.tokens[label].to_numpy().astype(str)
    rows, frequent, notes = sample({label: values}, tokens, seed=0)
    for note in notes:
        print(note)
    classes = tuple(sorted(frequent[label]))
    number = {name: i for i, name in enumerate(classes)}
    raw = acts.matrix(rows=rows)
    mean, sd = moments(raw)

    def part(store: Any, rows: np.ndarray, X: np.ndarray | None = None) -> Part:
        table = store.tokens
        y = np.array([number[v] for v in table[label].to_numpy().astype(str)[rows]])
        found = store.matrix(rows=rows) if X is None else X
        return Part(
            X=np.asfortranarray(standardise(found, mean, sd), dtype=np.float32),
            y=y.astype(np.int32),
            rows=rows,
            sentence=table["sentence"].to_numpy()[rows].astype(np.int32),
            form=table["form"].to_numpy()[rows],
        )

    known = np.isin(values, classes)
    sentence = acts.tokens["sentence"].to_numpy()
    free = np.flatnonzero(known & ~np.isin(sentence, sentence[rows]))
    if len(free) < DEV_TOKENS:
        # Most sentences lent a token: others of their tokens have to do.
        free = np.setdiff1d(np.flatnonzero(known), rows)
        print("dev tokens come from sentences that have tokens in the training part, too")
    dev = np.sort(np.random.default_rng(1).permutation(free)[:DEV_TOKENS])
    test_values = other.tokens[label].to_numpy().astype(str)
    seen = np.flatnonzero(np.isin(test_values, classes))
    if len(seen) < len(test_values):
        print(f"{len(test_values) - len(seen)} test tokens are of other classes and left out")
    return Task(
        name=label,
        classes=classes,
        neurons=acts.neurons,
        train=part(acts, rows, raw),
        dev=part(acts, dev),
        test=part(other, seen),
        mean=mean,
        sd=sd,
        left_out={},
        inputs={},
        fingerprint=f"{label} {tokens}",
    )


def treebank_task(label: str) -> Any:
    """Return the same task on the treebank that comes with Nissl, extracted on the spot."""
    from nissl import extract, load_corpus, load_model
    from nissl.methods import make_task
    from nissl.store import Activations

    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "acts"
        extract(load_corpus("nissl:treebank"), load_model("minilm"), path)
        return make_task(Activations.open(path), label, min_count=10, absent="leave-out")


def held_out(task: Any, *, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Split the training tokens by sentence: four fifths, and one fifth."""
    sentence = task.train.sentence
    fifth = np.random.default_rng(seed).permutation(int(sentence.max()) + 1)[sentence] % 5 == 0
    return np.flatnonzero(~fifth), np.flatnonzero(fifth)


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table whole."""
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=160, fmt_str_lengths=60):
        print(pl.DataFrame(rows))
