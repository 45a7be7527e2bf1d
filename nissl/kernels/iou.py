"""Overlap (intersection over union) of a neuron that is on and a class that is there.

Mu & Andreas (2020, "Compositional Explanations of Neurons") switch a neuron on above a high
quantile of its values and compare with a concept. Here classes may be many, the quantile is a
setting, low values and both ends count as "on" too, and nothing is written into the input.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import SettingError, did_you_mean
from nissl.kernels._sweep import Swept, run_sweep

__all__ = ["SIDES", "overlap_scores"]

SIDES = ("high", "low", "outer", "two-sided")


def overlap_scores(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    share: float | str = "prevalence",
    side: str = "two-sided",
    corrected: bool = True,
) -> Float[np.ndarray, "c d"]:
    """Return intersection over union of "neuron is on" and "token is of the class", (C, d).

    Parameters
    ----------
    X
        Neurons, (n, d), read as float32.
    y
        Class of each token, (n,).
    n_classes
        Number of classes.
    share
        Share of the tokens on which a neuron is on: the threshold is its quantile 1 − share (from
        the end that ``side`` names). "prevalence" gives each class its own share, so that a neuron
        that tells it perfectly gets 1. Tokens equal to the threshold are on, all of them.
    side
        "high": on at high values; "low": at low ones; "outer": where |x − median| is large;
        "two-sided": the best of the three.
    corrected
        Whether to take off what independence gives at that share, p s / (p + s − p s), which is a
        lot for frequent classes; then chance is 0 and scores of classes can be compared.

    Raises
    ------
    InputError, LabelError, SettingError
    """
    if side not in SIDES:
        raise SettingError(
            f'side must be one of {", ".join(SIDES)}, not "{side}".{did_you_mean(side, SIDES)}'
        )
    return overlaps_of(run_sweep(X, y, n_classes, share=share), side, corrected)


def overlaps_of(swept: Swept, side: str, corrected: bool) -> np.ndarray:
    """Turn the hits of a sweep into overlaps, (C, d); 0 for a class without tokens."""
    here = swept.counts.astype(np.float64)[None, :, None]
    on, hits = swept.on.astype(np.float64), swept.hits
    score = hits / np.maximum(on + here - hits, 1)
    if corrected:
        share, prevalence = on / here.sum(), here / here.sum()
        both = share * prevalence
        score = score - both / np.maximum(share + prevalence - both, np.finfo(float).tiny)
    return score.max(axis=0) if side == "two-sided" else score[SIDES.index(side)]
