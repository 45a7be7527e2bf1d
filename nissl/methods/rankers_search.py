"""Rankings by a search over sets of neurons, and by what a probe attributes to each."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from nissl.errors import SettingError
from nissl.kernels.univariate import f_statistic
from nissl.methods.rank import Ranking, rank_order, rank_scores
from nissl.methods.rankings import register_ranking
from nissl.methods.task import Part, Task

__all__: list[str] = []


@register_ranking("forward", "forward selection: add the best neuron, refit the probe", slow=True)
def _forward(
    task: Task,
    seed: int,
    *,
    k_max: int = 300,
    l2: float = 1e-3,
    score: str = "curvature",
    swap_at: int | tuple[int, ...] = (),
    failures: int = 8,
    tol: float = 3e-2,
) -> Ranking:
    """Group orthogonal matching pursuit (Lozano et al. 2011), with swaps at the sizes named."""
    from nissl.kernels.forward import forward_selection

    at = (swap_at,) if isinstance(swap_at, int) else tuple(swap_at)
    if at and max(at) > k_max:
        raise SettingError(
            f"forward: no set of swap_at={max(at)} neurons is made with k_max={k_max}; raise k_max"
        )
    found = forward_selection(
        task.train.X,
        task.train.y,
        task.n_classes,
        k_max=min(k_max, task.n_neurons),
        l2=l2,
        score=score,
        # Where all neurons are chosen there is nothing to swap.
        swap_at=[k for k in at if k <= task.n_neurons],
        failures=failures,
        tol=tol,
    )
    settings = {"k_max": k_max, "l2": l2, "score": score, "swap_at": at}
    settings |= {"failures": failures, "tol": tol}
    return rank_order(task, "forward", found.order, settings=settings)


@register_ranking("backward", "backward elimination: drop the least needed, refit", slow=True)
def _backward(task: Task, seed: int, *, drop: float = 0.1, l2: float = 1e-3) -> Ranking:
    from nissl.kernels.backward import backward_elimination

    found = backward_elimination(task.train.X, task.train.y, task.n_classes, l2=l2, drop=drop)
    return rank_order(task, "backward", found.order, settings={"drop": drop, "l2": l2})


@register_ranking("group-lasso", "order in which neurons enter a group-lasso path", slow=True)
def _group_lasso(
    task: Task,
    seed: int,
    *,
    steps: int = 30,
    smallest: float = 0.01,
    l1: float = 0.0,
    l2: float = 0.0,
) -> Ranking:
    from nissl.kernels.group_lasso import group_lasso_path

    settings: dict[str, Any] = {"steps": steps, "smallest": smallest, "l1": l1, "l2": l2}
    found = group_lasso_path(task.train.X, task.train.y, task.n_classes, **settings)
    return rank_order(task, "group-lasso", found.order, settings=settings)


@register_ranking("k-sparse", "mean difference, then thinned out by refitted probes", slow=True)
def _k_sparse(
    task: Task,
    seed: int,
    *,
    k: int | None = None,
    pool: int = 512,
    keep: float = 0.8,
    l2: float = 1e-3,
) -> Ranking:
    """Gurnee et al. 2023; the k best (1 % by default) are refined by exchanges."""
    from nissl.kernels.k_sparse import k_sparse

    d = task.n_neurons
    k = max(1, round(d / 100)) if k is None else min(k, d)
    found = k_sparse(
        task.train.X,
        task.train.y,
        task.n_classes,
        k,
        pool=min(max(pool, k), d),
        keep=keep,
        l2=l2,
    )
    settings = {"k": k, "pool": pool, "keep": keep, "l2": l2}
    return rank_order(task, "k-sparse", found.order, settings=settings)


@register_ranking("gaussian", "greedy likelihood of Gaussian classes", seeded=True, slow=True)
def _gaussian(
    task: Task,
    seed: int,
    *,
    steps: int = 50,
    criterion: Literal["likelihood", "information"] = "likelihood",
    max_tokens: int = 2000,
) -> Ranking:
    """Torroba Hennigen et al. 2020, scored on a sample of the training tokens."""
    from nissl.kernels.gaussian import gaussian_selection

    X, y = sample(task.train, max_tokens, seed)
    found = gaussian_selection(
        task.train.X,
        task.train.y,
        task.n_classes,
        steps=min(steps, task.n_neurons),
        criterion=criterion,
        held_out=(X, y),
    )
    settings = {"steps": steps, "criterion": criterion, "max_tokens": max_tokens}
    return rank_order(task, "gaussian", found.order, seed=seed, settings=settings)


@register_ranking("latent", "chance that a learnt subset holds the neuron", seeded=True, slow=True)
def _latent(
    task: Task,
    seed: int,
    *,
    family: Literal["poisson", "conditional-poisson"] = "poisson",
    size: int | None = None,
    max_steps: int = 3000,
) -> Ranking:
    """Latent-variable probe of Stańczak et al. 2022."""
    from nissl.kernels.latent_probe import fit_latent_probe

    found = fit_latent_probe(
        task.train.X,
        task.train.y,
        task.n_classes,
        family=family,
        size=size,
        max_steps=max_steps,
        seed=seed,
    )
    settings = {"family": family, "size": size, "max_steps": max_steps}
    return rank_order(task, "latent", found.order, seed=seed, settings=settings)


@register_ranking("attribution", "what a probe's output owes to the neuron", seeded=True)
def _attribution(
    task: Task,
    seed: int,
    *,
    method: Literal["integrated", "gradient"] = "integrated",
    of: Literal["logit", "probability", "loss"] = "probability",
    over: Literal["max", "sum"] = "sum",
    l1: float = 1e-3,
    l2: float = 1e-3,
    steps: int = 16,
    max_tokens: int = 5000,
) -> Ranking:
    """Integrated gradients (Sundararajan et al. 2017), or gradient × activation."""
    from nissl.kernels.probe_attribution import attribute

    X, y = sample(task.train, max_tokens, seed)
    fit = probe_of(task, l1, l2)
    found = attribute(X, y, [fit], of=of, method=method, steps=steps)
    settings = {"method": method, "of": of, "over": over, "l1": l1, "l2": l2, "steps": steps}
    return rank_scores(
        task,
        "attribution",
        found.absolute,
        over=over,
        ties=f_statistic(task.train.X, task.train.y, task.n_classes),
        seed=seed,
        settings={**settings, "max_tokens": max_tokens},
    )


def probe_of(task: Task, l1: float, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and intercepts of the elastic-net probe on all neurons."""
    from nissl.kernels.elastic_net import fit_elastic_net

    fit = fit_elastic_net(task.train.X, task.train.y, task.n_classes, l1=l1, l2=l2, tol=1e-3)
    return fit.coef, fit.intercept


def sample(part: Part, max_tokens: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the neurons and classes of at most so many random tokens of a part."""
    if max_tokens < 1:
        raise SettingError(f"max_tokens must be 1 or more, not {max_tokens}")
    if len(part) <= max_tokens:
        return part.X, part.y
    rows = np.sort(np.random.default_rng([seed, 7]).choice(len(part), max_tokens, replace=False))
    return np.ascontiguousarray(part.X.T[:, rows]).T, part.y[rows]
