"""The minimal neuron set: the fewest best neurons that do as well as all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.methods.evaluate import (
    RETRAIN_L2,
    Curve,
    correct_of_subset,
    correct_retrained,
    estimate,
    random_sets,
    retrain,
)
from nissl.methods.rank import Ranking
from nissl.methods.task import Task
from nissl.parallel import map_tasks
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MinimalSet", "minimal_set"]


@dataclass(frozen=True, kw_only=True, eq=False)
class MinimalSet(Result):
    """How few of the best neurons come within δ points of all neurons.

    Attributes
    ----------
    points
        Every size tried: ``k``, ``percent``, ``dev_accuracy``.
    sets
        One row a δ (in points): ``delta, k, percent, dev_accuracy, accuracy, low, high,
        random_accuracy, random_low, random_high`` (test; random: as many random neurons).
    all_dev, all_test
        Accuracy of a probe retrained on all neurons.
    order
        The ranking's order, so that ``members(δ)`` can be read off.
    """

    kind: ClassVar[str] = "minimal"
    property: str
    method: str
    points: pl.DataFrame
    sets: pl.DataFrame
    all_dev: float
    all_test: float
    order: np.ndarray

    def size(self, delta: float = 1.0) -> int:
        """Number of neurons of the set at δ points."""
        row = self.sets.filter(pl.col("delta") == delta)
        if not row.height:
            known = ", ".join(f"{d:g}" for d in self.sets["delta"])
            raise SettingError(f"no minimal set at δ = {delta:g}; there are {known}")
        return int(row["k"][0])

    def members(self, delta: float = 1.0) -> np.ndarray:
        """Positions of the set's neurons, best first."""
        return self.order[: self.size(delta)]

    def frame(self) -> pl.DataFrame:
        """The table of sets."""
        return self.sets

    def summary(self) -> tuple[str, ...]:
        """One sentence a δ."""
        return tuple(
            f"{row['k']:,} neurons ({row['percent']:.1f} %) come within {row['delta']:g} "
            f"point{'' if row['delta'] == 1 else 's'} of all neurons on the dev tokens of "
            f"{self.property} ({row['dev_accuracy']:.1%} against {self.all_dev:.1%}); on test they "
            f"give {row['accuracy']:.1%}, as many random neurons {row['random_accuracy']:.1%}."
            for row in self.sets.iter_rows(named=True)
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Dev accuracy against k, with the sets marked."""
        from nissl.plotting import curve, new_axes

        ax = new_axes(ax)
        points = self.points.sort("k")
        curve(
            ax,
            points["k"].to_numpy(),
            points["dev_accuracy"].to_numpy(),
            None,
            None,
            "best k",
            "top",
        )
        ax.axhline(self.all_dev, linestyle="--", linewidth=1, label="all neurons")
        for row in self.sets.iter_rows(named=True):
            ax.axvline(
                row["k"], linestyle=":", linewidth=1, label=f"δ = {row['delta']:g}: {row['k']}"
            )
        ax.set_xscale("log")
        ax.set_xlabel("neurons kept (k)")
        ax.set_ylabel("dev accuracy (retrained)")
        ax.legend()
        return ax


def minimal_set(
    task: Task,
    ranking: Ranking,
    *,
    deltas: Sequence[float] = (0.5, 1.0),
    growth: float = 1.6,
    draws: int = 5,
    l2: float = RETRAIN_L2,
    seed: int = 0,
) -> MinimalSet:
    """Retrain on growing top-k until dev accuracy is within δ points of all neurons.

    Sizes grow by ``growth`` from .25 % of the neurons; the first size that suffices and the one
    before it are then narrowed by thirds to 3 % of k. Dev accuracy is noisy in k, so the size is
    that of a crossing, not a proven minimum. Durrani et al. 2020, section 3.2.

    Parameters
    ----------
    deltas
        Tolerances in percentage points.
    draws
        Number of random sets of the same size, as control.
    """
    if not deltas or min(deltas) < 0:
        raise SettingError("deltas are percentage points, 0 or more, and there is at least one")
    if growth <= 1:
        raise SettingError(f"growth must be above 1, not {growth:g}")
    d = task.n_neurons
    seen: dict[int, float] = {}
    curve = Curve(task, ranking.order, l2=l2)

    def look(sizes: Sequence[int]) -> None:
        new = [k for k in sizes if k not in seen]
        right = curve.correct_each(new, "dev")
        seen.update((k, float(ok.mean())) for k, ok in zip(new, right, strict=True))

    everything = np.arange(d)
    fit = retrain(task, everything, l2=l2)
    all_dev = float(correct_of_subset(task.dev, fit.coef, fit.intercept, everything).mean())
    all_test = float(correct_of_subset(task.test, fit.coef, fit.intercept, everything).mean())
    seen[d] = all_dev
    sizes = _growing(d, growth)
    found: dict[float, int] = {}
    for delta in sorted(deltas, reverse=True):
        goal = all_dev - delta / 100
        low, high = 0, d
        # Two sizes at a time, whatever the number of workers: the sizes tried, and with them the
        # result, must not depend on the machine.
        for i in range(0, len(sizes), 2):
            pair = sizes[i : i + 2]
            look(pair)
            enough = [k for k in pair if seen[k] >= goal]
            low = max([low, *(k for k in pair if not enough or k < enough[0])])
            if enough:
                high = enough[0]
                break
        while high - low > max(1, math.floor(0.03 * high)):
            third = (high - low) / 3
            pair = sorted({low + max(1, round(third)), low + max(1, round(2 * third))})
            look(pair)
            enough = [k for k in pair if seen[k] >= goal]
            low = max([low, *(k for k in pair if not enough or k < enough[0])])
            high = min([high, *enough])
        found[delta] = high
    rows = [
        _set_row(task, curve, delta, found[delta], seen[found[delta]], draws, l2, seed)
        for delta in sorted(deltas)
    ]
    points = pl.DataFrame(
        [
            {"k": k, "percent": 100 * k / d, "dev_accuracy": value}
            for k, value in sorted(seen.items())
        ]
    )
    return MinimalSet(
        provenance=Provenance(
            method="minimal set",
            settings={"deltas": tuple(deltas), "growth": growth, "draws": draws, "retrain_l2": l2},
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        method=ranking.method,
        points=points,
        sets=pl.DataFrame(rows),
        all_dev=all_dev,
        all_test=all_test,
        order=ranking.order,
    )


def _growing(d: int, growth: float) -> list[int]:
    sizes = [max(1, round(0.0025 * d))]
    while sizes[-1] < d:
        sizes.append(min(d, max(sizes[-1] + 1, round(sizes[-1] * growth))))
    return sizes


def _set_row(
    task: Task,
    curve: Curve,
    delta: float,
    k: int,
    dev_accuracy: float,
    draws: int,
    l2: float,
    seed: int,
) -> dict[str, Any]:
    right = map_tasks(
        lambda neurons: correct_retrained(task, neurons, l2=l2),
        random_sets(task.n_neurons, k, draws, seed),
        description=f"{task.name}: minimal set, δ = {delta:g}",
    )
    # The probe of the best k is the one that was found on the dev tokens.
    top = estimate(curve.correct(k), task.test, seed=seed)
    rand = estimate(np.stack(right), task.test, seed=seed)
    return {
        "delta": float(delta),
        "k": k,
        "percent": 100 * k / task.n_neurons,
        "dev_accuracy": dev_accuracy,
        "accuracy": top.value,
        "low": top.low,
        "high": top.high,
        "random_accuracy": rand.value,
        "random_low": rand.low,
        "random_high": rand.high,
    }
