"""Words ↔ subwords by character offsets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nissl.errors import InputError

__all__ = ["align"]


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
