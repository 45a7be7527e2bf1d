"""One step of the latent-variable probe: likelihoods under many subsets, gradients, Adam."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nissl.kernels.subset_distributions import SubsetDistribution

__all__ = ["Adam", "Weights", "likelihoods", "logit_gradient"]


@dataclass
class Weights:
    """Parameters of the probe: weights W (C, d), intercepts b (C,), logits of membership (d,)."""

    W: np.ndarray
    b: np.ndarray
    logits: np.ndarray

    def copy(self) -> Weights:
        """Return a copy that no later step can change."""
        return Weights(self.W.copy(), self.b.copy(), self.logits.copy())


def likelihoods(
    XT: np.ndarray, y: np.ndarray, w: Weights, masks: np.ndarray, *, gradients: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean log-probability of the labels when neurons are multiplied by each mask.

    Parameters
    ----------
    XT
        Neurons (d, B), float32.
    masks
        Factors (M, d), 0 or 1 or between.

    Returns
    -------
    tuple
        Means (M,) in float64; gradients of each by the *masked* weights, (M, C, d), and by the
        intercepts, (M, C); empty unless asked for.
    """
    n_masks, (n_classes, d), n = len(masks), w.W.shape, len(y)
    masked = masks[:, None, :].astype(np.float32) * w.W.astype(np.float32)
    E = (masked.reshape(n_masks * n_classes, d) @ XT).reshape(n_masks, n_classes, n)
    E += w.b.astype(np.float32)[:, None]
    E -= E.max(axis=1, keepdims=True)
    token = np.arange(n)
    own = E[:, y, token]
    np.exp(E, out=E)
    total = E.sum(axis=1)
    mean = (own - np.log(total)).mean(axis=1, dtype=np.float64)
    if not gradients:
        return mean, np.empty(0), np.empty(0)
    E /= -total[:, None, :]
    E[:, y, token] += 1
    slope = (E.reshape(n_masks * n_classes, n) @ XT.T).reshape(n_masks, n_classes, d) / n
    return mean, slope, E.mean(axis=2)


def logit_gradient(
    q: SubsetDistribution,
    subsets: np.ndarray,
    values: np.ndarray,
    slope: np.ndarray,
    extra: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Unbiased estimate of the gradient of E_q[f] by the logits, from draws.

    REINFORCE (Williams 1992) with two control variates: what is linear in the subset, slope·z, has
    the exact gradient Cov(z) slope and is taken out of the draws; and of what is left of f each
    draw has the mean of the others taken off (Kool, van Hoof and Welling 2019).

    Parameters
    ----------
    subsets, values
        Draws from q, (M, d) with M of 2 or more, and f of each, (M,).
    slope
        Any vector that does not depend on the draws; the closer to ∂f/∂z the less noise, (d,).
    extra
        A vector whose product with Cov(z) is to be added: such a product is what costs most.
    """
    n_draws = len(subsets)
    score = q.score(subsets)
    left = values - score @ slope
    left = (left - left.mean()) * n_draws / (n_draws - 1)
    return left @ score / n_draws + q.covariance_times(slope + extra)


@dataclass
class Adam:
    """Adam (Kingma and Ba 2015), upwards; one learning rate for each array."""

    rates: tuple[float, ...]
    decay: tuple[float, float] = (0.9, 0.99)
    _count: int = 0
    _mean: list[np.ndarray] = field(default_factory=list)
    _square: list[np.ndarray] = field(default_factory=list)

    def step(self, arrays: tuple[np.ndarray, ...], slopes: tuple[np.ndarray, ...]) -> None:
        """Change the arrays in place."""
        if not self._mean:
            self._mean = [np.zeros_like(a) for a in arrays]
            self._square = [np.zeros_like(a) for a in arrays]
        self._count += 1
        first, second = self.decay
        for a, g, rate, m, v in zip(
            arrays, slopes, self.rates, self._mean, self._square, strict=True
        ):
            m += (1 - first) * (g - m)
            v += (1 - second) * (g * g - v)
            size = np.sqrt(v / (1 - second**self._count)) + 1e-12
            a += rate / (1 - first**self._count) * m / size
