"""Ablation in the probe: keep only the top, bottom or random k neurons, by mask or by retraining.

This shows what a probe can read from a set of neurons, not what the model uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.methods.evaluate import (
    RETRAIN_L2,
    check_sizes,
    correct_masked,
    correct_retrained,
    estimate,
    majority_accuracy,
    random_sets,
)
from nissl.methods.probe import ProbeResult
from nissl.methods.rank import Ranking
from nissl.methods.task import Task
from nissl.parallel import map_tasks
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Ablation", "ablate", "default_sizes"]

PERCENTS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
KINDS = ("top", "random", "bottom")


@dataclass(frozen=True, kw_only=True, eq=False)
class Ablation(Result):
    """Test accuracy of kept neurons.

    Attributes
    ----------
    table
        Rows ``how`` (mask, retrain), ``kind`` (top, random, bottom, all), ``k``, ``percent``,
        ``accuracy``, ``low``, ``high`` (95 %), ``draws``.
    """

    kind: ClassVar[str] = "ablation"
    property: str
    method: str
    table: pl.DataFrame
    majority: float

    def frame(self) -> pl.DataFrame:
        """The table of accuracies."""
        return self.table

    def at(self, how: str, kind: str, k: int) -> dict[str, Any]:
        """Return one row of the table."""
        rows = self.table.filter(
            (pl.col("how") == how) & (pl.col("kind") == kind) & (pl.col("k") == k)
        )
        if rows.height != 1:
            raise SettingError(f"no result for {how}, {kind}, k = {k}")
        return rows.row(0, named=True)

    def summary(self) -> tuple[str, ...]:
        """Top against random and bottom at the size closest to 1 % of the neurons, retrained."""
        rows = self.table.filter((pl.col("how") == "retrain") & (pl.col("kind") == "top"))
        if not rows.height:
            return ()
        k = rows.sort((pl.col("percent") - 1.0).abs())["k"][0]
        top, rand, bottom = (self.at("retrain", kind, k) for kind in KINDS)
        apart = "do not overlap" if top["low"] > rand["high"] else "overlap"
        return (
            f"Retrained on {k} neurons ({top['percent']:.2g} %), the best give "
            f"{top['accuracy']:.1%} on {self.property}, {rand['draws']} random draws of as many "
            f"{rand['accuracy']:.1%} and the worst {bottom['accuracy']:.1%} (majority "
            f"{self.majority:.1%}); the intervals of best and random {apart}.",
        )

    def plot(self, ax: Axes | None = None, *, how: str = "retrain") -> Axes:
        """Accuracy against k for top, random and bottom, with bands."""
        from nissl.plotting import curve, new_axes

        ax = new_axes(ax)
        names = {"top": "best k", "random": "random k", "bottom": "worst k"}
        for kind in KINDS:
            rows = self.table.filter((pl.col("how") == how) & (pl.col("kind") == kind)).sort("k")
            k, value, low, high = (rows[c].to_numpy() for c in ("k", "accuracy", "low", "high"))
            curve(ax, k, value, low, high, names[kind], kind)
        whole = self.table.filter((pl.col("how") == how) & (pl.col("kind") == "all"))
        if whole.height:
            ax.axhline(whole["accuracy"][0], linestyle="--", linewidth=1, label="all neurons")
        ax.axhline(self.majority, linestyle=":", linewidth=1, label="majority")
        ax.set_xscale("log")
        ax.set_xlabel("neurons kept (k)")
        ax.set_ylabel(f"test accuracy ({'retrained' if how == 'retrain' else 'others masked'})")
        ax.legend()
        return ax


def default_sizes(n_neurons: int, percents: Sequence[float] = PERCENTS) -> tuple[int, ...]:
    """Return the set sizes of the usual percentages of the neurons, at least one neuron each."""
    return tuple(sorted({max(1, round(n_neurons * p / 100)) for p in percents}))


def ablate(
    task: Task,
    ranking: Ranking,
    probe: ProbeResult,
    *,
    sizes: Sequence[int] | None = None,
    how: Sequence[Literal["mask", "retrain"]] = ("mask", "retrain"),
    draws: int = 10,
    l2: float = RETRAIN_L2,
    seed: int = 0,
) -> Ablation:
    """Keep only k neurons and read the test accuracy (Durrani et al. 2020, section 3.2).

    Parameters
    ----------
    task, ranking, probe
        The property, the order of its neurons, and the probe whose weights ``mask`` uses.
    sizes
        Values of k; by default .25, .5, 1, 2, 5, 10 and 20 % of the neurons.
    how
        ``mask`` keeps the probe and sets all other neurons to their training mean; ``retrain``
        fits a new ridge probe on the kept neurons.
    draws
        Number of random sets of each size.
    l2
        Ridge strength of retrained probes.
    """
    if draws < 2:
        raise SettingError("draws must be 2 or more: one random set says nothing about chance")
    unknown = [h for h in how if h not in ("mask", "retrain")]
    if unknown:
        raise SettingError(f'how must be "mask" or "retrain", not "{unknown[0]}"')
    ks = check_sizes(list(sizes or default_sizes(task.n_neurons)), task.n_neurons)
    jobs: list[tuple[str, str, int, int, np.ndarray]] = []
    for mode in how:
        for k in ks:
            jobs.append((mode, "top", k, 0, np.sort(ranking.top(k))))
            jobs.append((mode, "bottom", k, 0, np.sort(ranking.bottom(k))))
            for i, chosen in enumerate(random_sets(task.n_neurons, k, draws, seed)):
                jobs.append((mode, "random", k, i, chosen))
        jobs.append((mode, "all", task.n_neurons, 0, np.arange(task.n_neurons)))

    def run(job: tuple[str, str, int, int, np.ndarray]) -> np.ndarray:
        mode, _, _, _, neurons = job
        if mode == "mask":
            return correct_masked(task.test, probe.coef, probe.intercept, neurons)
        return correct_retrained(task, neurons, l2=l2)

    # Largest first, so that the last worker is not left alone with the longest fit.
    order = sorted(range(len(jobs)), key=lambda i: (jobs[i][0] == "mask", -jobs[i][2]))
    done = map_tasks(run, [jobs[i] for i in order], description=f"{task.name}: ablation")
    right = dict(zip(order, done, strict=True))
    rows = []
    for mode in how:
        for k in ks:
            for kind in KINDS:
                picked = [
                    right[i]
                    for i, job in enumerate(jobs)
                    if job[0] == mode and job[1] == kind and job[2] == k
                ]
                rows.append(_row(task, mode, kind, k, np.stack(picked), seed))
        whole = next(right[i] for i, job in enumerate(jobs) if job[0] == mode and job[1] == "all")
        rows.append(_row(task, mode, "all", task.n_neurons, whole[None, :], seed))
    return Ablation(
        provenance=Provenance(
            method="ablation",
            settings={"sizes": ks, "how": tuple(how), "draws": draws, "retrain_l2": l2},
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        method=ranking.method,
        table=pl.DataFrame(rows),
        majority=majority_accuracy(task),
    )


def _row(
    task: Task, how: str, kind: str, k: int, right: np.ndarray, seed: int
) -> dict[str, object]:
    est = estimate(right, task.test, seed=seed)
    return {
        "how": how,
        "kind": kind,
        "k": k,
        "percent": 100 * k / task.n_neurons,
        "accuracy": est.value,
        "low": est.low,
        "high": est.high,
        "draws": len(right),
    }
