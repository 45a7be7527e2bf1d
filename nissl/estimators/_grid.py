"""Grids of penalties: the strongest that makes sense, and steps down from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nissl.errors import SettingError
from nissl.estimators._rows import Rows
from nissl.kernels.checks import check_penalty
from nissl.kernels.problem import token_weights

__all__ = ["Grid", "make_grid", "strongest_l1"]

Grid = int | Sequence[float | tuple[float, float]]

WEAKEST = 2e-4
"""λ₁ = λ₂ at the weak end of a default grid."""

BLOCK = 128
"""Neurons at a time."""


def strongest_l1(rows: Rows, n_classes: int) -> float:
    """Return the smallest λ₁ that gives no weights: max |∂ loss / ∂W| at W = 0.

    At W = 0 the intercepts make every token's probabilities those of the classes, so the gradient
    is Σᵢ θᵢ (p − yᵢ) xᵢᵀ (Friedman, Hastie and Tibshirani 2010, section 2.5, for several classes).
    """
    theta = token_weights(rows.weight, len(rows.code))
    residual = np.outer(np.bincount(rows.code, weights=theta, minlength=n_classes), theta)
    residual[rows.code, np.arange(len(theta))] -= theta
    largest = 0.0
    for start in range(0, rows.Z.shape[1], BLOCK):
        block = rows.Z[:, start : start + BLOCK].astype(np.float64)
        largest = max(largest, float(np.abs(residual @ block).max()))
    return largest


def make_grid(
    grid: Grid, make_rows: Callable[[], Rows], n_classes: int
) -> list[tuple[float, float]]:
    """Return pairs (λ₁, λ₂).

    Parameters
    ----------
    grid
        A number of points: geometric from 0.9 times the smallest λ₁ that gives no weights down to
        2e-4 (or a tenth of the start if that is less), λ₂ = λ₁. Or a list of pairs, or of single
        numbers that stand for λ₁ = λ₂.
    make_rows
        Gives the tokens to be fitted; called only for a number of points.

    Raises
    ------
    SettingError
        An empty grid, or a negative value.
    """
    if isinstance(grid, int | np.integer):
        if grid < 1:
            raise SettingError(f"the λ grid needs 1 point or more, not {grid}")
        # Without any neuron that says anything every λ gives the same probe.
        start = 0.9 * strongest_l1(make_rows(), n_classes) or 10 * WEAKEST
        levels = np.geomspace(start, min(WEAKEST, start / 10), int(grid))
        return [(float(level), float(level)) for level in levels]
    pairs = []
    for item in grid:
        values = np.ravel(item).astype(np.float64).tolist()
        if not 1 <= len(values) <= 2:
            raise SettingError(f"a point of the λ grid is a pair (λ₁, λ₂) or a number, not {item}")
        check_penalty(l1=values[0], l2=values[-1])
        pairs.append((values[0], values[-1]))
    if not pairs:
        raise SettingError("the λ grid is empty; give pairs such as (1e-3, 1e-3)")
    return pairs
