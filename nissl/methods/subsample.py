"""A task on other training sentences: halves, and bootstrap resamples."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from nissl.errors import SettingError
from nissl.kernels.standardise import moments, standardise
from nissl.methods.task import SPLITS, Part, Task

__all__ = ["halves", "resample", "with_train_rows"]


def with_train_rows(task: Task, rows: np.ndarray) -> Task:
    """Return the task with only these training tokens (which may repeat), standardised anew.

    All parts are copied: they are standardised by the moments of the tokens that are left, as if
    the others had never been there. A neuron that is constant on those tokens becomes 0.

    Parameters
    ----------
    rows
        Positions of training tokens, (m,).
    """
    if not len(rows):
        raise SettingError("no training token is left")
    train = task.train
    kept = np.ascontiguousarray(train.X.T[:, rows]).T
    mean, sd = moments(kept)
    parts: dict[str, Part] = {}
    for split in SPLITS:
        part = task.part(split)
        raw = kept if split == "train" else part.X.copy(order="F")
        parts[split] = dataclasses.replace(part, X=standardise(raw, mean, sd, out=raw))
    parts["train"] = dataclasses.replace(
        parts["train"],
        y=train.y[rows],
        rows=train.rows[rows],
        sentence=train.sentence[rows],
        form=train.form[rows],
    )
    digest = hashlib.sha256(f"{task.fingerprint}/train rows".encode())
    digest.update(np.asarray(rows, dtype=np.int64).tobytes())
    return dataclasses.replace(
        task,
        # Moments of raw neurons: those of the standardised ones, carried back.
        mean=task.mean + task.sd * mean,
        sd=task.sd * sd,
        fingerprint=digest.hexdigest(),
        **parts,
    )


def halves(task: Task, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the training tokens of two random halves of the sentences, sorted positions.

    The halves share no sentence; with an odd number of sentences the second has one more.
    """
    sentence = task.train.sentence
    names = np.unique(sentence)
    if len(names) < 2:
        raise SettingError("halves of the corpus need two or more training sentences")
    first = np.random.default_rng([seed, 2]).permutation(names)[: len(names) // 2]
    inside = np.isin(sentence, first)
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def resample(task: Task, *, seed: int = 0) -> np.ndarray:
    """Return the training tokens of sentences drawn with replacement, in drawing order."""
    order = np.argsort(task.train.sentence, kind="stable")
    names, first = np.unique(task.train.sentence[order], return_index=True)
    drawn = np.random.default_rng([seed, 3]).integers(0, len(names), len(names))
    tokens = np.split(order, first[1:])
    return np.concatenate([tokens[i] for i in drawn])
