"""Accuracy of a linear probe on a part of a task: whole, masked, or retrained on few neurons."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from dataclasses import dataclass

import numpy as np

from nissl.errors import SettingError
from nissl.kernels.curve import NestedProbes, Prefixes
from nissl.kernels.dense import fit_dense
from nissl.kernels.elastic_net import Fit, predict_scores
from nissl.kernels.intervals import bootstrap_accuracy
from nissl.methods.task import Part, Task
from nissl.parallel import map_tasks

__all__ = [
    "RETRAIN_L2",
    "Curve",
    "Estimate",
    "check_sizes",
    "correct_masked",
    "correct_of",
    "correct_retrained",
    "estimate",
    "majority_accuracy",
    "random_sets",
    "retrain",
]

RETRAIN_L2 = 1e-3
"""Ridge strength of probes retrained on a subset (objective: mean cross-entropy + l2/2 |W|²)."""

RETRAIN_TOL = 1e-2
"""Relative duality gap of retrained probes: accuracies are compared, not weights."""

WARM_SHARE = 0.3
"""Sets of at least this share of the neurons start from the probe on all of them."""

N_BOOT = 1000

_LOCK = threading.Lock()
_FITS: weakref.WeakKeyDictionary[Task, dict[float, Fit]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Estimate:
    """An accuracy with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def estimate(correct: np.ndarray, part: Part, *, seed: int, n_boot: int = N_BOOT) -> Estimate:
    """Return mean accuracy and a sentence-bootstrap interval.

    ``correct`` is (n,) or (draws, n); with several draws each replicate also picks a draw, so the
    interval covers both the choice of neurons and the choice of sentences.
    """
    mean, low, high = bootstrap_accuracy(correct, part.sentence, n_boot=n_boot, seed=seed)
    return Estimate(float(mean), float(low), float(high))


def correct_of(part: Part, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Return which tokens of a part a linear probe gets right, bool (n,)."""
    return predict_scores(part.X, coef, intercept).argmax(axis=1) == part.y


def correct_masked(
    part: Part, coef: np.ndarray, intercept: np.ndarray, keep: np.ndarray
) -> np.ndarray:
    """Return which tokens are right when all neurons but ``keep`` are set to their mean (zero)."""
    return correct_of_subset(part, coef[:, keep], intercept, keep)


def correct_of_subset(
    part: Part, coef: np.ndarray, intercept: np.ndarray, neurons: np.ndarray
) -> np.ndarray:
    """Return which tokens a probe over only ``neurons`` gets right, bool (n,)."""
    X = take_columns(part.X, neurons)
    return predict_scores(X, coef, intercept).argmax(axis=1) == part.y


def retrain(task: Task, neurons: np.ndarray, *, l2: float = RETRAIN_L2) -> Fit:
    """Fit a ridge probe on the training tokens, on ``neurons`` only (sorted positions).

    A large set starts from the probe on all neurons, which is fitted once a task. The optimum is
    unique and the gap the same; only the way there is shorter.
    """
    d, k = task.n_neurons, len(neurons)
    if k == d and np.array_equal(neurons, np.arange(d)):
        return _whole(task, l2)
    start = None
    if k >= WARM_SHARE * d:
        whole = _whole(task, l2)
        # Fewer neurons have to say the same, so each says more.
        start = dataclasses.replace(whole, coef=whole.coef[:, neurons] * (d / k))
    return _ridge(task, take_columns(task.train.X, neurons), l2, start)


def _ridge(task: Task, X: np.ndarray, l2: float, start: Fit | None = None) -> Fit:
    return fit_dense(
        X, task.train.y, task.n_classes, l2=l2, start=start, tol=RETRAIN_TOL, certificate=False
    )


def _whole(task: Task, l2: float) -> Fit:
    """Ridge probe on all neurons, kept as long as the task lives.

    One thread fits it while others wait.
    """
    with _LOCK:
        fits = _FITS.setdefault(task, {})
        if l2 not in fits:
            fits[l2] = _ridge(task, task.train.X, l2)
        return fits[l2]


def correct_retrained(
    task: Task, neurons: np.ndarray, part: str = "test", *, l2: float = RETRAIN_L2
) -> np.ndarray:
    """Return which tokens of ``part`` a probe retrained on ``neurons`` gets right, bool (n,)."""
    fit = retrain(task, neurons, l2=l2)
    return correct_of_subset(task.part(part), fit.coef, fit.intercept, neurons)


class Curve:
    """Probes retrained on the first k neurons of an order, and which tokens they get right.

    Every probe starts from that on a smaller set of the same order, and every neuron is copied
    once for all k; that on all neurons is the task's own, shared by every order.

    Parameters
    ----------
    task, l2
        As in :func:`retrain`.
    order
        Positions of neurons, the ones to keep first, (m,), m ≤ d.
    """

    def __init__(self, task: Task, order: np.ndarray, *, l2: float = RETRAIN_L2) -> None:
        self._task, self._l2, self._order = task, l2, order
        self._probes = NestedProbes(
            task.train.X, task.train.y, task.n_classes, order, l2=l2, tol=RETRAIN_TOL
        )
        self._parts: dict[str, Prefixes] = {}

    def correct(self, k: int, part: str = "test") -> np.ndarray:
        """Return which tokens of ``part`` the probe on the first k neurons gets right, (n,)."""
        return self._correct(k, part, self._probes.below(k))

    def correct_each(self, sizes: list[int], part: str = "test") -> list[np.ndarray]:
        """Return the same for several k, fitted side by side.

        All start from the largest set below the smallest of them, so that the result does not
        depend on how many run at a time.
        """
        if not sizes:
            return []
        start = self._probes.below(min(sizes))
        return map_tasks(lambda k: self._correct(k, part, start), sizes)

    def _correct(self, k: int, part: str, start: Fit | None) -> np.ndarray:
        if k == self._task.n_neurons:
            whole = _whole(self._task, self._l2)
            return correct_of(self._task.part(part), whole.coef, whole.intercept)
        fit = self._probes.fit(k, start)
        with _LOCK:
            if part not in self._parts:
                self._parts[part] = Prefixes(self._task.part(part).X, self._order)
        scores = predict_scores(self._parts[part].first(k), fit.coef, fit.intercept)
        return scores.argmax(axis=1) == self._task.part(part).y


def take_columns(X: np.ndarray, neurons: np.ndarray) -> np.ndarray:
    """Return columns of a Fortran-ordered X as a Fortran-ordered copy (or X itself for all)."""
    if len(neurons) == X.shape[1] and np.array_equal(neurons, np.arange(X.shape[1])):
        return X
    return np.ascontiguousarray(X.T[neurons]).T


def majority_accuracy(task: Task, part: str = "test") -> float:
    """Return the accuracy on ``part`` of always naming the most frequent training class."""
    return float((task.part(part).y == task.class_counts("train").argmax()).mean())


def check_sizes(sizes: list[int] | tuple[int, ...], n_neurons: int) -> tuple[int, ...]:
    """Return set sizes sorted and without repeats, or say which one is impossible."""
    for k in sizes:
        if not 1 <= k <= n_neurons:
            raise SettingError(f"a set of {k} neurons is impossible: there are {n_neurons}")
    return tuple(sorted({int(k) for k in sizes}))


def random_sets(n_neurons: int, k: int, draws: int, seed: int) -> list[np.ndarray]:
    """Return ``draws`` sorted random sets of k neurons; set i depends on seed, k and i alone."""
    sets = []
    for draw in range(draws):
        rng = np.random.default_rng([seed, k, draw])
        sets.append(np.sort(rng.choice(n_neurons, size=k, replace=False)))
    return sets
