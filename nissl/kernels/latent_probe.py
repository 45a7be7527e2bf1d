"""The latent-variable probe: a linear probe and a distribution of the subset that it may see."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import InputError, LabelError, NotConverged, SettingError, did_you_mean
from nissl.kernels._latent_family import Family
from nissl.kernels._latent_steps import Adam, Weights, likelihoods, logit_gradient
from nissl.kernels.checks import check_labels, check_matrix, check_penalty, neuron_major
from nissl.kernels.subset_distributions import SubsetDistribution

__all__ = ["FAMILIES", "LatentProbe", "fit_latent_probe", "latent_scores"]

FAMILIES = ("poisson", "conditional-poisson")
FARTHEST = 30.0
"""Logits stay between minus this and this: beyond, probabilities are no longer told apart."""
JUDGES = 32
"""Subsets by which the bound on held-out tokens is estimated, the same draws each time."""
SLOWER = 3
"""How often the learning rate is cut to a third before the fit ends."""


@dataclass(frozen=True, eq=False)
class LatentProbe:
    """What was learnt; all of it from the step with the highest bound on held-out tokens.

    Attributes
    ----------
    inclusion
        Probability that each neuron is in the subset, (d,); for subsets of drawn sizes, the mean
        over (at most 32) sizes.
    logits
        Log-weights of membership, (d,).
    order
        Neurons by ``logits``, best first, which is also by ``inclusion``; (d,).
    coef, intercept
        The linear probe on masked neurons, (C, d) and (C,).
    bound
        Estimated bound at that step, nats a held-out token.
    log_likelihood
        Its first part: expected mean log-probability of held-out labels.
    bounds
        Bound at each time that it was estimated, the first before any step.
    steps
        Steps taken in all.
    converged
        Whether the bound had stopped rising; otherwise the steps ran out.
    """

    inclusion: np.ndarray
    logits: np.ndarray
    order: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    bound: float
    log_likelihood: float
    bounds: np.ndarray
    steps: int
    converged: bool


def fit_latent_probe(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    family: str = "poisson",
    size: int | None = None,
    rate: float = 0.5,
    divergence_weight: float = 1.0,
    l2: float = 1e-4,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    draws: int = 8,
    batch: int = 512,
    learning_rate: float = 0.03,
    max_steps: int = 3000,
    every: int = 25,
    patience: int = 6,
    seed: int = 0,
) -> LatentProbe:
    """Learn a linear probe together with the distribution q of the subset of neurons it sees.

    Stańczak et al. (2022). All n tokens share one subset z, so that the evidence has the bound

        (1/n) log p(y | X)  ≥  E_q[mean log p(y | x ∘ z)] − (1/n) KL(q ‖ prior),

    which is what is maximised, less (l2/2) ‖W‖². A divergence (or entropy) that is not divided by
    n is hundreds of nats against one: it keeps q at the prior, whatever the labels. With it as
    here, a neuron's log-odds settle at those of the prior plus n times what it adds to the
    likelihood of a token. Gradients: :func:`~nissl.kernels._latent_steps.logit_gradient`.

    Parameters
    ----------
    X
        Standardised neurons; one shuffled float32 copy is made.
    y
        Class indices.
    family
        ``"poisson"``: neurons are members independently. ``"conditional-poisson"``: subsets of a
        given size, or of a size drawn anew at each step, from 1 to d alike. Drawn sizes cost
        O(d²) a step: with thousands of neurons, name a size.
    size
        Size of the subsets of a conditional Poisson; by default it is drawn.
    rate
        Prior probability of membership of a Poisson; subsets of a size are alike a priori.
    divergence_weight
        Factor of the divergence; 1 is the bound.
    l2
        Penalty of the squared weights.
    held_out
        (X, y) of other tokens, on which the fit is judged; by default every tenth of the shuffled
        tokens (at random, without regard to sentences).
    draws, batch
        Subsets a step, and tokens at most.
    learning_rate
        Of Adam, for weights; for logits five times that. It is cut to a third, and the best
        parameters taken up again, each time that the bound stops rising.
    max_steps
        Steps at most; where they run out there is a warning.
    every, patience
        The bound is estimated every so many steps, and has stopped rising after so many estimates
        that are not the best.
    seed
        Of everything.

    Returns
    -------
    LatentProbe

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong shapes, one class, impossible settings.

    Warns
    -----
    NotConverged
        The steps ran out.
    """
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    if len(np.unique(y)) < 2:
        raise LabelError("all training tokens have one class; a probe needs two or more")
    check_penalty(l2=l2, divergence_weight=divergence_weight)
    whole = {"batch": batch, "max_steps": max_steps, "every": every, "patience": patience}
    for name, value in {**whole, "draws - 1": draws - 1}.items():
        if value < 1:
            raise SettingError(f"{name} must be 1 or more, not {value}")
    if not 0 < learning_rate < 1:
        raise SettingError(f"learning_rate must be between 0 and 1, not {learning_rate}")
    if family not in FAMILIES:
        raise SettingError(
            f'no family "{family}"; there are {" and ".join(FAMILIES)}.'
            f"{did_you_mean(family, FAMILIES)}"
        )
    q = Family(family == "poisson", X.shape[1], size, rate)
    rng = np.random.default_rng(seed)
    train, judge = _parts(X, y, n_classes, held_out, rng)
    n = len(train[1])
    scale = divergence_weight / n

    def bound(w: Weights) -> tuple[float, float]:
        likelihood, divergence = 0.0, 0.0
        for part, share in q.spread(w.logits):
            # The same draws each time: two estimates differ by their parameters only.
            masks = part.sample(np.random.default_rng(seed + 1), max(1, round(JUDGES * share)))
            likelihood += share * float(likelihoods(*judge, w, masks)[0].mean())
            divergence += share * q.divergence(part)
        return likelihood - scale * divergence, likelihood

    w = Weights(np.zeros((n_classes, X.shape[1])), np.zeros(n_classes), q.start())
    best, best_bound = w.copy(), bound(w)
    bounds = [best_bound[0]]
    pace, waited, slower, step = learning_rate, 0, 0, 0
    adam = Adam((pace, pace, 5 * pace))
    # As few batches as will do, about equally large, so that every token is in one of them.
    edges = np.linspace(0, n, -(-n // batch) + 1).astype(np.int64)
    queue: list[int] = []
    while step < max_steps and slower <= SLOWER:
        if not queue:
            queue = rng.permutation(len(edges) - 1).tolist()
        i = queue.pop()
        some = slice(edges[i], edges[i + 1])
        part = q.draw(w.logits, rng)
        _climb(adam, w, train[0][:, some], train[1][some], part, rng, (draws, l2, scale), q)
        step += 1
        if step % every and step < max_steps:
            continue
        found = bound(w)
        bounds.append(found[0])
        waited += 1
        if found[0] > best_bound[0]:
            best, best_bound, waited = w.copy(), found, 0
        elif waited >= patience:
            w, waited, slower, pace = best.copy(), 0, slower + 1, pace / 3
            adam = Adam((pace, pace, 5 * pace))
    converged = slower > SLOWER
    if not converged:
        warnings.warn(
            f"the latent-variable probe used up its {max_steps} steps while its bound still rose; "
            "allow more (max_steps)",
            NotConverged,
            stacklevel=2,
        )
    return LatentProbe(
        inclusion=q.inclusion(best.logits),
        logits=best.logits,
        order=np.argsort(-best.logits, kind="stable"),
        coef=best.W,
        intercept=best.b,
        bound=best_bound[0],
        log_likelihood=best_bound[1],
        bounds=np.array(bounds),
        steps=step,
        converged=converged,
    )


def latent_scores(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    family: str = "poisson",
    size: int | None = None,
    seed: int = 0,
) -> Float[np.ndarray, "c d"]:
    """Return inclusion probabilities as scores (C, d), the same for every class.

    See :func:`fit_latent_probe`.
    """
    fit = fit_latent_probe(X, y, n_classes, family=family, size=size, seed=seed)
    return np.repeat(fit.inclusion[None, :], n_classes, axis=0)


def _parts(
    X: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    held_out: tuple[np.ndarray, np.ndarray] | None,
    rng: np.random.Generator,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return training and held-out tokens, each (d, n) and (n,); training tokens are shuffled."""
    XT = neuron_major(X)
    order = rng.permutation(len(y))
    if held_out is not None:
        other, labels = held_out
        check_matrix(other)
        if other.shape[1] != X.shape[1]:
            raise InputError(f"held_out has {other.shape[1]} neurons, but X has {X.shape[1]}")
        labels = check_labels(labels, other.shape[0], n_classes)
        # Batches are then slices, which need no copies.
        return (np.take(XT, order, axis=1), y[order]), (neuron_major(other), labels)
    if len(y) < 10:
        raise InputError(f"{len(y)} tokens are too few to hold some out; give held_out")
    few = np.split(order, [len(y) // 10])
    judge, train = ((np.take(XT, rows, axis=1), y[rows]) for rows in few)
    return train, judge


def _climb(
    adam: Adam,
    w: Weights,
    XT: np.ndarray,
    y: np.ndarray,
    part: SubsetDistribution,
    rng: np.random.Generator,
    settings: tuple[int, float, float],
    q: Family,
) -> None:
    """Take one step upwards, changing ``w``; settings are draws, l2, and the divergence's scale."""
    draws, l2, scale = settings
    subsets = part.sample(rng, draws)
    # The last row is not a subset but their mean; its slope serves as control variate.
    masks = np.vstack([subsets, part.inclusion])
    values, slopes, shifts = likelihoods(XT, y, w, masks, gradients=True)
    by_weight = np.einsum("md,mcd->cd", subsets, slopes[:-1]) / draws - l2 * w.W
    slope = np.einsum("cd,cd->d", w.W, slopes[-1].astype(np.float64))
    # The gradient of the divergence is Cov(z) times the logits' distance to the prior's.
    away = -scale * (w.logits - q.start())
    by_logit = logit_gradient(part, subsets, values[:-1], slope, away)
    adam.step((w.W, w.b, w.logits), (by_weight, shifts[:-1].mean(axis=0), by_logit))
    np.clip(w.logits, -FARTHEST, FARTHEST, out=w.logits)
