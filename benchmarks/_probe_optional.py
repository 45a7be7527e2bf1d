"""Peers that need not be installed: cyanure, skglm and NeuroX.

``pip install --no-deps cyanure skglm neurox==1.0.9 imbalanced-learn sklearn-compat`` brings them.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from _probe_clock import Recorder
from _probe_data import Problem

__all__ = ["NotApplicable", "cyanure", "neurox", "skglm", "sklearn_lbfgs"]

EPOCHS = 10
"""NeuroX's default."""


class NotApplicable(Exception):
    """The method is not there, or does not solve this problem; the message says which."""


def cyanure(problem: Problem, l1: float, l2: float, clock: Recorder) -> None:
    """Cyanure (Mairal 2019), its own choice of solver (accelerated incremental methods).

    It calls nobody back, but keeps its objective and the time every few passes. The CPU seconds of
    a run are shared out by these times; runs grow until one ends by itself or at the cap. The
    seconds of a gap are the better of two such runs, with the objective taken every 5 passes (the
    default) and, where passes are few, after each (which costs more, but stops sooner).
    """
    library = _module("cyanure.estimators")
    X = np.ascontiguousarray(problem.X)

    def run(passes: int, every: int) -> tuple[float, Any]:
        made = library.Classifier(
            loss="multiclass-logistic",
            penalty="elasticnet",
            lambda_1=l1,
            lambda_2=l2,
            fit_intercept=True,
            tol=0.5 * min(clock.gaps),
            max_iter=passes,
            duality_gap_interval=every,
            n_threads=1,
            verbose=False,
        )
        began = time.process_time()
        with _silence():
            made.fit(X, problem.y)
        return time.process_time() - began, made

    for every in (5, 1):
        passes, seconds, made = 10, *run(10, every)
        while _passes(made) >= passes and seconds < clock.cap:
            more = 1 + int(1.2 * passes * clock.cap / seconds)
            passes = min(4 * passes, more)
            seconds, made = run(passes, every)
        found = clock.judge(made.coef_.T, made.intercept_.ravel(), seconds)
        info = made.optimization_info_[0]
        info = info[:, info[0] > 0]
        if not abs(info[1, -1] / ((1 + found) * clock.best) - 1) < 1e-5:
            raise SystemExit("cyanure's objective is not ours: its row would be wrong")
        times = info[5] * (seconds / info[5, -1])
        for gap in clock.gaps:
            there = np.flatnonzero((info[1] <= clock.best * (1 + gap)) & (times <= clock.cap))
            if len(there):
                when = float(times[there[0]])
                clock.reached[gap] = min(when, clock.reached.get(gap, np.inf))
        clock.seconds = max(clock.seconds, seconds)
        if passes > 100:
            break  # five passes more or less are nothing here


def _passes(made: Any) -> float:
    return float(made.optimization_info_[0, 0].max())


def skglm(problem: Problem, l1: float, l2: float, clock: Recorder) -> None:
    """skglm has no multinomial loss (0.5); should a later one have it, this says so."""
    losses = _module("skglm.datafits")
    found = [name for name in dir(losses) if "multinom" in name.lower()]
    if found:
        raise NotApplicable(f"has {', '.join(found)} now: write this peer")
    raise NotApplicable("not applicable: it has no multinomial loss")


def sklearn_lbfgs(problem: Problem, l1: float, l2: float, clock: Recorder) -> None:
    """scikit-learn's L-BFGS takes the squared penalty alone."""
    raise NotApplicable("not applicable: it takes a ridge penalty only, and here λ₁ > 0")


def neurox(problem: Problem, l1: float, l2: float, clock: Recorder) -> None:
    """NeuroX's training (Adam on batches of 32), at its defaults and with more epochs.

    NeuroX penalises λ₁Σ|w| + μ‖W‖, the norm without its square. With μ = λ₂‖W*‖ the optimum W*
    is the same, which is what it is given here. Its weights come from chance, so a longer run is
    a new run.
    """
    library = _module("neurox.interpretation.linear_probe")
    import torch

    X = np.ascontiguousarray(problem.X)
    epochs = EPOCHS
    while True:
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 (it draws its batches from this state)
        began = time.process_time()
        with _silence():
            made = library.train_logistic_regression_probe(
                X, problem.y, lambda_l1=l1, lambda_l2=l2 * clock.norm, num_epochs=epochs
            )
        seconds = time.process_time() - began
        clock.seconds = max(clock.seconds, seconds)
        W = made.linear.weight.detach().numpy()
        gap = clock.judge(W, made.linear.bias.detach().numpy(), seconds)
        clock.why = f"{epochs} epochs end at {gap:.1%}"
        if len(clock.reached) == len(clock.gaps) or seconds * 3 > clock.cap:
            return
        epochs *= 3


def _module(name: str) -> Any:
    try:
        with _silence():
            return importlib.import_module(name)
    except ImportError as error:
        raise NotApplicable(f"not installed ({error})") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Drop what libraries print, from Python and from C, and their warnings."""
    kept = [os.dup(1), os.dup(2)]
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for number, copy in enumerate(kept, start=1):
            os.dup2(copy, number)
            os.close(copy)
        os.close(sink)
