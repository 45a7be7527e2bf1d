"""Counts of bits of packed masks, compiled once and cached.

Concepts are stored twice: as full rows, and as lists of their words that are not zero. Most
concepts of a corpus are rare (their sizes follow Zipf's law), so that the lists are several times
shorter than the rows; a concept that fills half of its words is counted from its row instead.
"""

from __future__ import annotations

import numpy as np

from nissl.kernels._compiled import compiled

EVERY_SECOND = np.uint64(0x5555555555555555)
EVERY_FOURTH = np.uint64(0x3333333333333333)
EVERY_EIGHTH = np.uint64(0x0F0F0F0F0F0F0F0F)
BYTES = np.uint64(0x0101010101010101)
ONE, TWO, FOUR, LAST = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)


def _plain_ones(x):
    return int(np.bitwise_count(x))


@compiled(plain=_plain_ones)
def ones(x):
    """Return the number of bits set in a word; LLVM knows these lines and has one for them."""
    x = x - ((x >> ONE) & EVERY_SECOND)
    x = (x & EVERY_FOURTH) + ((x >> TWO) & EVERY_FOURTH)
    x = (x + (x >> FOUR)) & EVERY_EIGHTH
    return np.int64((x * BYTES) >> LAST)


def _plain_row_counts(words, out):
    out[:] = np.bitwise_count(words).sum(axis=1, dtype=np.int64)


@compiled(plain=_plain_row_counts)
def row_counts(words, out):
    """out[r] = bits set in row r of ``words`` (R, W)."""
    for r in range(words.shape[0]):
        total = 0
        for w in range(words.shape[1]):
            total += ones(words[r, w])
        out[r] = total


@compiled()
def fill_lists(words, start, index, value):
    """Write the words that are not zero of each row r to entries ``start[r]`` … of the lists.

    A row whose list is empty (``start[r] == start[r + 1]``) is one that is counted in full.
    """
    for r in range(words.shape[0]):
        t = start[r]
        if start[r + 1] > t:
            for w in range(words.shape[1]):
                if words[r, w] != 0:
                    index[t] = w
                    value[t] = words[r, w]
                    t += 1


def _plain_both(words, start, index, value, k, m, b):
    del start, index, value
    row = words[k]
    return int(np.bitwise_count(row & m).sum()), int(np.bitwise_count(row & b).sum())


@compiled(plain=_plain_both)
def both_counts(words, start, index, value, k, m, b):
    """Return |F ∧ m| and |F ∧ b| of concept F = ``words[k]``."""
    s = 0
    h = 0
    if start[k + 1] > start[k]:
        for t in range(start[k], start[k + 1]):
            w = index[t]
            s += ones(value[t] & m[w])
            h += ones(value[t] & b[w])
    else:
        for w in range(m.shape[0]):
            f = words[k, w]
            s += ones(f & m[w])
            h += ones(f & b[w])
    return s, h


def _plain_one(words, start, index, value, k, m):
    del start, index, value
    return int(np.bitwise_count(words[k] & m).sum())


@compiled(plain=_plain_one)
def one_count(words, start, index, value, k, m):
    """Return |F ∧ m| of concept F = ``words[k]``."""
    s = 0
    if start[k + 1] > start[k]:
        for t in range(start[k], start[k + 1]):
            s += ones(value[t] & m[index[t]])
    else:
        for w in range(m.shape[0]):
            s += ones(words[k, w] & m[w])
    return s


def _plain_all(words, start, index, value, m, out):
    del start, index, value
    out[:] = np.bitwise_count(words & m).sum(axis=1, dtype=np.int64)


@compiled(plain=_plain_all)
def all_counts(words, start, index, value, m, out):
    """out[k] = |F ∧ m| of each concept."""
    for k in range(words.shape[0]):
        out[k] = one_count(words, start, index, value, k, m)
