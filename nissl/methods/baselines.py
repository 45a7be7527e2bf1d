"""What a probe must beat: majority, word memory, and the same model with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.methods.evaluate import Estimate, estimate, majority_accuracy
from nissl.methods.probe import ProbeResult, fit_probe
from nissl.methods.task import Task
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Baselines", "baselines", "word_memory"]


RANDOM_TOL = 1e-2
"""Relative gap of the random-weights model's fit. Its neurons are nearly collinear, and ten times
the work changes its accuracy by less than the interval shows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Baselines(Result):
    """Accuracy of the probe beside its baselines: ``name, accuracy, low, high``."""

    kind: ClassVar[str] = "baselines"
    property: str
    table: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The table."""
        return self.table

    def summary(self) -> tuple[str, ...]:
        """One sentence with all baselines."""
        rows = {row["name"]: row["accuracy"] for row in self.table.iter_rows(named=True)}
        others = "; ".join(f"{name} {value:.1%}" for name, value in rows.items() if name != "probe")
        return (f"{self.property}: probe {rows['probe']:.1%}; {others}.",)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Bars with intervals."""
        from nissl.plotting import bars, new_axes

        ax = new_axes(ax, size=(6.4, 2.2))
        names, acc, low, high = (self.table[c] for c in ("name", "accuracy", "low", "high"))
        bars(ax, names.to_list(), acc.to_numpy(), low.to_numpy(), high.to_numpy())
        ax.set_xlabel("test accuracy")
        return ax


def word_memory(task: Task) -> np.ndarray:
    """Return which test tokens are right when each word takes its most frequent training class.

    Unseen words take the most frequent class of all. No model is needed for this, so a probe that
    does not beat it shows nothing about the model.
    """
    words, code = np.unique(task.train.form.astype(str), return_inverse=True)
    table = np.zeros((len(words), task.n_classes), dtype=np.int64)
    np.add.at(table, (code, task.train.y), 1)
    best = dict(zip(words.tolist(), table.argmax(axis=1).tolist(), strict=True))
    common = int(task.class_counts("train").argmax())
    guess = np.array([best.get(str(form), common) for form in task.test.form])
    return guess == task.test.y


def baselines(
    task: Task, probe: ProbeResult, *, random_weights: Task | None = None, seed: int = 0
) -> Baselines:
    """Compare a probe with majority, word memory and a random-weights model.

    Parameters
    ----------
    random_weights
        The same tokens through the same architecture with re-initialised weights; left out of the
        table when ``None``.
    """
    majority = task.test.y == task.class_counts("train").argmax()
    found: list[tuple[str, Estimate]] = [
        ("probe", Estimate(probe.accuracy, probe.low, probe.high)),
    ]
    if random_weights is not None:
        if not np.array_equal(random_weights.test.y, task.test.y):
            raise SettingError("the random-weights task has other tokens than the task")
        other = fit_probe(random_weights, l1=probe.l1, l2=probe.l2, tol=RANDOM_TOL, seed=seed)
        found.append(("random-weights model", Estimate(other.accuracy, other.low, other.high)))
    found.append(("word memory", estimate(word_memory(task)[None], task.test, seed=seed)))
    found.append(("majority", estimate(majority[None], task.test, seed=seed)))
    assert abs(found[-1][1].value - majority_accuracy(task)) < 1e-9
    return Baselines(
        provenance=Provenance(
            method="baselines",
            settings={"l1": probe.l1, "l2": probe.l2},
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        table=pl.DataFrame(
            [{"name": n, "accuracy": e.value, "low": e.low, "high": e.high} for n, e in found]
        ),
    )
