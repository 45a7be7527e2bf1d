"""How sure: neurons at a false discovery rate, stable neurons, and p-values by permutation."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import polars as pl

from nissl.errors import SettingError
from nissl.kernels.standardise import moments, standardise
from nissl.kernels.univariate import f_statistic
from nissl.methods.neuron_sets import NeuronSet, PermutationPValues
from nissl.methods.rankings import parse_method
from nissl.methods.task import Part, Task
from nissl.results import Provenance

__all__ = ["knockoff_set", "permutation_pvalues", "stable_set"]


def knockoff_set(
    task: Task,
    *,
    fdr: float = 0.1,
    l1: float | None = None,
    l2: float = 1e-3,
    max_tokens: int = 20_000,
    seed: int = 0,
) -> NeuronSet:
    """Select neurons so that the expected share of false ones is at most ``fdr``.

    Model-X knockoffs (Candès et al. 2018) of the second order: each neuron competes in one probe
    with a made-up copy that is correlated with the other neurons as it is, but knows nothing of
    the label. "False" means: independent of the label given all other neurons. Of neurons that
    say the same, none may be found. Fewer than 1 / ``fdr`` neurons are never selected.

    The guarantee takes tokens to be independent and neurons to be Gaussian; in running text both
    hold in part. Another ``seed`` gives other knockoffs and another selection.

    Parameters
    ----------
    fdr
        Nominal false discovery rate, in (0, 1).
    l1, l2
        Penalties of the probe on neurons and knockoffs; λ₁ from the data's size by default.
    max_tokens
        Training tokens used, drawn at random where there are more.
    """
    from nissl.kernels.knockoffs import knockoff_filter

    X, y = _tokens(task.train, max_tokens, seed)
    found = knockoff_filter(X, y, task.n_classes, q=fdr, l1=l1, l2=l2, seed=seed)
    claim = (
        f"selected by knockoffs at a false discovery rate of at most {fdr:g} (expected share of "
        f"neurons that add nothing to the others; knockoffs of seed {seed})."
    )
    return _neuron_set(
        task,
        "knockoffs",
        found.selected,
        found.statistic,
        "weight above that of the knockoff",
        found.threshold,
        claim,
        {"fdr": fdr, "l1": found.l1, "l2": l2, "max_tokens": max_tokens},
        seed,
    )


def stable_set(
    task: Task,
    method: str = "f",
    *,
    k: int | None = None,
    n_pairs: int = 25,
    threshold: float = 0.75,
    seed: int = 0,
    **settings: Any,
) -> NeuronSet:
    """Choose the neurons that a ranking has among its k best on most halves of the sentences.

    Stability selection on complementary pairs (Meinshausen & Bühlmann 2010; Shah & Samworth
    2013). It bounds how many neurons are chosen that a half picks no more often than chance.

    Parameters
    ----------
    method, settings
        A ranking (see :data:`nissl.methods.RANKINGS`); it runs ``2 · n_pairs`` times.
    k
        Neurons that each half picks; by default √(0.8 d), which keeps the bound small.
    n_pairs
        Times that the sentences are halved.
    threshold
        Share of the halves, in (0.5, 1].
    """
    from nissl.kernels.stability import stability_selection

    ranker, carried = parse_method(method)
    ranker.check(settings)
    d = task.n_neurons
    k = k or max(1, round(np.sqrt(0.8 * d)))
    if not 1 <= k <= d:
        raise SettingError(f"a set of {k} neurons is impossible: there are {d}")

    def select(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mean, sd = moments(X)
        part = Part(
            X=standardise(X, mean, sd),
            y=np.asarray(y, dtype=np.int32),
            # Which tokens these are is of no concern to a ranking.
            rows=np.arange(len(y)),
            sentence=np.arange(len(y)),
            form=np.full(len(y), "", dtype=object),
        )
        half = dataclasses.replace(task, train=part)
        order = ranker(half, seed=int(rng.integers(2**31)), **{**carried, **settings}).order
        mask = np.zeros(d, dtype=bool)
        mask[order[:k]] = True
        return mask

    train = task.train
    found = stability_selection(
        train.X,
        train.y,
        select,
        n_pairs=n_pairs,
        threshold=threshold,
        groups=train.sentence,
        seed=seed,
    )
    claim = (
        f"among the {k:,} best by {method} on {threshold:.0%} or more of {2 * n_pairs} halves of "
        f"the training sentences; at most {found.bound:.2g} of them are expected to be there by "
        f"chance ({found.bound_worst:.2g} without assumptions)."
    )
    return _neuron_set(
        task,
        "stability selection",
        found.selected,
        found.frequency,
        "share of halves that choose it",
        threshold,
        claim,
        {"method": method, "k": k, "n_pairs": n_pairs, "threshold": threshold, **settings},
        seed,
    )


def permutation_pvalues(
    task: Task,
    *,
    within: Literal["all", "sentence", "word"] = "all",
    n_perm: int = 199,
    alpha: float = 0.05,
    max_tokens: int = 20_000,
    seed: int = 0,
) -> PermutationPValues:
    """Test each neuron's F statistic against permuted labels of the training tokens.

    Parameters
    ----------
    within
        Labels change places among ``all`` tokens, inside each ``sentence``, or inside each
        ``word`` type ("does the neuron know more of the label than the word does?"). Labels of
        neighbouring tokens depend on each other, so that ``all`` may find too much.
    n_perm
        Permutations; the smallest p-value is 1 / (n_perm + 1).
    alpha
        Level for the counts in the summary.
    max_tokens
        Training tokens used, drawn at random where there are more.
    """
    from nissl.kernels.multiple_tests import benjamini_hochberg
    from nissl.kernels.permutation import permutation_test

    if within not in ("all", "sentence", "word"):
        raise SettingError(f'within must be "all", "sentence" or "word", not "{within}"')
    if not 0 < alpha < 1:
        raise SettingError(f"alpha must lie between 0 and 1, not {alpha:g}")
    rows = _rows(task.train, max_tokens, seed)
    X, y = _tokens(task.train, max_tokens, seed)
    groups = None
    if within != "all":
        names = task.train.sentence if within == "sentence" else task.train.form.astype(str)
        groups = np.unique(names[rows], return_inverse=True)[1].reshape(-1)
    found = permutation_test(
        lambda X, y: f_statistic(X, y, task.n_classes),
        X,
        y,
        n_perm=n_perm,
        groups=groups,
        seed=seed,
    )
    return PermutationPValues(
        provenance=Provenance(
            method="permutation p-values",
            settings={
                "within": within,
                "n_perm": n_perm,
                "alpha": alpha,
                "max_tokens": max_tokens,
            },
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        table=pl.DataFrame(
            {
                "neuron": task.neurons["neuron"],
                "layer": task.neurons["layer"],
                "observed": found.observed,
                "p": found.p,
                "p_family": found.p_family,
                "q": benjamini_hochberg(found.p),
            }
        ),
        within=within,
        n_perm=n_perm,
        alpha=alpha,
    )


def _rows(part: Part, max_tokens: int, seed: int) -> np.ndarray:
    """Return at most so many random tokens, sorted positions."""
    if len(part) <= max_tokens:
        return np.arange(len(part))
    return np.sort(np.random.default_rng([seed, 11]).choice(len(part), max_tokens, replace=False))


def _tokens(part: Part, max_tokens: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rows = _rows(part, max_tokens, seed)
    if len(rows) == len(part):
        return part.X, part.y
    return np.ascontiguousarray(part.X.T[:, rows]).T, part.y[rows]


def _neuron_set(
    task: Task,
    method: str,
    members: np.ndarray,
    value: np.ndarray,
    what: str,
    threshold: float,
    claim: str,
    settings: dict[str, Any],
    seed: int,
) -> NeuronSet:
    members = np.asarray(members, dtype=np.int64)
    return NeuronSet(
        provenance=Provenance(
            method=method,
            settings=settings,
            inputs={**task.inputs, "task": task.fingerprint},
            seed=seed,
        ),
        property=task.name,
        members=members,
        value=np.asarray(value, dtype=np.float64),
        what=what,
        threshold=float(threshold),
        claim=claim,
        table=pl.DataFrame(
            {
                "rank": np.arange(1, len(members) + 1),
                "neuron": task.neurons["neuron"].to_numpy()[members],
                "layer": task.neurons["layer"].to_numpy()[members],
                "value": np.asarray(value, dtype=np.float64)[members],
            },
            schema={
                "rank": pl.Int64,
                "neuron": pl.String,
                "layer": pl.Int64,
                "value": pl.Float64,
            },
        ),
    )
