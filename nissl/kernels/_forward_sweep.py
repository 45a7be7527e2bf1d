"""Greedy choice on a quadratic model: gradients and spare variances as neurons are swept out.

With A = Σᵢ θᵢ (xᵢ − x̄)(xᵢ − x̄)ᵀ + ridge, a model that has all weights of the chosen neurons at
their optimum gains ½ g_j² / ρ_j by neuron j, where g is the gradient and ρ_j = A_jj − A_jS A_SS⁻¹
A_Sj is what of j's variance the chosen ones leave. Choosing j takes g_j r_m / √ρ_j from every other
gradient and r_m² from every other spare variance, r being j's row of the Cholesky factor. That is
orthogonal least squares (Chen, Billings & Luo 1989), here for many targets and with a ridge: a step
costs one row of the Gram matrix for all candidates together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cholesky, solve_triangular

__all__ = ["Sweep"]

FLOOR = 1e-9
"""A spare variance below this share of a neuron's own is rounding: nothing new is in it."""


class Sweep:
    """The quadratic model's state for one chosen set; Gram rows are kept from set to set.

    Parameters
    ----------
    XT
        Neurons (d, n), float32 or float64. Products are in this precision, sums in float64.
    theta
        Token weights that sum to 1, (n,).
    ridge
        Added to every neuron's variance.
    """

    def __init__(self, XT: np.ndarray, theta: np.ndarray, *, ridge: float) -> None:
        self.XT = XT
        self.theta = theta.astype(XT.dtype)
        self.ridge = ridge
        self.mean = (XT @ self.theta).astype(np.float64)
        square = np.empty(len(XT))
        for start in range(0, len(XT), 256):
            block = XT[start : start + 256]
            square[start : start + 256] = (block * block) @ self.theta
        self.own = np.maximum(square - self.mean**2, 0.0)
        self._gram: dict[int, np.ndarray] = {}
        self.reset(())

    def reset(self, chosen: Sequence[int]) -> None:
        """Start again from this set."""
        self.chosen = [int(j) for j in chosen]
        self.spare = self.own + self.ridge
        self._rows = np.zeros((max(16, 2 * len(self.chosen)), len(self.XT)))
        if not self.chosen:
            return
        G = np.stack([self.gram(j) for j in self.chosen])
        inner = G[:, self.chosen]
        inner[np.diag_indices(len(inner))] += self.ridge + FLOOR * self.own[self.chosen]
        factor = cholesky(inner, lower=True, check_finite=False)
        G[np.arange(len(G)), self.chosen] += self.ridge
        rows = solve_triangular(factor, G, lower=True, check_finite=False)
        self._rows[: len(rows)] = rows
        self.spare = self.spare - np.einsum("kd,kd->d", rows, rows)

    def gram(self, j: int) -> np.ndarray:
        """Return the covariance of neuron j with every neuron, float64 (d,), made once."""
        if j not in self._gram:
            row = (self.XT @ (self.XT[j] * self.theta)).astype(np.float64)
            self._gram[j] = row - self.mean * self.mean[j]
        return self._gram[j]

    def add(self, j: int, gradient: np.ndarray) -> None:
        """Choose neuron j, and take its part from the gradients of all neurons (C, d), in place."""
        k = len(self.chosen)
        row = self.gram(j).copy()
        row[j] += self.ridge
        row -= self._rows[:k, j] @ self._rows[:k]
        row /= np.sqrt(max(row[j], FLOOR * self.own[j], 1e-300))
        if k == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[k] = row
        self.chosen.append(j)
        self.spare = self.spare - row * row
        gradient -= np.outer(gradient[:, j] / max(row[j], 1e-150), row)

    def gains(self, gradient: np.ndarray, curvature: np.ndarray, l2: float) -> np.ndarray:
        """Return ½ Σ_c g_cj² / (s_c ρ_j + l2) of every neuron, (d,); −1 where nothing is to gain.

        That is the score test of Rao (1948) against the chosen neurons, summed over classes; here
        ρ_j is without the ridge of the candidate itself.

        Parameters
        ----------
        gradient
            (C, d), 0 for the chosen neurons up to rounding.
        curvature
            s_c of each class, (C,).
        l2
            Ridge on the weights of the candidate.
        """
        new = self.spare > self.ridge + FLOOR * self.own
        new &= self.own > 0
        new[self.chosen] = False
        spare = np.where(new, self.spare - self.ridge, 1.0)
        gain = np.zeros(len(spare))
        for g, s in zip(gradient, curvature, strict=True):
            gain += g * g / (s * spare + l2)
        return np.where(new, 0.5 * gain, -1.0)
