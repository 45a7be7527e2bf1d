"""How well a formula's mask and a neuron's agree, from three counts of tokens."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import SettingError, did_you_mean

__all__ = ["SCORES", "score_number", "score_of_counts", "scores_of_counts"]

SCORES = ("iou", "f1", "precision", "recall", "matthews")
"""In the order of the numbers by which compiled loops know them."""


def scores_of_counts(
    hits: Int[np.ndarray, " u"],
    support: Int[np.ndarray, " u"],
    sizes: Int[np.ndarray, " u"],
    n: int,
) -> Mapping[str, Float[np.ndarray, " u"]]:
    """Return every score of :data:`SCORES`, each float64 (U,).

    With hits h, tokens s of the formula and tokens a of the neuron among n:
    iou (Jaccard) = h / (a + s − h); f1 = 2 h / (a + s); precision = h / s; recall = h / a;
    matthews = (h n − a s) / √(a (n − a) s (n − s)), the correlation of the two masks. A score whose
    denominator is 0 is 0.

    Parameters
    ----------
    hits
        Tokens in both masks, (U,).
    support, sizes
        Tokens in the formula's mask and in the neuron's, (U,).
    n
        Number of tokens.
    """
    h, s, a = (np.asarray(x, dtype=np.float64) for x in (hits, support, sizes))
    spread = np.sqrt(a) * np.sqrt(n - a) * np.sqrt(s) * np.sqrt(n - s)
    return {
        "iou": _ratio(h, a + s - h),
        "f1": _ratio(2 * h, a + s),
        "precision": _ratio(h, s),
        "recall": _ratio(h, a),
        "matthews": _ratio(h * n - a * s, spread),
    }


def score_of_counts(
    hits: Int[np.ndarray, "*u"],
    support: Int[np.ndarray, "*u"],
    sizes: Int[np.ndarray, "*u"],
    n: int,
    score: str,
) -> Float[np.ndarray, "*u"]:
    """Return one score of counts of any shape; see :func:`scores_of_counts`.

    Raises
    ------
    SettingError
        An unknown score.
    """
    number = score_number(score)
    shape = np.shape(hits)
    h, s, a = (np.asarray(x).reshape(-1) for x in (hits, support, sizes))
    return scores_of_counts(h, s, a, n)[SCORES[number]].reshape(shape)


def score_number(score: str) -> int:
    """Return the number of a score in :data:`SCORES`.

    Raises
    ------
    SettingError
        An unknown score.
    """
    if score not in SCORES:
        raise SettingError(
            f'score must be one of {", ".join(SCORES)}, not "{score}".{did_you_mean(score, SCORES)}'
        )
    return SCORES.index(score)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
