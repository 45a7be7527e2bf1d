"""Words in their contexts that show where a neuron and its formula agree, and where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from nissl.errors import InputError
from nissl.methods.concepts import Concepts
from nissl.methods.explanation import Explanation, formula_of

if TYPE_CHECKING:
    from nissl.store import Activations

__all__ = ["explanation_examples"]

GROUPS = ("most on", "on without the formula", "formula without the neuron")
SCHEMA = {
    "neuron": pl.String,
    "side": pl.String,
    "group": pl.String,
    "z": pl.Float64,
    "left": pl.String,
    "word": pl.String,
    "right": pl.String,
    "covered": pl.Boolean,
    "sentence": pl.Int64,
}


def explanation_examples(
    acts: Activations,
    concepts: Concepts,
    explanation: Explanation,
    neurons: Sequence[str],
    *,
    n: int = 8,
    width: int = 6,
) -> pl.DataFrame:
    """Find tokens of neurons' best masks, in the order of ``neurons``.

    Parameters
    ----------
    acts, concepts, explanation
        The store, its concepts, and what :func:`explain` made of them.
    neurons
        Ids; those that are not in the explanation are passed over.
    n
        Tokens of each group: "most on" (furthest on the mask's side), "on without the formula"
        (furthest on of those that the formula does not cover) and "formula without the neuron"
        (furthest off of those that it covers).
    width
        Words of context on each side.

    Returns
    -------
    polars.DataFrame
        ``neuron, side, group, z`` (in standard deviations over the corpus), ``left, word, right,
        covered`` (by the formula), ``sentence``.

    Raises
    ------
    InputError
        The concepts are not those that the formulas are made of, or the store is another one.
    """
    if concepts.fingerprint != explanation.provenance.inputs.get("concepts"):
        raise InputError("these are not the concepts that the neurons were explained with")
    if acts.fingerprint != explanation.provenance.inputs.get("activations"):
        raise InputError("this is not the store that the neurons were explained in")
    best = {row["neuron"]: row for row in explanation.best().iter_rows(named=True)}
    forms = acts.tokens["form"].to_list()
    sentence = acts.tokens["sentence"].to_numpy()
    rows = []
    for name in neurons:
        if name not in best:
            continue
        row = best[name]
        x = acts.matrix(neurons=[name])[:, 0].astype(np.float64)
        z = (x - x.mean()) / (x.std() or 1.0)
        on = (x > row["above"]) & (x <= row["at_most"])
        covered = np.zeros(len(x), dtype=bool)
        if (formula := formula_of(row["leaves"], row["ops"])) is not None:
            used = {leaf: i for i, leaf in enumerate(dict.fromkeys(formula.leaves))}
            bits = np.unpackbits(concepts.bits[list(used)], axis=1, count=len(x)).view(bool)
            places = tuple(used[leaf] for leaf in formula.leaves)
            covered = _apply(bits, places, formula.ops)
        # How far a token is on this side: for a range, how near to its middle.
        far = {"high": z, "low": -z}.get(row["side"])
        if far is None:
            far = -np.abs(z - np.median(z[on])) if on.any() else z
        for group, which, key in (
            (GROUPS[0], on, -far),
            (GROUPS[1], on & ~covered, -far),
            (GROUPS[2], covered & ~on, far),
        ):
            at = np.flatnonzero(which)
            for i in at[np.argsort(key[at], kind="stable")][:n].tolist():
                rows.append(
                    {"neuron": name, "side": row["side"], "group": group, "z": float(z[i])}
                    | _context(forms, sentence, i, width)
                    | {"covered": bool(covered[i])}
                )
    return pl.DataFrame(rows, schema=SCHEMA)


def _apply(bits: np.ndarray, leaves: Sequence[int], ops: Sequence[str]) -> np.ndarray:
    out = bits[leaves[0]].copy()
    for op, leaf in zip(ops, leaves[1:], strict=True):
        if op == "or":
            out |= bits[leaf]
        else:
            out &= bits[leaf] if op == "and" else ~bits[leaf]
    return out


def _context(forms: list[str], sentence: np.ndarray, i: int, width: int) -> dict[str, str | int]:
    """Words around token i, of its own sentence."""
    first, last = max(i - width, 0), min(i + width + 1, len(forms))
    near = np.arange(first, last)[sentence[first:last] == sentence[i]]
    before, after = near[near < i], near[near > i]
    return {
        "left": " ".join(forms[j] for j in before.tolist()),
        "word": forms[i],
        "right": " ".join(forms[j] for j in after.tolist()),
        "sentence": int(sentence[i]),
    }
