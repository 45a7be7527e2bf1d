"""Compositional explanations: the logical formula over concepts that a neuron computes.

Mu & Andreas (2020, "Compositional Explanations of Neurons", arXiv 2006.14032), with held-out
sentences, a test against chance and intervals for every neuron.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from nissl.errors import InputError, SettingError
from nissl.kernels.multiple_tests import benjamini_hochberg
from nissl.methods._explain_block import joined
from nissl.methods._explain_pieces import Pieces
from nissl.methods._explain_run import BLOCK, Run, chosen, no_noise, prepare
from nissl.methods._explain_settings import ExplainSettings
from nissl.methods.concepts import Concepts, make_concepts
from nissl.methods.explanation import Explanation
from nissl.results import Provenance

if TYPE_CHECKING:
    from nissl.store import Activations

__all__ = ["explain"]


def explain(
    acts: Activations,
    concepts: Concepts | None = None,
    *,
    sites: Sequence[str] | None = None,
    neurons: Sequence[str] | None = None,
    mask: str = "quantile",
    share: float = 0.005,
    sides: str = "both",
    ranges: int = 5,
    length: int = 3,
    beam: int = 10,
    penalty: float = 0.99,
    min_support: int = 5,
    score: str = "iou",
    held_out: float | str = 0.3,
    permutations: int = 1000,
    fdr: float = 0.05,
    n_boot: int = 200,
    noise: int = 20,
    exhaustive: str = "auto",
    time_limit: float | None = None,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> Explanation:
    """Find the formula over concepts whose tokens come closest to those that a neuron is on for.

    The formula and the neuron's threshold are chosen on training sentences; on held-out ones its
    overlap gets an interval (bootstrap over sentences) and a p-value: how often the neuron's mask,
    moved round by whole sentences, overlaps as much. Over neurons, q-values control the false
    discovery rate (Benjamini & Hochberg 1995), over their best masks and over the others apart.
    P-values are too small for formulas and neurons that are both the same throughout sentences, as
    topics are: see :func:`nissl.kernels.formula_tests.permutation_p`.

    Parameters
    ----------
    acts
        A store.
    concepts
        Of the store's tokens; all that its columns tell by default (:func:`make_concepts`).
    sites, neurons
        What is explained: names of sites, or ids of neurons; all by default.
    mask, share, sides, ranges
        When a neuron is on: ``"quantile"`` (the ``share`` of highest values), ``"zero"``,
        ``"ranges"`` or ``"clusters"``; on which ``sides`` ("high", "low", "both"); see
        :func:`nissl.kernels.unit_masks.unit_thresholds`. Each is a mask with a formula of its own.
    length, beam, penalty, min_support, score
        Of the search: concepts in a formula at most, formulas kept of each length, factor on the
        score for each further concept, training tokens that a formula covers at least, and what is
        maximised (``iou``, ``f1``, ``precision``, ``recall``, ``matthews``).
    held_out
        Share of sentences, or the name of a split.
    permutations, fdr, n_boot
        Shifts for the p-value (the smallest is 1 / (1 + permutations); there are at most as many as
        held-out sentences less one), false discovery rate, and bootstrap draws.
    noise
        Neurons whose shifted masks are searched too, to see what the search finds in noise.
    exhaustive
        Try every formula: ``"always"`` (up to length 3), ``"never"``, or ``"auto"``: where that
        takes some ten seconds or less.
    time_limit
        Seconds for all searches, those in noise included; what is found by then is given, and the
        rest is counted.
    folder
        Where finished blocks of neurons are kept; the same call with it goes on from there.
    seed
        Of everything random.

    Returns
    -------
    Explanation
        Ctrl-C gives what is finished, with ``complete`` false; it is raised if that is nothing.

    Raises
    ------
    SettingError
        An impossible setting, or no such site, neuron or split.
    InputError
        Concepts of other tokens, or no neuron that has a mask.
    StoreError
        ``folder`` holds something else.
    """
    settings = ExplainSettings(
        mask, share, sides, ranges, length, beam, penalty, min_support, score, held_out,
        permutations, n_boot, exhaustive, seed,
    )  # fmt: skip
    if not 0 < fdr < 1:
        raise SettingError(f"the false discovery rate is between 0 and 1, not {fdr}")
    if noise < 0:
        raise SettingError(f"noise is a number of neurons, not {noise}")
    table = chosen(acts, sites, neurons)
    known = make_concepts(acts) if concepts is None else concepts
    material = prepare(acts, known, settings, table.height)
    pieces = Pieces(
        folder,
        {
            "store": acts.fingerprint,
            "corpus": str(acts.manifest.get("corpus_fingerprint", "")),
            "concepts": known.fingerprint,
            "neurons": hashlib.sha256("\n".join(table["neuron"]).encode()).hexdigest(),
            "block": BLOCK,
            **settings.as_dict(),
        },
    )
    run = Run(acts, table, material, pieces, time_limit)
    run.blocks()
    rows = joined(run.done)
    if not rows.height and not run.complete and time_limit is None:
        raise KeyboardInterrupt
    if not rows.height:
        why = "; ".join(f"{count} {reason}" for reason, count in run.left_out.items())
        raise InputError(f"no neuron has a mask to explain ({why or 'none was reached'})")
    noises = run.noise(noise) if run.complete else no_noise()
    return Explanation(
        provenance=Provenance(
            method="explain",
            settings={
                **settings.as_dict(),
                "fdr": fdr,
                "noise": noise,
                "tried_all": material.exhaustive,
            },
            inputs={"activations": acts.fingerprint, "concepts": known.fingerprint},
            seed=seed,
        ),
        model=str(acts.manifest["model"]),
        score=score,
        fdr=fdr,
        permutations=min(permutations, len(np.unique(material.sentence_held)) - 1),
        tokens=acts.n_tokens,
        held_out=len(material.held),
        table=_with_q(rows, fdr),
        concepts=known.frame(),
        noise=noises,
        left_out=run.left_out,
        no_concepts=known.not_made(),
        complete=run.complete,
    )


def _with_q(rows: pl.DataFrame, fdr: float) -> pl.DataFrame:
    """Mark each neuron's best mask on training tokens, and adjust p-values."""
    score = rows["score_train"].fill_nan(-np.inf).to_numpy()
    neuron = rows["neuron"].to_numpy()
    # Of masks that are explained as well, the one that needs fewer concepts.
    order = np.lexsort((np.arange(len(score)), rows["length"].to_numpy(), -score))
    _, first = np.unique(neuron[order], return_index=True)
    best = np.zeros(len(score), dtype=bool)
    best[order[first]] = True
    p = rows["p"].to_numpy()
    q = np.full(len(p), np.nan)
    for group in (best, ~best):
        here = group & np.isfinite(p)
        if here.any():
            q[here] = benjamini_hochberg(p[here])
    return rows.with_columns(
        q=pl.Series(q), best=pl.Series(best), beyond=pl.Series(best & (q <= fdr))
    )
