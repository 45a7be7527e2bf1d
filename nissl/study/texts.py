"""A few sentences with the activations of a few neurons, for reading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from nissl.results import Provenance
from nissl.store import Activations
from nissl.study.outcome import TextView

__all__ = ["text_view"]


def text_view(
    acts: Activations, neurons: Sequence[str], *, corpus: str, n: int = 60, seed: int = 0
) -> TextView:
    """Draw n sentences, from the test split when there is one, with z-scores of the neurons.

    The z-scores are over all tokens of the store, not only over the sentences drawn.
    """
    raw = acts.matrix(neurons=list(neurons)).astype(np.float64)
    sd = raw.std(axis=0)
    z = (raw - raw.mean(axis=0)) / np.where(sd > 0, sd, 1)
    member = acts.tokens["sentence"].to_numpy()
    test = np.unique(member[acts.tokens["split"].to_numpy().astype(object) == "test"])
    pool = test if len(test) else np.unique(member)
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(pool, min(n, len(pool)), replace=False))
    rows = np.flatnonzero(np.isin(member, drawn))
    labels = [name for name in acts.labels if not name.startswith("misc.")]
    words = acts.tokens.select("sentence", "position", "form", *labels)[rows]
    return TextView(
        provenance=Provenance(
            method="text view",
            settings={"sentences": len(drawn)},
            inputs={"activations": acts.fingerprint},
            seed=seed,
        ),
        corpus=corpus,
        words=words.with_columns(pl.col("sentence").cast(pl.Int32)),
        neurons=tuple(neurons),
        z=z[rows].astype(np.float32),
    )
