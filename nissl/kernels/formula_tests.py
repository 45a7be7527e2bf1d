"""Whether a formula holds up: on other tokens, against chance, and when sentences are redrawn.

A search always finds something: among thousands of formulas the best one fits its neuron well by
luck alone, and longer ones more so. So a formula is chosen on some tokens and judged on others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.fft
from jaxtyping import Bool, Float, Int, Shaped

from nissl.errors import InputError, SettingError
from nissl.kernels._bits import PackedMasks, packed, unpack
from nissl.kernels.formula_scores import score_of_counts, scores_of_counts
from nissl.kernels.formulas import Formula, formula_masks
from nissl.kernels.search import Searched, search_formulas

__all__ = [
    "bootstrap_interval",
    "held_out",
    "permutation_p",
    "sentence_starts",
    "shifted",
    "shuffled_search",
]

BLOCK = 64
"""Neurons whose masks are unpacked at a time."""


def held_out(
    formulas: Sequence[Formula | None],
    concepts: Bool[np.ndarray, "k n"] | PackedMasks,
    masks: Bool[np.ndarray, "u n"] | PackedMasks,
) -> dict[str, Float[np.ndarray, " u"] | Int[np.ndarray, " u"]]:
    """Return how well each neuron's formula does on tokens that it was not chosen on.

    Parameters
    ----------
    formulas
        Formula of each neuron, or ``None``.
    concepts, masks
        The same concepts and neurons on the other tokens, (K, N) and (U, N).

    Returns
    -------
    dict
        ``hits``, ``support`` and ``sizes`` (int64), and each score of
        :data:`nissl.kernels.formula_scores.SCORES` (float64, NaN without a formula), all (U,).

    Raises
    ------
    InputError
        Another number of formulas than of neurons, or other tokens in concepts and masks.
    """
    fit, wanted = _both(formulas, concepts, masks)
    hits = PackedMasks(fit.words & wanted.words, fit.n).counts
    out: dict[str, Any] = {"hits": hits, "support": fit.counts, "sizes": wanted.counts}
    none = np.array([formula is None for formula in formulas], dtype=bool)
    for name, value in scores_of_counts(hits, fit.counts, wanted.counts, fit.n).items():
        out[name] = np.where(none, np.nan, value)
    return out


def permutation_p(
    formulas: Sequence[Formula | None],
    concepts: Bool[np.ndarray, "k n"] | PackedMasks,
    masks: Bool[np.ndarray, "u n"] | PackedMasks,
    groups: Shaped[np.ndarray, " n"],
    *,
    permutations: int | None = 200,
    score: str = "iou",
    seed: int = 0,
) -> tuple[Float[np.ndarray, " u"], Float[np.ndarray, " u"]]:
    """Test each formula on held-out tokens against shifts of the neuron's mask by whole sentences.

    The mask is moved round the text so that another sentence comes first. Tokens next to each other
    stay so, which permuted tokens would not. p = (1 + shifts with a score as high) / (1 + shifts)
    (Phipson & Smyth 2010). It is valid if the neuron, as it is, and moved by each shift, meet the
    formula equally likely as much, and the formula was chosen on other tokens. That is so where
    sentences are as long as each other (images of a size), and nearly so where neuron or formula
    change within sentences. It is not where both are the same throughout a sentence (a genre, a
    topic) and lengths vary: then only the mask as it is meets whole sentences, which varies more
    than parts of sentences do, and p is too small. Of pairs that have nothing to do with each
    other, in 300 sentences of 1 to 80 words (mean 11), .10 then have p ≤ .05 and .04 have p ≤ .01
    (tokens, or runs of four: .04 to .05, and .01).

    All shifts are scored at once, by one Fourier transform a mask; counts are whole numbers, so
    that nothing is lost by rounding.

    Correct for the number of neurons with
    :func:`nissl.kernels.multiple_tests.benjamini_hochberg`.

    Parameters
    ----------
    formulas, concepts, masks
        As in :func:`held_out`.
    groups
        Sentence of each token, (N,); the tokens of a sentence stand together.
    permutations
        Shifts drawn, the same for all neurons; ``None``, or more than there are: every one.
    score
        One of :data:`nissl.kernels.formula_scores.SCORES`.
    seed
        Seed of the draw.

    Returns
    -------
    p
        float64 (U,); 1 without a formula.
    null
        Mean score under the shifts, float64 (U,); NaN without a formula.

    Raises
    ------
    InputError
        As in :func:`held_out`; fewer than two sentences, or tokens of a sentence apart.
    SettingError
        Fewer than one permutation, or an unknown score.
    """
    fit, wanted = _both(formulas, concepts, masks)
    shifts = _draw(groups, fit.n, permutations, seed)
    p, null = np.ones(len(wanted)), np.full(len(wanted), np.nan)
    some = np.array(
        [u for u, formula in enumerate(formulas) if formula is not None], dtype=np.int64
    )
    support, sizes = fit.counts, wanted.counts
    for block in _blocks(some):
        a: Any = scipy.fft.rfft(unpack(_rows(wanted, block)).astype(np.float64), axis=1)
        m: Any = scipy.fft.rfft(unpack(_rows(fit, block)).astype(np.float64), axis=1)
        # Entry t: tokens of the formula on which the mask, moved t tokens to the right, is on.
        meet: Any = scipy.fft.irfft(np.conj(a) * m, n=fit.n, axis=1)
        hits = np.rint(meet[:, np.concatenate([[0], shifts])]).astype(np.int64)
        shape = np.ones_like(hits)
        value = score_of_counts(
            hits, support[block, None] * shape, sizes[block, None] * shape, fit.n, score
        )
        more = (value[:, 1:] >= value[:, :1]).sum(axis=1)
        p[block] = (1 + more) / (1 + len(shifts))
        null[block] = value[:, 1:].mean(axis=1)
    return p, null


def bootstrap_interval(
    formulas: Sequence[Formula | None],
    concepts: Bool[np.ndarray, "k n"] | PackedMasks,
    masks: Bool[np.ndarray, "u n"] | PackedMasks,
    groups: Shaped[np.ndarray, " n"],
    *,
    draws: int = 500,
    level: float = 0.95,
    score: str = "iou",
    seed: int = 0,
) -> Float[np.ndarray, "u 2"]:
    """Return a percentile interval of each formula's score, sentences redrawn, float64 (U, 2).

    Sentences, not tokens, are drawn with replacement (Efron & Tibshirani 1993, chapter 8), the same
    ones for all neurons. The formula stays what it is: on the tokens it was chosen on, the interval
    does not know of the choice, and is too high. NaN without a formula.

    Parameters
    ----------
    formulas, concepts, masks, score
        As in :func:`permutation_p`.
    groups
        Sentence of each token, (N,); the tokens of a sentence stand together.
    draws
        Redrawn texts.
    level
        Coverage, between 0 and 1.
    seed
        Seed of the draws.

    Raises
    ------
    InputError
        As in :func:`permutation_p`.
    SettingError
        No draws, or a level out of range.
    """
    fit, wanted = _both(formulas, concepts, masks)
    starts = sentence_starts(groups, fit.n)
    if draws < 1 or not 0 < level < 1:
        raise SettingError(
            f"draws must be 1 or more and level between 0 and 1, not {draws} and {level:g}"
        )
    rng = np.random.default_rng(seed)
    count = len(starts)
    times = rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    tokens = times @ np.diff(starts, append=fit.n)
    out = np.full((len(wanted), 2), np.nan)
    some = np.array(
        [u for u, formula in enumerate(formulas) if formula is not None], dtype=np.int64
    )
    for block in _blocks(some):
        m, a = unpack(_rows(fit, block)), unpack(_rows(wanted, block))
        hits, support, sizes = (
            np.add.reduceat(x, starts, axis=1, dtype=np.float64) @ times.T for x in (m & a, m, a)
        )
        h, m_size, a_size = (np.rint(x).astype(np.int64) for x in (hits, support, sizes))
        # Redrawn texts differ in length, which only Matthews' coefficient looks at.
        value = np.stack(
            [
                score_of_counts(h[:, d], m_size[:, d], a_size[:, d], int(tokens[d]), score)
                for d in range(draws)
            ]
        )
        tail = (1 - level) / 2
        out[block] = np.quantile(value, [tail, 1 - tail], axis=0).T
    return out


def shuffled_search(
    concepts: Bool[np.ndarray, "k n"] | PackedMasks,
    masks: Bool[np.ndarray, "u n"] | PackedMasks,
    groups: Shaped[np.ndarray, " n"],
    *,
    seed: int = 0,
    search: Callable[..., Searched] = search_formulas,
    **settings: Any,
) -> Searched:
    """Search again for each neuron with its mask moved round the text by random whole sentences.

    What the search itself reaches on noise of the same size and run lengths: a score on the tokens
    of the search means nothing below it. Each neuron is moved by its own draw. Search a sample of
    the neurons if all are too many.

    Parameters
    ----------
    concepts, masks, groups
        As in :func:`permutation_p`, here on the tokens of the search.
    seed
        Seed of the shifts.
    search
        :func:`nissl.kernels.search.search_formulas`, or the exhaustive one.
    **settings
        Its settings.

    Raises
    ------
    InputError
        As in :func:`permutation_p`, and what the search raises.
    """
    wanted = packed(masks)
    starts = sentence_starts(groups, wanted.n)
    by = np.random.default_rng(seed).choice(starts[1:], size=len(wanted))
    return search(concepts, shifted(unpack(wanted), by), **settings)


def shifted(masks: Bool[np.ndarray, "u n"], by: Int[np.ndarray, " u"]) -> Bool[np.ndarray, "u n"]:
    """Return each mask moved ``by`` tokens to the right, the last ones coming first, (U, N)."""
    return np.stack([np.roll(row, t) for row, t in zip(masks, by, strict=True)])


def sentence_starts(groups: Shaped[np.ndarray, " n"], n: int) -> Int[np.ndarray, " g"]:
    """Return the first token of each sentence, int64 (G,).

    Raises
    ------
    InputError
        Another number of tokens than ``n``, fewer than two sentences, or one in several places.
    """
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise InputError(
            f"groups name the sentence of each of the {n} tokens, not {groups.shape} of them"
        )
    starts = np.concatenate([[0], 1 + np.flatnonzero(groups[1:] != groups[:-1])]).astype(np.int64)
    if len(np.unique(groups[starts])) < len(starts):
        raise InputError("tokens of one sentence stand apart; sort the tokens by sentence")
    if len(starts) < 2:
        raise InputError("all tokens are of one sentence; two or more are needed")
    return starts


def _draw(groups: np.ndarray, n: int, permutations: int | None, seed: int) -> np.ndarray:
    """Distinct shifts to starts of sentences, without the first, which changes nothing."""
    shifts = sentence_starts(groups, n)[1:]
    if permutations is None:
        return shifts
    if permutations < 1:
        raise SettingError(f"permutations must be 1 or more, not {permutations}")
    if permutations >= len(shifts):
        return shifts
    return np.sort(np.random.default_rng(seed).choice(shifts, permutations, replace=False))


def _both(
    formulas: Sequence[Formula | None],
    concepts: np.ndarray | PackedMasks,
    masks: np.ndarray | PackedMasks,
) -> tuple[PackedMasks, PackedMasks]:
    """Masks of formulas and of neurons."""
    given, wanted = packed(concepts), packed(masks)
    if given.n != wanted.n or len(formulas) != len(wanted):
        raise InputError(
            f"{len(formulas)} formulas over {given.n} tokens cannot be compared with "
            f"{len(wanted)} masks over {wanted.n}"
        )
    return formula_masks(formulas, given), wanted


def _rows(masks: PackedMasks, rows: np.ndarray) -> PackedMasks:
    return PackedMasks(masks.words[rows], masks.n)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for i in range(0, len(rows), BLOCK):
        yield rows[i : i + BLOCK]
