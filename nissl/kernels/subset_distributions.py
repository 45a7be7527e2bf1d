"""Distributions of subsets of neurons: independent members, and subsets of a fixed size.

Both are exponential families with one logit a neuron, so that the score, the gradient of the
log-probability by the logits, is ``member − inclusion``: what is in the subset, less how probable
that was. Its expectation is 0, and its covariance is how inclusion changes with the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit, gammaln, xlogy

from nissl.errors import InputError, SettingError
from nissl.kernels import _subset_loops as loops

__all__ = ["ConditionalPoisson", "Poisson", "SubsetDistribution"]

STEP = 1e-4
"""Length of the difference that takes the place of a derivative of inclusion probabilities."""


def _checked(logits: np.ndarray) -> np.ndarray:
    """Return logits as float64 (d,), refusing what is not finite."""
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 1 or len(logits) == 0:
        raise InputError(f"logits must be one a neuron, not an array of shape {logits.shape}")
    if not np.isfinite(logits).all():
        raise InputError(f"logit {int(np.flatnonzero(~np.isfinite(logits))[0])} is not finite")
    return np.ascontiguousarray(logits)


@dataclass(frozen=True, eq=False)
class Poisson:
    """Each neuron is a member independently of the others, with probability expit(logit).

    Stańczak et al. (2022), section 3.2; Lohr (2019) for the name.

    Attributes
    ----------
    logits
        Log-odds of membership, (d,).

    Raises
    ------
    InputError
        Logits that are not finite or not one-dimensional.
    """

    logits: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "logits", _checked(self.logits))

    @cached_property
    def inclusion(self) -> Float[np.ndarray, " d"]:
        """Probability that each neuron is a member, (d,)."""
        return expit(self.logits)

    def log_prob(self, subsets: Bool[np.ndarray, "m d"]) -> Float[np.ndarray, " m"]:
        """Log-probability of each subset (a row of booleans), (m,)."""
        return subsets @ self.logits - np.logaddexp(0.0, self.logits).sum()

    def score(self, subsets: Bool[np.ndarray, "m d"]) -> Float[np.ndarray, "m d"]:
        """Gradient of each subset's log-probability by the logits, (m, d)."""
        return subsets - self.inclusion

    def sample(self, rng: np.random.Generator, n_draws: int) -> Bool[np.ndarray, "m d"]:
        """Draw subsets, (m, d)."""
        return rng.random((n_draws, len(self.logits))) < self.inclusion

    def covariance_times(self, direction: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
        """Covariance matrix of membership times a vector, (d,)."""
        return self.inclusion * expit(-self.logits) * direction

    @cached_property
    def entropy(self) -> float:
        """Entropy in nats."""
        # log(1 + eˣ) − x p keeps its digits at both ends, where p log p + q log q would not.
        return float((np.logaddexp(0.0, self.logits) - self.logits * self.inclusion).sum())

    @property
    def entropy_gradient(self) -> Float[np.ndarray, " d"]:
        """Gradient of the entropy by the logits, (d,)."""
        return -self.covariance_times(self.logits)

    def divergence(self, rate: float = 0.5) -> tuple[float, Float[np.ndarray, " d"]]:
        """Kullback–Leibler divergence from independent members of one rate, and its gradient.

        Parameters
        ----------
        rate
            Probability of each member under the other distribution; 0.5: all subsets alike.
        """
        if not 0 < rate < 1:
            raise SettingError(f"rate must be between 0 and 1, not {rate}")
        p, q = self.inclusion, expit(-self.logits)
        cross = float((xlogy(p, rate) + xlogy(q, 1 - rate)).sum())
        odds = np.log(rate) - np.log1p(-rate)
        return -self.entropy - cross, self.covariance_times(self.logits - odds)


@dataclass(frozen=True, eq=False)
class ConditionalPoisson:
    """Subsets of one size, with probability proportional to the product of exp(logits).

    The normaliser is the elementary symmetric polynomial of the weights, kept as a logarithm
    (Chen, Dempster and Liu 1994; Stańczak et al. 2022, section 3.3). Adding a constant to all
    logits changes nothing. Cost O(d × min(size, d − size)): subsets of more than half of the
    neurons are dealt with by what they leave out, which has the weights exp(−logits).

    Attributes
    ----------
    logits
        Log-weights, (d,).
    size
        Members of every subset, from 0 to d.

    Raises
    ------
    InputError, SettingError
        Logits that are not finite or not one-dimensional; an impossible size.
    """

    logits: np.ndarray
    size: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "logits", _checked(self.logits))
        if not 0 <= self.size <= len(self.logits):
            raise SettingError(
                f"size must be from 0 to the {len(self.logits)} neurons, not {self.size}"
            )

    @property
    def _turned(self) -> bool:
        return 2 * self.size > len(self.logits)

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Log-weights, prefix table and size, of the subsets or of what they leave out."""
        logits, size = self.logits, self.size
        if self._turned:
            logits, size = -logits, len(logits) - size
        return logits, loops.prefix_table(logits, size), size

    @property
    def log_normaliser(self) -> float:
        """Log of the sum over all subsets of the size of the product of their weights."""
        found = float(self._table[1][-1, -1])
        return found + float(self.logits.sum()) if self._turned else found

    @cached_property
    def inclusion(self) -> Float[np.ndarray, " d"]:
        """Probability that each neuron is a member, (d,); they add up to the size."""
        found = loops.inclusion(*self._table)
        return 1 - found if self._turned else found

    def log_prob(self, subsets: Bool[np.ndarray, "m d"]) -> Float[np.ndarray, " m"]:
        """Log-probability of each subset (a row of booleans), (m,); -inf at another size."""
        found = subsets @ self.logits - self.log_normaliser
        return np.where(subsets.sum(axis=1) == self.size, found, -np.inf)

    def score(self, subsets: Bool[np.ndarray, "m d"]) -> Float[np.ndarray, "m d"]:
        """Gradient of each subset's log-probability by the logits, (m, d)."""
        return subsets - self.inclusion

    def sample(self, rng: np.random.Generator, n_draws: int) -> Bool[np.ndarray, "m d"]:
        """Draw subsets exactly, (m, d)."""
        uniform = rng.random((n_draws, len(self.logits)))
        found = loops.draw(*self._table, uniform)
        return ~found if self._turned else found

    def covariance_times(self, direction: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
        """Covariance matrix of membership times a vector, (d,).

        The covariance is the derivative of inclusion by the logits, so that two more tables do
        instead of a matrix; the difference is central, its error 1e-7 of the vector or so.
        """
        direction = np.asarray(direction, dtype=np.float64)
        length = float(np.abs(direction).max())
        if length == 0:
            return np.zeros(len(direction))
        unit = direction * (STEP / length)
        up = ConditionalPoisson(self.logits + unit, self.size).inclusion
        down = ConditionalPoisson(self.logits - unit, self.size).inclusion
        return (up - down) * (length / (2 * STEP))

    @cached_property
    def entropy(self) -> float:
        """Entropy in nats."""
        # Of the turned weights where there are such: sums of large logits would cost digits.
        logits, table, _ = self._table
        members = 1 - self.inclusion if self._turned else self.inclusion
        return max(0.0, float(table[-1, -1] - logits @ members))

    @property
    def entropy_gradient(self) -> Float[np.ndarray, " d"]:
        """Gradient of the entropy by the logits, (d,)."""
        return -self.covariance_times(self.logits)

    def divergence(self) -> tuple[float, Float[np.ndarray, " d"]]:
        """Kullback–Leibler divergence from all subsets of the size alike, and its gradient."""
        d, k = len(self.logits), self.size
        most = float(gammaln(d + 1) - gammaln(k + 1) - gammaln(d - k + 1))
        return max(0.0, most - self.entropy), -self.entropy_gradient


SubsetDistribution = Poisson | ConditionalPoisson
