"""Words ↔ subwords by character offsets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nissl.errors import InputError

__all__ = ["align", "align_many"]


def align(
    words: Sequence[tuple[int, int]],
    pieces: Sequence[tuple[int, int]] | np.ndarray,
    special: Sequence[int] | np.ndarray,
    *,
    forms: Sequence[str] | None = None,
    where: str | None = None,
) -> list[np.ndarray]:
    """Return the positions of each word's subwords.

    A subword belongs to every word whose characters it overlaps, so that words written together
    (``do`` and ``n't`` cut in the middle) share it.

    Parameters
    ----------
    words
        Character span (start, end) of each word in the sentence's text.
    pieces
        Character span of each subword in the same text.
    special
        1 for subwords that the tokenizer added, which belong to no word.

    Raises
    ------
    InputError
        A word without any subword; it names the word.
    """
    spans = np.asarray(pieces, dtype=np.int64).reshape(-1, 2)
    usable = np.flatnonzero((np.asarray(special) == 0) & (spans[:, 1] > spans[:, 0]))
    starts, ends = spans[usable, 0], spans[usable, 1]
    out = []
    for i, (start, end) in enumerate(words):
        hit = usable[(starts < end) & (ends > start)]
        if not len(hit):
            form = f' "{forms[i]}"' if forms is not None else ""
            raise InputError(
                f"word {i + 1}{form} yields no subword with this tokenizer; remove the word or "
                "replace its characters",
                where=where,
            )
        out.append(hit)
    return out


def align_many(
    words: np.ndarray,
    pieces: np.ndarray,
    special: np.ndarray,
    n_words: np.ndarray,
    n_pieces: np.ndarray,
    lengths: np.ndarray,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Align many sentences at once, as :func:`align` does one.

    Parameters
    ----------
    words, pieces
        Character spans (W, 2) and (P, 2) of all sentences, one after the other, each counted from
        the start of its own sentence.
    special
        (P,), 1 for subwords that the tokenizer added.
    n_words, n_pieces, lengths
        Words, subwords and characters of each sentence, (sentences,).

    Returns
    -------
    positions (H,), bounds (W + 1,)
        Word i has the subwords ``positions[bounds[i] : bounds[i + 1]]``, counted from its
        sentence's first. ``None`` when a word has none or the subwords are not in the order of the
        text: then :func:`align` finds out, sentence by sentence.
    """
    base = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]])
    usable = np.flatnonzero((special == 0) & (pieces[:, 1] > pieces[:, 0]))
    shift = np.repeat(base, n_pieces)[usable]
    starts, ends = pieces[usable, 0] + shift, pieces[usable, 1] + shift
    if (np.diff(starts) < 0).any() or (np.diff(ends) < 0).any():
        return None
    shift = np.repeat(base, n_words)
    first = np.searchsorted(ends, words[:, 0] + shift, side="right")
    last = np.searchsorted(starts, words[:, 1] + shift, side="left")
    if (last <= first).any():
        return None
    counts = last - first
    bounds = np.concatenate([[0], np.cumsum(counts)])
    hits = np.arange(bounds[-1]) + np.repeat(first - bounds[:-1], counts)
    begin = np.repeat(np.concatenate([[0], np.cumsum(n_pieces)[:-1]]), n_words)
    return usable[hits] - np.repeat(begin, counts), bounds
