"""Closed-form steps from one left-deep formula to the best one next to it.

With its other leaves fixed, a formula's mask depends on the mask m of its first i leaves by
(m ∧ keep) ∨ add: OR F adds F ∧ keep to ``add``, AND F cuts ``keep`` to F, AND NOT F to ¬F. So if x
is put after those leaves, the whole is a fixed mask and x ∧ region (or the region without x):

- m OR x: base (m ∧ keep) ∨ add, region keep ∧ ¬base;
- m AND x, m AND NOT x: base add, region m ∧ keep ∧ ¬add.

Two counts a concept give the score, at any place. Most concepts are never counted: what is needed
to be better than the best so far is a number of hits, or of false tokens taken away, and concepts
are visited from the one that has most.
"""

from __future__ import annotations

from nissl.kernels._bit_loops import one_count, ones
from nissl.kernels._compiled import compiled
from nissl.kernels._formula_loops import SLACK, joined, quality


@compiled()
def without(leaves, ops, length, j, g_leaves, g_ops):
    """Write the chain without leaf j.

    Without the first leaf, the next that stands in the same run and is not negated is first; if
    all are negated, the second leaf.
    """
    head = 0
    if j == 0:
        head = 1
        i = 1
        while i < length and ops[i] == 2:
            i += 1
        if i < length and ops[i] == 1:
            head = i
        g_leaves[0] = leaves[head]
    t = 1 if j == 0 else 0
    for i in range(length):
        if i != j and (j > 0 or i != head):
            g_leaves[t] = leaves[i]
            g_ops[t] = ops[i]
            t += 1


@compiled()
def insert(g_leaves, g_ops, g, place, op, k, leaves, ops):
    """Write the chain of g leaves with concept k after ``place`` of them; before all, k AND NOT."""
    for i in range(g + 1):
        if i < place:
            leaves[i], ops[i] = g_leaves[i], g_ops[i]
        elif i > place:
            leaves[i], ops[i] = g_leaves[i - 1], g_ops[i - 1]
        else:
            leaves[i], ops[i] = k, op
    if place == 0:
        ops[1] = 2


@compiled()
def prepare(words, leaves, ops, g, everything, prefix, keep, add):
    """prefix[i] = mask of the first i leaves; keep[i] and add[i] = what the others do to it."""
    width = words.shape[1]
    for w in range(width):
        m = words[leaves[0], w]
        prefix[0, w] = everything[w] & ~m
        prefix[1, w] = m
        for i in range(1, g):
            m = joined(ops[i], m, words[leaves[i], w])
            prefix[i + 1, w] = m
        s = everything[w]
        t = s & ~s
        for i in range(g, 0, -1):
            keep[i, w] = s
            add[i, w] = t
            if i > 1:
                f = words[leaves[i - 1], w]
                if ops[i - 1] == 0:
                    t |= f & s
                elif ops[i - 1] == 1:
                    s &= f
                else:
                    s &= ~f


@compiled()
def steps(metric, h, p, up, room, bar, size, n):
    """Fewest of ``room`` tokens that make the score ``bar``, room + 1 if all of them do not.

    Each is a hit more (``up``) or a false token less.
    """
    low, high = 0, room + 1
    while low < high:
        middle = (low + high) // 2
        hits = h + middle if up else h
        false = p if up else p - middle
        if quality(metric, hits, hits + false, size, n) >= bar:
            high = middle
        else:
            low = middle + 1
    return low


@compiled()
def _scan(
    words, start, index, value, order, has, lacks, up, op, place, base, gain, loss,
    metric, size, n, least, best, made,
):  # fmt: skip
    """Try base ∨ (x ∧ region) (``up``) or base ∨ (region ∧ ¬x) with every concept x.

    ``base``: hits and false tokens of base, and of the region. ``gain``: the region's tokens that
    are better in x, which has ``has`` tokens of their kind; ``order`` falls in it. ``loss`` and
    ``lacks``: the others. Tokens of ``loss`` are counted only where those of ``gain`` suffice.
    """
    bh, bp, rh, rp = base
    h, p = (bh, bp) if up else (bh + rh, bp + rp)
    most, outside = (rh, n - size - rp) if up else (rp, size - rh)
    need = steps(metric, h, p, up, most, best[0] - SLACK, size, n)
    if need > most:
        return
    for t in range(order.shape[0]):
        k = order[t]
        if has[k] < need:
            break
        # At least this many of the tokens that x should not have are in the region.
        lost = max(0, lacks[k] - outside)
        got = min(has[k], most)
        if _moved(metric, h, p, up, got, lost, size, n) < best[0] - SLACK:
            continue
        got = one_count(words, start, index, value, k, gain)
        if got < need or _moved(metric, h, p, up, got, lost, size, n) < best[0] - SLACK:
            continue
        lost = one_count(words, start, index, value, k, loss)
        hits, false = (h + got, p + lost) if up else (h - lost, p - got)
        if hits + false < least:
            continue
        score = quality(metric, hits, hits + false, size, n)
        if score > best[0]:
            best[0] = score
            made[0], made[1], made[2], made[3], made[4] = place, op, k, hits, hits + false
            need = steps(metric, h, p, up, most, score - SLACK, size, n)


@compiled()
def _moved(metric, h, p, up, got, lost, size, n):
    """Return the score once x has taken or given its tokens."""
    hits, false = (h + got, p + lost) if up else (h - lost, p - got)
    return quality(metric, hits, hits + false, size, n)


@compiled()
def best_insertion(
    words, start, index, value, by_hits, by_false, f_hits, f_false, a, metric, size, n,
    least, ops, g, prefix, keep, add, inside, outside, best, made,
):  # fmt: skip
    """Find the concept, operator and place whose insertion scores above ``best``; say if one does.

    ``made`` (5,): place, operator, concept, hits, support. Places that give equal formulas (within
    a run of OR, or of AND and AND NOT) are tried once.
    """
    before = best[0]
    for place in range(g + 1):
        for union in range(2):
            if union and place == 0:
                continue
            if 0 < place < g and (ops[place] == 0) == (union == 1):
                continue
            bh, bp, rh, rp = 0, 0, 0, 0
            at = max(place, 1)
            for w in range(a.shape[0]):
                through = prefix[place, w] & keep[at, w]
                base = add[at, w]
                if union:
                    base |= through
                    through = keep[at, w]
                through &= ~base
                inside[w] = through & a[w]
                outside[w] = through & ~a[w]
                bh += ones(base & a[w])
                bp += ones(base & ~a[w])
                rh += ones(inside[w])
                rp += ones(outside[w])
            counts = (bh, bp, rh, rp)
            _scan(
                words, start, index, value, by_hits, f_hits, f_false, True, 1 - union, place,
                counts, inside, outside, metric, size, n, least, best, made,
            )  # fmt: skip
            if not union and place > 0:
                _scan(
                    words, start, index, value, by_false, f_false, f_hits, False, 2, place, counts,
                    outside, inside, metric, size, n, least, best, made,
                )  # fmt: skip
    return best[0] > before


@compiled()
def climb(
    words, start, index, value, by_hits, by_false, f_hits, f_false, a, metric,
    size, n, least, everything, leaves, ops, length, g_leaves, g_ops, prefix, keep, add, inside,
    outside, best, made, short, short_made, short_leaves, short_ops,
):  # fmt: skip
    """Take a leaf out and put the best one in, anywhere, until no such step scores above.

    ``leaves``, ``ops``, ``best`` and ``made`` are changed to what is found. ``short`` (1,) is the
    best score of a formula of one leaf less; one above it that is met on the way is written to
    ``short_…``, hits and support to ``short_made[3:]``.
    """
    g = length - 1
    j, since = 0, 0
    while since < length:
        without(leaves, ops, length, j, g_leaves, g_ops)
        prepare(words, g_leaves, g_ops, g, everything, prefix, keep, add)
        hits, support = 0, 0
        for w in range(a.shape[0]):
            support += ones(prefix[g, w])
            hits += ones(prefix[g, w] & a[w])
        if support >= least:
            score = quality(metric, hits, support, size, n)
            if score > short[0]:
                short[0] = score
                short_made[3], short_made[4] = hits, support
                for i in range(g):
                    short_leaves[i], short_ops[i] = g_leaves[i], g_ops[i]
        since += 1
        if best_insertion(
            words, start, index, value, by_hits, by_false, f_hits, f_false, a, metric,
            size, n, least, g_ops, g, prefix, keep, add, inside, outside, best, made,
        ):  # fmt: skip
            insert(g_leaves, g_ops, g, made[0], made[1], made[2], leaves, ops)
            since = 0
        j = (j + 1) % length
