"""Fits and held-out accuracies of every fold at every penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nissl.estimators._rows import BLOCK, Labelled, Rows, prepare, take_rows
from nissl.kernels.ablation import UNREGULARISED_L2, Ablated, ablate_probe
from nissl.kernels.dense import fit_dense
from nissl.kernels.fit import Fit, log_softmax, predict_scores
from nissl.kernels.many import path_many
from nissl.kernels.problem import Problem
from nissl.kernels.standardise import moments, standardise

__all__ = ["FoldPath", "Solver", "run_folds"]

Pairs = list[tuple[float, float]]


@dataclass(frozen=True)
class Solver:
    """How fits are made: as the parameters of the same names of :class:`ProbeCV`."""

    tol: float
    max_iter: int
    time_limit: float | None
    fraction: float | None


@dataclass(frozen=True, eq=False)
class FoldPath:
    """One fold at every penalty.

    Attributes
    ----------
    fits
        One a pair of penalties.
    accuracy, loss
        Held-out accuracy (0 to 1) and mean cross-entropy (nats), (G,).
    ablated
        Held-out accuracies with few neurons, where they were asked for.
    unregularised
        Held-out accuracy without regularisation, where it was asked for.
    """

    fits: list[Fit]
    accuracy: np.ndarray
    loss: np.ndarray
    ablated: list[Ablated]
    unregularised: float


def run_folds(
    data: Labelled,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    pairs: Pairs,
    solver: Solver,
    *,
    scale: bool,
    own: bool,
) -> list[FoldPath]:
    """Fit every fold at every pair of penalties and score it on the tokens it holds out.

    With ``own`` each fold has a standardised copy of its training tokens, one fold at a time.
    Without it (or without ``scale``, where it is the same) all folds are fitted on one matrix,
    held-out tokens having weight 0.
    """
    n_classes = len(data.classes)
    if scale and own:
        out = []
        for train, test in folds:
            rows = prepare(data, train)
            problem = Problem(rows.code, n_classes, *pairs[0], weight=rows.weight)
            (fits,) = _paths(rows.Z, [problem], pairs, solver)
            held = _held_out(data.X, test, rows)
            out.append(_score(data, rows.Z, problem, fits, held, test, solver))
        return out
    Z = _all_rows(data, scale=scale)
    code = np.maximum(data.code, 0)
    problems = []
    for train, _ in folds:
        weight = np.zeros(len(code))
        weight[train] = 1.0 if data.weight is None else data.weight[train]
        problems.append(Problem(code, n_classes, *pairs[0], weight=weight))
    paths = _paths(Z, problems, pairs, solver)
    return [
        _score(data, Z, problem, fits, Z[test], test, solver)
        for problem, fits, (_, test) in zip(problems, paths, folds, strict=True)
    ]


def _paths(Z: np.ndarray, problems: list[Problem], pairs: Pairs, solver: Solver) -> list[list[Fit]]:
    return path_many(
        Z,
        problems,
        pairs,
        tol=solver.tol,
        max_iter=solver.max_iter,
        time_limit=solver.time_limit,
    )


def _all_rows(data: Labelled, *, scale: bool) -> np.ndarray:
    """All tokens in their own order, standardised by the moments of all."""
    if not scale:
        return data.X
    return standardise(data.X, *moments(data.X, weight=data.weight))


def _held_out(X: np.ndarray, rows: np.ndarray, like: Rows) -> np.ndarray:
    """Some rows of X with the moments of others, float32 (m, d) in Fortran order."""
    d = X.shape[1]
    out = np.empty((len(rows), d), dtype=np.float32, order="F")
    sd = np.where(like.constant, 0.0, like.scale)
    for start in range(0, d, BLOCK):
        at = slice(start, min(d, start + BLOCK))
        standardise(take_rows(X, rows, at), like.mean[at], sd[at], out=out[:, at])
    return out


def _score(
    data: Labelled,
    Z: np.ndarray,
    problem: Problem,
    fits: list[Fit],
    held: np.ndarray,
    test: np.ndarray,
    solver: Solver,
) -> FoldPath:
    y = data.code[test]
    weight = None if data.weight is None else data.weight[test]
    accuracy, loss = np.empty(len(fits)), np.empty(len(fits))
    ablated: list[Ablated] = []
    for i, fit in enumerate(fits):
        logits = predict_scores(held, fit.coef, fit.intercept)
        accuracy[i] = np.average(logits.argmax(axis=1) == y, weights=weight)
        own = log_softmax(logits.T)[y, np.arange(len(y))]
        loss[i] = -np.average(own, weights=weight)
        if solver.fraction is not None:
            ablated.append(
                ablate_probe(
                    held, y, fit.coef, fit.intercept, fraction=solver.fraction, weight=weight
                )
            )
    free = np.nan
    if solver.fraction is not None:
        fit = fit_dense(
            Z,
            problem.y,
            problem.n_classes,
            l2=UNREGULARISED_L2,
            tol=1e-2,
            weight=problem.weight,
            certificate=False,
        )
        right = predict_scores(held, fit.coef, fit.intercept).argmax(axis=1) == y
        free = float(np.average(right, weights=weight))
    return FoldPath(fits, accuracy, loss, ablated, free)
