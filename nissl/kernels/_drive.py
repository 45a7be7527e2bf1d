"""Searches that ask for matrix products, and the loop that answers many of them with one.

A search is a generator: it yields residuals and is sent the gradient that belongs to them. Searches
over the same neurons wait for each other, so that one product, stacked over all their classes,
serves them all: the matrix of neurons is read once instead of once a problem.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nissl.kernels._neurons import Neurons

__all__ = ["Clock", "Request", "Search", "drive"]


@dataclass(frozen=True, eq=False)
class Request:
    """Residuals (C, n) whose gradient R X over these neurons is wanted."""

    neurons: Neurons
    R: np.ndarray


Search = Generator[Request, np.ndarray, Any]


@dataclass
class Clock:
    """CPU seconds that one search has used, its share of stacked products included."""

    deadline: float | None = None
    spent: float = 0.0
    resumed: float = field(default_factory=time.thread_time)

    def seconds(self) -> float:
        """Return the seconds so far, while the search runs."""
        return self.spent + time.thread_time() - self.resumed

    def late(self) -> bool:
        """Return whether the time limit has passed."""
        return self.deadline is not None and time.thread_time() > self.deadline


def drive(searches: Sequence[Search], clocks: Sequence[Clock]) -> list[Any]:
    """Run searches to their ends, in step; return what each returns."""
    results: dict[int, Any] = {}
    waiting: dict[int, Request] = {}

    def go_on(i: int, gradient: np.ndarray | None) -> None:
        clocks[i].resumed = time.thread_time()
        try:
            waiting[i] = next(searches[i]) if gradient is None else searches[i].send(gradient)
        except StopIteration as end:
            waiting.pop(i, None)
            results[i] = end.value
        clocks[i].spent += time.thread_time() - clocks[i].resumed

    for i in range(len(searches)):
        go_on(i, None)
    while waiting:
        # Those over the smallest matrix first: samples come before the whole.
        neurons = min((r.neurons for r in waiting.values()), key=lambda m: m.n)
        group = [i for i, request in waiting.items() if request.neurons is neurons]
        began = time.thread_time()
        stack = [waiting[i].R for i in group]
        G = neurons.back(stack[0] if len(stack) == 1 else np.concatenate(stack))
        each = (time.thread_time() - began) / len(G)
        row = 0
        for i, R in zip(group, stack, strict=True):
            clocks[i].spent += each * len(R)
            go_on(i, G[row : row + len(R)])
            row += len(R)
    return [results[i] for i in range(len(searches))]
