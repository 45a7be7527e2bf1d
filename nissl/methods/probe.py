"""The elastic-net probe of one property (Durrani et al. 2020, section 2.1)."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from nissl.kernels.elastic_net import Fit, fit_elastic_net
from nissl.methods.evaluate import Estimate, correct_of, estimate, majority_accuracy
from nissl.methods.task import Task
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ProbeResult", "fit_probe"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeResult(Result):
    """A fitted probe: exact-zero weights on standardised neurons, and how well it does.

    Attributes
    ----------
    coef
        Weights (C, d) for standardised neurons; exact zeros.
    intercept
        (C,).
    objective
        Mean cross-entropy + λ₁‖W‖₁ + (λ₂/2)‖W‖² on the training tokens, in float64.
    gap
        Certified relative duality gap of the fit.
    kkt
        Largest violation of the optimality conditions.
    iterations, gradients
        Outer iterations, and work in units of one full gradient (both matrix products). A fit that
        starts from another, as after a search of λ, counts its own alone.
    seconds
        CPU seconds of the fit.
    converged
        Whether the tolerance was reached.
    accuracy, low, high
        Test accuracy with its 95 % sentence-bootstrap interval.
    majority
        Test accuracy of the most frequent training class.
    """

    kind: ClassVar[str] = "probe"
    property: str
    classes: tuple[str, ...]
    neurons: pl.DataFrame
    coef: np.ndarray
    intercept: np.ndarray
    l1: float
    l2: float
    objective: float
    gap: float
    kkt: float
    iterations: int
    gradients: float
    seconds: float
    converged: bool
    train_accuracy: float
    dev_accuracy: float
    accuracy: float
    low: float
    high: float
    majority: float
    per_class: pl.DataFrame

    @builtins.property  # a field of this class is called property
    def n_used(self) -> int:
        """Number of neurons with a non-zero weight for some class."""
        return int((self.coef != 0).any(axis=0).sum())

    def frame(self) -> pl.DataFrame:
        """One row a class: test tokens, precision, recall, F1, non-zero neurons."""
        return self.per_class

    def summary(self) -> tuple[str, ...]:
        """Accuracy beside majority, and how many neurons have a weight."""
        state = "" if self.converged else " (stopped before its tolerance)"
        return (
            f"The {self.property} probe is right on {self.accuracy:.1%} of test tokens "
            f"(95 % interval {self.low:.1%} to {self.high:.1%}); always naming the most frequent "
            f"class is right on {self.majority:.1%}.",
            f"It gives {self.n_used:,} of {self.neurons.height:,} neurons a non-zero weight "
            f"(λ₁ = {self.l1:g}, λ₂ = {self.l2:g}; certified relative gap {self.gap:.1e}{state}).",
        )

    def certificate(self) -> str:
        """How good the fit is and what it cost, in one line."""
        plural = "" if self.iterations == 1 else "s"
        return (
            f"Certificate: relative gap {self.gap:.1e}, optimality violation {self.kkt:.1e}, "
            f"objective {self.objective:.6g}; {self.iterations:,} iteration{plural}, "
            f"{self.gradients:,.1f} full gradients, {self.seconds:.2f} CPU s; "
            f"{'converged' if self.converged else 'NOT CONVERGED'}."
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Bars of recall a class, most frequent first."""
        from nissl.plotting import bars, new_axes

        top = self.per_class.sort("tokens", descending=True).head(25)
        ax = new_axes(ax, size=(6.4, 0.22 * top.height + 1.0))
        bars(ax, top["class"].to_list(), top["recall"].to_numpy(), None, None)
        ax.set_xlabel("recall on test tokens")
        return ax


def fit_probe(
    task: Task,
    *,
    l1: float = 1e-3,
    l2: float = 1e-3,
    tol: float = 1e-3,
    start: Fit | None = None,
    seed: int = 0,
) -> ProbeResult:
    """Fit the elastic-net multinomial probe of a task and evaluate it.

    Minimises mean cross-entropy + λ₁‖W‖₁ + (λ₂/2)‖W‖² on the standardised training tokens, the
    intercept free, to a certified relative duality gap of ``tol``.

    Parameters
    ----------
    task
        The property.
    l1, l2
        Strengths of the two penalties.
    tol
        Relative duality gap at which to stop.
    start
        A fit of the same task to start from.
    seed
        Seed of the bootstrap interval (the fit itself is deterministic).
    """
    fit = fit_elastic_net(
        task.train.X, task.train.y, task.n_classes, l1=l1, l2=l2, tol=tol, start=start
    )
    return evaluate_fit(task, fit, l1=l1, l2=l2, tol=tol, seed=seed)


def evaluate_fit(
    task: Task, fit: Fit, *, l1: float, l2: float, tol: float, seed: int
) -> ProbeResult:
    """Wrap a kernel's fit with its accuracies."""
    right = {
        name: correct_of(task.part(name), fit.coef, fit.intercept) for name in ("train", "dev")
    }
    test = task.test
    scores = predictions(task, fit)
    est: Estimate = estimate(scores == test.y, test, seed=seed)
    return ProbeResult(
        provenance=Provenance(
            method="probe",
            settings={"l1": l1, "l2": l2, "tol": tol, "standardised": True},
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        classes=task.classes,
        neurons=task.neurons,
        coef=fit.coef,
        intercept=fit.intercept,
        l1=l1,
        l2=l2,
        objective=float(fit.objective),
        gap=float(fit.gap),
        kkt=float(fit.kkt),
        iterations=int(fit.iterations),
        gradients=float(fit.gradients),
        seconds=float(fit.seconds),
        converged=bool(fit.converged),
        train_accuracy=float(right["train"].mean()),
        dev_accuracy=float(right["dev"].mean()),
        accuracy=est.value,
        low=est.low,
        high=est.high,
        majority=majority_accuracy(task),
        per_class=_per_class(task, scores, fit.coef),
    )


def predictions(task: Task, fit: Fit) -> np.ndarray:
    """Return predicted class indices of the test tokens, (n,)."""
    from nissl.kernels.elastic_net import predict_scores

    return predict_scores(task.test.X, fit.coef, fit.intercept).argmax(axis=1)


def _per_class(task: Task, predicted: np.ndarray, coef: np.ndarray) -> pl.DataFrame:
    truth = task.test.y
    n = task.n_classes
    hits = np.bincount(truth[predicted == truth], minlength=n)
    true = np.bincount(truth, minlength=n)
    named = np.bincount(predicted, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        # A class that is never named has no precision; it is shown as missing, not as zero.
        precision = np.where(named > 0, hits / np.maximum(named, 1), np.nan)
        recall = np.where(true > 0, hits / np.maximum(true, 1), np.nan)
        f1 = 2 * hits / np.maximum(named + true, 1)
    return pl.DataFrame(
        {
            "class": list(task.classes),
            "train_tokens": task.class_counts("train"),
            "tokens": true,
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "neurons": (coef != 0).sum(axis=1),
        }
    ).with_columns(pl.col("precision", "recall").fill_nan(None))
