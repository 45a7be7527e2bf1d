"""Average precision, rank sums and hits above a threshold, from one neuron's sorted tokens.

Every function goes once through the tokens and serves all classes at once. Tokens with equal
values are a group: no threshold can part them.
"""

from __future__ import annotations

from nissl.kernels._compiled import compiled


@compiled()
def precision_pass(score, labels, hits, out):
    """out[c] = Σ over tokens of class c of the precision at that token, tokens best first.

    ``hits`` is room (C,). Dividing by the number of tokens of c gives the average precision with
    scikit-learn's treatment of ties: a group counts at its end.
    """
    hits[:] = 0
    out[:] = 0
    n = score.shape[0]
    i = 0
    while i < n:
        j = i + 1
        c = labels[i]
        if j == n or score[j] != score[i]:
            hits[c] += 1
            out[c] += hits[c] / j
        else:
            while j < n and score[j] == score[i]:
                j += 1
            for t in range(i, j):
                hits[labels[t]] += 1
            for t in range(i, j):
                out[labels[t]] += hits[labels[t]] / j
        i = j


@compiled()
def rank_pass(score, labels, out):
    """out[c] = sum of the ranks of class c, from 1, equal values sharing theirs; ascending."""
    out[:] = 0
    n = score.shape[0]
    i = 0
    while i < n:
        j = i + 1
        while j < n and score[j] == score[i]:
            j += 1
        rank = 0.5 * (i + 1 + j)
        for t in range(i, j):
            out[labels[t]] += rank
        i = j


@compiled()
def threshold_pass(score, labels, wanted, on, hits):
    """Switch on the first wanted[c] tokens for each class c, and all that equal the last of them.

    on[c] is how many are on, hits[c] how many of those are of class c. Tokens best first.
    """
    n = score.shape[0]
    hits[:] = 0
    furthest = 0
    for c in range(wanted.shape[0]):
        stop = wanted[c]
        while 0 < stop < n and score[stop] == score[stop - 1]:
            stop += 1
        on[c] = stop
        furthest = max(furthest, stop)
    for t in range(furthest):
        c = labels[t]
        if t < on[c]:
            hits[c] += 1
