"""Mutual information of each neuron with the classes, in nats: by bins, and by neighbours.

Both are split into shares of the classes: I(X; Y) = Σ_c p(c) KL(p(x | c) ‖ p(x)), so a class's
share says how much knowing that class tells about the neuron, times how often it is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import InputError, SettingError
from nissl.kernels._information_loops import binned_pass
from nissl.kernels._sweep import Swept, run_sweep
from nissl.kernels.class_stats import ClassStats, class_stats

__all__ = ["Information", "binned_information", "information_of_stats", "neighbour_information"]

MAX_TOKENS = 50_000


@dataclass(frozen=True, eq=False)
class Information:
    """Mutual information and its shares.

    Attributes
    ----------
    total
        Estimate for each neuron, nats, (d,), 0 or more.
    shares
        Each class's share, (C, d); before the total is cut off at 0 they sum to it. Single shares
        of a corrected or a neighbour estimate can lie a little below 0.
    label_entropy
        Entropy of the classes, nats.
    """

    total: Float[np.ndarray, " d"]
    shares: Float[np.ndarray, "c d"]
    label_entropy: float

    @property
    def normalised(self) -> np.ndarray:
        """Share of the classes' entropy that a neuron tells, I / H(Y), (d,), in [0, 1] always."""
        if self.label_entropy <= 0:
            return np.zeros_like(self.total)
        return np.clip(self.total / self.label_entropy, 0.0, 1.0)


def binned_information(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    bins: int = 32,
    corrected: bool = True,
) -> Information:
    """Return the mutual information of binned neurons and classes.

    Parameters
    ----------
    X
        Standardised neurons, (n, d): what lies beyond ±16 falls into the outermost bins.
    y
        Class of each token, (n,).
    n_classes
        Number of classes.
    bins
        Bins wanted, 2…256, each with about as many tokens; joined from the 256 of
        :mod:`nissl.kernels.class_stats`. Fewer where many tokens have one value.
    corrected
        Whether to correct all entropies for the number of tokens (Miller 1955). This takes most of
        the upward bias, (bins − 1)(C − 1) / 2n, at no cost; it needs no permutations.

    Raises
    ------
    InputError, LabelError, SettingError
    """
    return information_of_stats(class_stats(X, y, n_classes), bins=bins, corrected=corrected)


def information_of_stats(
    stats: ClassStats, *, bins: int = 32, corrected: bool = True
) -> Information:
    """Return :func:`binned_information` from statistics that were collected before."""
    if not 2 <= bins <= stats.histogram.shape[2]:
        raise SettingError(f"bins must be 2 to {stats.histogram.shape[2]}, not {bins}")
    if len(stats.histogram) == 0:
        raise InputError("mutual information needs histograms, but the statistics have none")
    d, C, _ = stats.histogram.shape
    shares, entropies = np.zeros((d, C)), np.zeros(d)
    binned_pass(stats.histogram, stats.counts, bins, corrected, shares, entropies)
    label = _entropy(stats.counts)
    # No estimate may tell more than there is to tell on either side.
    total = np.clip(shares.sum(axis=1), 0.0, np.minimum(entropies, label))
    return Information(total=total, shares=shares.T, label_entropy=label)


def neighbour_information(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    k: int = 3,
    max_tokens: int | None = MAX_TOKENS,
) -> Information:
    """Return the nearest-neighbour estimate of Ross (2014, PLoS ONE 9(2): e87357, equation 2).

    For each token: r is the distance to the k-th nearest token of its class, and m the number of
    tokens of any class within r; the estimate is ψ(n) + ⟨ψ(k)⟩ − ⟨ψ(n_c)⟩ − ⟨ψ(m)⟩. Tokens at
    equal distances are counted on both sides, as in Gao et al. (2017), so no noise is added and
    the result is the same on every run; without ties it is scikit-learn's ``mutual_info_classif``
    with its noise off.

    Parameters
    ----------
    X
        Neurons, (n, d), read as float32; their scale does not matter.
    y
        Class of each token, (n,). Classes of one token are left out; one of fewer than k + 1
        tokens uses all it has.
    n_classes
        Number of classes.
    k
        Neighbours, 1 or more: few for little bias, many for little variance.
    max_tokens
        Where there are more tokens, a random sample of so many, always the same, serves: the
        estimate's own error is then some 0.005 nats. None takes all.

    Raises
    ------
    InputError, LabelError, SettingError
    """
    if k < 1:
        raise SettingError(f"k must be 1 or more neighbours, not {k}")
    if max_tokens is not None and max_tokens < 2:
        raise SettingError(f"max_tokens must be 2 or more, or None, not {max_tokens}")
    return information_of_sweep(run_sweep(X, y, n_classes, k=k, max_tokens=max_tokens))


def information_of_sweep(swept: Swept) -> Information:
    """Turn the shares of a sweep into information."""
    label = _entropy(swept.counts)
    total = np.maximum(swept.shares.sum(axis=0), 0.0)
    return Information(total=total, shares=swept.shares, label_entropy=label)


def _entropy(counts: np.ndarray) -> float:
    """Entropy of classes with these counts, nats."""
    p = counts[counts > 0] / counts.sum()
    return float(max(0.0, -(p * np.log(p)).sum()))
