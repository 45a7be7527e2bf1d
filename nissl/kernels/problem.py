"""One probe to fit: labels, penalties, token weights, a start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nissl.errors import InputError
from nissl.kernels.checks import check_labels, check_penalty
from nissl.kernels.fit import Fit

__all__ = ["Problem", "token_weights"]


@dataclass(frozen=True, eq=False)
class Problem:
    """A probe to fit on a matrix that it may share with others.

    Tasks, control tasks, bootstraps (as weights), row masks (weight 0) and penalties differ from
    problem to problem; the neurons do not.

    Attributes
    ----------
    y
        Class indices, (n,).
    n_classes
        Number of classes C.
    l1, l2
        Penalties of the absolute and of the squared weights, 0 or more.
    weight
        Weight of each token, 0 or more, (n,); equal by default. The loss is their weighted mean.
    start
        A fit to start from.
    """

    y: np.ndarray
    n_classes: int
    l1: float
    l2: float
    weight: np.ndarray | None = None
    start: Fit | None = None

    def check(self, n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and token weights (summing to 1) after checking everything.

        Raises
        ------
        InputError, LabelError, SettingError
        """
        check_penalty(l1=self.l1, l2=self.l2)
        y = check_labels(self.y, n, self.n_classes)
        if self.start is not None and self.start.coef.shape != (self.n_classes, d):
            raise InputError(
                f"the start has weights of shape {self.start.coef.shape}, "
                f"the problem {(self.n_classes, d)}"
            )
        return y, token_weights(self.weight, n)


def token_weights(weight: np.ndarray | None, n: int) -> np.ndarray:
    """Return token weights as float64 that sum to 1, (n,).

    Raises
    ------
    InputError
        Wrong length, a weight that is negative or not finite, or all 0.
    """
    if weight is None:
        return np.full(n, 1 / n)
    theta = np.asarray(weight, dtype=np.float64)
    if theta.shape != (n,):
        raise InputError(f"{theta.size} sample weights for {n} tokens")
    if not np.isfinite(theta).all() or (theta < 0).any() or theta.sum() <= 0:
        raise InputError("sample weights must be finite, 0 or more, and not all 0")
    return theta / theta.sum()
