"""Many probes on one matrix of neurons: tasks, controls, bootstraps, penalties.

The matrix is prepared once and its products are shared: problems go on in step, and one product,
stacked over all their classes, serves them all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from nissl.errors import SettingError
from nissl.kernels._drive import Clock, drive
from nissl.kernels._neurons import Neurons
from nissl.kernels._newton import State
from nissl.kernels._search import Limits, Samples, solve, walk
from nissl.kernels.checks import check_penalty, check_shape
from nissl.kernels.fit import Fit, one_thread, warn_not_converged
from nissl.kernels.problem import Problem

__all__ = ["path_many", "solve_many"]

STACK = 512
"""Classes of problems that go on in step, at most: more gain nothing and take memory."""


def solve_many(
    X: np.ndarray,
    problems: Sequence[Problem],
    *,
    tol: float = 1e-3,
    max_iter: int = 100,
    time_limit: float | None = None,
) -> list[Fit]:
    """Fit several problems on the same neurons, each to a certified relative duality gap.

    Parameters
    ----------
    X
        Standardised neurons (n, d). float32 in Fortran order, also as a memory map, is used without
        a copy; anything else is converted in tiles.
    problems
        Labels, penalties, token weights and starts.
    tol
        Relative duality gap at which to stop.
    max_iter
        Sweeps over the classes; past them a quasi-Newton method takes over, and then sweeps again,
        as many at most.
    time_limit
        CPU seconds for all of them, after which each best point is returned with its gap,
        ``converged=False`` and a :class:`~nissl.errors.NotConverged` warning.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN or infinity (neuron and token are named), wrong lengths, one class, negative penalties.
    """
    neurons, states, clocks = _prepare(X, problems, time_limit)
    samples = Samples(neurons)
    limits = Limits(tol, max_iter)
    fits: list[Fit] = []
    with one_thread():
        for part in _batches(problems):
            searches = [
                solve(
                    states(i),
                    float(problems[i].l1),
                    float(problems[i].l2),
                    limits,
                    clocks[i],
                    samples if problems[i].start is None else None,
                )
                for i in part
            ]
            fits += drive(searches, [clocks[i] for i in part])
    for fit, clock in zip(fits, clocks, strict=True):
        _warn(fit, tol, clock)
    return fits


def path_many(
    X: np.ndarray,
    problems: Sequence[Problem],
    grid: Sequence[tuple[float, float]],
    *,
    tol: float = 1e-3,
    max_iter: int = 100,
    time_limit: float | None = None,
) -> list[list[Fit]]:
    """Fit a grid of (λ₁, λ₂) for several problems, warm-started from strong to weak.

    Returns one list of fits a problem, in the grid's order; the problems' own penalties are not
    used. Other arguments and errors are those of :func:`solve_many`.
    """
    pairs = [(float(a), float(b)) for a, b in grid]
    if not pairs:
        raise SettingError("the λ grid is empty")
    for a, b in pairs:
        check_penalty(l1=a, l2=b)
    order = sorted(range(len(pairs)), key=lambda i: (-pairs[i][0], -pairs[i][1]))
    neurons, states, clocks = _prepare(X, problems, time_limit)
    del neurons
    limits = Limits(tol, max_iter)
    fits: list[list[Fit | None]] = [[None] * len(pairs) for _ in problems]
    with one_thread():
        for part in _batches(problems):
            searches = []
            for i in part:

                def keep(at: int, fit: Fit, i: int = i) -> None:
                    fits[i][order[at]] = fit

                searches.append(walk(states(i), [pairs[j] for j in order], limits, clocks[i], keep))
            drive(searches, [clocks[i] for i in part])
    out = [[fit for fit in row if fit is not None] for row in fits]
    for row, clock in zip(out, clocks, strict=True):
        for fit in row:
            _warn(fit, tol, clock)
    return out


def _prepare(
    X: np.ndarray, problems: Sequence[Problem], time_limit: float | None
) -> tuple[Neurons, Callable[[int], State], list[Clock]]:
    check_shape(X)
    for problem in problems:
        problem.check(*X.shape)
    neurons = Neurons.of(X)
    deadline = None if time_limit is None else time.thread_time() + time_limit
    clocks = [Clock(deadline) for _ in problems]

    def state(i: int) -> State:
        """Made when its turn comes: logits of problems that wait take no room."""
        problem = problems[i]
        y, theta = problem.check(neurons.n, neurons.d)
        made = State(neurons, y, problem.n_classes, theta)
        if problem.start is not None:
            made.start(problem.start.coef, problem.start.intercept)
        return made

    return neurons, state, clocks


def _batches(problems: Sequence[Problem]) -> list[list[int]]:
    """Split into runs of problems with at most ``STACK`` classes together."""
    out: list[list[int]] = []
    room = 0
    for i, problem in enumerate(problems):
        if not out or problem.n_classes > room:
            out.append([])
            room = max(STACK, problem.n_classes)
        out[-1].append(i)
        room -= problem.n_classes
    return out


def _warn(fit: Fit, tol: float, clock: Clock) -> None:
    if fit.converged:
        return
    why = "its time is over" if clock.late() else "rounding, or max_iter, is reached"
    warn_not_converged(fit, tol, why)
