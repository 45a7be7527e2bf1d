"""A ridge probe on a changing set of neurons, refitted from where it stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nissl.kernels.dense import minimise_ridge
from nissl.kernels.fit import Fit

__all__ = ["SetProbe"]


class SetProbe:
    """Chosen neurons, their copied columns, and a probe on them.

    Parameters
    ----------
    XT
        Standardised neurons, float32 (d, n), neuron-major.
    y, n_classes, theta
        Class indices (n,), C, token weights that sum to 1 (n,).
    l2
        Ridge penalty of every refit.
    room
        Most neurons that will ever be chosen at once.

    Attributes
    ----------
    chosen
        Positions, in the order in which they came.
    W, b
        Weights (C, k), intercepts (C,).
    loss
        Objective of the last refit.
    refits, short
        How many refits there were, and how many of them stopped before their tolerance.
    """

    def __init__(
        self,
        XT: np.ndarray,
        y: np.ndarray,
        n_classes: int,
        theta: np.ndarray,
        *,
        l2: float,
        room: int,
        chosen: Sequence[int] = (),
    ) -> None:
        self.XT, self.y, self.theta, self.l2 = XT, y, theta, l2
        self.theta32 = theta.astype(np.float32)
        self.token = np.arange(len(y))
        self.rows = np.empty((room, len(y)), dtype=np.float32)
        self.chosen: list[int] = []
        self.W = np.zeros((n_classes, 0))
        self.b = np.log(np.bincount(y, weights=theta, minlength=n_classes) + 1e-6)
        self.loss, self.refits, self.short = np.inf, 0, 0
        self.add(chosen)

    def add(self, neurons: Sequence[int] | np.ndarray) -> None:
        """Choose more neurons, with weights 0 until the next refit."""
        k = len(self.chosen)
        self.chosen += [int(j) for j in neurons]
        self.rows[k : len(self.chosen)] = self.XT[self.chosen[k:]]
        self.W = np.pad(self.W, ((0, 0), (0, len(neurons))))

    def drop(self, places: Sequence[int] | np.ndarray, W: np.ndarray | None = None) -> None:
        """Give up the neurons at these places of ``chosen``; ``W`` (C, k) are new weights of all.

        The others keep their sequence.
        """
        keep = np.setdiff1d(np.arange(len(self.chosen)), places)
        # Rows move up only where a gap is: a set of thousands is not to be copied whole.
        first = int(min(places)) if len(places) else len(self.chosen)
        for new, old in enumerate(keep[first:], start=first):
            self.rows[new] = self.rows[old]
        self.chosen = [self.chosen[i] for i in keep]
        self.W = (self.W if W is None else W)[:, keep]

    def refit(self, *, tol: float, max_iter: int = 200) -> float:
        """Minimise from the present weights; return the objective."""
        k = len(self.chosen)
        if not k:
            return self.loss
        start = Fit(self.W, self.b, 0.0, 0.0, 0.0, 0, 0.0, 0.0, False)
        fit, short = minimise_ridge(
            self.rows[:k],
            self.y,
            len(self.b),
            self.theta,
            l2=self.l2,
            start=start,
            tol=tol,
            max_iter=max_iter,
            certificate=False,
        )
        self.refits += 1
        self.short += bool(short)
        self.W, self.b, self.loss = fit.coef, fit.intercept, fit.objective
        return self.loss

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Return residuals θ (q − y), float32 (C, n), and each class's Σ θ q (1 − q), (C,)."""
        k = len(self.chosen)
        P = self.W.astype(np.float32) @ self.rows[:k]
        P += self.b.astype(np.float32)[:, None]
        P -= P.max(axis=0)
        np.exp(P, out=P)
        P /= P.sum(axis=0)
        curvature = P @ self.theta - (P * P) @ self.theta
        P *= self.theta32
        P[P < 1e-25] = 0  # denormal numbers slow the products several times
        P[self.y, self.token] -= self.theta32
        return P, np.maximum(curvature.astype(np.float64), 1e-9)

    def gradient(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient of the loss for every neuron, (C, d), and the classes' curvature."""
        R, curvature = self.state()
        return (R @ self.XT.T).astype(np.float64), curvature
