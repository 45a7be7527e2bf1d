"""One cell of the grid: the neurons of one site ranked for one category of one language."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nissl import __version__
from nissl.errors import NotConverged, StoreError
from nissl.kernels.value_split import lemma_keys, split_values, too_few
from nissl.methods.rankings import parse_method
from nissl.methods.task import SPLITS, Task, make_task
from nissl.store import Activations
from nissl.store.files import read_json, write_json

__all__ = ["Cell", "Words", "choose_words", "read_piece", "run_cell"]

UNSAFE = r"[^A-Za-z0-9._+-]"
LEAST_A_CLASS = 20
"""A sample keeps so many words of each value, or all there are."""


@dataclass(frozen=True, eq=False)
class Words:
    """The words of one category of one language, split by lemma and sampled.

    Attributes
    ----------
    rows, part, codes
        Row in the store, part (0, 1, 2) and value of each word, (n,).
    values
        Names of the values.
    dropped
        Value → why it is not here.
    unsampled
        Words that passed and are not in the sample.
    reason
        Why there are none, empty if there are.
    """

    rows: np.ndarray
    part: np.ndarray
    codes: np.ndarray
    values: tuple[str, ...]
    dropped: Mapping[str, str]
    unsampled: int
    reason: str

    def digest(self) -> str:
        """Return a hash of what a ranking can depend on."""
        found = hashlib.sha256("/".join(self.values).encode())
        for array in (self.rows, self.part, self.codes):
            found.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
        return found.hexdigest()


@dataclass(frozen=True, eq=False)
class Cell:
    """What is ranked, by which methods, and where the pieces go; small enough to be sent."""

    language: str
    label: str
    site: str
    seed: int
    rankings: tuple[str, ...]
    k: int
    store: str
    fingerprint: str
    folder: str
    words: Words

    def piece(self, ranking: str) -> Path:
        """Return the file of one ranking."""
        safe = [_file_name(name) for name in (self.language, self.label, self.site)]
        end = re.sub(UNSAFE, "-", ranking)
        return Path(self.folder, safe[0], ".".join((*safe[1:], str(self.seed), end)) + ".json")

    def key(self, ranking: str) -> str:
        """Return a hash of all that the piece rests on."""
        rests_on = {
            "nissl": __version__,
            "store": self.fingerprint,
            "words": self.words.digest(),
            "site": self.site,
            "seed": self.seed,
            "ranking": ranking,
            "k": self.k,
        }
        return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()


def _file_name(name: str) -> str:
    """Return a name that any disk takes; two names that differ stay two."""
    safe = re.sub(UNSAFE, "-", name)
    if safe == name and name.strip("."):
        return name
    return f"{safe.strip('.')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def choose_words(
    tokens: pl.DataFrame,
    label: str,
    *,
    min_count: tuple[int, int, int],
    max_tokens: int,
    seed: int,
) -> Words:
    """Split the words of a category by lemma and draw the sample that is ranked on.

    At most ``max_tokens`` words for training, a tenth of that for dev and a third for test, drawn
    in proportion to the values, but of none fewer than 20 where there are 20.
    """
    empty = np.empty(0, dtype=np.int64)
    if label not in tokens.columns:
        return Words(empty, empty, empty, (), {}, 0, "the treebank does not mark it")
    values = tokens[label].to_numpy().astype(object)
    lemmas = tokens["lemma"].to_list() if "lemma" in tokens.columns else None
    part, dropped = split_values(
        values, lemma_keys(tokens["form"].to_list(), lemmas), min_count=min_count, seed=seed
    )
    names = tuple(sorted({str(v) for v in values[part >= 0]}))
    reason = too_few(names, dropped)
    if reason:
        return Words(empty, empty, empty, names, dropped, 0, reason)
    number = {name: i for i, name in enumerate(names)}
    codes = np.array([number.get(str(v), -1) for v in values])
    rng = np.random.default_rng([seed, 11])
    drawn = [
        _sample(np.flatnonzero(part == p), codes, most, rng)
        for p, most in enumerate((max_tokens, max_tokens // 10, max_tokens // 3))
    ]
    rows = np.sort(np.concatenate(drawn))
    unsampled = int((part >= 0).sum()) - len(rows)
    return Words(rows, part[rows], codes[rows], names, dropped, unsampled, "")


def _sample(rows: np.ndarray, codes: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if len(rows) <= most:
        return rows
    kept = []
    for value in np.unique(codes[rows]):
        mine = rows[codes[rows] == value]
        n = min(len(mine), max(LEAST_A_CLASS, round(most * len(mine) / len(rows))))
        kept.append(rng.choice(mine, n, replace=False))
    return np.concatenate(kept)


def run_cell(cell: Cell) -> float:
    """Rank, write the pieces that are lacking, and return the CPU seconds taken."""
    began = time.process_time()
    todo = [name for name in cell.rankings if read_piece(cell, name) is None]
    if todo:
        task = _task(cell)
        for name in todo:
            start = time.process_time()
            method, settings = parse_method(name)
            if "steps" in method.defaults and "steps" not in settings and method.name == "gaussian":
                settings["steps"] = min(cell.k, task.n_neurons)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = method(task, seed=cell.seed, **settings)
            piece = {
                "key": cell.key(name),
                "order": found.order.tolist(),
                "early": any(issubclass(w.category, NotConverged) for w in caught),
                "accuracy": _accuracy(task, found.order[: cell.k]),
                "majority": float(np.bincount(task.test.y).max() / len(task.test)),
                "cpu_seconds": time.process_time() - start,
            }
            target = cell.piece(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_json(target, piece)
    return time.process_time() - began


def read_piece(cell: Cell, ranking: str) -> dict[str, Any] | None:
    """Return a finished piece, or None if there is none or it rests on something else."""
    path = cell.piece(ranking)
    if not path.is_file():
        return None
    try:
        found = read_json(path)
    except StoreError:
        # A damaged piece is simply made again.
        return None
    return found if found.get("key") == cell.key(ranking) else None


def _task(cell: Cell) -> Task:
    acts = Activations.open(cell.store)
    n = acts.n_tokens
    label: list[str | None] = [None] * n
    split: list[str | None] = [None] * n
    words = cell.words
    for row, part, code in zip(words.rows, words.part, words.codes, strict=True):
        label[row], split[row] = words.values[code], SPLITS[part]
    tokens = acts.tokens.with_columns(
        pl.Series(cell.label, label, dtype=pl.String), pl.Series("split", split, dtype=pl.String)
    )
    labels = tuple(dict.fromkeys((*acts.labels, cell.label)))
    shown = dataclasses.replace(acts, relabelled=tokens, labels=labels)
    return make_task(shown, cell.label, sites=[cell.site])


def _accuracy(task: Task, top: Sequence[int] | np.ndarray) -> float:
    """Return the test accuracy of a ridge probe on some neurons: is there anything to rank?"""
    from nissl.kernels.dense import fit_dense

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        fit = fit_dense(
            np.asfortranarray(task.train.X[:, top]),
            task.train.y,
            task.n_classes,
            l2=1e-3,
            tol=3e-2,
            max_iter=200,
            certificate=False,
        )
    scores = task.test.X[:, top] @ fit.coef.T + fit.intercept
    return float((scores.argmax(axis=1) == task.test.y).mean())
