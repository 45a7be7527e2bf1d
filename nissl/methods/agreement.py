"""How much rankings agree with each other, and with themselves on other seeds and halves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, cast

import numpy as np

from nissl.errors import LabelError
from nissl.kernels.overlap import average_overlap, neuron_vote, top_jaccard
from nissl.methods.rank import Ranking
from nissl.methods.subsample import halves, with_train_rows
from nissl.methods.target import Target
from nissl.methods.task import Task
from nissl.progress import bar

__all__ = ["NOT_TRUTH", "agreement_rows", "check_halves", "pair_rows", "stability_rows"]

NOT_TRUTH = (
    "Agreement is not truth: methods that share an assumption agree whether it holds or not, and a "
    "method that alone is right agrees with none. Judge by accuracy on held-out text or by planted "
    "neurons."
)
"""Goes with every table of agreement."""

Ranker = Callable[[Task, int], Ranking]
"""A ranking method with its settings: ``(task, seed) -> Ranking``."""


def agreement_rows(
    property: str, rankings: Mapping[str, Ranking], ks: Sequence[int]
) -> list[dict[str, Any]]:
    """Return AvgOverlap and NeuronVote of each method and k (Fan et al. 2023).

    Returns
    -------
    list of dict
        ``property, k, method, avg_overlap, neuron_vote, chance``: Jaccard overlaps, 0 to 1, and
        that of two random sets, about k / (2 d − k). Empty with fewer than two methods.
    """
    if len(rankings) < 2:
        return []
    orders = np.stack([ranking.order for ranking in rankings.values()])
    d = orders.shape[1]
    rows = []
    for k in ks:
        mean, vote = average_overlap(orders, k), neuron_vote(orders, k)
        rows += [
            {
                "property": property,
                "k": k,
                "method": name,
                "avg_overlap": float(mean[i]),
                "neuron_vote": float(vote[i]),
                "chance": k / (2 * d - k),
            }
            for i, name in enumerate(rankings)
        ]
    return rows


def pair_rows(
    property: str, rankings: Mapping[str, Ranking], ks: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the Jaccard overlap of each pair of methods: ``property, k, a, b, overlap``."""
    orders = np.stack([ranking.order for ranking in rankings.values()])
    names = list(rankings)
    rows = []
    for k in ks:
        found = top_jaccard(orders, k)
        rows += [
            {
                "property": property,
                "k": k,
                "a": names[i],
                "b": names[j],
                "overlap": float(found[i, j]),
            }
            for i, j in combinations(range(len(names)), 2)
        ]
    return rows


def check_halves(task: Task | Target, *, splits: int, seed: int) -> None:
    """Refuse halves of the training sentences on which nothing can be ranked.

    They are those of :func:`stability_rows`; asked before any ranking, this costs nothing.

    Raises
    ------
    LabelError
        A half with one class, or one number, on all its tokens.
    """
    for i in range(splits):
        # It only looks at what a target has as well.
        for rows in halves(cast(Task, task), seed=seed + i):
            y = task.train.y[rows]
            if np.ptp(y) == 0:
                what = f"{y[0]:g}" if isinstance(task, Target) else f'"{task.classes[y[0]]}"'
                raise LabelError(
                    f"{task.name} is {what} on all {len(y):,} tokens of one half of the training "
                    "sentences; leave out stability on halves (splits=0, --splits 0)"
                )


def stability_rows(
    task: Task,
    rankers: Mapping[str, Ranker],
    rankings: Mapping[str, Ranking],
    ks: Sequence[int],
    *,
    seeded: Mapping[str, bool],
    seeds: int,
    splits: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return how much of each method's k best comes back on other seeds and other sentences.

    Parameters
    ----------
    rankers, rankings
        Each method, and its ranking with ``seed``.
    seeded
        Whether a method's order depends on the seed; the others are not run again for seeds.
    seeds
        Number of seeds, 0 or 1: none.
    splits
        Times that the training sentences are divided into halves at random; 0: never.

    Returns
    -------
    list of dict
        ``property, method, over, k, overlap, low, high, expected, runs``: ``over`` is ``seeds``
        or ``halves``, ``overlap`` the mean over pairs of rankings of |A ∩ B| / k, ``low`` and
        ``high`` its range, ``expected`` that of random orders, k / d, ``runs`` the number of
        pairs. Two halves share no sentence, and each has half of the tokens: the overlap on
        halves is that of rankings from less text than the task has.
    """
    pairs: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    work = splits * 2 * len(rankers) + max(0, seeds - 1) * sum(seeded[name] for name in rankers)
    with bar(work, f"{task.name}: stability of rankings", unit="rankings") as advance:
        if seeds > 1:
            for name, ranker in rankers.items():
                orders = [rankings[name].order]
                for i in range(1, seeds) if seeded[name] else ():
                    orders.append(ranker(task, seed + i).order)
                    advance(1)
                found = list(combinations(orders, 2)) or [(orders[0], orders[0])]
                pairs[name, "seeds"] = found
        for i in range(splits):
            ends: list[dict[str, np.ndarray]] = []
            for rows in halves(task, seed=seed + i):
                half = with_train_rows(task, rows)
                ends.append({})
                for name, ranker in rankers.items():
                    ends[-1][name] = ranker(half, seed + 2 * i + len(ends) - 1).order
                    advance(1)
            for name in rankers:
                pairs.setdefault((name, "halves"), []).append((ends[0][name], ends[1][name]))
    out = []
    for (name, over), found in pairs.items():
        for k in ks:
            same = [len(np.intersect1d(a[:k], b[:k])) / k for a, b in found]
            out.append(
                {
                    "property": task.name,
                    "method": name,
                    "over": over,
                    "k": k,
                    "overlap": float(np.mean(same)),
                    "low": min(same),
                    "high": max(same),
                    "expected": k / task.n_neurons,
                    "runs": len(same),
                }
            )
    return out
