"""The Gaussian probe: greedy choice of neurons under class-conditional Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import InputError, LabelError, SettingError, did_you_mean
from nissl.kernels._gaussian_model import Gaussians, Prior, build, summary
from nissl.kernels.checks import check_labels, check_matrix, neuron_major

__all__ = ["GaussianSelection", "gaussian_curve", "gaussian_scores", "gaussian_selection"]

NEAR = 1e-5
"""Candidates this close to the best (nats a token) are compared again in float64."""

COVARIANCES = ("map", "mean", "joint")
CRITERIA = ("likelihood", "information")


@dataclass(frozen=True, eq=False)
class GaussianSelection:
    """Neurons in the order in which they were selected, and what each prefix knows.

    Curves have one value a prefix, of the scored tokens, in nats a token.

    Attributes
    ----------
    picks
        Selected neurons in order, (k,).
    order
        All neurons: the selected ones, then the others by what each would have added at the last
        step, then those that are constant; (d,).
    log_likelihood
        Mean log-probability of the labels, (k,).
    accuracy
        Share of tokens whose label is the most probable class, (k,).
    information
        Lower bound on the mutual information of label and neurons: entropy of the labels plus
        ``log_likelihood``, never below 0; (k,).
    entropy
        Entropy of the scored labels, the most that ``information`` can be.
    """

    picks: np.ndarray
    order: np.ndarray
    log_likelihood: np.ndarray
    accuracy: np.ndarray
    information: np.ndarray
    entropy: float

    @property
    def normalised_information(self) -> np.ndarray:
        """``information`` as a share of ``entropy``, from 0 to 1, (k,)."""
        return self.information / self.entropy if self.entropy > 0 else 0.0 * self.information


def gaussian_selection(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    steps: int = 50,
    criterion: str = "likelihood",
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    covariance: str = "map",
    mean_tokens: float = 0.01,
    scatter_tokens: float = 1.0,
) -> GaussianSelection:
    """Select neurons one by one, each the best addition to those before it.

    Torroba Hennigen, Williams and Cotterell (2020), sections 3–4: p(label) times a Gaussian of the
    neurons in each class, with a normal-inverse-Wishart prior; a set of neurons is judged by the
    marginal, which is got by indexing. A step costs O(d × n × C × k) multiplications in matrix
    products and O(d × n × C) exponentials for all candidates together, and yields what fitting
    each of them anew would. Exact ties go to the lower index.

    Parameters
    ----------
    X
        Standardised neurons; float32 in Fortran order and sorted by class is used without a copy.
    y
        Class indices. Classes without a token do not take part.
    steps
        Neurons to select, at most; constant neurons never are.
    criterion
        ``"likelihood"``: log-probability of the labels. ``"information"``: entropy of the labels
        less the mean entropy that the model leaves, its own opinion of what it knows.
    held_out
        (X, y) of other tokens to score on. By default it is the training tokens, on which the
        curves are optimistic. Cost grows with the scored tokens; a sample of some thousands will
        do.
    covariance
        How a covariance is read off the posterior scatter of n tokens and a prior worth m tokens:
        ``"map"``, the mode for the k neurons selected, divides by n + m + 2k + 3; ``"joint"``, the
        mode for all d at once, as published, divides by n + m + 2d + 3, which makes small classes
        of many neurons far too narrow; ``"mean"``, the posterior mean, divides by n + m.
    mean_tokens
        Tokens that the prior of a class's mean, the mean of all tokens, is worth: κ₀.
    scatter_tokens
        Tokens m that the prior of a class's scatter, the diagonal of the pooled variance inside
        classes, is worth: ν₀ − d − 1. At 1 this is the paper's ν₀ = d + 2.

    Returns
    -------
    GaussianSelection

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong shapes, fewer than two classes with tokens, impossible settings.
    """
    if steps < 1:
        raise SettingError(f"steps must be 1 or more, not {steps}")
    _known("criterion", criterion, CRITERIA)
    model = _model(X, y, n_classes, held_out, (mean_tokens, scatter_tokens, covariance))
    steps = min(steps, int(model.usable.sum()))
    model.reserve(steps)
    which = 0 if criterion == "likelihood" else 1
    left = np.flatnonzero(model.usable)
    rest = np.zeros(0)
    curve: list[tuple[float, float, float]] = []
    for _ in range(steps):
        found = model.scores(left)[which]
        near = np.flatnonzero(found >= found.max() - NEAR)
        if len(near) > 1:
            found[near] = [model.exact(int(left[i]))[which] for i in near]
        best = int(near[found[near].argmax()])
        model.add(int(left[best]))
        left, rest = np.delete(left, best), np.delete(found, best)
        curve.append(summary(model.joint(), model.y))
    others = left[np.argsort(-rest, kind="stable")]
    still = np.flatnonzero(~model.usable)
    return _result(model, np.concatenate([model.picks, others, still]).astype(np.int64), curve)


def gaussian_curve(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    order: Int[np.ndarray, " k"],
    *,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    covariance: str = "map",
    mean_tokens: float = 0.01,
    scatter_tokens: float = 1.0,
) -> GaussianSelection:
    """Judge the prefixes of a given order of neurons by the Gaussian probe.

    Arguments are those of :func:`gaussian_selection`; ``order`` has different neurons, none of
    them constant. In the result, neurons outside ``order`` come after it by index.
    """
    model = _model(X, y, n_classes, held_out, (mean_tokens, scatter_tokens, covariance))
    d = X.shape[1]
    named = order[(order >= 0) & (order < d)]
    if len(order) == 0 or len(np.unique(named)) != len(order):
        raise InputError(f"order must hold different neurons from 0 to {d - 1}")
    if not model.usable[order].all():
        raise InputError(f"neuron {order[~model.usable[order]][0]} is constant; leave it out")
    model.reserve(len(order))
    curve: list[tuple[float, float, float]] = []
    for j in order:
        model.add(int(j))
        curve.append(summary(model.joint(), model.y))
    return _result(model, np.concatenate([order, np.setdiff1d(np.arange(d), order)]), curve)


def gaussian_scores(
    X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], n_classes: int, *, steps: int = 50
) -> Float[np.ndarray, "c d"]:
    """Return the selection as scores (C, d), the same for every class: (d − rank) / d.

    Ranks start at 0; the selection is one for all classes, by the likelihood of the training
    labels. See :func:`gaussian_selection`.
    """
    order = gaussian_selection(X, y, n_classes, steps=steps).order
    scores = np.empty(len(order))
    scores[order] = 1 - np.arange(len(order)) / len(order)
    return np.repeat(scores[None, :], n_classes, axis=0)


def _known(what: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise SettingError(
            f'no {what} "{value}"; there are {", ".join(options)}.{did_you_mean(value, options)}'
        )


def _model(
    X: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    held_out: tuple[np.ndarray, np.ndarray] | None,
    settings: tuple[float, float, str],
) -> Gaussians:
    """Check everything and make the model without any neuron."""
    mean_tokens, scatter_tokens, covariance = settings
    for name, value in (("mean_tokens", mean_tokens), ("scatter_tokens", scatter_tokens)):
        if not (np.isfinite(value) and value > 0):
            raise SettingError(f"{name} must be more than 0, not {value}")
    _known("covariance", covariance, COVARIANCES)
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    there = np.bincount(y, minlength=n_classes) > 0
    if there.sum() < 2:
        raise LabelError("all training tokens have one class; a probe needs two or more")
    scored = None
    if held_out is not None:
        other, labels = held_out
        check_matrix(other)
        if other.shape[1] != X.shape[1]:
            raise InputError(f"held_out has {other.shape[1]} neurons, but X has {X.shape[1]}")
        labels = check_labels(labels, other.shape[0], n_classes)
        if not there[labels].all():
            raise LabelError(
                f"class {labels[~there[labels]][0]} is in held_out but has no training token; "
                "leave its tokens out"
            )
        scored = (neuron_major(other), labels)
    prior = Prior(mean_tokens, scatter_tokens, covariance)
    model = build(neuron_major(X), y, n_classes, scored, prior)
    if not model.usable.any():
        raise InputError("every neuron is constant; there is nothing to select")
    return model


def _result(
    model: Gaussians, order: np.ndarray, curve: list[tuple[float, float, float]]
) -> GaussianSelection:
    """Turn the steps' summaries into curves."""
    log_likelihood, _, accuracy = np.array(curve).T
    share = np.bincount(model.y) / len(model.y)
    entropy = float(-(share[share > 0] * np.log(share[share > 0])).sum())
    return GaussianSelection(
        picks=np.array(model.picks, dtype=np.int64),
        order=order,
        log_likelihood=log_likelihood,
        accuracy=accuracy,
        information=np.clip(entropy + log_likelihood, 0.0, entropy),
        entropy=entropy,
    )
