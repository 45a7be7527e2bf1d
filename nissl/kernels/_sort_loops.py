"""Sorting one neuron's tokens together with their labels, compiled once and cached.

A float32 is turned into an unsigned integer of the same order and packed with the label (or token)
into one 64-bit integer. A radix sort of three passes of 11 bits orders it in linear time, labels
and all, without comparing anything.
"""

from __future__ import annotations

import numpy as np

from nissl.kernels._compiled import compiled

_U11, _U22, _U32, _DIGIT = np.uint64(11), np.uint64(22), np.uint64(32), np.uint64(2047)
_SIGN, _ALL = np.uint32(0x80000000), np.uint32(0xFFFFFFFF)


@compiled()
def sort_packed(x, payload, a, b, count):
    """Sort float32 x (n,) with its payload, uint32 (n,), into b (n,); a and count are room.

    ``count`` is int64 (3, 2048). The two zeros get one key, so that they are equal here as well.
    """
    n = x.shape[0]
    bits = x.view(np.uint32)
    count[:] = 0
    for i in range(n):
        u = bits[i]
        # A negative float grows in size as its bits do: flip all; else set the top bit.
        if u == _SIGN:
            key = _SIGN
        elif u & _SIGN:
            key = u ^ _ALL
        else:
            key = u ^ _SIGN
        wide = np.uint64(key)
        a[i] = (wide << _U32) | np.uint64(payload[i])
        count[0, wide & _DIGIT] += 1
        count[1, (wide >> _U11) & _DIGIT] += 1
        count[2, wide >> _U22] += 1
    _scatter(a, b, count[0], _U32)
    _scatter(b, a, count[1], _U32 + _U11)
    _scatter(a, b, count[2], _U32 + _U22)


@compiled()
def _scatter(source, target, count, shift):
    """One stable pass of the radix sort; counts become places."""
    place = 0
    for q in range(count.shape[0]):
        here = count[q]
        count[q] = place
        place += here
    for i in range(source.shape[0]):
        v = source[i]
        q = (v >> shift) & _DIGIT
        target[count[q]] = v
        count[q] += 1


@compiled()
def unpack(packed, values, payload):
    """Write the sorted floats (float32) and their payload."""
    bits = values.view(np.uint32)
    for i in range(packed.shape[0]):
        v = packed[i]
        key = np.uint32(v >> _U32)
        bits[i] = key ^ _SIGN if key & _SIGN else key ^ _ALL
        payload[i] = np.uint32(v & np.uint64(0xFFFFFFFF))


@compiled()
def fold(values, labels, distance, folded):
    """Order ascending values by their distance from the median, largest first.

    Both ends are already in order, so this is a merge. Returns the median.
    """
    n = values.shape[0]
    centre = 0.5 * (np.float64(values[(n - 1) // 2]) + np.float64(values[n // 2]))
    i = 0
    j = n - 1
    for t in range(n):
        low = centre - np.float64(values[i])
        high = np.float64(values[j]) - centre
        # Selections rather than branches: which end is next cannot be foreseen.
        take = np.int64(low > high)
        distance[t] = abs(max(low, high))
        folded[t] = labels[i] if take else labels[j]
        i += take
        j -= 1 - take
    return centre
