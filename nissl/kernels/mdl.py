"""Minimum description length of labels given neurons (online code), and selectivity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, log2

import numpy as np
from jaxtyping import Float, Int, Shaped

from nissl.errors import InputError, SettingError
from nissl.kernels.checks import check_labels, check_matrix
from nissl.kernels.elastic_net import fit_elastic_net, predict_scores
from nissl.kernels.fit import log_softmax

__all__ = ["PORTIONS", "OnlineCode", "elastic_net_coder", "online_code", "selectivity"]

PORTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Shares of the tokens at which the classifier is fitted again (Voita & Titov 2020, section 4)."""

Coder = Callable[[np.ndarray, np.ndarray, int], Callable[[np.ndarray], np.ndarray]]
"""``fit(X (n, d), y (n,), n_classes)`` returns ``log_proba(X (m, d)) -> (m, n_classes)``."""


@dataclass(frozen=True, eq=False)
class OnlineCode:
    """Length of the labels' online code.

    Attributes
    ----------
    bits
        Length of the code of all labels.
    uniform_bits
        n log₂ C: the length without looking at the neurons.
    compression
        uniform_bits / bits; 1 is no use at all, larger is better.
    ends
        Tokens known at the end of each portion, int64 (portions,).
    portion_bits
        Length of each portion, float64 (portions,).
    """

    bits: float
    uniform_bits: float
    compression: float
    ends: np.ndarray
    portion_bits: np.ndarray


def online_code(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    fit: Coder,
    *,
    portions: Sequence[float] = PORTIONS,
    groups: Shaped[np.ndarray, " g"] | None = None,
    shuffle: bool = True,
    mix: float = 1e-4,
    seed: int = 0,
) -> OnlineCode:
    """Return how many bits the labels take when they are sent portion by portion.

    The first portion is sent with log₂ C bits a label. Then, each time, a classifier is fitted to
    all that was sent and gives the probabilities by which the next portion is coded (Voita & Titov
    2020, equation 4): a property that is easy to learn from few tokens has a short code.

    Parameters
    ----------
    X
        Standardised neurons, (n, d).
    y
        Class of each token, (n,).
    fit
        ``fit(X, y, n_classes)`` returns a function from neurons (m, d) to natural log
        probabilities (m, n_classes); see :func:`elastic_net_coder`.
    portions
        Increasing shares of the tokens, the last 1. Portions too small for one token are merged.
    groups
        Sentence of each token, (n,): whole sentences are shuffled, so that a sentence is not in
        two portions but where the border falls.
    shuffle
        Whether tokens (or sentences) come in random order; otherwise in the order given.
    mix
        Share of the uniform code mixed into the classifier's probabilities. It costs at most
        log₂(1/(1 − mix)) bits a label (1.4e-4) and bounds the length of a label that the
        classifier thinks impossible, say of a class not seen so far.
    seed
        Seed of the order.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong lengths, log probabilities of another shape, impossible portions.
    """
    check_matrix(X)
    n = X.shape[0]
    y = check_labels(y, n, n_classes)
    if not 0 <= mix < 1:
        raise SettingError(f"mix must be 0 or more and below 1, not {mix:g}")
    ends = _ends(n, portions)
    order = _order(n, groups, shuffle, seed)
    target = y[order]
    uniform = log2(n_classes)
    lengths = [ends[0] * uniform]
    for start, stop in pairwise(ends):
        known, coming = order[:start], order[start:stop]
        if len(np.unique(target[:start])) < 2:
            # Nothing to learn a difference from: no classifier can be fitted yet.
            lengths.append((stop - start) * uniform)
            continue
        log_proba = fit(_rows(X, known), target[:start], n_classes)(_rows(X, coming))
        lengths.append(_bits(np.asarray(log_proba), target[start:stop], n_classes, mix))
    bits = float(np.sum(lengths))
    return OnlineCode(
        bits=bits,
        uniform_bits=n * uniform,
        compression=n * uniform / bits if bits > 0 else float("inf"),
        ends=np.array(ends, dtype=np.int64),
        portion_bits=np.array(lengths, dtype=np.float64),
    )


def elastic_net_coder(*, lasso: float = 0.0, ridge: float = 1.0, tol: float = 1e-3) -> Coder:
    """Return a coder for :func:`online_code` that fits the elastic-net probe.

    Parameters
    ----------
    lasso, ridge
        Penalties beside the *sum* of cross-entropies: λ₁ = lasso / n and λ₂ = ridge / n on n
        tokens. So they are one prior (ridge: Gaussian of variance 1 / ridge) at every length.
    tol
        Relative duality gap of the fits.
    """

    def fit(X: np.ndarray, y: np.ndarray, n_classes: int) -> Callable[[np.ndarray], np.ndarray]:
        n = len(y)
        found = fit_elastic_net(X, y, n_classes, l1=lasso / n, l2=ridge / n, tol=tol)

        def log_proba(Z: np.ndarray) -> np.ndarray:
            logits = predict_scores(Z, found.coef, found.intercept).T.astype(np.float64)
            return log_softmax(logits).T

        return log_proba

    return fit


def selectivity(accuracy: int | float, control_accuracy: int | float) -> float:
    """Return accuracy on the task minus accuracy on its control task (Hewitt & Liang 2019).

    A control task gives each word type a random label: what a probe reaches there it owes to its
    own memory of words, not to the neurons. The result lies in [−1, 1].

    Raises
    ------
    SettingError
        An accuracy outside [0, 1].
    """
    for value in (accuracy, control_accuracy):
        if not 0 <= value <= 1:
            raise SettingError(f"an accuracy lies between 0 and 1, not at {value:g}")
    return accuracy - control_accuracy


def _bits(log_proba: np.ndarray, y: np.ndarray, n_classes: int, mix: float) -> float:
    """Length of labels under log probabilities (m, C) mixed with the uniform code."""
    if log_proba.shape != (len(y), n_classes) or np.isnan(log_proba).any():
        raise InputError(
            f"the classifier must return log probabilities ({len(y)}, {n_classes}) without NaN, "
            f"not {log_proba.shape}"
        )
    sums = np.exp(log_proba.astype(np.float64)).sum(axis=1)
    if np.abs(sums - 1).max() > 1e-3:
        raise InputError(
            "the classifier's probabilities do not sum to 1: pass natural log probabilities, "
            "not scores"
        )
    chosen = log_proba[np.arange(len(y)), y].astype(np.float64)
    if mix > 0:
        chosen = np.logaddexp(chosen + log(1 - mix), log(mix / n_classes))
    return float(-chosen.sum() / log(2))


def _ends(n: int, portions: Sequence[float]) -> list[int]:
    """Tokens known at the end of each portion, strictly increasing, the last n."""
    shares = np.asarray(portions, dtype=np.float64)
    if shares.ndim != 1 or len(shares) == 0 or shares[0] <= 0 or (np.diff(shares) <= 0).any():
        raise SettingError("portions must be increasing shares of the tokens, above 0")
    if shares[-1] != 1:
        raise SettingError(f"the last portion must end at 1 (all tokens), not at {shares[-1]:g}")
    ends = np.maximum(np.round(shares * n).astype(np.int64), 1)
    return np.unique(ends).tolist()


def _order(n: int, groups: np.ndarray | None, shuffle: bool, seed: int) -> np.ndarray:
    if groups is not None and len(groups) != n:
        raise InputError(f"{n} tokens cannot have {len(groups)} sentence numbers")
    if not shuffle:
        return np.arange(n)
    rng = np.random.default_rng(seed)
    if groups is None:
        return rng.permutation(n)
    _, code = np.unique(groups, return_inverse=True)
    place = rng.permutation(int(code.max()) + 1)
    return np.argsort(place[code], kind="stable")


def _rows(X: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of X, neuron-major as the kernels like it."""
    return np.ascontiguousarray(X.T[:, rows]).T
