"""Numbers that follow from a corpus: depth in the tree, frequency of the word, place in a sentence.

Each function takes a table of tokens, that of a :class:`~nissl.corpus.Corpus` or of an activation
store, and returns a number for each row, NaN where there is none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from nissl.errors import InputError, LabelError

__all__ = ["TARGETS", "sentence_position", "tree_depth", "word_frequency"]


def tree_depth(tokens: pl.DataFrame) -> np.ndarray:
    """Return how many arcs lie between each word and the root of its sentence, (n,).

    The root has depth 0. A word without a head, and every word below one, has none (NaN).

    Raises
    ------
    LabelError
        The table has no ``head`` column, as from CoNLL-U.
    InputError
        A head outside the sentence, or heads that form a circle; the sentence is named.
    """
    if "head" not in tokens.columns:
        raise LabelError(
            'the depth of words needs a column "head", which readers of treebanks (CoNLL-U) make; '
            f"there are {', '.join(tokens.columns)}"
        )
    n = tokens.height
    sentence = tokens["sentence"].to_numpy()
    head = tokens["head"].cast(pl.Int64).fill_null(-1).to_numpy()
    first = np.flatnonzero(np.diff(sentence, prepend=-1))
    size = np.diff(first, append=n)
    start = np.repeat(first, size)
    bad = np.flatnonzero(head > np.repeat(size, size))
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f'the head of "{tokens["form"][row]}" in sentence {sentence[row]} is word {head[row]}, '
            f"but the sentence has {np.repeat(size, size)[row]}"
        )
    # Two more places: n is above every root, n + 1 is above every word without a head.
    up = np.where(head > 0, start + head - 1, np.where(head == 0, n, n + 1))
    depth = np.zeros(n)
    at = up.copy()
    for _ in range(int(size.max(initial=0))):
        climbing = at < n
        if not climbing.any():
            break
        depth[climbing] += 1
        at[climbing] = up[at[climbing]]
    stuck = np.flatnonzero(at < n)
    if len(stuck):
        row = int(stuck[0])
        raise InputError(
            f'the heads of sentence {sentence[row]} run in a circle above "{tokens["form"][row]}"; '
            "a tree has none"
        )
    depth[at == n + 1] = np.nan
    return depth


def word_frequency(tokens: pl.DataFrame) -> np.ndarray:
    """Return log(1 + how often the word occurs in the train split), (n,), upper case folded.

    Words that training lacks have 0.

    Raises
    ------
    LabelError
        There are no training words.
    """
    train = tokens["split"].fill_null("").to_numpy().astype(object) == "train"
    if not train.any():
        raise LabelError("the frequency of words counts the train split, which has none")
    forms = np.array([form.casefold() for form in tokens["form"].to_list()], dtype=object)
    _, code = np.unique(forms.astype(str), return_inverse=True)
    return np.log1p(np.bincount(code[train], minlength=int(code.max()) + 1)[code])


def sentence_position(tokens: pl.DataFrame) -> np.ndarray:
    """Return the place of each word in its sentence, from 0, (n,)."""
    return tokens["position"].to_numpy().astype(np.float64)


TARGETS: dict[str, Callable[[pl.DataFrame], np.ndarray]] = {
    "tree-depth": tree_depth,
    "frequency": word_frequency,
    "position": sentence_position,
}
"""What can be derived from any corpus (``tree-depth`` from a treebank), by name."""
