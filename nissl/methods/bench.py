"""One evaluation for every ranking of a task: the same sizes, random sets, probes and tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from nissl.kernels.intervals import bootstrap_accuracy
from nissl.methods.evaluate import (
    N_BOOT,
    Curve,
    correct_masked,
    correct_retrained,
    estimate,
    random_sets,
)
from nissl.methods.probe import ProbeResult
from nissl.methods.rank import Ranking
from nissl.methods.task import Task
from nissl.parallel import map_tasks

__all__ = ["ALL", "RANDOM", "bench_rows"]

RANDOM, ALL = "(random sets)", "(all neurons)"

_Key = tuple[str, str, str, int]
_Right = dict[_Key, np.ndarray]


def bench_rows(
    task: Task,
    rankings: Mapping[str, Ranking],
    ks: Sequence[int],
    *,
    probe: ProbeResult | None,
    how: Sequence[str],
    kinds: Sequence[str],
    draws: int,
    l2: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Return one row a (way, ranking, best or worst, k), and for random sets and all neurons.

    Parameters
    ----------
    rankings
        Name to ranking.
    ks
        Set sizes, sorted.
    probe
        The probe that ``mask`` keeps; may be None where ``how`` has only ``retrain``.
    how
        ``retrain``, ``mask`` or both.
    kinds
        ``top``, ``bottom`` or both.

    Returns
    -------
    list of dict
        ``how, method, kind, k, percent, accuracy, low, high`` (test tokens, 95 %);
        ``gain, gain_low, gain_high``: paired difference to random sets of this size, for rankings;
        ``behind, behind_low, behind_high``: paired difference of the most accurate ranking of
        this way, kind and size to this one.
    """
    right = _right(task, rankings, tuple(ks), probe, how, kinds, draws, l2, seed)
    rows: list[dict[str, Any]] = []

    def row(key: _Key) -> dict[str, Any]:
        mode, method, kind, k = key
        found = estimate(right[key], task.test, seed=seed)
        return {
            "property": task.name,
            "how": mode,
            "method": method,
            "kind": kind,
            "k": k,
            "percent": 100 * k / task.n_neurons,
            "accuracy": found.value,
            "low": found.low,
            "high": found.high,
        }

    def paired(name: str, difference: np.ndarray) -> dict[str, float]:
        value, low, high = bootstrap_accuracy(
            difference, task.test.sentence, n_boot=N_BOOT, seed=seed
        )
        return {name: value, f"{name}_low": low, f"{name}_high": high}

    for mode in how:
        for k in ks:
            chance = right[mode, RANDOM, "random", k].astype(np.float64)
            rows.append(row((mode, RANDOM, "random", k)))
            for kind in kinds:
                of = {name: right[mode, name, kind, k].astype(np.float64) for name in rankings}
                best = max(of.values(), key=lambda value: float(value.mean()))
                rows += [
                    {
                        **row((mode, name, kind, k)),
                        **paired("gain", value - chance),
                        **paired("behind", best - value),
                    }
                    for name, value in of.items()
                ]
        rows.append(row((mode, ALL, "all", task.n_neurons)))
    return rows


def _right(
    task: Task,
    rankings: Mapping[str, Ranking],
    ks: tuple[int, ...],
    probe: ProbeResult | None,
    how: Sequence[str],
    kinds: Sequence[str],
    draws: int,
    l2: float,
    seed: int,
) -> _Right:
    """Return which test tokens are right: (n,), and (draws, n) for random sets."""
    d = task.n_neurons
    jobs: list[tuple[int, Callable[[], _Right]]] = []

    def curve(name: str, kind: str, order: np.ndarray) -> _Right:
        found = Curve(task, order, l2=l2)
        return {("retrain", name, kind, k): found.correct(k) for k in ks}

    def alone(mode: str, neurons: np.ndarray) -> np.ndarray:
        if mode == "retrain":
            return correct_retrained(task, neurons, l2=l2)
        assert probe is not None
        return correct_masked(task.test, probe.coef, probe.intercept, neurons)

    def chance(mode: str, k: int) -> _Right:
        # The same sets for every ranking.
        sets = random_sets(d, k, draws, seed)
        return {(mode, RANDOM, "random", k): np.stack([alone(mode, s) for s in sets])}

    def masked(name: str, kind: str, order: np.ndarray) -> _Right:
        return {("mask", name, kind, k): alone("mask", np.sort(order[:k])) for k in ks}

    def whole(mode: str) -> _Right:
        return {(mode, ALL, "all", d): alone(mode, np.arange(d))}

    for mode in how:
        for name, ranking in rankings.items():
            for kind in kinds:
                order = ranking.order if kind == "top" else ranking.order[::-1]
                if mode == "retrain":
                    jobs.append((sum(ks), partial(curve, name, kind, order[: ks[-1]])))
                else:
                    jobs.append((0, partial(masked, name, kind, order)))
        jobs += [(draws * k * (mode == "retrain"), partial(chance, mode, k)) for k in ks]
        jobs.append((d * (mode == "retrain"), partial(whole, mode)))
    # Largest first, so that the last worker is not left alone with the longest fit.
    jobs.sort(key=lambda job: -job[0])
    right: _Right = {}
    for found in map_tasks(
        lambda job: job[1](), jobs, description=f"{task.name}: {len(rankings)} rankings"
    ):
        right.update(found)
    return right
