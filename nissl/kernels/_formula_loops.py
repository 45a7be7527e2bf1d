"""One level of the search for one neuron: every concept joined to every formula of the beam.

A formula m with h tokens of the neuron's a and p others is joined to a concept F that has f tokens
of the neuron and q others. The counts x = |a ∧ m ∧ F| and y = |m ∧ F| give all three unions:
OR: h + f − x hits; AND: x hits of y; AND NOT: h − x. Before they are counted, h, p, f and q alone
bound each score from above, as every score rises with hits and falls with false ones.
"""

from __future__ import annotations

import math

from nissl.kernels._bit_loops import both_counts
from nissl.kernels._compiled import compiled

REACH = 5
"""Number, besides those of ``formula_scores.SCORES``, of what a formula could become."""
LENIENCE = 0.15
"""Weight of false tokens in it: a later AND NOT may take them away."""
SLACK = 1e-12
"""Bounds this much below the bar are skipped: rounding must not lose a tie."""


@compiled()
def quality(metric, h, s, size, n):
    """Return a score from hits, support, the neuron's size and all tokens, by its number."""
    if metric == 0:
        return h / (size + s - h)
    if metric == 1:
        return 2 * h / (size + s)
    if metric == 2:
        return h / s if s > 0 else 0.0
    if metric == 3:
        return h / size
    if metric == 5:
        return h / (size + LENIENCE * (s - h))
    if s == 0 or s == n or size == n:
        return 0.0
    spread = math.sqrt(size) * math.sqrt(n - size) * math.sqrt(s) * math.sqrt(n - s)
    return (h * n - size * s) / spread


@compiled()
def ceiling(metric, op, h, p, f, q, size, n):
    """Return the highest score that ``m op F`` can have; p and q are tokens off the neuron."""
    if op == 0:
        most, least = min(size, h + f), max(p, q)
    elif op == 1:
        most, least = min(h, f), max(0, p + q - (n - size))
    else:
        most, least = min(h, size - f), max(0, p - q)
    return quality(metric, most, most + least, size, n)


@compiled()
def joined(op, m, f):
    """Return one word of ``m op F``."""
    if op == 0:
        return m | f
    if op == 1:
        return m & f
    return m & ~f


@compiled()
def _same(op, m, f, other):
    """Whether ``m op F`` is the mask ``other``."""
    for w in range(m.shape[0]):  # noqa: SIM110 (numba compiles no generator in all)
        if joined(op, m[w], f[w]) != other[w]:
            return False
    return True


@compiled()
def _known(op, m, f, hits, support, masks, counts, first, last):
    """Return the place among ``first`` … ``last - 1`` of a kept mask that is ``m op F``, or -1.

    Masks are compared word by word, and only those whose two counts are equal.
    """
    for i in range(first, last):
        if counts[i, 0] == hits and counts[i, 1] == support and _same(op, m, f, masks[i]):
            return i
    return -1


@compiled()
def _after(score, support, made_a, made_b, made_c, i, scores, counts, made):
    """Whether a candidate comes after place i: by score, support, operator, parent, concept."""
    if score != scores[i]:
        return score < scores[i]
    if support != counts[i, 1]:
        return support > counts[i, 1]
    if made_a != made[i, 0]:
        return made_a > made[i, 0]
    if made_b != made[i, 1]:
        return made_b > made[i, 1]
    return made_c > made[i, 2]


@compiled()
def offer(
    score, hits, support, op, parent, k, m, f, masks, counts, scores, made, first, filled, room
):
    """Put a candidate in its place of ``room`` from ``first`` on; return how many are kept.

    Places before ``first`` are formulas of fewer leaves: their masks are known and not kept again.
    """
    last = first + filled
    if filled == room and _after(score, support, op, parent, k, last - 1, scores, counts, made):
        return filled
    if _known(op, m, f, hits, support, masks, counts, 0, first) >= 0:
        return filled
    twin = _known(op, m, f, hits, support, masks, counts, first, last)
    if twin >= 0:
        if _after(score, support, op, parent, k, twin, scores, counts, made):
            return filled
        hole = twin
    else:
        if filled < room:
            filled += 1
        hole = first + filled - 1
    while hole > first and not _after(
        score, support, op, parent, k, hole - 1, scores, counts, made
    ):
        masks[hole] = masks[hole - 1]
        counts[hole] = counts[hole - 1]
        scores[hole] = scores[hole - 1]
        made[hole] = made[hole - 1]
        hole -= 1
    for w in range(m.shape[0]):
        masks[hole, w] = joined(op, m[w], f[w])
    counts[hole, 0] = hits
    counts[hole, 1] = support
    scores[hole] = score
    made[hole, 0] = op
    made[hole, 1] = parent
    made[hole, 2] = k
    return filled


@compiled()
def singles(
    words, f_hits, f_counts, metric, size, n, least, masks, counts, scores, made, first, room
):  # fmt: skip
    """Put the best concepts in places from ``first`` on, no two with one mask; return how many."""
    filled = 0
    for k in range(words.shape[0]):
        s = f_counts[k]
        if s >= least:
            score = quality(metric, f_hits[k], s, size, n)
            filled = offer(
                score, f_hits[k], s, 0, 0, k, words[k], words[k],
                masks, counts, scores, made, first, filled, room,
            )  # fmt: skip
    return filled


@compiled()
def level(
    words, start, index, value, order, f_hits, f_counts, a, metric, size, n, least,
    masks, counts, scores, made, parents, end, first, room, inside, tally,
):  # fmt: skip
    """Join every concept to formulas ``parents`` … ``end - 1``; return how many are kept.

    The best go to places from ``first`` on; masks in any place before that are not kept again.
    ``inside`` (W,) is room for one mask; ``tally`` (2,) adds up pairs of formula and concept: met,
    and counted because their bounds did not rule them out.
    """
    filled = 0
    full = first + room - 1
    for parent in range(parents, end):
        h = counts[parent, 0]
        s = counts[parent, 1]
        m = masks[parent]
        for w in range(m.shape[0]):
            inside[w] = m[w] & a[w]
        for t in range(order.shape[0]):
            k = order[t]
            f = f_hits[k]
            c = f_counts[k]
            bar = scores[full] - SLACK if filled == room else -2.0
            tally[0] += 1
            hope = max(
                ceiling(metric, 0, h, s - h, f, c - f, size, n),
                ceiling(metric, 1, h, s - h, f, c - f, size, n),
                ceiling(metric, 2, h, s - h, f, c - f, size, n),
            )
            if hope < bar:
                continue
            tally[1] += 1
            y, x = both_counts(words, start, index, value, k, m, inside)
            for op in range(3):
                if op == 0:
                    hits, support = h + f - x, s + c - y
                elif op == 1:
                    hits, support = x, y
                else:
                    hits, support = h - x, s - y
                # A mask that is the formula's own or the concept's has a shorter formula.
                if support < least or support == s or (op < 2 and support == c):
                    continue
                score = quality(metric, hits, support, size, n)
                if filled == room and score < scores[full]:
                    continue
                filled = offer(
                    score, hits, support, op, parent, k, m, words[k],
                    masks, counts, scores, made, first, filled, room,
                )  # fmt: skip
    return filled
