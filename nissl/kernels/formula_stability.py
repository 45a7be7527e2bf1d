"""Whether the search finds the same formula in a redrawn text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from nissl.errors import SettingError
from nissl.kernels._bits import PackedMasks, packed, unpack
from nissl.kernels.formula_tests import sentence_starts
from nissl.kernels.formulas import formula_masks
from nissl.kernels.search import Searched, search_formulas

__all__ = ["FormulaStability", "formula_stability"]


@dataclass(frozen=True, eq=False)
class FormulaStability:
    """How far searches in redrawn texts agree with the search in the text itself.

    Attributes
    ----------
    same
        Share of draws that give the same formula, float64 (U,).
    jaccard
        Mean overlap, in the text itself, of the masks of both formulas, float64 (U,): close to 1
        where another formula says the same. NaN for a neuron without a formula, as ``same`` is.
    draws
        Redrawn texts.
    """

    same: np.ndarray
    jaccard: np.ndarray
    draws: int


def formula_stability(
    found: Searched,
    concepts: Bool[np.ndarray, "k n"] | PackedMasks,
    masks: Bool[np.ndarray, "u n"] | PackedMasks,
    groups: Shaped[np.ndarray, " n"],
    *,
    draws: int = 10,
    seed: int = 0,
    search: Callable[..., Searched] = search_formulas,
    **settings: Any,
) -> FormulaStability:
    """Search again in texts whose sentences are drawn with replacement.

    Parameters
    ----------
    found
        What the search found in the text itself.
    concepts, masks
        Those that it was found with, (K, N) and (U, N).
    groups
        Sentence of each token, (N,); the tokens of a sentence stand together.
    draws
        Searches; each costs as much as the first did.
    seed
        Seed of the draws.
    search
        :func:`nissl.kernels.search.search_formulas`, or the exhaustive one.
    **settings
        Its settings; those that ``found`` was found with.

    Raises
    ------
    InputError
        Tokens of a sentence that stand apart, fewer than two sentences, or what the search raises.
    SettingError
        No draws.
    """
    if draws < 1:
        raise SettingError(f"draws must be 1 or more, not {draws}")
    given, wanted = packed(concepts), packed(masks)
    starts = sentence_starts(groups, given.n)
    ends = np.append(starts[1:], given.n)
    rng = np.random.default_rng(seed)
    first = formula_masks(found.formulas, given)
    same, jaccard = np.zeros((2, len(wanted)))
    for _ in range(draws):
        drawn = rng.integers(0, len(starts), len(starts))
        tokens = np.concatenate([np.arange(int(starts[g]), int(ends[g])) for g in drawn])
        again = search(unpack(given)[:, tokens], unpack(wanted)[:, tokens], **settings).formulas
        other = formula_masks(again, given)
        both = PackedMasks(first.words & other.words, given.n).counts
        either = PackedMasks(first.words | other.words, given.n).counts
        jaccard += both / np.maximum(either, 1)
        same += [a == b for a, b in zip(found.formulas, again, strict=True)]
    none = np.array([formula is None for formula in found.formulas], dtype=bool)
    same[none] = jaccard[none] = np.nan
    return FormulaStability(same=same / draws, jaccard=jaccard / draws, draws=draws)
