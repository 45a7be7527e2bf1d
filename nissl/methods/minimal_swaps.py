"""How many sets are as good as a minimal set: its neurons swapped for correlated ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.kernels.clusters import correlation_clusters
from nissl.kernels.dense import fit_dense
from nissl.kernels.fit import Fit
from nissl.kernels.intervals import bootstrap_accuracy
from nissl.methods.evaluate import (
    N_BOOT,
    RETRAIN_L2,
    RETRAIN_TOL,
    correct_of_subset,
    retrain,
    take_columns,
)
from nissl.methods.minimal import MinimalSet
from nissl.methods.minimal_equals import EqualSets
from nissl.methods.task import Task
from nissl.parallel import map_tasks
from nissl.results import Provenance

__all__ = ["equal_sets"]


def equal_sets(
    task: Task,
    minimal: MinimalSet,
    *,
    delta: float = 1.0,
    margin: float = 0.5,
    threshold: float = 0.3,
    max_swaps: int = 100,
    draws: int = 20,
    max_tokens: int = 10_000,
    l2: float = RETRAIN_L2,
    seed: int = 0,
) -> EqualSets:
    """Swap each neuron of a minimal set for its cluster mates and count equally good sets.

    Neurons are clustered by average linkage on 1 − absolute correlation (Dalvi et al. 2020). First
    single swaps are tried: one neuron of the set for a mate outside it. A probe is retrained for
    each, and the swap is equal where the lower end of the one-sided 95 % interval of its difference
    to the set (dev, paired bootstrap over sentences) is at least −``margin`` points. Then all
    choices are made at once, at random, ``draws`` times: of a cluster with m members in the set and
    g equal mates, any m of the m + g neurons. The number of sets is the product of these choices,
    times the share of the draws that are equally good.

    It is a count among swaps inside clusters that were tried, and so a lower bound: sets that
    differ in other ways are not looked for.

    Parameters
    ----------
    delta
        Which of the minimal sets.
    threshold
        Cut of the clusters: neurons of one have an absolute correlation above about 1 − threshold.
    max_swaps
        Single swaps to try; drawn at random where there are more.
    draws
        Combinations to try.
    max_tokens
        Training tokens that clusters rest on.
    """
    if margin <= 0:
        raise SettingError(f"margin must be above 0 points, not {margin:g}")
    if max_swaps < 1 or draws < 1:
        raise SettingError("max_swaps and draws must be 1 or more")
    rng = np.random.default_rng([seed, 5])
    X = task.train.X
    if len(X) > max_tokens:
        rows = np.sort(rng.choice(len(X), max_tokens, replace=False))
        X = np.ascontiguousarray(X.T[:, rows]).T
    cluster, _ = correlation_clusters(X, threshold=threshold)
    own = np.sort(minimal.members(delta))
    pairs = [
        (int(out), int(into))
        for out in own
        for into in np.flatnonzero(cluster == cluster[out])
        if into not in set(own.tolist())
    ]
    mates = len(pairs)
    if mates > max_swaps:
        pairs = [pairs[i] for i in np.sort(rng.choice(mates, max_swaps, replace=False))]
    bench = _Bench(task, own, l2, seed)
    looked = map_tasks(
        lambda pair: bench.compare([pair]), pairs, description=f"{task.name}: swaps of neurons"
    )
    names = task.neurons["neuron"].to_numpy()
    rows_of_swaps = [
        {
            "out": names[out],
            "into": names[into],
            "r": bench.correlation(out, into),
            "difference": difference,
            "low": low,
            "equal": low >= -margin / 100,
        }
        for (out, into), (difference, low) in zip(pairs, looked, strict=True)
    ]
    choices: list[tuple[np.ndarray, np.ndarray]] = []
    for c in np.unique(cluster[own]):
        members = own[cluster[own] == c]
        equal = {
            into
            for (out, into), row in zip(pairs, rows_of_swaps, strict=True)
            if row["equal"] and cluster[out] == c
        }
        if equal:
            choices.append((members, np.array([*members, *sorted(equal)])))
    good = 0
    if choices:
        combined = [_combination(choices, rng) for _ in range(draws)]
        differences = map_tasks(
            bench.compare, combined, description=f"{task.name}: combinations of swaps"
        )
        good = sum(low >= -margin / 100 for _, low in differences)
    ways = [math.comb(len(g), len(m)) for m, g in choices]
    total = sum(math.log10(w) for w in ways)
    share = math.log10(good / draws) if good else -math.inf
    # Every equal single swap is a set too, and the set itself is one, whatever the draws say.
    least = math.log10(1 + sum(bool(row["equal"]) for row in rows_of_swaps))
    swaps = pl.DataFrame(
        rows_of_swaps,
        schema={
            "out": pl.String,
            "into": pl.String,
            "r": pl.Float64,
            "difference": pl.Float64,
            "low": pl.Float64,
            "equal": pl.Boolean,
        },
    )
    return EqualSets(
        provenance=Provenance(
            method="equal sets",
            settings={
                "delta": delta,
                "margin": margin,
                "threshold": threshold,
                "max_swaps": max_swaps,
                "draws": draws,
                "max_tokens": max_tokens,
                "retrain_l2": l2,
            },
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        k=len(own),
        margin=margin,
        threshold=threshold,
        swaps=swaps,
        mates=mates,
        choices=pl.DataFrame(
            {
                "members": [len(m) for m, _ in choices],
                "candidates": [len(g) for _, g in choices],
                "sets": [float(w) for w in ways],
            },
            schema={"members": pl.Int64, "candidates": pl.Int64, "sets": pl.Float64},
        ),
        tried=draws if choices else 0,
        good=good,
        log10_sets=max(total + share, least),
    )


def _combination(
    choices: Sequence[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Choose as many neurons of each cluster as the set has there; return (out, into) pairs."""
    pairs: list[tuple[int, int]] = []
    for members, candidates in choices:
        chosen = rng.choice(candidates, len(members), replace=False)
        out = np.setdiff1d(members, chosen)
        into = np.setdiff1d(chosen, members)
        pairs += list(zip(out.tolist(), into.tolist(), strict=True))
    return pairs


class _Bench:
    """Probes on the set with some neurons swapped, against the probe on the set itself."""

    def __init__(self, task: Task, own: np.ndarray, l2: float, seed: int) -> None:
        self.task, self.own, self.l2, self.seed = task, own, l2, seed
        self.fit: Fit = retrain(task, own, l2=l2)
        self.right = correct_of_subset(task.dev, self.fit.coef, self.fit.intercept, own)

    def correlation(self, a: int, b: int) -> float:
        """Pearson's r on the training tokens, where both have mean 0 and standard deviation 1."""
        XT = self.task.train.X.T
        return float(XT[a] @ XT[b] / XT.shape[1])

    def compare(self, pairs: Sequence[tuple[int, int]]) -> tuple[float, float]:
        """Return the dev difference of the swapped set to the set, and its one-sided lower end."""
        chosen = self.own.copy()
        coef = self.fit.coef.copy()
        for out, into in pairs:
            at = int(np.searchsorted(self.own, out))
            chosen[at] = into
            # A mate says the same, with the sign of its correlation: a start close to the end.
            coef[:, at] *= self.correlation(out, into)
        start = dataclasses.replace(self.fit, coef=coef)
        train = self.task.train
        fit = fit_dense(
            take_columns(train.X, chosen),
            train.y,
            self.task.n_classes,
            l2=self.l2,
            start=start,
            tol=RETRAIN_TOL,
            certificate=False,
        )
        right = correct_of_subset(self.task.dev, fit.coef, fit.intercept, chosen)
        value, low, _ = bootstrap_accuracy(
            right.astype(np.float64) - self.right,
            self.task.dev.sentence,
            n_boot=N_BOOT,
            seed=self.seed,
            level=0.9,
        )
        return value, low
