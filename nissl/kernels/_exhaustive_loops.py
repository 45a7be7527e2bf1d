"""All formulas of two and three concepts for one neuron, from counts of intersections.

Three concepts cut the tokens into eight regions, and the seven counts |x|, |y|, |z|, |xy|, |xz|,
|yz|, |xyz| (among the neuron's tokens, and among all) say how many tokens each region has. So each
triple is counted once, and all 23 formulas of it are sums.

Most triples are not counted at all. A formula of three concepts is P op z with P of two, so its
score is bounded by the counts of P and z; and the counts of pairs hold |xyz| between two numbers,
which bounds each of the 23 closely. What a bound keeps below a score that some formula is known to
have is skipped, so that the best formula never is.
"""

from __future__ import annotations

import numpy as np

from nissl.kernels._bit_loops import ONE, both_counts, one_count
from nissl.kernels._climb_loops import steps
from nissl.kernels._compiled import compiled
from nissl.kernels._formula_loops import SLACK, quality


@compiled()
def pair_counts(words, start, index, value, a, out, m):
    """out[x, y] = out[y, x] = |a ∧ x ∧ y| for x ≠ y; ``m`` is room for one mask."""
    for x in range(words.shape[0]):
        for w in range(m.shape[0]):
            m[w] = words[x, w] & a[w]
        for y in range(x + 1, words.shape[0]):
            out[x, y] = out[y, x] = one_count(words, start, index, value, y, m)


@compiled()
def pair_forms(x, y, xy, out):
    """out (4,) = counts of the formulas ``_every.PAIRS``."""
    out[0] = x + y - xy
    out[1] = xy
    out[2] = x - xy
    out[3] = y - xy


@compiled()
def triple_forms(x, y, z, xy, xz, yz, xyz, out):
    """out (23,) = counts of the formulas ``_every.TRIPLES``."""
    out[0] = x + y + z - xy - xz - yz + xyz
    out[1] = xy + z - xyz
    out[2] = xz + y - xyz
    out[3] = yz + x - xyz
    out[4] = x - xy + z - xz + xyz
    out[5] = x - xz + y - xy + xyz
    out[6] = y - xy + z - yz + xyz
    out[7] = y - yz + x - xy + xyz
    out[8] = z - xz + y - yz + xyz
    out[9] = z - yz + x - xz + xyz
    out[10] = xz + yz - xyz
    out[11] = xy + yz - xyz
    out[12] = xy + xz - xyz
    out[13] = xyz
    out[14] = x + y - xy - xz - yz + xyz
    out[15] = x + z - xz - xy - yz + xyz
    out[16] = y + z - yz - xy - xz + xyz
    out[17] = xy - xyz
    out[18] = xz - xyz
    out[19] = yz - xyz
    out[20] = x - xy - xz + xyz
    out[21] = y - xy - yz + xyz
    out[22] = z - xz - yz + xyz


@compiled()
def _before(s, i, x, y, z, made):
    """Whether a formula of the same score comes first: by support, form, concepts."""
    if s != made[1]:
        return s < made[1]
    if i != made[2]:
        return i < made[2]
    if x != made[3]:
        return x < made[3]
    if y != made[4]:
        return y < made[4]
    return z < made[5]


@compiled()
def _take(forms, hits, support, x, y, z, metric, size, n, least, best, made):
    """Keep the best: by score, then support, then number of the formula, then concepts."""
    # Most formulas lose by far: for intersection over union, products of counts tell, exactly.
    above = made[0]
    below = size + made[1] - made[0]
    if metric == 0 and best[0] >= 0.0:
        lead = -1
        for i in range(forms):
            lead = max(lead, hits[i] * below - above * (size + support[i] - hits[i]))
        if lead < 0:
            return
    for i in range(forms):
        s = support[i]
        if s < least:
            continue
        score = quality(metric, hits[i], s, size, n)
        if score < best[0]:
            continue
        if score == best[0] and not _before(s, i, x, y, z, made):
            continue
        best[0] = score
        made[0] = hits[i]
        made[1] = s
        made[2] = i
        made[3] = x
        made[4] = y
        made[5] = z


@compiled()
def best_pairs(f, c, inside, pairs, metric, size, n, least, best, made):
    """Find the best formula of two concepts.

    ``f``, ``c``: counts of concepts in the neuron and in all; ``inside``, ``pairs``: of pairs;
    ``best`` (1,) and ``made`` (6,): score; hits, support, formula and concepts.
    """
    hits = np.zeros(23, dtype=np.int64)
    support = np.zeros(23, dtype=np.int64)
    for x in range(len(f)):
        for y in range(x + 1, len(f)):
            pair_forms(f[x], f[y], inside[x, y], hits)
            pair_forms(c[x], c[y], pairs[x, y], support)
            _take(4, hits, support, x, y, 0, metric, size, n, least, best, made)


@compiled()
def _hope(op, form, h, p, f, q, t, u, xz, yz, oxz, oyz, metric, size, n):
    """Return the highest score that P op z can have.

    ``h``, ``p``, ``f``, ``q``: tokens of P and of z in the neuron and off it; ``t``, ``u``: fewest
    and most |xyz| in the neuron and off it; ``xz`` … ``oyz``: of pairs, in it and off it.
    """
    if form == 0:  # x or y
        low, high, olow, ohigh = xz + yz - t[1], xz + yz - t[0], oxz + oyz - u[1], oxz + oyz - u[0]
    elif form == 1:
        low, high, olow, ohigh = t[0], t[1], u[0], u[1]
    elif form == 2:
        low, high, olow, ohigh = xz - t[1], xz - t[0], oxz - u[1], oxz - u[0]
    else:
        low, high, olow, ohigh = yz - t[1], yz - t[0], oyz - u[1], oyz - u[0]
    if op == 0:
        most, least = h + f - low, p + q - ohigh
    elif op == 1:
        most, least = high, olow
    else:
        most, least = h - low, p - ohigh
    most, least = min(most, size), max(least, 0)
    return quality(metric, most, most + least, size, n)


@compiled()
def _range(x, y, z, xy, xz, yz):
    """Return the fewest and the most that |xyz| can be."""
    return max(0, xy + xz - x, xy + yz - y, xz + yz - z), min(xy, xz, yz)


@compiled()
def best_triples(
    words, start, index, value, a, by_hits, by_false, f, c, inside, pairs, x,
    metric, size, n, least, bar, best, made, m, b, hits, support, seen,
):  # fmt: skip
    """Find the best formula of three concepts of which two are ``x`` and a higher one.

    ``bar``: a score that some formula is known to have. ``by_hits``, ``by_false``: concepts from
    the one with most tokens in the neuron, and most off it. ``m``, ``b`` are room for a mask each,
    ``hits``, ``support`` (23,) for counts; ``seen`` has a bit for each triple, set once it was
    tried (or is empty). Returns how many triples were tried.
    """
    counted = 0
    low = max(bar, best[0]) - SLACK
    few = steps(metric, 0, 0, True, size, low, size, n)  # hits that a formula must have
    for y in range(x + 1, len(f)):
        ready = False
        pair_forms(f[x], f[y], inside[x, y], hits)
        pair_forms(c[x], c[y], pairs[x, y], support)
        four = ((hits[0], support[0]), (hits[1], support[1]), (hits[2], support[2]),
                (hits[3], support[3]))  # fmt: skip
        for form in range(4):
            h, p = four[form][0], four[form][1] - four[form][0]
            for op in range(3):
                low = max(bar, best[0]) - SLACK
                if op == 0:
                    need, room = steps(metric, h, p, True, size - h, low, size, n), size - h
                elif h < few:
                    continue
                elif op == 1:
                    need, room = few, size
                else:
                    need, room = steps(metric, h, p, False, p, low, size, n), p
                if need > room:
                    continue
                for i in range(len(f)):
                    z = by_false[i] if op == 2 else by_hits[i]
                    if (c[z] - f[z] if op == 2 else f[z]) < need:
                        break
                    if z in (x, y):
                        continue
                    xy, xz, yz = inside[x, y], inside[x, z], inside[y, z]
                    oxy, oxz, oyz = pairs[x, y] - xy, pairs[x, z] - xz, pairs[y, z] - yz
                    q = c[z] - f[z]
                    t = _range(f[x], f[y], f[z], xy, xz, yz)
                    u = _range(c[x] - f[x], c[y] - f[y], q, oxy, oxz, oyz)
                    if _hope(
                        op, form, h, p, f[z], q, t, u, xz, yz, oxz, oyz, metric, size, n
                    ) < max(bar, best[0]) - SLACK:  # fmt: skip
                        continue
                    # The three in rising order, as the forms are numbered.
                    if z > y:
                        k0, k1, k2 = x, y, z
                    elif z > x:
                        k0, k1, k2 = x, z, y
                    else:
                        k0, k1, k2 = z, x, y
                    number = k2 * (k2 - 1) * (k2 - 2) // 6 + k1 * (k1 - 1) // 2 + k0
                    bit = ONE << np.uint64(number & 63)
                    if seen.shape[0] > 0 and seen[number >> 6] & bit:
                        continue
                    if t[0] == t[1] and u[0] == u[1]:
                        h3, s3 = t[0], t[0] + u[0]
                    else:
                        if not ready:
                            for w in range(m.shape[0]):
                                m[w] = words[x, w] & words[y, w]
                                b[w] = m[w] & a[w]
                            ready = True
                        s3, h3 = both_counts(words, start, index, value, z, m, b)
                    counted += 1
                    if seen.shape[0] > 0:
                        seen[number >> 6] |= bit
                    triple_forms(
                        f[k0], f[k1], f[k2],
                        inside[k0, k1], inside[k0, k2], inside[k1, k2], h3, hits,
                    )  # fmt: skip
                    triple_forms(
                        c[k0], c[k1], c[k2],
                        pairs[k0, k1], pairs[k0, k2], pairs[k1, k2], s3, support,
                    )  # fmt: skip
                    _take(23, hits, support, k0, k1, k2, metric, size, n, least, best, made)
    return counted
