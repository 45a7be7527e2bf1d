"""What a point is worth, and when a method got there: the judge of all methods, Nissl's included.

Seconds are CPU seconds of this process with one thread. The clock stands still while a point is
judged, and while a method's input is put into the layout that it likes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from _probe_data import Problem

__all__ = ["GAPS", "Enough", "Recorder", "objective", "start_intercept", "strongest"]

GAPS = (1e-2, 1e-3, 1e-4)
"""Relative gaps to which seconds are taken."""
BLOCK = 256


class Enough(Exception):
    """The method reached the smallest gap, or its time is over."""


def objective(problem: Problem, W: np.ndarray, b: np.ndarray, l1: float, l2: float) -> float:
    """Return mean cross-entropy + λ₁ Σ|w| + (λ₂/2) Σw² in float64, from the data alone.

    Parameters
    ----------
    W
        Weights, (C, d).
    b
        Intercepts, (C,).
    """
    W = np.asarray(W, dtype=np.float64)
    logits = np.zeros((len(W), len(problem.y)))
    used = np.flatnonzero(W.any(axis=0))
    for start in range(0, len(used), BLOCK):
        part = used[start : start + BLOCK]
        logits += W[:, part] @ problem.XT[part].astype(np.float64)
    logits += np.asarray(b, dtype=np.float64)[:, None]
    top = logits.max(axis=0)
    own = logits[problem.y, np.arange(len(problem.y))]
    logits -= top
    loss = float((np.log(np.exp(logits).sum(axis=0)) + top - own).mean())
    return loss + l1 * float(np.abs(W).sum()) + 0.5 * l2 * float((W**2).sum())


def start_intercept(problem: Problem) -> np.ndarray:
    """Return the best intercepts of a probe without weights, (C,)."""
    return np.log(np.bincount(problem.y, minlength=problem.n_classes) / len(problem.y))


def strongest(problem: Problem) -> float:
    """Return the smallest λ₁ at which no neuron has a weight."""
    prior = np.exp(start_intercept(problem))
    residual = np.repeat(prior[:, None], len(problem.y), axis=1).astype(np.float32)
    residual[problem.y, np.arange(len(problem.y))] -= 1
    return float(np.abs(residual @ problem.XT.T).max()) / len(problem.y)


@dataclass
class Recorder:
    """The clock of one run of one method.

    Attributes
    ----------
    best
        Objective that gaps are relative to.
    norm
        Frobenius norm of the weights at that objective.
    cap
        CPU seconds after which the run ends.
    reached
        Gap → CPU seconds at the first point within it.
    lowest
        Lowest objective seen.
    why
        Why a run that ended by itself did.
    """

    problem: Problem
    l1: float
    l2: float
    best: float
    norm: float
    cap: float
    gaps: Sequence[float] = GAPS
    reached: dict[float, float] = field(default_factory=dict)
    seconds: float = 0.0
    lowest: float = float("inf")
    why: str = ""
    _since: float | None = None

    def go(self) -> None:
        """Let the clock run."""
        self._since = time.process_time()

    def halt(self) -> None:
        """Stop the clock."""
        if self._since is not None:
            self.seconds += time.process_time() - self._since
            self._since = None

    def check(self, W: np.ndarray, b: np.ndarray, value: float | None = None) -> None:
        """Judge a point, with the clock stopped.

        Parameters
        ----------
        value
            What the method believes its objective is: where that is far from the next gap, the
            point is not judged at all, which changes no time but that of the benchmark.

        Raises
        ------
        Enough
        """
        self.halt()
        open_gaps = [gap for gap in self.gaps if gap not in self.reached]
        late = self.seconds > self.cap
        if late or value is None or value <= self.best * (1 + open_gaps[0] + 1e-5):
            self.judge(W, b, self.seconds)
            if late or len(self.reached) == len(self.gaps):
                raise Enough
        self.go()

    def judge(self, W: np.ndarray, b: np.ndarray, seconds: float) -> float:
        """Enter a point that was there after so many seconds; return its relative gap."""
        found = objective(self.problem, W, b, self.l1, self.l2)
        self.lowest = min(self.lowest, found)
        relative = found / self.best - 1
        for gap in self.gaps:
            if gap not in self.reached and relative <= gap and seconds <= self.cap:
                self.reached[gap] = seconds
        return relative
