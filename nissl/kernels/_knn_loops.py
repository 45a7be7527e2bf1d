"""Mutual information of one neuron and the classes by nearest neighbours, from sorted tokens."""

from __future__ import annotations

import numpy as np

from nissl.kernels._compiled import compiled

SCAN = 32
"""Up to so many values, counting all of them is faster than halving."""


@compiled()
def neighbour_pass(values, labels, counts, k, psi, place, own, start, out):
    """out[c] = class c's share of Ross's estimate (nats); the shares sum to the whole.

    Parameters
    ----------
    values, labels
        Tokens in ascending order, float32 and uint32 (n,).
    counts
        Tokens of each class, (C,); a class of one token has no neighbour: the caller leaves it out.
    psi
        Digamma of 0…n; the first is never read.
    place, own, start
        Room: int32 (n,), float32 (n,), int64 (C + 1,).
    """
    n = values.shape[0]
    start[0] = 0
    for c in range(counts.shape[0]):
        start[c + 1] = start[c] + counts[c]
    # Tokens by class, each class in ascending order; start[c] runs on to the end of class c.
    for i in range(n):
        c = labels[i]
        t = start[c]
        place[t] = i
        own[t] = values[i]
        start[c] = t + 1
    for c in range(counts.shape[0]):
        m = counts[c]
        out[c] = 0.0
        if m > 0:
            x = own[start[c] - m : start[c]]
            at = place[start[c] - m : start[c]]
            whole = _class_sum(values, x, at, min(k, m - 1), psi)
            out[c] = (whole + m * (psi[n] - psi[m])) / n


@compiled()
def _class_sum(values, x, at, k, psi):
    """Σ over the class of ψ(tokens of the class near it) − ψ(tokens near it), itself not counted.

    Near is a closed ball whose radius is the distance to the k-th neighbour in the class. Without
    ties that neighbour is alone on its edge, and this is Ross's count. With ties (half-precision
    values, rectified neurons) the class's own count grows with them as in Gao et al. (2017), so
    that no noise has to break them.
    """
    n = values.shape[0]
    m = x.shape[0]
    term = 0.0
    total = 0.0
    for a in range(m):
        if a > 0 and x[a] == x[a - 1]:
            total += term
            continue
        here = np.float64(x[a])
        # x[w … w + k] are the k + 1 of the class that are nearest, itself among them. All choices
        # are selections rather than branches: no processor could foresee them.
        w = max(0, a - k)
        r = max(here - x[w], x[w + k] - here)
        for other in range(w + 1, min(a, m - 1 - k) + 1):
            far = max(here - x[other], x[other + k] - here)
            w = other if far < r else w
            r = min(far, r)
        up = x[w + k] - here < r  # the upper edge is the nearer one
        # The far edge is a token of the class, of known place. The near one lies before the next
        # token of the class: were that one within r, it would be one of the k + 1.
        if up:
            far_edge, outside, edge = at[w], at[w] - 1, at[w + k]
            limit = at[w + k + 1] if w + k + 1 < m else n
            edge = _last_below(values, here + r, edge, limit - edge)
        else:
            far_edge, outside, edge = at[w + k], at[w + k] + 1, at[w]
            edge = _first_above(values, here - r, edge, edge - (at[w - 1] if w > 0 else -1))
        if (
            (0 <= outside < n and values[outside] == values[far_edge])
            or (w > 0 and here - x[w - 1] <= r)
            or (w + k + 1 < m and x[w + k + 1] - here <= r)
        ):
            inside = _edge(x, a, r, 1) - _edge(x, a, r, -1)
            term = psi[inside] - psi[_edge(values, at[a], r, 1) - _edge(values, at[a], r, -1)]
        else:
            term = psi[k] - psi[abs(edge - far_edge)]
        total += term
    return total


@compiled()
def _last_below(values, limit, edge, size):
    """Place of the last of values[edge … edge + size − 1] that is not above the limit."""
    top = np.float32(limit)
    if np.float64(top) > limit:  # compared as float32, eight at once
        top = np.nextafter(top, np.float32(-np.inf))
    while size > SCAN:
        half = size >> 1
        edge += half * np.int64(values[np.uint64(edge + half)] <= top)
        size -= half
    found = np.int32(0)
    for q in range(edge + 1, edge + size):
        found += np.int32(values[np.uint64(q)] <= top)
    return edge + found


@compiled()
def _first_above(values, limit, edge, size):
    """Place of the first of values[edge − size + 1 … edge] that is not below the limit."""
    low = np.float32(limit)
    if np.float64(low) < limit:
        low = np.nextafter(low, np.float32(np.inf))
    while size > SCAN:
        half = size >> 1
        edge -= half * np.int64(values[np.uint64(edge - half)] >= low)
        size -= half
    found = np.int32(0)
    for q in range(edge - size + 1, edge):
        found += np.int32(values[np.uint64(q)] >= low)
    return edge - found


@compiled()
def _edge(values, here, r, sign):
    """Place of the furthest value within r of the one at ``here``, up (1) or down (−1)."""
    left = values.shape[0] - here if sign > 0 else here + 1
    centre = np.float64(values[here])
    edge = here
    while left > 1:
        half = left >> 1
        if sign * (values[edge + sign * half] - centre) <= r:
            edge += sign * half
        left -= half
    return edge
