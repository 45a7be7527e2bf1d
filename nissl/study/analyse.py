"""The paper's analysis of one property, step after step."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from nissl.methods import (
    DEFAULT_GRID,
    Ablation,
    Baselines,
    LambdaSearch,
    LayerProfile,
    Localisation,
    MinimalSet,
    ProbeResult,
    Ranking,
    Redundancy,
    Selectivity,
    Sharing,
    Task,
    ablate,
    baselines,
    default_sizes,
    fit_probe,
    layer_profile,
    localise,
    minimal_set,
    rank_lca,
    redundancy,
    search_lambda,
    selectivity,
    share_labels,
)
from nissl.study.config import AnalysisConfig
from nissl.study.outcome import PropertyFindings
from nissl.study.steps import Steps

__all__ = ["analyse_property"]


def analyse_property(
    task: Task,
    config: AnalysisConfig,
    steps: Steps,
    *,
    name: str,
    corpus: str,
    seed: int,
    random_weights: Callable[[], Task] | None = None,
) -> PropertyFindings:
    """Run every method on a task; steps that an earlier run finished are read back.

    Parameters
    ----------
    random_weights
        Makes the same task over a model with random weights; asked only when it is needed.
    """
    grid = tuple(config.grid or DEFAULT_GRID)
    search_settings = {
        "grid": grid,
        "alpha": config.alpha,
        "beta": config.beta,
        "fraction": config.fraction,
        "tol": config.tol,
    }
    fits = {}

    def run_search() -> LambdaSearch:
        search, fits["best"] = search_lambda(task, **search_settings)
        return search

    search = steps.run("search", LambdaSearch, search_settings, run_search)
    chosen = {"l1": search.l1, "l2": search.l2, "tol": config.tol}
    probe = steps.run(
        "probe",
        ProbeResult,
        chosen,
        lambda: fit_probe(task, **chosen, start=fits.get("best"), seed=seed),
    )
    base = steps.run(
        "baselines",
        Baselines,
        {**chosen, "random_weights": random_weights is not None},
        lambda: baselines(
            task, probe, random_weights=random_weights() if random_weights else None, seed=seed
        ),
    )
    ranking = steps.run("ranking", Ranking, chosen, lambda: rank_lca(task, probe))
    sizes = default_sizes(task.n_neurons, config.percents)
    ablation = steps.run(
        "ablation",
        Ablation,
        {**chosen, "sizes": sizes, "how": config.how, "draws": config.draws},
        lambda: ablate(
            task, ranking, probe, sizes=sizes, how=config.how, draws=config.draws, seed=seed
        ),
    )
    few = max(2, config.draws // 2)
    minimal = steps.run(
        "minimal",
        MinimalSet,
        {**chosen, "deltas": config.deltas, "draws": few, "precision": config.precision},
        lambda: minimal_set(
            task,
            ranking,
            deltas=config.deltas,
            precision=config.precision,
            draws=few,
            seed=seed,
        ),
    )
    select = (
        steps.run(
            "selectivity",
            Selectivity,
            {
                **chosen,
                "deltas": config.deltas,
                "precision": config.precision,
                "seeds": config.control_seeds,
            },
            lambda: selectivity(task, probe, minimal, seeds=config.control_seeds, seed=seed),
        )
        if "selectivity" not in config.skip
        else None
    )
    widest = max(config.deltas)
    layers = steps.run(
        "layers",
        LayerProfile,
        {**chosen, "delta": widest, "deltas": config.deltas, "precision": config.precision},
        lambda: layer_profile(task, minimal.members(widest), seed=seed),
    )
    local = steps.run(
        "localisation",
        Localisation,
        {**chosen, "mass": config.mass, "resamples": config.resamples},
        lambda: localise(task, probe, mass=config.mass, resamples=config.resamples, seed=seed),
    )
    weighted = int((ranking.scores > 0).any(axis=1).sum())
    sharing = (
        steps.run("sharing", Sharing, chosen, lambda: share_labels(ranking))
        if weighted >= 2
        else None
    )
    redundant = (
        steps.run(
            "redundancy",
            Redundancy,
            {"threshold": config.threshold},
            lambda: redundancy(task, threshold=config.threshold, seed=seed),
        )
        if "redundancy" not in config.skip
        else None
    )
    counts = {split: task.class_counts(split) for split in ("train", "dev", "test")}
    return PropertyFindings(
        name=name,
        corpus=corpus,
        classes=pl.DataFrame({"class": list(task.classes), **counts}),
        left_out=dict(task.left_out),
        search=search,
        probe=probe,
        baselines=base,
        ranking=ranking,
        ablation=ablation,
        minimal=minimal,
        selectivity=select,
        layers=layers,
        localisation=local,
        sharing=sharing,
        redundancy=redundant,
        seconds=dict(steps.seconds),
    )
