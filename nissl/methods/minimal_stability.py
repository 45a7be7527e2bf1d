"""How much of a minimal set comes back on other training sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.methods.minimal import MinimalSet
from nissl.methods.rankings import parse_method
from nissl.methods.subsample import halves, resample, with_train_rows
from nissl.methods.task import Task
from nissl.parallel import map_tasks
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SetStability", "set_stability"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SetStability(Result):
    """How much of a set comes back when the neurons are ranked on other training sentences.

    Attributes
    ----------
    k
        Size of the set.
    over
        ``halves`` or ``bootstrap``.
    runs
        One row a ranking: ``run``, and ``overlap``, the share of the set among its k best.
    table
        One row a neuron of the set, in its order: ``rank, neuron, frequency`` (share of the
        rankings that have it among their k best).
    expected
        The share that random sets of this size have in common, k / d.
    """

    kind: ClassVar[str] = "set stability"
    property: str
    method: str
    k: int
    over: str
    runs: pl.DataFrame
    table: pl.DataFrame
    expected: float

    def frame(self) -> pl.DataFrame:
        """The set's neurons and how often each comes back."""
        return self.table

    def summary(self) -> tuple[str, ...]:
        """Share of the set that comes back, and its steady core."""
        overlap = self.runs["overlap"].to_numpy()
        core = int((self.table["frequency"] >= 0.9).sum())
        where = "half of the sentences" if self.over == "halves" else "resampled sentences"
        return (
            f"Ranked on {where} ({len(overlap)} times), {overlap.mean():.0%} of the "
            f"{self.k:,} neurons for {self.property} are among the {self.k:,} best again "
            f"({overlap.min():.0%} to {overlap.max():.0%}; by chance {self.expected:.1%}); "
            f"{core:,} of them nearly always.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """How often each neuron of the set comes back, by its rank."""
        from nissl.plotting import new_axes

        ax = new_axes(ax)
        ax.plot(self.table["rank"].to_numpy(), self.table["frequency"].to_numpy(), "o")
        ax.axhline(self.expected, linestyle=":", linewidth=1, label="by chance")
        ax.set_ylim(-0.03, 1.03)
        ax.set_xlabel("rank in the set")
        ax.set_ylabel("share of rankings that choose it")
        ax.legend()
        return ax


def set_stability(
    task: Task,
    minimal: MinimalSet,
    method: str = "lca",
    *,
    delta: float = 1.0,
    over: Literal["halves", "bootstrap"] = "halves",
    runs: int = 10,
    seed: int = 0,
    **settings: Any,
) -> SetStability:
    """Rank the neurons again on other training sentences and count what comes back of a set.

    Parameters
    ----------
    task, minimal
        The property and its minimal set.
    method, settings
        How to rank (see :data:`nissl.methods.RANKINGS`): as the set's own order was made.
    delta
        Which of the minimal sets.
    over
        ``halves``: random halves of the sentences, each pair of halves without a sentence in
        common (``runs`` must be even); ``bootstrap``: sentences drawn with replacement.
    runs
        Number of rankings.
    seed
        Of the sentences, and of the seeds that methods which use chance get, another each run.
    """
    if over not in ("halves", "bootstrap"):
        raise SettingError(f'over must be "halves" or "bootstrap", not "{over}"')
    if runs < 2 or (over == "halves" and runs % 2):
        raise SettingError(f"runs must be 2 or more, and even for halves, not {runs}")
    ranker, carried = parse_method(method)
    if ranker.name != minimal.method:
        raise SettingError(
            f"the minimal set is of a ranking by {minimal.method}, not by {ranker.name}"
        )
    own = minimal.members(delta)
    k = len(own)
    if over == "halves":
        rows = [half for i in range(runs // 2) for half in halves(task, seed=seed + i)]
    else:
        rows = [resample(task, seed=seed + i) for i in range(runs)]

    # A seed for each ranking: with the set's own seed, chance itself would come back every time.
    seeds = np.random.default_rng([seed, 9]).integers(2**31, size=runs)

    def best(run: int) -> np.ndarray:
        other = with_train_rows(task, rows[run])
        return ranker(other, seed=int(seeds[run]), **{**carried, **settings}).top(k)

    found = map_tasks(best, range(runs), description=f"{task.name}: stability of the minimal set")
    back = np.stack([np.isin(own, top) for top in found])
    return SetStability(
        provenance=Provenance(
            method="set stability",
            settings={"method": method, "delta": delta, "over": over, "runs": runs, **settings},
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        method=method,
        k=k,
        over=over,
        runs=pl.DataFrame({"run": np.arange(runs), "overlap": back.mean(axis=1)}),
        table=pl.DataFrame(
            {
                "rank": np.arange(1, k + 1),
                "neuron": task.neurons["neuron"].to_numpy()[own],
                "frequency": back.mean(axis=0),
            }
        ),
        expected=k / task.n_neurons,
    )
