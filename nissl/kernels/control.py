"""Control-task labels (Hewitt & Liang 2019): one random label a word type."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from nissl.errors import LabelError

__all__ = ["control_labels"]


def control_labels(
    keys: Sequence[str] | np.ndarray, labels: Sequence[str | None] | np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """Give each key one label, drawn from the labels' own distribution.

    The draw of a key depends on the key, the seed and the distribution alone: not on the order of
    rows, nor on which other keys there are.

    Parameters
    ----------
    keys
        Word type of each token, (n,).
    labels
        Label of each token, (n,); tokens with ``None`` do not count and get ``None``.

    Returns
    -------
    array of objects (n,)
    """
    values = np.asarray(labels, dtype=object)
    names = np.asarray(keys, dtype=object)
    if len(names) != len(values):
        raise LabelError(f"{len(names)} keys for {len(values)} labels")
    has = np.array([value is not None for value in values], dtype=bool)
    if not has.any():
        raise LabelError("a control task needs labels, and there are none")
    classes, counts = np.unique(values[has].astype(str), return_counts=True)
    edges = np.cumsum(counts) / counts.sum()
    drawn: dict[str, str] = {}
    for key in set(names[has].tolist()):
        digest = hashlib.sha256(f"{seed}\x00{key}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        drawn[key] = str(
            classes[min(int(np.searchsorted(edges, place, "right")), len(classes) - 1)]
        )
    out = np.full(len(values), None, dtype=object)
    out[has] = [drawn[key] for key in names[has]]
    return out
