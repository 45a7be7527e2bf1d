"""What every least-squares fit on one matrix shares: centred data, Gram matrix, certificate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nissl.kernels import _square_loops

__all__ = ["Point", "Squares"]

BLOCK = 256
"""Neurons at a time: bounds the float64 copies to 256 × n."""

FEW = 6
"""Up to so many targets, a loop that reads neurons once beats the matrix product of a copy."""


@dataclass(frozen=True, eq=False)
class Point:
    """Weights with what the data say of them; float64.

    Attributes
    ----------
    W
        (T, d).
    residual
        Centred targets minus predictions, weighted mean 0, (T, n).
    gradient
        Of the halved weighted mean squares, (T, d).
    primal, dual
        Objective, and a lower bound of the smallest one, of each target, (T,).
    kkt
        Largest violation of the optimality conditions.
    """

    W: np.ndarray
    residual: np.ndarray
    gradient: np.ndarray
    primal: np.ndarray
    dual: np.ndarray
    kkt: float

    @property
    def gap(self) -> float:
        """(primal − dual) / primal over all targets; 0 when nothing is left to explain."""
        primal = float(self.primal.sum())
        return max(0.0, (primal - float(self.dual.sum())) / primal) if primal > 0 else 0.0


class Squares:
    """Centred neurons and targets under token weights.

    The intercept is free, so it is minimised out: neurons and targets are centred by their weighted
    means, neurons on the fly.

    Parameters
    ----------
    XT
        Neurons, float32 (d, n), C order.
    Y
        Targets, float64 (T, n).
    theta
        Token weights that sum to 1, (n,).
    """

    def __init__(self, XT: np.ndarray, Y: np.ndarray, theta: np.ndarray) -> None:
        self.XT, self.theta, self.root = XT, theta, np.sqrt(theta)
        self.y_mean = Y @ theta
        self.Y = Y - self.y_mean[:, None]
        self.mean, variance = np.empty(len(XT)), np.empty(len(XT))
        for s in range(0, len(XT), BLOCK):
            block = XT[s : s + BLOCK].astype(np.float64)
            self.mean[s : s + BLOCK] = block @ theta
            block -= self.mean[s : s + BLOCK, None]
            variance[s : s + BLOCK] = (block * block) @ theta
        # As in ``standardise.moments``: a spread below the resolution of float32 is none.
        self.constant = variance <= (1e-7 * self.mean) ** 2
        self.neurons = np.empty(0, dtype=np.int64)
        self.gram = np.empty((0, 0))
        self.place = np.full(len(XT), -1)
        self.gradients = 0.0

    @property
    def n_targets(self) -> int:
        return len(self.Y)

    @property
    def power(self) -> float:
        """Objective without any weights: half the variance, summed over targets."""
        return 0.5 * float(((self.Y * self.Y) @ self.theta).sum())

    def centred(self, neurons: np.ndarray | slice) -> np.ndarray:
        """Return centred neurons times the root of the token weights, float64 (k, n)."""
        block = self.XT[neurons].astype(np.float64)
        block -= self.mean[neurons, None]
        block[self.constant[neurons]] = 0.0
        block *= self.root
        return block

    def predictions(self, W: np.ndarray) -> np.ndarray:
        """W times the centred neurons, (T, n); neurons without a weight are not read."""
        used = np.flatnonzero((W != 0).any(axis=0))
        out = np.zeros_like(self.Y)
        for s in range(0, len(used), BLOCK):
            picked = used[s : s + BLOCK]
            block = self.XT[picked].astype(np.float64)
            block -= self.mean[picked, None]
            out += W[:, picked] @ block
        self.gradients += 0.5 * len(used) / len(self.XT)
        return out

    def transposed(self, R: np.ndarray) -> np.ndarray:
        """Σ_i θ_i R_ti x_ij for R of weighted mean 0, (T, d); constant neurons give exactly 0."""
        V = R * self.theta
        out = np.empty((len(V), len(self.XT)))
        if len(V) <= FEW:
            _square_loops.products(self.XT, V, out)
        else:
            for s in range(0, len(self.XT), BLOCK):
                out[:, s : s + BLOCK] = V @ self.XT[s : s + BLOCK].T.astype(np.float64)
        out[:, self.constant] = 0.0
        self.gradients += 0.5
        return out

    def at(self, W: np.ndarray, l1: float, l2: float) -> Point:
        """Evaluate weights from the data, in float64, with a certificate.

        For a target with residual r, gradient g and any ν of weighted mean 0 the dual is
        Σ θᵢ (νᵢ yᵢ − νᵢ²/2) − Σ_j (|Σᵢ θᵢ νᵢ x_ij| − λ₁)₊² / (2 λ₂), the last term infinite where
        it is not 0 if λ₂ = 0 (Fenchel duality; Kim et al. 2007, section III.A for the lasso). Of
        the points ν = s r the best is taken; s = 1 is best at the optimum.
        """
        R = self.Y - self.predictions(W)
        R -= (R @ self.theta)[:, None]
        G = -self.transposed(R)
        rr = (R * R) @ self.theta
        ry = (R * self.Y) @ self.theta
        size = np.abs(G)
        primal = 0.5 * rr + l1 * np.abs(W).sum(axis=1) + 0.5 * l2 * (W * W).sum(axis=1)
        scale = np.where(rr > 0, np.maximum(ry, 0) / np.where(rr > 0, rr, 1.0), 0.0)
        penalty = np.zeros(len(W))
        if l2 > 0:
            scale = _best_scale(scale, ry, rr, size, l1, l2)
            over = np.maximum(scale[:, None] * size - l1, 0.0)
            penalty = (over * over).sum(axis=1) / (2 * l2)
        else:
            largest = size.max(axis=1)
            limit = np.where(largest > 0, l1 / np.where(largest > 0, largest, 1.0), np.inf)
            scale = np.minimum(scale, limit)
        dual = np.maximum(scale * ry - 0.5 * scale**2 * rr - penalty, 0.0)
        slope = G + l2 * W
        kkt = np.where(W != 0, np.abs(slope + l1 * np.sign(W)), np.maximum(np.abs(slope) - l1, 0.0))
        return Point(W, R, G, primal, dual, float(kkt.max()))

    def block(self, neurons: np.ndarray, l2: float) -> np.ndarray:
        """Return the Gram matrix of ``neurons``, (k, k), plus λ₂ on its diagonal."""
        fresh = neurons[self.place[neurons] < 0]
        if len(fresh):
            self._extend(fresh)
        at = self.place[neurons]
        out = self.gram[np.ix_(at, at)]
        out[np.diag_indices(len(out))] += l2
        return out

    def _extend(self, fresh: np.ndarray) -> None:
        """Add neurons to the Gram matrix, whose other entries are kept."""
        k, m = len(self.neurons), len(fresh)
        self.neurons = np.concatenate([self.neurons, fresh])
        self.place[fresh] = np.arange(k, k + m)
        gram = np.empty((k + m, k + m))
        gram[:k, :k] = self.gram
        for a in range(k, k + m, BLOCK):
            left = self.centred(self.neurons[a : a + BLOCK])
            for b in range(0, a + len(left), BLOCK):
                right = self.centred(self.neurons[b : b + BLOCK])
                product = left @ right.T
                gram[a : a + BLOCK, b : b + BLOCK] = product
                gram[b : b + BLOCK, a : a + BLOCK] = product.T
        self.gram = gram
        self.gradients += m * (k + m / 2) / (2 * len(self.XT) * self.n_targets)


def _best_scale(
    scale: np.ndarray, ry: np.ndarray, rr: np.ndarray, size: np.ndarray, l1: float, l2: float
) -> np.ndarray:
    """Return the s that maximises the dual along s r, from the best one without the penalty.

    The derivative falls and is concave in s, so Newton's method comes down to its root from the
    right and never past it; pieces are finite in number. Any s gives a valid bound.
    """
    for _ in range(30):
        over = np.maximum(scale[:, None] * size - l1, 0.0)
        value = ry - scale * rr - (over * size).sum(axis=1) / l2
        steep = rr + np.where(over > 0, size * size, 0.0).sum(axis=1) / l2
        step = np.where(steep > 0, np.minimum(value, 0.0) / np.where(steep > 0, steep, 1.0), 0.0)
        scale = np.maximum(scale + step, 0.0)
        if (-step <= 1e-14 * scale).all():
            break
    return scale
