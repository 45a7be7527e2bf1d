"""Which neurons of a layer parallel inputs share, and how much each adds to the layer's output."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from nissl.errors import InputError, SettingError

__all__ = [
    "CLASSES",
    "class_counts",
    "contributions",
    "effective_scores",
    "null_thresholds",
    "sharing_classes",
]

CLASSES = ("all-shared", "partial-shared", "specific", "non-activated")
"""Activated by the input in every language, in some, in exactly one, in none."""


def sharing_classes(active: Bool[np.ndarray, "languages d"]) -> Int[np.ndarray, " d"]:
    """Return the class of each neuron over one input in several languages.

    Wang et al. (2024), "Sharing Matters: Analysing Neurons Across Languages and Tasks in LLMs",
    section 3. With two languages no neuron is partial-shared: two of two are all.

    Parameters
    ----------
    active
        Whether each language's version of the input activates the neuron, (languages, d).

    Returns
    -------
    Int[np.ndarray, " d"]
        Index into :data:`CLASSES`, int8.

    Raises
    ------
    InputError
        Fewer than two languages: with one, all-shared and specific are the same.
    """
    n = active.shape[0]
    if n < 2:
        raise InputError(f"sharing needs an input in 2 languages or more, not {n}")
    times = active.sum(axis=0)
    found = np.full(active.shape[1], 1, dtype=np.int8)
    found[times == n] = 0
    found[times == 1] = 2
    found[times == 0] = 3
    return found


def class_counts(classes: Int[np.ndarray, "inputs d"]) -> Int[np.ndarray, "inputs 4"]:
    """Return how many neurons of each class every input has, (inputs, 4)."""
    return np.stack([(classes == c).sum(axis=1) for c in range(len(CLASSES))], axis=1)


def null_thresholds(
    values: Float[np.ndarray, "tokens d"], quantile: float
) -> Float[np.ndarray, " d"]:
    """Return, for each neuron, a quantile of its values on unrelated text.

    A neuron that is positive on all text is "activated" by any input where the threshold is 0;
    above this one it is where the input raises it beyond what it does anyway.

    Parameters
    ----------
    values
        (tokens, d), of text that has nothing to do with the inputs.
    quantile
        Between 0 and 1, such as .95.

    Raises
    ------
    SettingError
        Another quantile.
    InputError
        Too few tokens to tell that quantile from the largest value.
    """
    if not 0 < quantile < 1:
        raise SettingError(f"the quantile of the null must lie between 0 and 1, not {quantile:g}")
    n = len(values)
    if n * min(quantile, 1 - quantile) < 1:
        raise InputError(
            f"{n} tokens of unrelated text are too few for a quantile of {quantile:g}; give more"
        )
    return np.quantile(values, quantile, axis=0).astype(np.float32)


def contributions(
    values: Float[np.ndarray, "tokens d"], vectors: Float[np.ndarray, "d width"]
) -> Float[np.ndarray, "tokens d"]:
    """Return |m_j| · ‖v_j‖: the size of what each neuron adds to the stream.

    Wang et al. (2024), section 4 (contribution score).

    Parameters
    ----------
    values
        m, what the map down is given: of a gated MLP the product, (tokens, d).
    vectors
        v_j, the columns of the map down, as rows (d, width).
    """
    return np.abs(values) * np.linalg.norm(vectors, axis=1)


def effective_scores(
    values: Float[np.ndarray, "tokens d"],
    vectors: Float[np.ndarray, "d width"],
    direction: Float[np.ndarray, "tokens width"],
) -> Float[np.ndarray, "tokens d"]:
    """Return e · (m_j v_j): what each neuron adds to the logit of a token, before any norm.

    Wang et al. (2024), section 4 (effective score). Over all neurons, and with bias · e, it sums
    to (MLP output) · e.

    Parameters
    ----------
    values, vectors
        As in :func:`contributions`.
    direction
        e, the output embedding of each row's answer, (tokens, width).
    """
    return values * (direction @ vectors.T)
