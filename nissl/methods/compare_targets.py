"""Every ranking for a number on one bench: R² of its neurons beside random sets, and stability."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import polars as pl

from nissl.errors import LabelError, SettingError
from nissl.kernels.intervals import bootstrap_r2
from nissl.kernels.least_squares import fit_least_squares
from nissl.methods.ablate import default_sizes
from nissl.methods.agreement import agreement_rows, check_halves, stability_rows
from nissl.methods.bench import ALL, RANDOM
from nissl.methods.compare import AGREEMENT, PERCENTS, STABILITY
from nissl.methods.evaluate import N_BOOT, RETRAIN_L2, check_sizes, random_sets, take_columns
from nissl.methods.rank import Ranking
from nissl.methods.rankings import RankingMethod, parse_method
from nissl.methods.target import Target
from nissl.methods.target_comparison import TargetComparison
from nissl.parallel import map_tasks
from nissl.results import Provenance

__all__ = ["DEFAULT_TARGET_METHODS", "compare_targets", "refit_errors"]

DEFAULT_TARGET_METHODS = ("pearson", "spearman", "weights", "k-sparse", "random")

_Chosen = dict[str, tuple[RankingMethod, dict[str, Any]]]


def compare_targets(
    targets: Target | Sequence[Target],
    methods: Sequence[str] = DEFAULT_TARGET_METHODS,
    *,
    ks: Sequence[int] | None = None,
    draws: int = 10,
    seeds: int = 3,
    splits: int = 2,
    retrain_l2: float = RETRAIN_L2,
    seed: int = 0,
) -> TargetComparison:
    """Rank the neurons for one or more targets by several methods and judge all of them alike.

    A new ridge regression is fitted on every method's best k neurons and on random sets of that
    size, on the training tokens; R² is on test tokens, with intervals from one bootstrap over
    sentences, and differences are paired. What :func:`~nissl.methods.compare` is for classes.

    Parameters
    ----------
    targets
        Targets with different names.
    methods
        Names of :data:`nissl.methods.TARGET_RANKINGS`, which may carry settings.
    ks
        Numbers of neurons kept; by default 1, 5 and 10 % of each target's neurons.
    draws
        Number of random sets of each size, 10 or more.
    seeds, splits
        Runs on other seeds, and halvings of the training sentences, for stability; 0: none.
    retrain_l2
        Ridge strength λ₂ of the regressions (half the mean squared error + λ₂/2 ‖w‖², neurons with
        standard deviation 1).

    Raises
    ------
    SettingError
        An unknown method or setting, one that does not rank for numbers, one named twice, an
        impossible size, two targets of one name.
    LabelError
        A target that has one value on all test tokens, or on a half of the training sentences.
    """
    every = [targets] if isinstance(targets, Target) else list(targets)
    chosen = _methods(methods)
    _check(every, draws, seeds, splits)
    for target in every:
        check_halves(target, splits=splits, seed=seed)
    sizes = {
        target.name: check_sizes(
            default_sizes(target.n_neurons, PERCENTS) if ks is None or not len(ks) else list(ks),
            target.n_neurons,
        )
        for target in every
    }
    rows: list[dict[str, Any]] = []
    agree: list[dict[str, Any]] = []
    steady: list[dict[str, Any]] = []
    spent: list[dict[str, Any]] = []
    best: list[pl.DataFrame] = []
    for target in every:
        k = sizes[target.name]
        rankings: dict[str, Ranking] = {}
        for name, (method, settings) in chosen.items():
            began = time.process_time()
            rankings[name] = method(target, seed=seed, **settings)
            value = time.process_time() - began
            spent.append({"target": target.name, "method": name, "cpu_seconds": value})
        rows += _rows(target, rankings, k, draws=draws, l2=retrain_l2, seed=seed)
        voters = {n: r for n, r in rankings.items() if chosen[n][0].name != "random"}
        agree += agreement_rows(target.name, voters, k)
        steady += stability_rows(
            cast(Any, target),  # It only looks at what a target has as well.
            {name: partial(_run, method, settings) for name, (method, settings) in chosen.items()},
            rankings,
            k,
            seeded={name: method.seeded for name, (method, _) in chosen.items()},
            seeds=seeds,
            splits=splits,
            seed=seed,
        )
        columns = (pl.lit(target.name).alias("target"), "rank", "neuron", "score")
        best += [
            ranking.frame().head(k[-1]).select(pl.lit(name).alias("method"), *columns)
            for name, ranking in rankings.items()
        ]
    return TargetComparison(
        provenance=Provenance(
            method="comparison of rankings for numbers",
            settings={
                "methods": tuple(chosen),
                "ks": {name: tuple(k) for name, k in sizes.items()},
                "draws": draws,
                "seeds": seeds,
                "splits": splits,
                "retrain_l2": retrain_l2,
            },
            inputs={
                f"{t.name}/{key}": value
                for t in every
                for key, value in {**t.inputs, "target": t.fingerprint}.items()
            },
            seed=seed,
        ),
        targets=tuple(target.name for target in every),
        methods=tuple(chosen),
        n_neurons={target.name: target.n_neurons for target in every},
        table=pl.DataFrame(rows, infer_schema_length=None),
        agreement=pl.DataFrame(agree, schema=AGREEMENT).rename({"property": "target"}),
        stability=pl.DataFrame(steady, schema=STABILITY).rename({"property": "target"}),
        times=pl.DataFrame(spent),
        best=pl.concat(best),
    )


def refit_errors(
    target: Target, neurons: np.ndarray, part: str = "test", *, l2: float = RETRAIN_L2
) -> np.ndarray:
    """Return number minus prediction of a ridge regression refitted on ``neurons`` only, (n,)."""
    y = target.train.y
    fit = fit_least_squares(
        take_columns(target.train.X, neurons), y[:, None], l1=0.0, l2=l2, tol=1e-4
    )
    held = target.part(part)
    used = take_columns(held.X, neurons)
    return held.y - (used @ fit.coef[0].astype(np.float32) + fit.intercept[0])


def _rows(
    target: Target,
    rankings: Mapping[str, Ranking],
    ks: Sequence[int],
    *,
    draws: int,
    l2: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Return one row a ranking and size, and for random sets and all neurons."""
    d = target.n_neurons
    sets = {(name, k): np.sort(r.order[:k]) for name, r in rankings.items() for k in ks}
    jobs = list(sets.items())
    jobs += [((RANDOM, k), drawn) for k in ks for drawn in random_sets(d, k, draws, seed)]
    jobs.append(((ALL, d), np.arange(d)))
    found: dict[tuple[str, int], list[np.ndarray]] = {}
    done = map_tasks(
        lambda job: refit_errors(target, job[1], l2=l2),
        jobs,
        description=f"{target.name}: {len(rankings)} rankings",
    )
    for (key, _), errors in zip(jobs, done, strict=True):
        found.setdefault(key, []).append(errors)
    errors = {key: np.stack(drawn) for key, drawn in found.items()}
    part = target.test

    def judged(name: str, key: tuple[str, int], minus: np.ndarray | None = None) -> dict[str, Any]:
        value, low, high = bootstrap_r2(
            errors[key], part.y, part.sentence, minus=minus, n_boot=N_BOOT, seed=seed
        )
        return {name: value, f"{name}_low": low, f"{name}_high": high}

    def row(method: str, k: int) -> dict[str, Any]:
        found = judged("r2", (method, k))
        return {
            "target": target.name,
            "method": method,
            "k": k,
            "percent": 100 * k / d,
            "r2": found["r2"],
            "low": found["r2_low"],
            "high": found["r2_high"],
        }

    rows = []
    for k in ks:
        rows.append(row(RANDOM, k))
        best = min((errors[name, k] for name in rankings), key=lambda e: float((e**2).sum()))
        for name in rankings:
            behind = judged("behind", (name, k), best)
            # The helper takes the best off this one; "behind" is the other way round.
            low, high = -behind["behind_high"], -behind["behind_low"]
            rows.append(
                {
                    **row(name, k),
                    **judged("gain", (name, k), errors[RANDOM, k]),
                    "behind": -behind["behind"] + 0.0,
                    "behind_low": low + 0.0,
                    "behind_high": high + 0.0,
                }
            )
    rows.append(row(ALL, d))
    return rows


def _run(method: RankingMethod, settings: dict[str, Any], target: Any, seed: int) -> Ranking:
    return method(target, seed=seed, **settings)


def _methods(names: Sequence[str]) -> _Chosen:
    """Parse all names first, so that a wrong one costs nothing."""
    chosen: _Chosen = {}
    for name in (text.strip() for text in ([names] if isinstance(names, str) else names)):
        if name in chosen:
            raise SettingError(f'the method "{name}" is named twice')
        chosen[name] = parse_method(name, targets=True)
    if not chosen:
        raise SettingError("a comparison needs at least one method")
    return chosen


def _check(targets: Sequence[Target], draws: int, seeds: int, splits: int) -> None:
    names = [target.name for target in targets]
    if not targets:
        raise SettingError("a comparison needs at least one target")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SettingError(f'two targets are called "{min(twice)}"; give them different names')
    if draws < 10:
        raise SettingError("draws must be 10 or more: fewer random sets say little about chance")
    if seeds < 0 or splits < 0:
        raise SettingError("seeds and splits must be 0 or more")
    for target in targets:
        if np.ptp(target.test.y) == 0:
            raise LabelError(
                f'target "{target.name}" is {target.test.y[0]:g} on all test tokens; '
                "R² needs one that varies"
            )
