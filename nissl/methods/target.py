"""A number for each word made ready: standardised neurons, the numbers, three splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from nissl.errors import LabelError, SettingError, did_you_mean
from nissl.kernels.standardise import constant
from nissl.methods.parts import SPLITS, Part, check_splits, layers_of, read_parts

if TYPE_CHECKING:
    from nissl.store import Activations

__all__ = ["Target", "make_target"]


@dataclass(frozen=True, eq=False)
class Target:
    """A property with a number for each word, such as its depth in the tree, over neurons.

    What :class:`~nissl.methods.Task` is for classes. Neurons are standardised by the training
    tokens; the numbers keep their unit.

    Attributes
    ----------
    name
        Name of the column, or what the caller calls it.
    neurons
        Table of the d neurons: ``neuron``, ``site``, ``kind``, ``layer``, ``index``.
    train, dev, test
        The three parts; their ``y`` is float64.
    mean, sd
        Training moments of the raw neurons, float64, (d,).
    left_out
        What is not in the target and how often.
    fingerprint
        Hash of everything above that decides a result.
    """

    name: str
    neurons: pl.DataFrame
    train: Part
    dev: Part
    test: Part
    mean: np.ndarray
    sd: np.ndarray
    left_out: Mapping[str, int]
    inputs: Mapping[str, str]
    fingerprint: str

    @property
    def n_neurons(self) -> int:
        """Number of neurons d."""
        return self.neurons.height

    @property
    def constant(self) -> np.ndarray:
        """Mask (d,) of neurons that never change on the training tokens."""
        return constant(self.sd)

    @cached_property
    def layers(self) -> np.ndarray:
        """Number of each neuron's layer, (d,), from 0; a second stack's layers are its own."""
        return layers_of(self.neurons)

    def part(self, name: str) -> Part:
        """Return the part called ``train``, ``dev`` or ``test``."""
        if name not in SPLITS:
            raise SettingError(f'no part "{name}"; parts are train, dev and test')
        return getattr(self, name)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split} {len(self.part(split)):,}" for split in SPLITS)
        return f"Target({self.name!r}: {self.n_neurons:,} neurons, {sizes})"


def make_target(
    acts: Activations,
    values: str | Sequence[float] | np.ndarray,
    *,
    name: str | None = None,
    absent: Literal["error", "leave-out"] = "error",
    sites: Sequence[str] | None = None,
) -> Target:
    """Make a :class:`Target` from a column of an activation store, or from numbers for its tokens.

    Parameters
    ----------
    acts
        The store; its tokens table has a ``split`` column.
    values
        Name of a column of numbers (as text or as such), or a number for each token of the store,
        (n,), such as :mod:`nissl.corpus.targets` makes from ``acts.tokens``. An empty cell and NaN
        are missing values.
    name
        What the target is called; by default the column, or ``target``.
    absent
        What to do with tokens of the splits without a value: stop, or leave them out and count
        them.
    sites
        Names of the sites whose neurons take part; all by default.

    Raises
    ------
    LabelError
        No such column, a value that is no number or infinite (the first is named, with its place),
        missing values, an empty split, one value only on all training tokens.
    SettingError
        An unknown site or word for ``absent``.
    """
    if absent not in ("error", "leave-out"):
        raise SettingError(f'absent must be "error" or "leave-out", not "{absent}"')
    tokens = acts.tokens
    if isinstance(values, str):
        called = name or values
        y = _column(tokens, values, acts.labels)
    else:
        called = name or "target"
        y = _numbers(tokens, called, values)
    split = tokens["split"].to_numpy().astype(object)
    in_split = np.isin(split, SPLITS)
    missing = np.isnan(y)
    if missing.all():
        raise LabelError(f'target "{called}" has no value on any token')
    gone = missing & in_split
    if gone.any() and absent == "error":
        raise LabelError(
            f'target "{called}" has no value on {int(gone.sum()):,} of {int(in_split.sum()):,} '
            f"tokens, first on {_place(tokens, int(np.flatnonzero(gone)[0]))}; leave them out "
            'with --absent leave-out (absent="leave-out")'
        )
    left_out: dict[str, int] = {}
    if gone.any():
        left_out["tokens without a value"] = int(gone.sum())
    if (~missing & ~in_split).any():
        left_out["tokens outside train, dev and test"] = int((~missing & ~in_split).sum())
    keep = ~missing & in_split
    check_splits(f'target "{called}"', keep, split)
    seen = y[keep & (split == "train")]
    if np.ptp(seen) == 0:
        raise LabelError(
            f'target "{called}" is {seen[0]:g} on all {len(seen):,} training tokens; '
            "there is nothing to predict"
        )
    read = read_parts(acts, y, split, keep, sites)
    return Target(
        name=called,
        left_out=left_out,
        fingerprint=read.fingerprint(f"{acts.fingerprint}/{called}/number"),
        **read.fields(acts),
    )


def _column(tokens: pl.DataFrame, name: str, labels: Sequence[str]) -> np.ndarray:
    """Return a column as float64, NaN where it has no value."""
    if name not in tokens.columns:
        known = [*dict.fromkeys([*labels, *_numeric(tokens)])]
        raise LabelError(
            f'no column "{name}" in this corpus; it has {", ".join(known) or "none"}.'
            f"{did_you_mean(name, known)}"
        )
    return _numbers(tokens, name, tokens[name].to_list())


def _numbers(tokens: pl.DataFrame, name: str, values: Any) -> np.ndarray:
    given = list(values)
    if len(given) != tokens.height:
        raise LabelError(
            f'target "{name}" has {len(given):,} values for the {tokens.height:,} tokens of the '
            "store; give one for each, NaN where there is none"
        )
    y = np.full(len(given), np.nan)
    for row, value in enumerate(given):
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        try:
            y[row] = float(value)
        except (TypeError, ValueError):
            y[row] = np.inf
        # A text is never a missing value, not even "nan": some word may be called so.
        if np.isinf(y[row]) or (isinstance(value, str) and np.isnan(y[row])):
            raise LabelError(
                f'target "{name}" is "{value}" on {_place(tokens, row)}, '
                "which is not a finite number"
            )
    return y


def _numeric(tokens: pl.DataFrame) -> list[str]:
    return [c for c, kind in tokens.schema.items() if kind.is_numeric() and c != "sentence"]


def _place(tokens: pl.DataFrame, row: int) -> str:
    found = tokens.select("form", "sentence").row(row, named=True)
    return f'token {row} ("{found["form"]}", sentence {found["sentence"]})'
