"""k-sparse probing: the best probe on k neurons (Gurnee et al. 2023, section 3).

Three parts, each usable alone: neurons whose class means differ most are kept
(:func:`preselect`); a probe on them loses its smallest weights step by step (:func:`thin_out`,
their adaptive thresholding); and for small k the set is refined until it is the best of all sets
(where these can be tried) or no exchange of one neuron helps (:func:`refine`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import SettingError
from nissl.kernels._forward_probe import SetProbe
from nissl.kernels._forward_swap import swap_until_settled
from nissl.kernels._forward_sweep import Sweep
from nissl.kernels.checks import check_labels, check_matrix, check_penalty, neuron_major
from nissl.kernels.fit import one_thread
from nissl.kernels.problem import token_weights
from nissl.kernels.univariate import mean_difference

__all__ = ["SparseSet", "k_sparse", "k_sparse_scores", "preselect", "refine", "thin_out"]

TOL = 1e-4
"""Relative duality gap of the probes whose objectives are compared."""


@dataclass(frozen=True, eq=False)
class SparseSet:
    """k neurons and how well a probe on them does.

    Attributes
    ----------
    chosen
        Positions, rising, (k,).
    objective
        Cross-entropy + (l2/2) ‖W‖² of the ridge probe on them.
    exact
        Whether every set of k neurons of the pool was tried.
    tried
        How many sets were.
    order
        All neurons, best first: the chosen and then the others, either in the sequence of
        :func:`thin_out`, (d,).
    """

    chosen: np.ndarray
    objective: float
    exact: bool
    tried: int
    order: np.ndarray


def preselect(
    X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], n_classes: int
) -> Int[np.ndarray, " d"]:
    """Return all neurons by |mean inside − mean outside| of their best class, largest first."""
    value = np.abs(mean_difference(X, y, n_classes)).max(axis=0)
    return np.argsort(-value, kind="stable")


def thin_out(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    pool: int = 512,
    smallest: int = 1,
    keep: float = 0.8,
    l2: float = 1e-3,
    sample_weight: Float[np.ndarray, " n"] | None = None,
    tol: float = 3e-2,
) -> Int[np.ndarray, " d"]:
    """Order neurons by adaptive thresholding.

    A ridge probe is fitted on the ``pool`` neurons of :func:`preselect`; those with the smallest
    ‖W_·j‖₂ go until the share ``keep`` is left; refit; until ``smallest`` are left.

    Returns
    -------
    ndarray
        All neurons, best first: those left by ‖W_·j‖₂, those dropped (last first), the rest by
        mean difference.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong lengths, one class, impossible settings.
    """
    check_penalty(l2=l2)
    if not 0 < keep < 1 or pool < 1 or smallest < 1 or l2 == 0:
        raise SettingError(
            "adaptive thresholding needs 0 < keep < 1, pool and smallest of 1 or more and l2 above "
            f"0, not keep={keep}, pool={pool}, smallest={smallest}, l2={l2}"
        )
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    first = preselect(X, y, n_classes)
    theta = token_weights(sample_weight, len(y))
    start = first[:pool]
    gone: list[int] = []
    with one_thread():
        probe = SetProbe(
            neuron_major(X), y, n_classes, theta, l2=l2, room=len(start), chosen=start.tolist()
        )
        while True:
            probe.refit(tol=tol)
            norm = (probe.W**2).sum(axis=0)
            k = len(norm)
            if k <= smallest:
                break
            out = np.argsort(norm, kind="stable")[: k - max(smallest, min(k - 1, int(keep * k)))]
            gone += [probe.chosen[i] for i in out]
            probe.drop(out)
    left = np.array(probe.chosen)[np.argsort(-norm, kind="stable")]
    return np.concatenate([left, np.array(gone[::-1], dtype=np.int64), first[pool:]])


class _Judge:
    """Objectives of ridge probes on sets, each fitted once."""

    def __init__(
        self, XT: np.ndarray, y: np.ndarray, n_classes: int, theta: np.ndarray, l2: float
    ) -> None:
        self.args = (XT, y, n_classes, theta)
        self.l2 = l2
        self.known: dict[tuple[int, ...], float] = {}
        self._last: dict[int, np.ndarray] = {}

    def __call__(self, chosen: Sequence[int]) -> float:
        key = tuple(sorted(int(j) for j in chosen))
        if key not in self.known:
            probe = SetProbe(*self.args, l2=self.l2, room=len(key), chosen=key)
            # Neighbouring sets share most of their neurons, and nearly their weights.
            for i, j in enumerate(key):
                if j in self._last:
                    probe.W[:, i] = self._last[j]
            self.known[key] = probe.refit(tol=TOL)
            self._last = {j: probe.W[:, i] for i, j in enumerate(key)}
        return self.known[key]


def refine(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    start: Int[np.ndarray, " k"],
    *,
    pool: Int[np.ndarray, " p"],
    l2: float = 1e-3,
    exhaustive: int = 2000,
    candidates: int = 10,
    few: int = 5,
    rounds: int = 20,
    sample_weight: Float[np.ndarray, " n"] | None = None,
) -> tuple[Int[np.ndarray, " k"], float, bool, int]:
    """Return the best k neurons of a pool, their objective, whether that is exact, and sets tried.

    Where there are at most ``exhaustive`` sets of k neurons in the pool, each is fitted. Otherwise
    chosen neurons are exchanged for others of the pool while that lowers the objective. Up to
    ``few`` neurons, every place is looked at and the best exchange made: its newcomers are tried in
    the sequence of their gradients' norms beside the other neurons, ``candidates`` of them at most.
    Larger sets would take hours so, and are exchanged as forward selection does it
    (``_forward_swap.py``): what the quadratic model says helps most is tried first.

    Parameters
    ----------
    start
        k neurons to start from.
    pool
        Neurons to choose from; those of ``start`` are added.
    rounds
        Exchanges at most.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong lengths, one class, impossible settings.
    """
    check_penalty(l2=l2)
    if l2 == 0 or not len(start):
        raise SettingError("refining a set needs l2 above 0 and one neuron or more to start from")
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    XT, theta = neuron_major(X), token_weights(sample_weight, X.shape[0])
    judge = _Judge(XT, y, n_classes, theta, l2)
    k = len(start)
    every = np.union1d(pool, start)
    with one_thread():
        if math.comb(len(every), k) <= exhaustive:
            best = min(itertools.combinations(every.tolist(), k), key=judge)
            return np.array(best), judge(best), True, len(judge.known)
        if k > few:
            return _swapped(judge, np.asarray(start), every, candidates, rounds)
        best = tuple(sorted(int(j) for j in start))
        for _ in range(rounds):
            found = min(_neighbours(judge, best, every, candidates), key=judge, default=best)
            if judge(found) >= judge(best) * (1 - 2 * TOL):
                break
            best = tuple(sorted(found))
    return np.array(best), judge(best), False, len(judge.known)


def _swapped(
    judge: _Judge, start: np.ndarray, pool: np.ndarray, candidates: int, rounds: int
) -> tuple[np.ndarray, float, bool, int]:
    """Exchange until nothing of what the quadratic model proposes helps."""
    XT, y, n_classes, theta = judge.args
    some = np.ascontiguousarray(XT[pool])
    places = np.searchsorted(pool, start).tolist()
    probe = SetProbe(some, y, n_classes, theta, l2=judge.l2, room=len(start), chosen=places)
    probe.refit(tol=TOL)
    _, curvature = probe.gradient()
    sweep = Sweep(some, theta, ridge=judge.l2 / float(curvature.max()))
    swap_until_settled(probe, sweep, failures=2 * candidates, rounds=rounds * candidates, tol=TOL)
    chosen = np.sort(pool[probe.chosen])
    return chosen, probe.loss, False, probe.refits


def _neighbours(
    judge: _Judge, chosen: tuple[int, ...], pool: np.ndarray, candidates: int
) -> list[tuple[int, ...]]:
    """Sets with one neuron exchanged, the most promising newcomers of each place."""
    out = []
    others = np.setdiff1d(pool, chosen)
    XT, y, n_classes, theta = judge.args
    for gone in chosen:
        rest = tuple(j for j in chosen if j != gone)
        probe = SetProbe(XT, y, n_classes, theta, l2=judge.l2, room=len(chosen), chosen=rest)
        probe.refit(tol=1e-2)
        R, _ = probe.state()
        size = ((R @ XT[others].T) ** 2).sum(axis=0)
        for j in others[np.argsort(-size, kind="stable")[:candidates]]:
            out.append((*rest, int(j)))
    return out


def k_sparse(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    k: int,
    *,
    pool: int = 512,
    keep: float = 0.8,
    l2: float = 1e-3,
    refine_pool: int = 20,
    exhaustive: int = 2000,
    candidates: int = 10,
    sample_weight: Float[np.ndarray, " n"] | None = None,
) -> SparseSet:
    """Find k neurons for a probe: mean difference, adaptive thresholding, refinement.

    Parameters
    ----------
    X, y, n_classes
        Standardised neurons (n, d), class indices (n,). Two classes give the binary probes of the
        paper, more a multinomial probe that shares its neurons.
    k
        Number of neurons.
    pool, keep
        As in :func:`thin_out`.
    l2
        Ridge penalty of all probes.
    refine_pool
        Refinement chooses from the k neurons and so many that were dropped last.
    exhaustive, candidates
        As in :func:`refine`.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong lengths, one class, impossible settings.
    """
    if not 1 <= k <= X.shape[1]:
        raise SettingError(f"k must be between 1 and {X.shape[1]}, the number of neurons, not {k}")
    if refine_pool < 0:
        raise SettingError(f"refine_pool must be 0 or more, not {refine_pool}")
    order = thin_out(
        X,
        y,
        n_classes,
        pool=max(pool, k),
        keep=keep,
        l2=l2,
        sample_weight=sample_weight,
    )
    chosen, objective, exact, tried = refine(
        X,
        y,
        n_classes,
        order[:k],
        pool=order[: k + refine_pool],
        l2=l2,
        exhaustive=exhaustive,
        candidates=candidates,
        sample_weight=sample_weight,
    )
    rest = order[~np.isin(order, chosen)]
    first = order[np.isin(order, chosen)]
    return SparseSet(chosen, objective, exact, tried, np.concatenate([first, rest]))


def k_sparse_scores(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    pool: int = 128,
    keep: float = 0.7,
    l2: float = 1e-3,
) -> Float[np.ndarray, "c d"]:
    """Return scores (C, d) of adaptive thresholding for each class against the rest.

    A neuron's score is 1 / (its rank for the class), so that a neuron that is the last one left for
    any class comes before those that are second for one. A class without tokens, or with all of
    them, scores 0 everywhere.
    """
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    scores = np.zeros((n_classes, X.shape[1]))
    for c in range(n_classes):
        member = (y == c).astype(np.int64)
        if 0 < member.sum() < len(y):
            order = thin_out(X, member, 2, pool=pool, keep=keep, l2=l2)
            scores[c, order] = 1 / np.arange(1, len(order) + 1)
    return scores
