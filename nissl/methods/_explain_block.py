"""One block of neurons: masks, the search on training tokens, the tests on held-out ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from nissl.kernels.exhaustive import exhaustive_formulas
from nissl.kernels.formula_scores import scores_of_counts
from nissl.kernels.formula_tests import bootstrap_interval, held_out, permutation_p
from nissl.kernels.formulas import PackedMasks, pack
from nissl.kernels.search import Searched, search_formulas
from nissl.kernels.unit_masks import Thresholds, unit_masks, unit_thresholds
from nissl.methods._explain_settings import ExplainSettings
from nissl.methods.explanation import formula_fields

__all__ = ["Block", "Material", "explain_block", "joined", "search_of", "thresholds_of"]


@dataclass(frozen=True, eq=False)
class Material:
    """What all blocks share: rows, concepts on both sides, sentences of held-out tokens."""

    settings: ExplainSettings
    exhaustive: bool
    train: np.ndarray
    held: np.ndarray
    concepts_train: PackedMasks
    concepts_held: PackedMasks
    sentence_held: np.ndarray
    names: list[str]


@dataclass(frozen=True, eq=False)
class Block:
    """A block's rows, why masks are missing, and whether its search was stopped."""

    rows: pl.DataFrame
    left_out: dict[str, int]
    stopped: bool


def thresholds_of(X: np.ndarray, settings: ExplainSettings) -> Thresholds:
    """Find the bounds of the masks of neurons (n, U)."""
    return unit_thresholds(
        X,
        kind=settings.mask,
        share=settings.share,
        sides=settings.sides,
        ranges=settings.ranges,
    )


def search_of(material: Material) -> tuple[Callable[..., Searched], dict[str, Any]]:
    """Return the search that the settings ask for, and its settings."""
    s = material.settings
    common: dict[str, Any] = {
        "length": s.length,
        "penalty": s.penalty,
        "min_support": s.min_support,
        "score": s.score,
    }
    if material.exhaustive:
        return exhaustive_formulas, common
    return search_formulas, {**common, "beam": s.beam}


def explain_block(
    X: np.ndarray, neurons: pl.DataFrame, material: Material, *, time_limit: float | None
) -> Block:
    """Explain some neurons.

    Parameters
    ----------
    X
        Their activations on all tokens, (n, U), Fortran order.
    neurons
        Their rows of the store's table of neurons.
    time_limit
        Seconds for the search.
    """
    train, held = X.T[:, material.train].T, X.T[:, material.held].T
    bounds = thresholds_of(train, material.settings)
    left_out = dict(bounds.left_out)
    if not len(bounds):
        return Block(pl.DataFrame(), left_out, False)
    search, how = search_of(material)
    found = search(
        material.concepts_train,
        pack(unit_masks(train, bounds)),
        time_limit=time_limit,
        interruptible=True,
        **how,
    )
    rows = _rows(neurons, bounds, found, material.names)
    tests = _tests(found, pack(unit_masks(held, bounds)), len(material.train), material)
    both = [a | b for a, b in zip(rows, tests, strict=True)]
    # A stopped search has nothing to say of masks that it did not come to.
    said = [row for row in both if row["leaves"] or not row["partial"]]
    if len(said) < len(both):
        left_out["masks that the stopped search did not reach"] = len(both) - len(said)
    table = pl.DataFrame(said, infer_schema_length=None)
    return Block(table, left_out, bool(found.partial.any()))


def _rows(
    neurons: pl.DataFrame, bounds: Thresholds, found: Searched, names: list[str]
) -> list[dict[str, Any]]:
    table = list(neurons.iter_rows(named=True))
    rows = []
    for i, (unit, side) in enumerate(zip(bounds.unit.tolist(), bounds.side, strict=True)):
        about = table[unit]
        rows.append(
            {name: about[name] for name in ("neuron", "site", "layer", "index")}
            | {
                "side": side,
                "above": float(bounds.low[i]),
                "at_most": float(bounds.high[i]),
                "tied": int(bounds.tied[i]),
            }
            | formula_fields(found.formulas[i], names)
            | {
                "score_train": float(found.scores[i]),
                "bound": float(found.bounds[i]),
                "optimal": bool(found.optimal[i]),
                "partial": bool(found.partial[i]),
            }
        )
    return rows


def _tests(
    found: Searched, masks: PackedMasks, n_train: int, material: Material
) -> list[dict[str, Any]]:
    """Scores on training tokens, and scores, interval and p-value on held-out ones."""
    s, given = material.settings, (found.formulas, material.concepts_held, masks)
    train = scores_of_counts(found.hits, found.support, found.sizes, n_train)["iou"]
    none = np.array([formula is None for formula in found.formulas], dtype=bool)
    out = held_out(*given)
    # Whatever is searched for, overlap is what is compared with chance.
    p, null = permutation_p(
        *given, material.sentence_held, permutations=s.permutations, seed=s.seed
    )
    interval = bootstrap_interval(*given, material.sentence_held, draws=s.n_boot, seed=s.seed)
    columns = {
        # A mask without a formula has no score, rather than one of 0.
        "iou_train": np.where(none, np.nan, train),
        "support_train": found.support,
        "size_train": found.sizes,
        "iou": out["iou"],
        "low": interval[:, 0],
        "high": interval[:, 1],
        **{name: out[name] for name in ("precision", "recall", "f1", "matthews")},
        "hits": out["hits"],
        "support": out["support"],
        "size": out["sizes"],
        "chance": null,
        "p": p,
    }
    lists = {name: values.tolist() for name, values in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def joined(blocks: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of all blocks; those without any have no columns either."""
    full = [block for block in blocks if block.height]
    return pl.concat(full) if full else pl.DataFrame()
