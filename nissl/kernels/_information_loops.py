"""Mutual information of binned neurons and classes, from histograms."""

from __future__ import annotations

import math

import numpy as np

from nissl.kernels._compiled import compiled


@compiled()
def group_bins(row, n, groups, out):
    """Join neighbouring bins to about equally full groups; write each bin's group, return how many.

    A bin belongs to the group in which its middle token falls, so a full bin stays whole and
    groups may be fewer than asked for.
    """
    before = 0.0
    last = -1
    used = 0
    for b in range(row.shape[0]):
        if row[b] > 0:
            g = min(groups - 1, int(groups * (before + 0.5 * row[b]) / n))
            if g != last:
                used += 1
                last = g
            before += row[b]
        out[b] = used - 1 if used else 0
    return used


@compiled()
def binned_pass(histogram, counts, groups, corrected, shares, entropies):
    """Information shares (d, C) and entropies of the grouped neurons (d,), both in nats.

    Parameters
    ----------
    histogram
        Tokens by neuron, class and bin, (d, C, B).
    counts
        Tokens of each class, (C,).
    groups
        Groups of bins wanted.
    corrected
        Whether to apply Miller and Madow's correction: (filled cells − 1) / 2n added to each
        entropy. The shares of the classes get theirs in proportion, so that they sum to the whole.
    """
    d, C, B = histogram.shape
    n = 0
    for c in range(C):
        n += counts[c]
    total = np.empty(B, dtype=np.int64)
    group = np.empty(B, dtype=np.int64)
    whole = np.empty(groups, dtype=np.int64)
    part = np.empty(groups, dtype=np.int64)
    for j in range(d):
        total[:] = 0
        for c in range(C):
            for b in range(B):
                total[b] += histogram[j, c, b]
        used = group_bins(total, n, groups, group)
        whole[:] = 0
        for b in range(B):
            whole[group[b]] += total[b]
        entropy = 0.0
        for g in range(used):
            entropy -= whole[g] / n * math.log(whole[g] / n)
        extra = (used - 1) / (2.0 * n)
        entropies[j] = entropy + extra if corrected else entropy
        for c in range(C):
            shares[j, c] = 0.0
            if counts[c] == 0:
                continue
            part[:] = 0
            for b in range(B):
                part[group[b]] += histogram[j, c, b]
            filled = 0
            share = 0.0
            for g in range(used):
                if part[g] > 0:
                    filled += 1
                    share += part[g] / n * math.log(part[g] / counts[c] * (n / whole[g]))
            if corrected:
                share += counts[c] / n * extra - (filled - 1) / (2.0 * n)
            shares[j, c] = share
