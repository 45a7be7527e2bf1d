"""The family of subset distributions of one latent-variable probe: which one, and of what size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nissl.errors import SettingError
from nissl.kernels.subset_distributions import ConditionalPoisson, Poisson, SubsetDistribution

__all__ = ["Family"]


@dataclass(frozen=True)
class Family:
    """Makes distributions from logits.

    Attributes
    ----------
    independent
        Poisson, or conditional Poisson.
    d
        Neurons.
    size
        Size of a conditional Poisson's subsets; None: from 1 to d, all alike.
    rate
        Prior probability of membership of a Poisson.
    """

    independent: bool
    d: int
    size: int | None
    rate: float

    def __post_init__(self) -> None:
        if self.independent and self.size is not None:
            raise SettingError("a Poisson has subsets of all sizes; leave out size, or set rate")
        if self.size is not None and not 1 <= self.size <= self.d:
            raise SettingError(f"size must be from 1 to the {self.d} neurons, not {self.size}")
        if not 0 < self.rate < 1:
            raise SettingError(f"rate must be between 0 and 1, not {self.rate}")

    def start(self) -> np.ndarray:
        """Return the logits of the prior, (d,)."""
        odds = np.log(self.rate) - np.log1p(-self.rate)
        return np.full(self.d, odds if self.independent else 0.0)

    def draw(self, logits: np.ndarray, rng: np.random.Generator) -> SubsetDistribution:
        """Return the distribution of one step."""
        if self.independent:
            return Poisson(logits)
        size = int(rng.integers(1, self.d + 1)) if self.size is None else self.size
        return ConditionalPoisson(logits, size)

    def spread(self, logits: np.ndarray, most: int = 8) -> list[tuple[SubsetDistribution, float]]:
        """Return distributions, one or ``most`` of evenly spaced sizes, with their shares."""
        if self.independent:
            return [(Poisson(logits), 1.0)]
        if self.size is not None:
            return [(ConditionalPoisson(logits, self.size), 1.0)]
        # The middles of equal parts of 1…d, so that their mean is the mean over all sizes.
        most = min(most, self.d)
        sizes = np.floor((np.arange(most) + 0.5) * self.d / most).astype(int) + 1
        sizes = np.minimum(sizes, self.d)
        return [(ConditionalPoisson(logits, int(k)), 1 / most) for k in sizes]

    def inclusion(self, logits: np.ndarray) -> np.ndarray:
        """Return the probability that each neuron is a member, over all sizes, (d,)."""
        parts = [share * q.inclusion for q, share in self.spread(logits, 32)]
        return np.sum(parts, axis=0)

    def divergence(self, q: SubsetDistribution) -> float:
        """Return the divergence of a distribution from the prior."""
        return (q.divergence(self.rate) if isinstance(q, Poisson) else q.divergence())[0]
