"""Boolean masks packed 64 tokens to a word."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nissl.errors import InputError
from nissl.kernels import _bit_loops as loops

__all__ = ["Lists", "PackedMasks", "pack", "packed", "unpack"]

Lists = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Rows, and their words that are not zero: words (R, W), start (R + 1,), index, value."""


@dataclass(frozen=True, eq=False)
class PackedMasks:
    """Masks over the same tokens; make them with :func:`pack`.

    Attributes
    ----------
    words
        uint64 (R, ⌈n / 64⌉), C-contiguous: token i is bit i mod 64 of word i // 64. Bits past the
        last token are 0.
    n
        Number of tokens.
    """

    words: np.ndarray
    n: int

    def __post_init__(self) -> None:
        words = self.words
        if words.dtype != np.uint64 or words.shape != (len(words), -(-self.n // 64)):
            raise InputError(
                f"masks of {self.n} tokens are uint64 of {-(-self.n // 64)} words a row, not "
                f"{words.dtype} of shape {words.shape}; pack boolean masks with pack()"
            )
        if self.n % 64 and (words[:, -1] >> np.uint64(self.n % 64)).any():
            raise InputError("packed masks have bits set past their last token; use pack()")
        object.__setattr__(self, "words", np.ascontiguousarray(words))

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def counts(self) -> np.ndarray:
        """Tokens in each mask, int64 (R,)."""
        out = np.zeros(len(self.words), dtype=np.int64)
        loops.row_counts(self.words, out)
        return out

    @cached_property
    def lists(self) -> Lists:
        """What the loops count from; rows with half of their words filled have no list."""
        filled = np.count_nonzero(self.words, axis=1)
        filled[2 * filled > self.words.shape[1]] = 0
        start = np.concatenate([[0], np.cumsum(filled)]).astype(np.int64)
        index = np.empty(start[-1], dtype=np.int32)
        value = np.empty(start[-1], dtype=np.uint64)
        loops.fill_lists(self.words, start, index, value)
        return self.words, start, index, value

    @cached_property
    def costs(self) -> np.ndarray:
        """Words that a count of each mask reads, int64 (R,)."""
        listed = np.diff(self.lists[1])
        return np.where(listed > 0, listed, self.words.shape[1])


def pack(masks: np.ndarray) -> PackedMasks:
    """Pack boolean masks, (R, N) to ⌈N / 64⌉ words a row.

    Raises
    ------
    InputError
        Something that is no boolean matrix, or one without tokens.
    """
    masks = np.asarray(masks)
    if masks.ndim != 2 or masks.dtype != np.bool_:
        raise InputError(
            f"masks must be boolean, one a row, not {masks.dtype} of shape {masks.shape}"
        )
    rows, n = masks.shape
    if n == 0:
        raise InputError("masks without tokens cannot be explained")
    whole = np.zeros((rows, -(-n // 64) * 8), dtype=np.uint8)
    whole[:, : -(-n // 8)] = np.packbits(masks, axis=1, bitorder="little")
    return PackedMasks(whole.view("<u8").astype(np.uint64, copy=False), n)


def packed(masks: np.ndarray | PackedMasks) -> PackedMasks:
    """Return packed masks as they are, and boolean ones packed."""
    return masks if isinstance(masks, PackedMasks) else pack(masks)


def unpack(masks: PackedMasks) -> np.ndarray:
    """Return the masks as booleans, (R, n)."""
    as_bytes = masks.words.astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(as_bytes, axis=1, count=masks.n, bitorder="little").view(np.bool_)
