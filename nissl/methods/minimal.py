"""The minimal neuron set: the fewest best neurons that do as well as all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from nissl.errors import SettingError, did_you_mean
from nissl.methods.evaluate import (
    RETRAIN_L2,
    Curve,
    correct_retrained,
    estimate,
    random_sets,
)
from nissl.methods.minimal_search import SizesTried, bisect_size, grid_size
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
    rule
        What a size had to show: ``point`` (its dev accuracy is within δ) or ``sure`` (so is the
        lower end of the interval of its difference to all neurons).
    level
        Level of that interval, two-sided.
    points
        Every size tried: ``k``, ``percent``, ``dev_accuracy``, and the paired difference to all
        neurons on dev, ``difference, difference_low, difference_high`` (shares, not points).
    sets
        One row a δ (in points): ``delta, k, percent, dev_accuracy, accuracy, low, high,
        random_accuracy, random_low, random_high`` (test; random: as many random neurons), and
        ``k_low, k_high``: no size below ``k_low`` was within δ when its difference was given the
        benefit of the doubt, and ``k_high`` surely is.
    all_dev, all_test
        Accuracy of a probe retrained on all neurons.
    order
        The ranking's order, so that ``members(δ)`` can be read off.
    """

    kind: ClassVar[str] = "minimal"
    property: str
    method: str
    rule: str
    level: float
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
            f"{self.property} ({row['dev_accuracy']:.1%} against {self.all_dev:.1%}; the dev "
            f"tokens allow {row['k_low']:,} to {row['k_high']:,} neurons); on test they give "
            f"{row['accuracy']:.1%}, as many random neurons {row['random_accuracy']:.1%}."
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
    search: Literal["bisect", "grid"] = "bisect",
    rule: Literal["point", "sure"] = "point",
    level: float = 0.95,
    precision: float = 0.03,
    growth: float = 1.6,
    draws: int = 5,
    l2: float = RETRAIN_L2,
    seed: int = 0,
) -> MinimalSet:
    """Look for the fewest best neurons whose retrained probe is within δ points of all neurons.

    The difference of a size to all neurons is measured on the dev tokens, and its interval is a
    paired bootstrap over sentences: both probes are right or wrong on the same tokens, so that it
    is far narrower than that of either accuracy. Three sizes are searched for with it:

    - ``k_low``: the first whose difference may be within δ (upper end ≥ −δ);
    - the crossing: the first whose difference is within δ (value ≥ −δ);
    - ``k_high``: the first whose difference surely is (lower end ≥ −δ).

    The set's size is the crossing, or ``k_high`` where the rule is ``sure``. Each search stops when
    the sizes on both sides of it differ by at most one neuron or by ``precision`` of the larger. An
    accuracy is noisy in k: a crossing is not a proven minimum, and where there are few dev tokens
    ``k_high`` may be all neurons. After Durrani et al. 2020, section 3.2.

    Parameters
    ----------
    deltas
        Tolerances in percentage points.
    search
        ``bisect`` halves log k; ``grid`` tries sizes that grow by ``growth`` from .25 % of the
        neurons and narrows the first that suffices (more probes; rather the first of several
        crossings).
    rule
        ``point`` or ``sure``.
    level
        Level of the two-sided interval of the difference.
    draws
        Number of random sets of the same size, as control.
    """
    if not len(deltas) or min(deltas) < 0:
        raise SettingError("deltas are percentage points, 0 or more, and there is at least one")
    if growth <= 1:
        raise SettingError(f"growth must be above 1, not {growth:g}")
    if draws < 1:
        raise SettingError(f"draws must be 1 or more, not {draws}: random sets are the control")
    if not 0 < precision < 1:
        raise SettingError(f"precision must lie between 0 and 1, not {precision:g}")
    for value, known in ((search, ("bisect", "grid")), (rule, ("point", "sure"))):
        if value not in known:
            raise SettingError(
                f'"{value}" is neither {" nor ".join(known)}.{did_you_mean(value, known)}'
            )
    d = task.n_neurons
    sizes = SizesTried(task, Curve(task, ranking.order, l2=l2), level, seed)
    find = bisect_size if search == "bisect" else partial(grid_size, growth=growth)
    found: dict[float, tuple[int, int, int]] = {}
    for delta in sorted(deltas, reverse=True):
        ends = [
            find(partial(sizes.within, delta / 100, which), d, precision=precision)
            for which in ("difference_high", "difference", "difference_low")
        ]
        (short, low), (_, crossing), (_, high) = ends
        # Three crossings of noisy curves need not be in order; the interval holds the crossing.
        found[delta] = (min(short + 1, crossing), crossing, max(low, crossing, high))
    rows = [
        _set_row(task, sizes, delta, found[delta], rule, draws, l2, seed)
        for delta in sorted(deltas)
    ]
    return MinimalSet(
        provenance=Provenance(
            method="minimal set",
            settings={
                "deltas": tuple(deltas),
                "search": search,
                "rule": rule,
                "level": level,
                "precision": precision,
                "growth": growth,
                "draws": draws,
                "retrain_l2": l2,
            },
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        method=ranking.method,
        rule=rule,
        level=level,
        points=sizes.frame(),
        sets=pl.DataFrame(rows),
        all_dev=float(sizes.whole.mean()),
        all_test=float(sizes.curve.correct(d).mean()),
        order=ranking.order,
    )


def _set_row(
    task: Task,
    sizes: SizesTried,
    delta: float,
    found: tuple[int, int, int],
    rule: str,
    draws: int,
    l2: float,
    seed: int,
) -> dict[str, Any]:
    k_low, crossing, k_high = found
    k = crossing if rule == "point" else k_high
    right = map_tasks(
        lambda neurons: correct_retrained(task, neurons, l2=l2),
        random_sets(task.n_neurons, k, draws, seed),
        description=f"{task.name}: minimal set, δ = {delta:g}",
    )
    # The probe of the best k is the one that was found on the dev tokens.
    top = estimate(sizes.curve.correct(k), task.test, seed=seed)
    rand = estimate(np.stack(right), task.test, seed=seed)
    return {
        "delta": float(delta),
        "k": k,
        "percent": 100 * k / task.n_neurons,
        "k_low": k_low,
        "k_high": k_high,
        "dev_accuracy": sizes.rows[k]["dev_accuracy"],
        "accuracy": top.value,
        "low": top.low,
        "high": top.high,
        "random_accuracy": rand.value,
        "random_low": rand.low,
        "random_high": rand.high,
    }
