"""One property made ready for probing: standardised neurons, encoded labels, three splits."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from nissl.errors import LabelError, SettingError, did_you_mean
from nissl.kernels.standardise import constant
from nissl.methods.parts import SPLITS, Part, Split, check_splits, layers_of, read_parts

if TYPE_CHECKING:
    from nissl.store import Activations

__all__ = ["SPLITS", "Part", "Split", "Task", "make_task"]


@dataclass(frozen=True, eq=False)
class Task:
    """A property as a classification task over neurons.

    Neurons are standardised with the mean and standard deviation of the training tokens, so that
    a weight means the same for a neuron of any scale; ``constant`` neurons stay zero.

    Attributes
    ----------
    name
        Name of the label column.
    classes
        The classes, sorted; ``y`` indexes them.
    neurons
        Table of the d neurons: ``neuron``, ``site``, ``kind``, ``layer``, ``index``.
    train, dev, test
        The three parts.
    mean, sd
        Training moments of the raw neurons, float64, (d,).
    left_out
        What is not in the task and how often.
    fingerprint
        Hash of everything above that decides a result.
    """

    name: str
    classes: tuple[str, ...]
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
    def n_classes(self) -> int:
        """Number of classes C."""
        return len(self.classes)

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

    def class_counts(self, part: str = "train") -> np.ndarray:
        """Return the number of tokens of each class in a part, (C,)."""
        return np.bincount(self.part(part).y, minlength=self.n_classes)

    def with_labels(self, name: str, labels: Mapping[Split, np.ndarray]) -> Task:
        """Return the same tokens and neurons under other labels (class indices a part)."""
        parts = {
            split: dataclasses.replace(
                self.part(split), y=np.asarray(labels[split], dtype=np.int32)
            )
            for split in SPLITS
        }
        digest = hashlib.sha256(f"{self.fingerprint}/{name}".encode())
        for split in SPLITS:
            digest.update(parts[split].y.tobytes())
        return dataclasses.replace(self, name=name, fingerprint=digest.hexdigest(), **parts)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split} {len(self.part(split)):,}" for split in SPLITS)
        return f"Task({self.name!r}: {self.n_classes} classes, {self.n_neurons:,} neurons, {sizes})"


def make_task(
    acts: Activations,
    label: str,
    *,
    min_count: int = 1,
    absent: Literal["error", "leave-out"] = "error",
    sites: Sequence[str] | None = None,
) -> Task:
    """Make a :class:`Task` from a label column of an activation store.

    Parameters
    ----------
    acts
        The store; its tokens table has the label and a ``split`` column.
    label
        Name of the label column. Tokens without a value are not part of the property.
    min_count
        Classes with fewer training tokens are left out, in every split, and counted.
    absent
        What to do with a class that some split lacks: stop, or leave it out and count it.
    sites
        Names of the sites whose neurons take part; all by default.

    Raises
    ------
    LabelError
        No such label, one class only, an empty split, or a class absent from a split.
    """
    tokens = acts.tokens
    if label not in tokens.columns:
        known = [name for name in acts.labels if name in tokens.columns]
        raise LabelError(
            f'no label "{label}" in this corpus; it has {", ".join(known) or "none"}.'
            f"{did_you_mean(label, known)}"
        )
    if absent not in ("error", "leave-out"):
        raise SettingError(f'absent must be "error" or "leave-out", not "{absent}"')
    split = tokens["split"].to_numpy().astype(object)
    # A column of whole numbers (a position, 0 and 1) is as good as one of words.
    values = tokens[label].cast(pl.String).to_numpy().astype(object)
    has_value = np.array([value is not None for value in values], dtype=bool)
    in_split = np.isin(split, SPLITS)
    left_out: dict[str, int] = {}
    if not has_value.any():
        raise LabelError(f'label "{label}" has no value on any token')
    if (has_value & ~in_split).any():
        left_out["tokens outside train, dev and test"] = int((has_value & ~in_split).sum())
    keep = has_value & in_split
    check_splits(f'label "{label}"', keep, split)
    counts = {name: _tally(values[keep & (split == name)]) for name in SPLITS}
    classes = sorted({value for tally in counts.values() for value in tally})
    rare = [c for c in classes if counts["train"].get(c, 0) < min_count and c in counts["train"]]
    lacking = {
        c: [name for name in SPLITS if c not in counts[name]] for c in classes if c not in rare
    }
    lacking = {c: names for c, names in lacking.items() if names}
    if lacking and absent == "error":
        first, names = next(iter(lacking.items()))
        total = sum(counts[name].get(first, 0) for name in SPLITS)
        more = f" (and {len(lacking) - 1} more classes)" if len(lacking) > 1 else ""
        raise LabelError(
            f'label "{label}": class "{first}" ({total} tokens) has no token in the '
            f"{' and '.join(names)} split{more}; leave such classes out with "
            '--absent leave-out (absent="leave-out")'
            # Only classes that the training split has are counted there.
            f"{'' if 'train' in names else ', or raise --min-count'}"
        )
    for c in [*rare, *lacking]:
        total = sum(counts[name].get(c, 0) for name in SPLITS)
        reason = f"fewer than {min_count} training tokens" if c in rare else "not in every split"
        left_out[f"tokens of class {c} ({reason})"] = total
        keep &= values != c
    kept = tuple(c for c in classes if c not in rare and c not in lacking)
    if len(kept) < 2:
        raise LabelError(
            f'label "{label}" has {"one class" if kept else "no class"} left'
            f"{f' ({kept[0]})' if kept else ''}; a probe needs two or more"
        )
    return _assemble(acts, label, values, split, keep, kept, left_out, sites)


def _tally(values: np.ndarray) -> dict[str, int]:
    names, counts = np.unique(values.astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _assemble(
    acts: Activations,
    label: str,
    values: np.ndarray,
    split: np.ndarray,
    keep: np.ndarray,
    classes: tuple[str, ...],
    left_out: dict[str, int],
    sites: Sequence[str] | None,
) -> Task:
    index = {c: i for i, c in enumerate(classes)}
    y = np.full(len(values), -1, dtype=np.int32)
    y[keep] = [index[value] for value in values[keep]]
    read = read_parts(acts, y, split, keep, sites)
    return Task(
        name=label,
        classes=classes,
        left_out=left_out,
        fingerprint=read.fingerprint(f"{acts.fingerprint}/{label}/{classes}"),
        **read.fields(acts),
    )
