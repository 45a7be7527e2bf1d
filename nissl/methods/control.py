"""Control task and selectivity (Hewitt & Liang 2019): does the probe read or memorise?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from nissl.kernels.control import control_labels
from nissl.methods.evaluate import (
    RETRAIN_L2,
    correct_of,
    correct_retrained,
    estimate,
    random_sets,
)
from nissl.methods.minimal import MinimalSet
from nissl.methods.probe import ProbeResult, fit_probe
from nissl.methods.task import SPLITS, Task
from nissl.parallel import map_tasks
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Selectivity", "control_task", "selectivity"]


CONTROL_TOL = 1e-2
"""Relative gap of the control's fit, of which only the accuracy is used."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Selectivity(Result):
    """Accuracy on the property, on its control task, and the difference.

    Attributes
    ----------
    table
        One row a set of neurons: ``neurons, k, accuracy, low, high, control, control_low,
        control_high, selectivity``.
    word_types
        Number of word types among the test tokens, and the share of test tokens whose word was
        seen in training: the only ones for which a control label can be known.
    """

    kind: ClassVar[str] = "selectivity"
    property: str
    table: pl.DataFrame
    seen_share: float

    def frame(self) -> pl.DataFrame:
        """The table."""
        return self.table

    def summary(self) -> tuple[str, ...]:
        """Selectivity of all neurons and of each minimal set."""
        parts = [
            f"{row['selectivity'] * 100:.1f} points for {row['neurons']} ({row['accuracy']:.1%} "
            f"against {row['control']:.1%} on the control task)"
            for row in self.table.iter_rows(named=True)
        ]
        return (
            f"Selectivity of {self.property}: {'; '.join(parts)}. The control task gives each "
            f"word type a random class; {self.seen_share:.0%} of test tokens have a word that was "
            "seen in training.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Paired bars: property and control."""
        from nissl.plotting import PALETTE, new_axes

        ax = new_axes(ax)
        x = np.arange(self.table.height)
        for shift, name, low, high, colour in (
            (-0.2, "accuracy", "low", "high", PALETTE["top"]),
            (0.2, "control", "control_low", "control_high", PALETTE["random"]),
        ):
            value = self.table[name].to_numpy()
            error = np.stack(
                [value - self.table[low].to_numpy(), self.table[high].to_numpy() - value]
            )
            label = "property" if name == "accuracy" else "control task"
            ax.bar(
                x + shift, value, width=0.38, yerr=np.maximum(error, 0), color=colour, label=label
            )
        ax.set_xticks(x, [f"{n}\n(k = {k:,})" for n, k in self.table.select("neurons", "k").rows()])
        ax.set_ylabel("test accuracy")
        ax.legend()
        return ax


def control_task(task: Task, *, seed: int = 0) -> Task:
    """Return the control task: each word type gets one class, drawn from the class distribution.

    The same tokens, neurons and splits, so that only the labels differ.
    """
    forms = np.concatenate([task.part(name).form for name in SPLITS])
    y = np.concatenate([task.part(name).y for name in SPLITS])
    drawn = control_labels(forms, np.array(task.classes, dtype=object)[y], seed=seed)
    index = {c: i for i, c in enumerate(task.classes)}
    encoded = np.array([index[label] for label in drawn], dtype=np.int32)
    stops = np.cumsum([len(task.part(name)) for name in SPLITS])[:-1]
    parts = dict(zip(SPLITS, np.split(encoded, stops), strict=True))
    return task.with_labels(f"control({task.name})", parts)


def selectivity(
    task: Task,
    probe: ProbeResult,
    minimal: MinimalSet,
    *,
    seeds: Sequence[int] = (0,),
    l2: float = RETRAIN_L2,
    seed: int = 0,
) -> Selectivity:
    """Compare property and control task for all neurons and for each minimal set.

    All neurons are compared with the elastic-net probe at its own λ, the sets with retrained
    ridge probes. With several control ``seeds`` each draws its own labels, and the control's
    interval covers them. As many random neurons as the smallest set stand beside it.
    """
    controls = [control_task(task, seed=s) for s in seeds]

    def whole(other: Task) -> np.ndarray:
        fit = fit_probe(other, l1=probe.l1, l2=probe.l2, tol=CONTROL_TOL, seed=seed)
        return correct_of(other.test, fit.coef, fit.intercept)

    def subset(job: tuple[Task, np.ndarray]) -> np.ndarray:
        return correct_retrained(job[0], job[1], l2=l2)

    deltas = minimal.sets.sort("delta")["delta"].to_list()
    k = min(minimal.sets["k"].to_list())
    rival = random_sets(task.n_neurons, k, 3, seed)
    names = [*(f"minimal set (δ = {delta:g})" for delta in deltas), "random neurons"]
    # A row's own fits and its control fits; each random set meets one control, in turn.
    plan: list[tuple[list[np.ndarray], list[tuple[Task, np.ndarray]]]] = []
    for delta in deltas:
        chosen = np.sort(minimal.members(delta))
        plan.append(([chosen], [(other, chosen) for other in controls]))
    plan.append((rival, [(controls[i % len(controls)], s) for i, s in enumerate(rival)]))
    jobs: list[tuple[Task, np.ndarray | None]] = [(other, None) for other in controls]
    for mine, others in plan:
        jobs += [*((task, chosen) for chosen in mine), *others]
    right = map_tasks(
        lambda job: whole(job[0]) if job[1] is None else subset((job[0], job[1])),
        jobs,
        description=f"{task.name}: selectivity",
    )
    own = correct_of(task.test, probe.coef, probe.intercept)
    n = len(controls)
    rows = [_row(task, "all neurons", task.n_neurons, own[None], np.stack(right[:n]), seed)]
    at = n
    for name, (mine, others) in zip(names, plan, strict=True):
        middle, end = at + len(mine), at + len(mine) + len(others)
        own_right, control_right = np.stack(right[at:middle]), np.stack(right[middle:end])
        rows.append(_row(task, name, len(mine[0]), own_right, control_right, seed))
        at = end
    known = set(task.train.form.tolist())
    return Selectivity(
        provenance=Provenance(
            method="selectivity",
            settings={
                "l1": probe.l1,
                "l2": probe.l2,
                "control_seeds": tuple(seeds),
                "retrain_l2": l2,
            },
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        table=pl.DataFrame(rows),
        seen_share=float(np.mean([form in known for form in task.test.form.tolist()])),
    )


def _row(
    task: Task, name: str, k: int, right: np.ndarray, control: np.ndarray, seed: int
) -> dict[str, object]:
    own = estimate(right, task.test, seed=seed)
    other = estimate(control, task.test, seed=seed)
    return {
        "neurons": name,
        "k": k,
        "accuracy": own.value,
        "low": own.low,
        "high": own.high,
        "control": other.value,
        "control_low": other.low,
        "control_high": other.high,
        "selectivity": own.value - other.value,
    }
