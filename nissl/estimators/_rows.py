"""From what a user passes to what the kernels take: checked, encoded, standardised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from nissl.errors import InputError, LabelError
from nissl.estimators._merge import canonical_rows
from nissl.kernels.checks import check_matrix
from nissl.kernels.problem import token_weights
from nissl.kernels.standardise import moments, standardise

__all__ = ["FLOATS", "Labelled", "Rows", "check_inputs", "check_neurons", "prepare", "take_rows"]

FLOATS = [np.float64, np.float32, np.float16]
"""Types that are read as they are; anything else becomes the first."""

BLOCK = 128
"""Neurons at a time."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Neurons and labels as a user gave them, checked.

    Attributes
    ----------
    X
        (n, d), of a type in :data:`FLOATS`; the user's own memory where that is possible.
    code
        Class indices, int64 (n,); −1 for a class that has no weight of tokens.
    classes
        The classes, sorted, (C,).
    weight
        Weight of each token, float64 (n,), as given; ``None`` when not given.
    """

    X: np.ndarray
    code: np.ndarray
    classes: np.ndarray
    weight: np.ndarray | None

    @property
    def used(self) -> np.ndarray:
        """Rows that count: all of them, or those with a weight above 0, (m,)."""
        if self.weight is None:
            return np.arange(len(self.code))
        return np.flatnonzero(self.weight > 0)


@dataclass(frozen=True, eq=False)
class Rows:
    """A problem that a kernel can fit.

    Attributes
    ----------
    Z
        Standardised neurons, float32 (m, d).
    code
        Class indices, int64 (m,).
    weight
        Weight of each token, (m,), or ``None``: equal.
    mean, scale
        What was subtracted from a neuron and what it was then divided by, float64 (d,).
    constant
        Neurons that do not change, bool (d,).
    """

    Z: np.ndarray
    code: np.ndarray
    weight: np.ndarray | None
    mean: np.ndarray
    scale: np.ndarray
    constant: np.ndarray


def check_neurons(estimator: Any, X: Any) -> np.ndarray:
    """Return X (n, d) to predict from, after checking it against what the estimator was fitted on.

    Raises
    ------
    InputError, ValueError
        Another number of neurons, NaN or infinity.
    """
    X = validate_data(estimator, X, reset=False, dtype=FLOATS, ensure_all_finite=False)
    _check_finite(X)
    return X


def _check_finite(X: np.ndarray) -> None:
    """One pass without a mask, which names the neuron and the token; scikit-learn's does not."""
    try:
        check_matrix(X)
    except InputError as error:
        raise InputError(f"X has NaN or infinity: {error.message}") from None


def check_inputs(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Labelled:
    """Check what ``fit`` got. Neurons are not copied unless they are no floats at all.

    Raises
    ------
    InputError
        NaN or infinity (the neuron and the token are named), or weights that do not fit.
    LabelError
        Fewer than two classes (that have a token of weight above 0).
    ValueError
        What scikit-learn itself refuses: sparse or empty X, y of another length or kind.
    """
    X, y = validate_data(estimator, X, y, dtype=FLOATS, ensure_all_finite=False)
    _check_finite(X)
    check_classification_targets(y)
    weight = None
    if sample_weight is not None:
        weight = np.array(sample_weight, dtype=np.float64)
        if weight.size and not weight.any():
            raise InputError("sample weights are all zero; give some token a weight above 0")
        token_weights(weight, len(y))
    classes, code = np.unique(y, return_inverse=True)
    code = code.astype(np.int64, copy=False)
    if weight is not None:
        present = np.bincount(code[weight > 0], minlength=len(classes)) > 0
        code = np.where(present[code], (np.cumsum(present) - 1)[code], -1)
        classes = classes[present]
    if len(classes) < 2:
        raise LabelError("a probe needs two or more classes, and y has one class")
    return Labelled(X, code, classes, weight)


def prepare(data: Labelled, rows: np.ndarray | None = None, *, scale: bool = True) -> Rows:
    """Return the problem of some rows, with their own moments.

    With ``scale`` the tokens are brought into one order (:func:`canonical_rows`) while they are
    standardised: one float32 copy, made a few neurons at a time. Without it a float32 matrix in
    Fortran order stays where it is, all rows of it.
    """
    if not scale:
        if rows is not None:
            data = Labelled(
                data.X[rows],
                data.code[rows],
                data.classes,
                None if data.weight is None else data.weight[rows],
            )
        return _as_they_are(data)
    rows = data.used if rows is None else np.intersect1d(rows, data.used)
    if not len(rows):
        raise LabelError("no token with a weight above 0 is left to fit a probe on")
    rows, weight = canonical_rows(data.X, data.code, data.weight, rows)
    d = data.X.shape[1]
    Z = np.empty((len(rows), d), dtype=np.float32, order="F")
    mean, sd = np.empty(d), np.empty(d)
    for start in range(0, d, BLOCK):
        at = slice(start, min(d, start + BLOCK))
        part = take_rows(data.X, rows, at)
        mean[at], sd[at] = moments(part, weight=weight)
        standardise(part, mean[at], sd[at], out=Z[:, at])
    return Rows(Z, data.code[rows], weight, mean, np.where(sd > 0, sd, 1.0), sd == 0)


def _as_they_are(data: Labelled) -> Rows:
    d = data.X.shape[1]
    _, sd = moments(data.X, weight=data.weight)
    # Tokens of a class without weight have no weight either: any label serves.
    code = np.maximum(data.code, 0)
    return Rows(data.X, code, data.weight, np.zeros(d), np.ones(d), sd == 0)


def take_rows(X: np.ndarray, rows: np.ndarray, at: slice) -> np.ndarray:
    """Return some rows of a block of neurons, (m, b), with reads along X's own order of memory."""
    if X.flags.f_contiguous:
        return X.T[at].take(rows, axis=1).T
    return X[:, at].take(rows, axis=0)
