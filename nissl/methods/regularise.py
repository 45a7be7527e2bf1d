"""Search of the regularisation by ablation (Durrani et al. 2020, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.kernels.ablation import (
    UNREGULARISED_L2,
    ablate_probe,
    ablation_score,
    check_fraction,
)
from nissl.kernels.dense import fit_dense
from nissl.kernels.elastic_net import Fit, elastic_net_path
from nissl.kernels.univariate import f_statistic
from nissl.methods.evaluate import correct_of
from nissl.methods.task import Task
from nissl.parallel import map_tasks
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DEFAULT_GRID", "LambdaSearch", "search_lambda"]

DEFAULT_GRID = ((1e-2, 1e-2), (3e-3, 3e-3), (1e-3, 1e-3), (3e-4, 3e-4), (1e-4, 1e-4))
"""Pairs (λ₁, λ₂) that are tried by default."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LambdaSearch(Result):
    """Scores of the regularisation grid.

    Attributes
    ----------
    table
        One row a pair: ``l1, l2, top, bottom, accuracy, score, neurons`` (dev accuracies;
        ``top``/``bottom``: all but the best/worst ``fraction`` set to their mean), and the fit's
        certificate: ``gap, iterations, gradients, converged, cpu_seconds``.
    unregularised
        Dev accuracy without regularisation.
    """

    kind: ClassVar[str] = "lambda"
    property: str
    l1: float
    l2: float
    table: pl.DataFrame
    unregularised: float
    alpha: float
    beta: float
    fraction: float

    def frame(self) -> pl.DataFrame:
        """The table of the search."""
        return self.table

    def summary(self) -> tuple[str, ...]:
        """The chosen pair."""
        row = self.table.row(int(self.table["score"].arg_max() or 0), named=True)
        return (
            f"The search over {self.table.height} settings chose λ₁ = {self.l1:g}, "
            f"λ₂ = {self.l2:g}: keeping the best {self.fraction:.0%} of neurons gives "
            f"{row['top']:.1%} on dev, keeping the worst {self.fraction:.0%} {row['bottom']:.1%}; "
            f"all neurons give {row['accuracy']:.1%}, without regularisation "
            f"{self.unregularised:.1%}.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Score, top, bottom and whole accuracy against λ₁."""
        from nissl.plotting import curve, new_axes

        ax = new_axes(ax)
        table = self.table.sort("l1")
        x = table["l1"].to_numpy()
        curve(ax, x, table["accuracy"].to_numpy(), None, None, "all neurons", "all")
        curve(ax, x, table["top"].to_numpy(), None, None, f"best {self.fraction:.0%}", "top")
        curve(ax, x, table["bottom"].to_numpy(), None, None, f"worst {self.fraction:.0%}", "bottom")
        ax.set_xscale("log")
        ax.set_xlabel("λ₁")
        ax.set_ylabel("dev accuracy")
        ax.legend()
        return ax


def search_lambda(
    task: Task,
    *,
    grid: Sequence[tuple[float, float]] = DEFAULT_GRID,
    alpha: float = 0.5,
    beta: float = 0.5,
    fraction: float = 0.2,
    tol: float = 1e-3,
) -> tuple[LambdaSearch, Fit]:
    """Choose (λ₁, λ₂) by ablation on the dev tokens; return the search and the chosen fit.

    score = α (A_top − A_bottom) − β (A_unregularised − A_λ), where A_top keeps the best
    ``fraction`` of neurons by LCA and sets all others to their mean, A_bottom the worst.

    Raises
    ------
    SettingError
        An empty grid, a negative value, or a fraction outside (0, 0.5].
    """
    pairs = [(float(a), float(b)) for a, b in grid]
    if not pairs:
        raise SettingError("the λ grid is empty; give pairs such as (1e-3, 1e-3)")
    if any(a < 0 or b < 0 for a, b in pairs):
        raise SettingError("the λ grid has a negative value; penalties are 0 or more")
    check_fraction(fraction)
    train, dev = task.train, task.dev
    ties = f_statistic(train.X, train.y, task.n_classes)

    def without() -> list[Fit]:
        return [
            fit_dense(
                train.X,
                train.y,
                task.n_classes,
                l2=UNREGULARISED_L2,
                tol=1e-2,
                certificate=False,
            )
        ]

    def path() -> list[Fit]:
        return elastic_net_path(train.X, train.y, task.n_classes, grid=pairs, tol=tol)

    (free,), fits = map_tasks(
        lambda job: job(), [without, path], description=f"{task.name}: search of λ"
    )
    unregularised = float(correct_of(dev, free.coef, free.intercept).mean())
    rows = []
    for (l1, l2), fit in zip(pairs, fits, strict=True):
        kept = ablate_probe(
            dev.X, dev.y, fit.coef, fit.intercept, fraction=fraction, tie_score=ties
        )
        rows.append(
            {
                "l1": l1,
                "l2": l2,
                "top": kept.top,
                "bottom": kept.bottom,
                "accuracy": kept.whole,
                "score": ablation_score(kept, unregularised, alpha=alpha, beta=beta),
                "neurons": int((fit.coef != 0).any(axis=0).sum()),
                "gap": float(fit.gap),
                "iterations": int(fit.iterations),
                "gradients": float(fit.gradients),
                "converged": bool(fit.converged),
                "cpu_seconds": float(fit.seconds),
            }
        )
    best = int(np.argmax([row["score"] for row in rows]))
    search = LambdaSearch(
        provenance=Provenance(
            method="lambda search",
            settings={
                "grid": pairs,
                "alpha": alpha,
                "beta": beta,
                "fraction": fraction,
                "tol": tol,
            },
            inputs={**task.inputs, "task": task.fingerprint},
        ),
        property=task.name,
        l1=pairs[best][0],
        l2=pairs[best][1],
        table=pl.DataFrame(rows),
        unregularised=unregularised,
        alpha=alpha,
        beta=beta,
        fraction=fraction,
    )
    return search, fits[best]
