"""How the minimal set's size is looked for: by bisection, or on a growing grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from nissl.kernels.intervals import bootstrap_accuracy
from nissl.methods.evaluate import N_BOOT, Curve
from nissl.methods.task import Task

__all__ = ["SizesTried", "bisect_size", "grid_size", "growing"]

Enough = Callable[[Sequence[int]], dict[int, bool]]
"""Answers for some sizes whether they suffice."""


def bisect_size(enough: Enough, n_neurons: int, *, precision: float = 0.03) -> tuple[int, int]:
    """Return sizes ``(short, enough)`` on both sides of a crossing.

    The middle is taken in log k, so that the first sizes tried are small and cheap. All neurons
    suffice by definition, none never do. The search stops when the two differ by at most one
    neuron or by ``precision`` of the larger: about log₂(ln d / precision) sizes, 8 for d = 2,688.

    Parameters
    ----------
    enough
        Asked for one size at a time. Where its answers are not monotone in k, the result is one
        of the crossings.
    n_neurons
        Number of neurons d.
    """
    low, high = 0, n_neurons
    while high - low > max(1, math.floor(precision * high)):
        middle = min(high - 1, max(low + 1, round(math.sqrt(max(low, 1) * high))))
        if enough([middle])[middle]:
            high = middle
        else:
            low = middle
    return low, high


def growing(n_neurons: int, growth: float) -> list[int]:
    """Return sizes from .25 % of the neurons to all of them, each ``growth`` times the last."""
    sizes = [max(1, round(0.0025 * n_neurons))]
    while sizes[-1] < n_neurons:
        sizes.append(min(n_neurons, max(sizes[-1] + 1, round(sizes[-1] * growth))))
    return sizes


def grid_size(
    enough: Enough, n_neurons: int, *, growth: float = 1.6, precision: float = 0.03
) -> tuple[int, int]:
    """Return sizes ``(short, enough)``: the first of a growing grid that suffices, narrowed.

    The first grid size that suffices and the one before it are narrowed by thirds. Sizes are
    asked for in pairs, whatever the number of workers: those tried, and with them the result,
    must not depend on the machine.
    """
    low, high = 0, n_neurons
    sizes = growing(n_neurons, growth)

    def narrow(pair: Sequence[int]) -> bool:
        nonlocal low, high
        answers = enough(pair)
        good = [k for k in pair if answers[k]]
        low = max([low, *(k for k in pair if not good or k < good[0])])
        high = min([high, *good])
        return bool(good)

    for i in range(0, len(sizes), 2):
        if narrow(sizes[i : i + 2]):
            break
    while high - low > max(1, math.floor(precision * high)):
        third = (high - low) / 3
        narrow(sorted({low + max(1, round(third)), low + max(1, round(2 * third))}))
    return low, high


class SizesTried:
    """The sizes tried so far, and how each differs from all neurons on the dev tokens.

    Attributes
    ----------
    rows
        By size: ``dev_accuracy, difference, difference_low, difference_high``, the last three a
        paired bootstrap over sentences.
    """

    def __init__(self, task: Task, curve: Curve, level: float, seed: int) -> None:
        self.task, self.curve, self.level, self.seed = task, curve, level, seed
        self.whole = curve.correct(task.n_neurons, "dev")
        self.rows: dict[int, dict[str, float]] = {}
        self.look([task.n_neurons])

    def look(self, sizes: Sequence[int]) -> None:
        """Retrain on sizes that were not tried yet."""
        new = [k for k in sizes if k not in self.rows]
        for k, right in zip(new, self.curve.correct_each(new, "dev"), strict=True):
            value, low, high = bootstrap_accuracy(
                right.astype(np.float64) - self.whole,
                self.task.dev.sentence,
                n_boot=N_BOOT,
                seed=self.seed,
                level=self.level,
            )
            self.rows[k] = {
                "dev_accuracy": float(right.mean()),
                "difference": value,
                "difference_low": low,
                "difference_high": high,
            }

    def within(self, delta: float, which: str, sizes: Sequence[int]) -> dict[int, bool]:
        """Say for each size whether its difference, or an end of its interval, is within δ."""
        self.look(sizes)
        # All neurons are within any δ of themselves, whatever rounding does to the mean.
        return {k: self.rows[k][which] >= -delta - 1e-12 for k in sizes}

    def frame(self) -> pl.DataFrame:
        """Return one row a size, smallest first."""
        d = self.task.n_neurons
        return pl.DataFrame(
            [{"k": k, "percent": 100 * k / d, **row} for k, row in sorted(self.rows.items())]
        )
