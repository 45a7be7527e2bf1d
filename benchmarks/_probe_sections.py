"""What a study does with the solver beyond one fit: a path, many problems on one matrix, all rows,
a control task of very many classes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from _probe_clock import objective, strongest
from _probe_data import Problem
from _probe_rows import gradient_seconds, solve

__all__ = ["path", "single", "stacked"]

_Out = TypeVar("_Out")
LAMBDA, TOL = 1e-3, 1e-3
POINTS, WEAKEST = 12, 2e-4


def path(problem: Problem) -> dict[str, Any]:
    """Solve 12 penalties from half of the smallest that leaves no weights down to 2e-4."""
    from nissl.kernels.elastic_net import elastic_net_path

    top = 0.5 * strongest(problem)
    lambdas = np.geomspace(top, min(WEAKEST, 0.1 * top), POINTS)
    seconds, fits = cpu(
        lambda: elastic_net_path(
            problem.X, problem.y, problem.n_classes, grid=[(v, v) for v in lambdas], tol=TOL
        )
    )
    return {
        "problem": str(problem),
        "lambdas": [float(f"{value:.3g}") for value in lambdas],
        "gradients": round(float(sum(fit.gradients for fit in fits)), 1),
        "gradients_each": [round(float(fit.gradients), 1) for fit in fits],
        "cpu_s": round(seconds, 2),
        "gradient_cpu_s": round(gradient_seconds(problem), 3),
        "largest_gap": float(f"{max(fit.gap for fit in fits):.3g}"),
        "weights_each": [int(np.count_nonzero(fit.coef)) for fit in fits],
    }


def stacked(problem: Problem, forms: np.ndarray, count: int = 16) -> dict[str, Any]:
    """Solve a task with its bootstraps and control tasks at once, and one after the other.

    Parameters
    ----------
    forms
        Word of each token, (n,): a control task gives each word type one class.
    """
    from nissl.kernels.control import control_labels
    from nissl.kernels.elastic_net import fit_elastic_net
    from nissl.kernels.many import solve_many
    from nissl.kernels.problem import Problem as Task

    n, C = len(problem.y), problem.n_classes
    rng = np.random.default_rng(0)
    controls = count // 4
    tasks = [Task(problem.y, C, LAMBDA, LAMBDA)]
    for seed in range(controls):
        labels = control_labels(forms, problem.y.astype(str).astype(object), seed=seed)
        tasks.append(Task(labels.astype(np.int64), C, LAMBDA, LAMBDA))
    while len(tasks) < count:
        times = np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)
        tasks.append(Task(problem.y, C, LAMBDA, LAMBDA, weight=times))
    together, fits = cpu(lambda: solve_many(problem.X, tasks, tol=TOL))
    apart, singles = cpu(
        lambda: [
            fit_elastic_net(problem.X, t.y, C, l1=t.l1, l2=t.l2, sample_weight=t.weight, tol=TOL)
            for t in tasks
        ]
    )
    return {
        "problem": str(problem),
        "problems": f"the task, {controls} control tasks, {count - 1 - controls} bootstraps",
        "together_cpu_s": round(together, 2),
        "apart_cpu_s": round(apart, 2),
        "apart_over_together": round(apart / together, 2),
        "together_gradients": round(float(sum(fit.gradients for fit in fits)), 1),
        "apart_gradients": round(float(sum(fit.gradients for fit in singles)), 1),
        "largest_gap": float(f"{max(fit.gap for fit in fits):.3g}"),
        "largest_gap_apart": float(f"{max(fit.gap for fit in singles):.3g}"),
    }


def single(problem: Problem, limit: float) -> dict[str, Any]:
    """Solve one problem at λ = 1e-3 (all rows; very many classes)."""
    seconds, fit = solve(problem, LAMBDA, TOL, limit)
    one = gradient_seconds(problem)
    value = objective(problem, fit.coef, fit.intercept, LAMBDA, LAMBDA)
    return {
        "problem": str(problem),
        "cpu_s": round(seconds, 2),
        "gradients": round(float(fit.gradients), 1),
        "gradient_cpu_s": round(one, 3),
        "cpu_over_gradient": round(seconds / one, 1),
        "certified_gap": float(f"{fit.gap:.3g}"),
        "converged": bool(fit.converged),
        "objective": value,
        "objective_error": float(f"{abs(value / fit.objective - 1):.1e}"),
        "weights": int(np.count_nonzero(fit.coef)),
    }


def cpu(run: Callable[[], _Out]) -> tuple[float, _Out]:
    """Return CPU seconds and the result, without the warnings of fits that stopped early."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = time.process_time()
        out = run()
        return time.process_time() - began, out
