"""Ablation in the probe: keep only the top, bottom or random k neurons, by mask or by retraining.

This shows what a probe can read from a set of neurons, not what the model uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.methods.evaluate import (
    RETRAIN_L2,
    Curve,
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
    right = _correct(task, ranking, probe, ks, tuple(how), draws, l2, seed)
    rows = []
    for mode in how:
        for k in ks:
            rows += [
                _row(task, mode, kind, k, np.stack(right[mode, kind, k]), seed) for kind in KINDS
            ]
        whole = right[mode, "all", task.n_neurons]
        rows.append(_row(task, mode, "all", task.n_neurons, np.stack(whole), seed))
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


def _correct(
    task: Task,
    ranking: Ranking,
    probe: ProbeResult,
    ks: tuple[int, ...],
    how: tuple[str, ...],
    draws: int,
    l2: float,
    seed: int,
) -> dict[tuple[str, str, int], list[np.ndarray]]:
    """Return which test tokens are right, (n,) a draw, by (how, kind, k)."""
    d = task.n_neurons
    jobs: list[tuple[int, Callable[[], dict[tuple[str, str, int], np.ndarray]]]] = []

    def curve(kind: str, order: np.ndarray) -> dict[tuple[str, str, int], np.ndarray]:
        found = Curve(task, order, l2=l2)
        return {("retrain", kind, k): found.correct(k) for k in ks}

    def alone(mode: str, kind: str, neurons: np.ndarray) -> dict[Any, np.ndarray]:
        if mode == "mask":
            right = correct_masked(task.test, probe.coef, probe.intercept, neurons)
        else:
            right = correct_retrained(task, neurons, l2=l2)
        return {(mode, kind, len(neurons)): right}

    # The best and the worst k are nested, so their probes follow one another; random sets are not.
    nested = {"top": ranking.order, "bottom": ranking.order[::-1]}
    for mode in how:
        for kind, order in nested.items():
            if mode == "retrain":
                jobs.append((sum(ks), partial(curve, kind, order[: ks[-1]])))
            else:
                jobs += [(0, partial(alone, mode, kind, np.sort(order[:k]))) for k in ks]
        for k in ks:
            cost = k if mode == "retrain" else 0
            for chosen in random_sets(d, k, draws, seed):
                jobs.append((cost, partial(alone, mode, "random", chosen)))
        jobs.append((d if mode == "retrain" else 0, partial(alone, mode, "all", np.arange(d))))
    # Largest first, so that the last worker is not left alone with the longest fit.
    jobs.sort(key=lambda job: -job[0])
    done = map_tasks(lambda job: job[1](), jobs, description=f"{task.name}: ablation")
    right: dict[tuple[str, str, int], list[np.ndarray]] = {}
    for found in done:
        for key, value in found.items():
            right.setdefault(key, []).append(value)
    return right


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
