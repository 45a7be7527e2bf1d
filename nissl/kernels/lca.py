"""The order of Linguistic Correlation Analysis, made total and deterministic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nissl.errors import InputError

__all__ = ["LcaOrder", "lca_order"]

NEVER = 101


@dataclass(frozen=True, eq=False)
class LcaOrder:
    """Neurons in order of salience.

    Attributes
    ----------
    order
        All neurons, best first, (d,).
    percent
        Smallest p (1…100) at which the neuron belongs to some class's prefix; 101: never. (d,)
    class_order
        All neurons for each class, best first, (C, d).
    """

    order: np.ndarray
    percent: np.ndarray
    class_order: np.ndarray


def lca_order(
    coef: Float[np.ndarray, "c d"], *, tie_score: Float[np.ndarray, " d"] | None = None
) -> LcaOrder:
    """Order neurons by the weights of a probe on standardised neurons.

    For each class, neurons are sorted by |w| and the shortest prefix whose |w| sum to at least
    p % of the class's total is taken; the prefixes are merged over classes for p = 1…100
    (Dalvi et al. 2019, algorithm 1). The paper leaves the order inside a chunk open; here it is by
    the largest |w| over classes, then the sum of |w|, then ``tie_score``, then the index.

    Parameters
    ----------
    coef
        Weights (C, d). A class without weights has no prefix.
    tie_score
        Orders the neurons that have no weight at all, higher first.
    """
    size = np.abs(np.asarray(coef, dtype=np.float64))
    if not np.isfinite(size).all():
        raise InputError(
            f"weight of neuron {int(np.argwhere(~np.isfinite(size))[0, 1])} is not finite"
        )
    n_classes, d = size.shape
    ties = np.zeros(d) if tie_score is None else np.asarray(tie_score, dtype=np.float64)
    if len(ties) != d:
        raise InputError(f"{len(ties)} tie scores for {d} neurons")
    index = np.arange(d)
    percent = np.full(d, NEVER, dtype=np.int64)
    class_order = np.empty((n_classes, d), dtype=np.int64)
    for c in range(n_classes):
        order = np.lexsort((index, -ties, -size[c]))
        class_order[c] = order
        used = order[size[c][order] > 0]
        if not len(used):
            continue
        cumulated = np.cumsum(size[c][used])
        # A neuron is in the prefix for p exactly when the mass before it is below p %.
        before = np.concatenate([[0.0], cumulated[:-1]]) / cumulated[-1]
        enters = np.minimum(np.floor(100 * before + 1e-9).astype(np.int64) + 1, 100)
        percent[used] = np.minimum(percent[used], enters)
    order = np.lexsort((index, -ties, -size.sum(axis=0), -size.max(axis=0), percent))
    return LcaOrder(order=order, percent=percent, class_order=class_order)
