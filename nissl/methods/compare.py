"""Every ranking on one bench: accuracy of its neurons, agreement, stability and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import polars as pl

from nissl.errors import SettingError
from nissl.methods.ablate import default_sizes
from nissl.methods.agreement import agreement_rows, check_halves, pair_rows, stability_rows
from nissl.methods.bench import bench_rows
from nissl.methods.comparison import Comparison
from nissl.methods.evaluate import RETRAIN_L2, check_sizes
from nissl.methods.probe import fit_probe
from nissl.methods.rank import Ranking
from nissl.methods.rankings import RankingMethod, parse_method
from nissl.methods.task import Task
from nissl.progress import bar
from nissl.results import Provenance

__all__ = ["DEFAULT_METHODS", "compare"]

DEFAULT_METHODS = ("lca", "weights", "probeless", "f", "mi", "ap", "random")
PERCENTS = (1.0, 5.0, 10.0)
"""Sizes compared by default, in percent of the neurons."""

CONTROL = "random"
"""The ranking that is no method: it takes no part in tables of agreement."""


def compare(
    tasks: Task | Sequence[Task],
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    ks: Sequence[int] | None = None,
    how: Sequence[Literal["retrain", "mask"]] = ("retrain", "mask"),
    kinds: Sequence[Literal["top", "bottom"]] = ("top", "bottom"),
    draws: int = 10,
    seeds: int = 3,
    splits: int = 2,
    l1: float = 1e-3,
    l2: float = 1e-3,
    retrain_l2: float = RETRAIN_L2,
    seed: int = 0,
) -> Comparison:
    """Rank the neurons of one or more tasks by several methods and judge all of them alike.

    Every method's best and worst k neurons are kept, by the same probe with all others set to
    their mean (``mask``) and by a new ridge probe on them alone (``retrain``), beside the same
    random sets; accuracies are on test tokens, with intervals from one bootstrap over sentences,
    and differences are paired. How much the methods agree is no part of that judgement.

    Parameters
    ----------
    tasks
        Properties with different names.
    methods
        Names of :data:`nissl.methods.RANKINGS`, which may carry settings:
        ``("lca", "lca:penalty=ridge", "weights:over=max:l1=1e-4")``.
    ks
        Numbers of neurons kept; by default 1, 5 and 10 % of each task's neurons.
    how, kinds
        Ways of judging, and ends of the ranking.
    draws
        Number of random sets of each size.
    seeds
        Seeds with which methods that use chance are run, for their stability; 1: once.
    splits
        Times that the training sentences are divided into two halves, on which every method
        ranks again, for its stability; 0: never. It costs about ``splits`` times all rankings.
    l1, l2
        Penalties of the probe that ``mask`` keeps.
    retrain_l2
        Ridge strength of retrained probes.

    Raises
    ------
    SettingError
        An unknown method or setting, one named twice, an impossible size, two tasks of one name.
    LabelError
        A half of the training sentences that has one class.
    """
    every = [tasks] if isinstance(tasks, Task) else list(tasks)
    chosen = _methods(methods)
    _check(every, how, kinds, draws, seeds, splits)
    for task in every:
        check_halves(task, splits=splits, seed=seed)
    sizes = {
        task.name: check_sizes(
            default_sizes(task.n_neurons, PERCENTS) if ks is None or not len(ks) else list(ks),
            task.n_neurons,
        )
        for task in every
    }
    rows: list[dict[str, Any]] = []
    agree: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    steady: list[dict[str, Any]] = []
    spent: list[dict[str, Any]] = []
    best: list[pl.DataFrame] = []
    for task in every:
        k = sizes[task.name]
        rankings, seconds = _rank_all(task, chosen, seed)
        spent += [
            {"property": task.name, "method": name, "cpu_seconds": value}
            for name, value in seconds.items()
        ]
        probe = fit_probe(task, l1=l1, l2=l2, seed=seed) if "mask" in how else None
        rows += bench_rows(
            task,
            rankings,
            k,
            probe=probe,
            how=how,
            kinds=kinds,
            draws=draws,
            l2=retrain_l2,
            seed=seed,
        )
        voters = {n: r for n, r in rankings.items() if chosen[n][0].name != CONTROL}
        agree += agreement_rows(task.name, voters, k)
        pairs += pair_rows(task.name, rankings, k)
        steady += stability_rows(
            task,
            {name: partial(_run, method, settings) for name, (method, settings) in chosen.items()},
            rankings,
            k,
            seeded={name: method.seeded for name, (method, _) in chosen.items()},
            seeds=seeds,
            splits=splits,
            seed=seed,
        )
        best += [
            ranking.frame()
            .head(k[-1])
            .select(
                pl.lit(task.name).alias("property"),
                pl.lit(name).alias("method"),
                "rank",
                "neuron",
                "label",
                "score",
            )
            for name, ranking in rankings.items()
        ]
    return Comparison(
        provenance=Provenance(
            method="comparison",
            settings={
                "methods": tuple(chosen),
                "ks": {name: tuple(k) for name, k in sizes.items()},
                "how": tuple(how),
                "kinds": tuple(kinds),
                "draws": draws,
                "seeds": seeds,
                "splits": splits,
                "l1": l1,
                "l2": l2,
                "retrain_l2": retrain_l2,
            },
            inputs={f"{t.name}/{k}": v for t in every for k, v in _inputs(t).items()},
            seed=seed,
        ),
        properties=tuple(task.name for task in every),
        methods=tuple(chosen),
        n_neurons={task.name: task.n_neurons for task in every},
        table=pl.DataFrame(rows, infer_schema_length=None),
        agreement=pl.DataFrame(agree, schema=AGREEMENT),
        pairs=pl.DataFrame(pairs, schema=PAIRS),
        stability=pl.DataFrame(steady, schema=STABILITY),
        times=pl.DataFrame(spent),
        best=pl.concat(best),
    )


AGREEMENT = {
    "property": pl.String,
    "k": pl.Int64,
    "method": pl.String,
    "avg_overlap": pl.Float64,
    "neuron_vote": pl.Float64,
    "chance": pl.Float64,
}
PAIRS = {
    "property": pl.String,
    "k": pl.Int64,
    "a": pl.String,
    "b": pl.String,
    "overlap": pl.Float64,
}
STABILITY = {
    "property": pl.String,
    "method": pl.String,
    "over": pl.String,
    "k": pl.Int64,
    "overlap": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "expected": pl.Float64,
    "runs": pl.Int64,
}


def _run(method: RankingMethod, settings: dict[str, Any], task: Task, seed: int) -> Ranking:
    return method(task, seed=seed, **settings)


def _methods(names: Sequence[str]) -> dict[str, tuple[RankingMethod, dict[str, Any]]]:
    """Parse all names first, so that a wrong one costs nothing."""
    if isinstance(names, str):
        names = [names]
    chosen: dict[str, tuple[RankingMethod, dict[str, Any]]] = {}
    for name in (text.strip() for text in names):
        if name in chosen:
            raise SettingError(f'the method "{name}" is named twice')
        chosen[name] = parse_method(name)
    if not chosen:
        raise SettingError("a comparison needs at least one method")
    return chosen


def _check(
    tasks: Sequence[Task],
    how: Sequence[str],
    kinds: Sequence[str],
    draws: int,
    seeds: int,
    splits: int,
) -> None:
    names = [task.name for task in tasks]
    if not tasks:
        raise SettingError("a comparison needs at least one task")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SettingError(f'two tasks are called "{min(twice)}"; give them different names')
    for what, values, known in (
        ("how", how, ("retrain", "mask")),
        ("kinds", kinds, ("top", "bottom")),
    ):
        wrong = [value for value in values if value not in known]
        if wrong or not values:
            raise SettingError(f'{what} must be "{known[0]}", "{known[1]}" or both')
    if draws < 2:
        raise SettingError("draws must be 2 or more: one random set says nothing about chance")
    if seeds < 0 or splits < 0:
        raise SettingError("seeds and splits must be 0 or more")


def _rank_all(
    task: Task, chosen: dict[str, tuple[RankingMethod, dict[str, Any]]], seed: int
) -> tuple[dict[str, Ranking], dict[str, float]]:
    """Return each method's ranking and its CPU seconds; one after the other, to tell them apart."""
    rankings: dict[str, Ranking] = {}
    seconds: dict[str, float] = {}
    with bar(len(chosen), f"{task.name}: ranking neurons", unit="rankings") as advance:
        for name, (method, settings) in chosen.items():
            began = time.process_time()
            rankings[name] = method(task, seed=seed, **settings)
            seconds[name] = time.process_time() - began
            advance(1)
    return rankings, seconds


def _inputs(task: Task) -> dict[str, str]:
    return {**task.inputs, "task": task.fingerprint}
