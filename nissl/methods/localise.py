"""Localised or distributed: how many neurons each label needs, beside how frequent it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from nissl.errors import SettingError
from nissl.kernels.elastic_net import Fit, fit_elastic_net
from nissl.methods.probe import ProbeResult
from nissl.methods.task import Task
from nissl.parallel import map_tasks
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Localisation", "localise", "mass_counts"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Localisation(Result):
    """One row a class: neurons that hold ``mass`` of its weight, with intervals and frequency.

    Attributes
    ----------
    table
        ``class, train_tokens, neurons, low, high, used, layer_entropy``; ``low``/``high`` are the
        2.5 and 97.5 percentiles over ``resamples`` sentence bootstraps of the fit.
    rho, p
        Spearman correlation of neurons with class frequency.
    """

    kind: ClassVar[str] = "localisation"
    property: str
    table: pl.DataFrame
    mass: float
    resamples: int
    rho: float
    p: float

    def frame(self) -> pl.DataFrame:
        """The table."""
        return self.table

    def summary(self) -> tuple[str, ...]:
        """Most localised and most distributed class, and the frequency warning."""
        table = self.table.sort("neurons")
        low, high = table.row(0, named=True), table.row(-1, named=True)
        text = (
            f"Half of the weight on {self.property} sits in"
            if self.mass == 0.5
            else f"{self.mass:.0%} of the weight on {self.property} sits in"
        )
        follow = (
            f"Counts follow class frequency with Spearman ρ = {self.rho:+.2f} (p = {self.p:.2g}):"
            if np.isfinite(self.rho)
            else "How counts follow class frequency cannot be said from these classes:"
        )
        return (
            f"{text} {low['neurons']} neurons for {low['class']} (most localised) and in "
            f"{high['neurons']} for {high['class']} (most distributed).",
            f"{follow} compare only classes of like frequency, because weights of rare classes "
            "are barely trained.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Neurons against class frequency, one dot a class, with intervals."""
        from nissl.plotting import PALETTE, new_axes

        ax = new_axes(ax)
        x, y = self.table["train_tokens"].to_numpy(), self.table["neurons"].to_numpy()
        error = np.stack(
            [y - self.table["low"].to_numpy(), self.table["high"].to_numpy() - y]
        ).clip(min=0)
        ax.errorbar(x, y, yerr=error, fmt="o", color=PALETTE["top"], markersize=4, linewidth=0.8)
        for name, a, b in zip(self.table["class"], x, y, strict=True):
            ax.annotate(name, (a, b), xytext=(4, 3), textcoords="offset points", fontsize=7)
        ax.set_xscale("log")
        ax.set_xlabel("training tokens of the class")
        ax.set_ylabel(f"neurons that hold {self.mass:.0%} of its weight")
        return ax


def mass_counts(coef: np.ndarray, mass: float) -> np.ndarray:
    """Return for each class the length of the shortest prefix holding ``mass`` of Σ|w|, (C,)."""
    size = -np.sort(-np.abs(coef), axis=1)
    total = size.sum(axis=1, keepdims=True)
    share = np.cumsum(size, axis=1) / np.where(total > 0, total, 1)
    # Rounding may leave the last share a hair below 1.
    counts = (share < mass - 1e-12).sum(axis=1) + 1
    return np.where(total[:, 0] > 0, counts, 0)


def localise(
    task: Task,
    probe: ProbeResult,
    *,
    mass: float = 0.5,
    resamples: int = 10,
    tol: float = 1e-2,
    seed: int = 0,
) -> Localisation:
    """Count the neurons of each class and bootstrap the counts over sentences.

    Parameters
    ----------
    mass
        Share of a class's absolute weight that its neurons must hold, in (0, 1].
    resamples
        Sentence bootstraps, each a refit from the probe's weights to a gap of ``tol``.
    """
    if not 0 < mass <= 1:
        raise SettingError(f"mass must lie in (0, 1], not {mass:g}")
    counts = mass_counts(probe.coef, mass)
    start = Fit(
        coef=probe.coef,
        intercept=probe.intercept,
        objective=probe.objective,
        gap=probe.gap,
        kkt=probe.kkt,
        iterations=0,
        gradients=0.0,
        seconds=0.0,
        converged=True,
    )
    train = task.train
    _, sentence = np.unique(train.sentence, return_inverse=True)
    n_sentences = int(sentence.max()) + 1

    def refit(draw: int) -> np.ndarray:
        rng = np.random.default_rng([seed, draw])
        times = np.bincount(rng.integers(0, n_sentences, n_sentences), minlength=n_sentences)
        fit = fit_elastic_net(
            train.X,
            train.y,
            task.n_classes,
            l1=probe.l1,
            l2=probe.l2,
            sample_weight=times[sentence].astype(np.float64),
            start=start,
            tol=tol,
        )
        return mass_counts(fit.coef, mass)

    drawn = map_tasks(refit, range(resamples), description=f"{task.name}: localisation")
    band = (
        np.percentile(np.stack(drawn), [2.5, 97.5], axis=0) if drawn else np.stack([counts, counts])
    )
    frequency = task.class_counts("train")
    rho, p = _spearman(frequency, counts)
    layers = task.layers
    entropy = [_entropy(np.bincount(layers, weights=np.abs(row))) for row in probe.coef]
    return Localisation(
        provenance=Provenance(
            method="localisation",
            settings={
                "mass": mass,
                "resamples": resamples,
                "l1": probe.l1,
                "l2": probe.l2,
                "tol": tol,
            },
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        table=pl.DataFrame(
            {
                "class": list(task.classes),
                "train_tokens": frequency,
                "neurons": counts,
                "low": band[0],
                "high": band[1],
                "used": (probe.coef != 0).sum(axis=1),
                "layer_entropy": entropy,
            }
        ).sort("train_tokens", descending=True),
        mass=mass,
        resamples=resamples,
        rho=rho,
        p=p,
    )


def _spearman(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Spearman's ρ and its p; NaN where it is undefined (two classes, or all values alike)."""
    if len(a) < 3 or (a == a[0]).all() or (b == b[0]).all():
        return float("nan"), float("nan")
    rho, p = spearmanr(a, b)
    return float(rho), float(p)  # pyright: ignore[reportArgumentType]


def _entropy(weights: np.ndarray) -> float:
    """Entropy in bits of the weight's distribution over layers (0: one layer holds all)."""
    total = weights.sum()
    if total <= 0:
        return 0.0
    share = weights[weights > 0] / total
    return float(-(share * np.log2(share)).sum())
