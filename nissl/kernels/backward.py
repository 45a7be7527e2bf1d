"""Backward elimination: drop the neurons whose removal costs the loss least, and refit."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve

from nissl.errors import NotConverged, SettingError
from nissl.kernels._forward_probe import SetProbe
from nissl.kernels.checks import check_labels, check_matrix, check_penalty, neuron_major
from nissl.kernels.fit import one_thread
from nissl.kernels.problem import token_weights

__all__ = ["Backward", "backward_elimination", "removal_costs"]


@dataclass(frozen=True, eq=False)
class Backward:
    """What backward elimination found.

    Attributes
    ----------
    order
        Positions of all neurons, best first: the last to be dropped is the first, (d,).
    sizes
        Numbers of neurons at which the probe was refitted, falling.
    losses
        Objective of the probe at each of ``sizes``.
    """

    order: np.ndarray
    sizes: np.ndarray
    losses: np.ndarray


def removal_costs(W: np.ndarray, inverse: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """Return how much the loss rises without each neuron once the others have adapted, (k,).

    The second-order estimate of Hassibi & Stork (1993, eq. 5), summed over classes:
    ½ Σ_c s_c w_cj² / [A⁻¹]_jj, where the Hessian of class c is taken to be s_c A.

    Parameters
    ----------
    W
        Weights at an optimum, (C, k).
    inverse
        A⁻¹, (k, k), with A the neurons' second moments plus the ridge.
    curvature
        s_c, the weighted mean of q (1 − q), (C,).
    """
    return 0.5 * (curvature @ (W * W)) / np.diag(inverse)


def backward_elimination(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    l2: float = 1e-3,
    drop: float = 0.1,
    smallest: int = 1,
    pool: Int[np.ndarray, " p"] | None = None,
    sample_weight: Float[np.ndarray, " n"] | None = None,
    tol: float = 3e-2,
) -> Backward:
    """Start from all neurons; drop some by the smallest approximate rise of the loss; refit; go on.

    A neuron goes with its weights for every class. Inside a round the costs are kept up to date:
    dropping a neuron changes the weights of those that hang together with it as the quadratic model
    says (Hassibi & Stork 1993), so that of two copies one stays.

    Parameters
    ----------
    X
        Standardised neurons (n, d), float32 in Fortran order preferred.
    y
        Class indices, (n,).
    l2
        Ridge penalty of the probe.
    drop
        Share of the neurons that go in a round; 0: one at a time.
    smallest
        Number of neurons at which refitting ends; below it the last model's costs decide.
    pool
        Neurons to start from; all by default. A Gram matrix of them is held in float64. The others
        come last in the order, by the norm of their gradient at the largest probe.
    sample_weight
        Weight of each token, 0 or more.
    tol
        Relative duality gap of each refit.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong lengths, one class, impossible settings.

    Warns
    -----
    NotConverged
        Some refits stopped early.
    """
    check_penalty(l2=l2)
    if l2 == 0:
        raise SettingError("backward elimination needs a ridge: set l2 above 0")
    if not 0 <= drop < 1 or smallest < 1:
        raise SettingError(
            f"drop must be in [0, 1) and smallest 1 or more, not {drop} and {smallest}"
        )
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    XT = neuron_major(X)
    d = len(XT)
    start = np.arange(d) if pool is None else np.asarray(pool)
    if (
        not len(start)
        or start.min() < 0
        or start.max() >= d
        or len(set(start.tolist())) < len(start)
    ):
        raise SettingError(f"the pool must name neurons 0…{d - 1}, each once")
    theta = token_weights(sample_weight, len(y))
    with one_thread():
        probe = SetProbe(XT, y, n_classes, theta, l2=l2, room=len(start), chosen=start.tolist())
        gram = _second_moments(probe.rows, theta)
        place = {int(j): i for i, j in enumerate(start)}
        probe.refit(tol=tol)
        gradient, _ = probe.gradient() if len(start) < d else (np.zeros((1, d)), None)
        sizes, losses, gone = [len(start)], [probe.loss], []
        while len(probe.chosen) > 1:
            k = len(probe.chosen)
            last = k <= smallest
            m = k - 1 if last else max(1, min(int(drop * k), k - smallest))
            at = np.array([place[j] for j in probe.chosen])
            out, W = _least(probe, gram[np.ix_(at, at)], m)
            gone += [probe.chosen[i] for i in out]
            probe.drop(out, W)
            if last:
                break
            probe.refit(tol=tol)
            sizes.append(len(probe.chosen))
            losses.append(probe.loss)
    if probe.short:
        warnings.warn(
            f"{probe.short} of {len(sizes)} refits of backward elimination stopped before a "
            f"relative gap of {tol:g}",
            NotConverged,
            stacklevel=2,
        )
    rest = np.setdiff1d(np.arange(d), start)
    rest = rest[np.argsort(-(gradient[:, rest] ** 2).sum(axis=0), kind="stable")]
    order = np.concatenate([np.array(probe.chosen + gone[::-1], dtype=np.int64), rest])
    return Backward(order, np.array(sizes), np.array(losses))


def _second_moments(rows: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Weighted covariance (k, k), float64 from float32 products."""
    root = np.sqrt(theta).astype(np.float32)
    scaled = rows * root
    mean = (rows @ theta.astype(np.float32)).astype(np.float64)
    return (scaled @ scaled.T).astype(np.float64) - np.outer(mean, mean)


def _least(probe: SetProbe, gram: np.ndarray, m: int) -> tuple[list[int], np.ndarray]:
    """Return m places whose removal costs least, taken one by one, and all weights adapted."""
    _, curvature = probe.state()
    k = len(gram)
    W = probe.W.copy()
    # One ridge for all classes, in units of a Gram matrix: that of the weights' usual class.
    size = (W * W).sum(axis=1)
    typical = float(curvature @ size) / max(float(size.sum()), 1e-300)
    A = gram.copy()
    A[np.diag_indices(k)] += probe.l2 / max(typical, 1e-9)
    A[np.diag_indices(k)] += 1e-6 * max(float(np.trace(gram)) / k, 1e-12)
    inverse = cho_solve(cho_factor(A, lower=True, check_finite=False), np.eye(k))
    diagonal = np.diag(inverse).copy()
    R = np.zeros((m, k))
    left = np.ones(k, dtype=bool)
    out: list[int] = []
    for t in range(m):
        cost = np.where(left, (curvature @ (W * W)) / np.maximum(diagonal, 1e-300), np.inf)
        j = int(cost.argmin())
        column = inverse[j] - R[:t, j] @ R[:t]
        R[t] = column / np.sqrt(max(column[j], 1e-300))
        W -= np.outer(W[:, j] / column[j], column)
        diagonal -= R[t] ** 2
        left[j] = False
        W[:, j] = 0.0
        out.append(j)
    return out, W
