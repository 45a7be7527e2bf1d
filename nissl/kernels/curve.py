"""Ridge probes on the first k neurons of an order, for many k: the retraining curve of a ranking.

The sets are nested, so neighbours have much in common. Each probe starts from that on the largest
smaller set already fitted, its weights as they are and 0 for the neurons that are new. (Tried and
not kept: starts from larger sets, weights scaled by the sizes, the memory of the minimiser carried
over, a shared Cholesky factor as preconditioner. None was cheaper over all sizes.)
"""

from __future__ import annotations

import dataclasses
import threading
import time
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import InputError, NotConverged, SettingError
from nissl.kernels.checks import check_labels, check_matrix, check_penalty
from nissl.kernels.dense import minimise_ridge
from nissl.kernels.fit import Fit
from nissl.kernels.problem import token_weights

__all__ = ["NestedProbes", "Prefixes", "retrain_curve"]


class Prefixes:
    """Columns of a matrix in a given order, so that the first k are one slice.

    Each column is copied once, when it is first asked for: memory that is not written yet costs
    nothing, so a curve that ends early never pays for the rest of the order.

    Parameters
    ----------
    X
        (n, d), Fortran order preferred.
    order
        Positions of columns, each at most once, (m,), m ≤ d.

    Raises
    ------
    InputError
        A position outside the matrix, or one that comes twice.
    """

    def __init__(self, X: np.ndarray, order: np.ndarray) -> None:
        order = np.asarray(order)
        n, d = X.shape
        if order.ndim != 1 or order.dtype.kind not in "iu":
            raise InputError(f"the order must be a list of positions, not {order.dtype} numbers")
        if len(order) and (order.min() < 0 or order.max() >= d):
            bad = order[(order < 0) | (order >= d)][0]
            raise InputError(f"the order names neuron {bad}, but there are {d} (from 0)")
        if len(np.unique(order)) != len(order):
            raise InputError("the order names a neuron twice; each may come once")
        self.order = order
        self._source = X.T
        self._rows = np.empty((len(order), n), dtype=np.float32)
        self._filled = 0
        self._lock = threading.Lock()

    def first(self, k: int) -> np.ndarray:
        """Return the first k columns, float32 (n, k) in Fortran order, a view.

        Raises
        ------
        SettingError
            The order has fewer than k neurons, or k is not positive.
        """
        if not 1 <= k <= len(self.order):
            raise SettingError(
                f"a set of {k} neurons is impossible: the order has {len(self.order)}"
            )
        with self._lock:
            if k > self._filled:
                self._rows[self._filled : k] = self._source[self.order[self._filled : k]]
                self._filled = k
        return self._rows[:k].T


class NestedProbes:
    """Ridge probes on the first k neurons of an order, each fitted once and started from the last.

    Parameters
    ----------
    X, y, n_classes, order, l2, tol, weight
        As in :func:`retrain_curve`.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        n_classes: int,
        order: np.ndarray,
        *,
        l2: float,
        tol: float = 1e-2,
        weight: np.ndarray | None = None,
    ) -> None:
        check_penalty(l2=l2)
        self.y = check_labels(y, X.shape[0], n_classes)
        self.n_classes, self.l2, self.tol = n_classes, l2, tol
        self.theta = token_weights(weight, X.shape[0])
        self.prefixes = Prefixes(X, order)
        self.fits: dict[int, Fit] = {}
        self.short: dict[int, str] = {}

    def below(self, k: int) -> Fit | None:
        """Return the fit on the most neurons, fewer than k, that has been made so far."""
        largest = max((j for j in self.fits if j < k), default=0)
        return self.fits.get(largest)

    def fit(self, k: int, start: Fit | None, *, time_limit: float | None = None) -> Fit:
        """Return the probe on the first k neurons, its weights in the order's sequence.

        Parameters
        ----------
        start
            A fit on fewer neurons of this order (see :meth:`below`), or none. The caller says,
            because where several sizes are fitted at once, what is there changes by chance.
        time_limit
            CPU seconds, as in :func:`nissl.kernels.dense.fit_dense`.
        """
        if k in self.fits:
            return self.fits[k]
        X = self.prefixes.first(k)
        if start is not None:
            coef = np.zeros((self.n_classes, k))
            coef[:, : start.coef.shape[1]] = start.coef
            start = dataclasses.replace(start, coef=coef)
        fit, short = minimise_ridge(
            X.T,
            self.y,
            self.n_classes,
            self.theta,
            l2=self.l2,
            start=start,
            tol=self.tol,
            certificate=False,
            time_limit=time_limit,
        )
        if short:
            self.short[k] = short
        self.fits[k] = fit
        return fit


def retrain_curve(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    order: Int[np.ndarray, " m"],
    sizes: Sequence[int],
    *,
    l2: float,
    tol: float = 1e-2,
    weight: Float[np.ndarray, " n"] | None = None,
    time_limit: float | None = None,
) -> list[Fit]:
    """Fit a ridge probe on the first k neurons of an order, for every k of ``sizes``.

    Minimises weighted mean cross-entropy + (l2/2) ‖W‖², the intercept free, by L-BFGS; the same
    objectives within ``tol`` as separate fits. Smaller sets come first and start the larger ones.

    Parameters
    ----------
    X
        Standardised neurons; they are copied once, in ranking order.
    order
        Positions of neurons, best first, each at most once; m ≤ d.
    sizes
        Values of k, from 1 to m, in any sequence.
    tol
        Relative duality gap at which each fit stops. Objective and gap come from float32 products.
    weight
        Token weights; equal by default.
    time_limit
        CPU seconds for all fits together. Those that come after it stand where their start put
        them, with ``converged=False``.

    Returns
    -------
    list of Fit
        One a size, in the sequence of ``sizes``; column j of ``coef`` belongs to ``order[j]``.

    Warns
    -----
    NotConverged
        Some fits stopped before ``tol``.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong lengths, an order with repeats or positions outside X, an impossible size.
    """
    check_matrix(X)
    if time_limit is not None:
        check_penalty(time_limit=time_limit)
    probes = NestedProbes(X, y, n_classes, order, l2=l2, tol=tol, weight=weight)
    began = time.thread_time()
    if sizes:
        # An impossible size is to be named before the work, and all columns are copied at once.
        probes.prefixes.first(int(min(sizes)))
        probes.prefixes.first(int(max(sizes)))
    for k in sorted({int(k) for k in sizes}):
        left = None if time_limit is None else max(0.0, time_limit - (time.thread_time() - began))
        probes.fit(k, probes.below(k), time_limit=left)
    if probes.short:
        first = min(probes.short)
        warnings.warn(
            f"{len(probes.short)} of {len(probes.fits)} probes of the curve stopped before a "
            f"relative gap of {tol:g}, the first on {first} neurons at "
            f"{probes.fits[first].gap:.1e}: {probes.short[first]}",
            NotConverged,
            stacklevel=2,
        )
    return [probes.fits[int(k)] for k in sizes]
