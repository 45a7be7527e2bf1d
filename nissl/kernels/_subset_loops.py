"""Elementary symmetric polynomials and draws of fixed size, compiled once and cached."""

from __future__ import annotations

import math

import numpy as np

from nissl.kernels._compiled import compiled


@compiled()
def _log_add(a, b):
    """Return log(eᵃ + eᵇ), also of minus infinities."""
    if a < b:
        a, b = b, a
    if b == -np.inf:
        return a
    return a + math.log1p(math.exp(b - a))


@compiled()
def prefix_table(logits, size):
    """Return log e_m of the first i weights, (d + 1, size + 1); weights are exp(logits).

    e_m(i) = e_m(i − 1) + w_i e_{m−1}(i − 1).
    """
    d = len(logits)
    table = np.full((d + 1, size + 1), -np.inf)
    table[0, 0] = 0.0
    for i in range(d):
        table[i + 1, 0] = 0.0
        for m in range(1, min(i + 1, size) + 1):
            table[i + 1, m] = _log_add(table[i, m], logits[i] + table[i, m - 1])
    return table


@compiled()
def inclusion(logits, before, size):
    """Return the probability that each member is in a subset of the given size, (d,).

    ``before`` is the prefix table. With one of all later members, the subsets that hold member i
    are split by how many come before it; nothing is subtracted, so that no digits are lost.
    """
    d = len(logits)
    found = np.empty(d)
    after = np.full(size + 1, -np.inf)
    after[0] = 0.0
    whole = before[d, size]
    for i in range(d - 1, -1, -1):
        if size == 0:
            found[i] = 0.0
            continue
        p = 0.0
        for m in range(max(0, size - 1 - (d - 1 - i)), min(i, size - 1) + 1):
            p += math.exp(logits[i] + before[i, m] + after[size - 1 - m] - whole)
        found[i] = min(p, 1.0)
        for m in range(min(d - i, size), 0, -1):
            after[m] = _log_add(after[m], logits[i] + after[m - 1])
    return found


@compiled()
def draw(logits, table, size, uniform):
    """Draw subsets of the given size, one a row of ``uniform`` (M, d): bool (M, d).

    From the last member to the first: with m places left, member i gets one with probability
    w_i e_{m−1}(i − 1) / e_m(i).
    """
    n_draws, d = uniform.shape
    found = np.zeros((n_draws, d), dtype=np.bool_)
    for s in range(n_draws):
        m = size
        for i in range(d - 1, -1, -1):
            if m == 0:
                break
            p = math.exp(logits[i] + table[i, m - 1] - table[i + 1, m])
            # With as many members left as places there is no choice, whatever rounding says.
            if m == i + 1 or uniform[s, i] < p:
                found[s, i] = True
                m -= 1
    return found
