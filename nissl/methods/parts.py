"""What tasks and targets share: the neurons of a store, standardised, in three parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from nissl.errors import LabelError, SettingError, did_you_mean
from nissl.kernels.standardise import moments, standardise

if TYPE_CHECKING:
    from nissl.store import Activations

__all__ = ["SPLITS", "Part", "Read", "Split", "check_splits", "layers_of", "read_parts"]

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


@dataclass(frozen=True, eq=False)
class Part:
    """The tokens of one split.

    Attributes
    ----------
    X
        Standardised activations, float32, (n, d), Fortran order (``X.T`` is neuron-major).
    y
        Class index a token, int32, (n,); in a target of numbers the number, float64.
    rows
        Row of each token in the activation store, int64, (n,).
    sentence
        Sentence number a token, int32, (n,): the unit that bootstraps resample.
    form
        The word, (n,).
    """

    X: np.ndarray
    y: np.ndarray
    rows: np.ndarray
    sentence: np.ndarray
    form: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Read:
    """Neurons of a store, standardised by the training tokens, in three parts."""

    neurons: pl.DataFrame
    mean: np.ndarray
    sd: np.ndarray
    parts: dict[Split, Part]

    def fingerprint(self, header: str) -> str:
        """Return a hash of the header, the tokens of each part, their y, and the neurons' ids."""
        digest = hashlib.sha256(header.encode())
        for part in self.parts.values():
            digest.update(part.rows.tobytes())
            digest.update(part.y.tobytes())
        digest.update("/".join(self.neurons["neuron"].to_list()).encode())
        return digest.hexdigest()

    def fields(self, acts: Activations) -> dict[str, Any]:
        """Return what a :class:`Task` and a target have in common, by name."""
        inputs = {
            "activations": acts.fingerprint,
            "corpus": str(acts.manifest.get("corpus", "")),
            "model": str(acts.manifest.get("model", "")),
        }
        common = {"neurons": self.neurons, "mean": self.mean, "sd": self.sd, "inputs": inputs}
        return {**common, **self.parts}


def read_parts(
    acts: Activations,
    y: np.ndarray,
    split: np.ndarray,
    keep: np.ndarray,
    sites: Sequence[str] | None,
) -> Read:
    """Read the neurons of the tokens in ``keep`` and standardise them.

    Parameters
    ----------
    y
        Class index or number of every token of the store, (n,).
    split, keep
        Split of every token, and which tokens take part, (n,).

    Raises
    ------
    SettingError
        A site that the store does not have.
    """
    neurons = acts.neurons
    if sites is not None:
        known = sorted(set(neurons["site"].to_list()))
        unknown = [s for s in sites if s not in known]
        if unknown:
            raise SettingError(
                f'the store has no site "{unknown[0]}"; it has {", ".join(known)}.'
                f"{did_you_mean(unknown[0], known)}"
            )
        neurons = neurons.filter(pl.col("site").is_in(list(sites)))
    forms = acts.tokens["form"].to_numpy().astype(object)
    sentences = acts.tokens["sentence"].to_numpy()
    # Ascending rows: the result cannot depend on how the corpus happens to be sorted.
    rows_of: dict[Split, np.ndarray] = {
        name: np.flatnonzero(keep & (split == name)) for name in SPLITS
    }
    raw = {name: acts.matrix(sites=sites, rows=rows) for name, rows in rows_of.items()}
    mean, sd = moments(raw["train"])
    parts: dict[Split, Part] = {
        name: Part(
            X=standardise(raw[name], mean, sd, out=raw[name]),
            y=y[rows],
            rows=rows,
            sentence=sentences[rows],
            form=forms[rows],
        )
        for name, rows in rows_of.items()
    }
    return Read(neurons=neurons, mean=mean, sd=sd, parts=parts)


def layers_of(neurons: pl.DataFrame) -> np.ndarray:
    """Number of each neuron's layer, (d,), from 0; a second stack's layers are its own."""
    stack = neurons["site"].str.starts_with("decoder.").to_numpy()
    pairs = np.stack([stack.astype(np.int64), neurons["layer"].to_numpy()])
    return np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)


def check_splits(what: str, keep: np.ndarray, split: np.ndarray) -> None:
    """Refuse a property of which a split has no token."""
    for name in SPLITS:
        if not (keep & (split == name)).any():
            raise LabelError(
                f"{what} has no token in the {name} split; "
                "make splits (with_splits, or --split-by) or read a file for it"
            )
