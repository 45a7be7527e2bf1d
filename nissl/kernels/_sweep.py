"""One sort of every neuron, from which exact curves, overlaps and neighbours are taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma

from nissl.errors import SettingError
from nissl.kernels._blocks import neuron_blocks
from nissl.kernels._sweep_loops import sweep
from nissl.kernels.checks import check_labels, check_matrix, neuron_major

__all__ = ["Swept", "run_sweep"]


@dataclass(frozen=True, eq=False)
class Swept:
    """What one sweep found; an array that was not wanted is empty.

    Attributes
    ----------
    counts
        Tokens of each class, int64 (C,).
    ranks
        Sums of midranks, float64 (C, d).
    precision
        Sums of precision at the high end, the low end and the outside, float64 (3, C, d).
    on, hits
        Tokens switched on, and those of them of the class, int64 (3, C, d).
    shares
        Shares of the neighbour estimate of mutual information, float64 (C, d).
    """

    counts: np.ndarray
    ranks: np.ndarray
    precision: np.ndarray
    on: np.ndarray
    hits: np.ndarray
    shares: np.ndarray


def run_sweep(
    X: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    *,
    curves: bool = False,
    share: float | str | None = None,
    k: int = 0,
    max_tokens: int | None = None,
) -> Swept:
    """Check the input and sweep once over all neurons; the input is never written to.

    Parameters
    ----------
    X, y, n_classes
        Neurons (n, d), class codes (n,), number of classes.
    curves
        Whether to find rank sums and sums of precision.
    share
        Share of the tokens to switch on, or "prevalence" for each class's own; None for neither.
    k
        Neighbours, or 0 for none.
    max_tokens
        Tokens to take neighbours from, at most; None for all.

    Raises
    ------
    InputError, LabelError, SettingError
    """
    check_matrix(X)
    n = X.shape[0]
    codes = check_labels(y, n, n_classes)
    counts = np.bincount(codes, minlength=n_classes)
    if n >= 2**31:
        raise SettingError(f"{n} tokens are more than the 2,147,483,647 that can be sorted at once")
    wanted = _wanted(share, counts, n)
    XT = neuron_major(X)
    keep = _neighbours(codes, n_classes, max_tokens) if k else np.arange(0)
    found = _go(XT, codes, counts, curves, wanted, k if len(keep) == n else 0)
    if 0 < len(keep) < n:
        few = np.bincount(codes[keep], minlength=n_classes)
        for here, part in neuron_blocks(XT):
            some = np.ascontiguousarray(part[:, keep])
            found.shares[:, here] = _go(some, codes[keep], few, False, wanted[:0], k).shares
    return found


def _neighbours(y: np.ndarray, n_classes: int, max_tokens: int | None) -> np.ndarray:
    """Tokens that serve for neighbours: a fixed sample, without classes of a single token."""
    n = len(y)
    keep = np.arange(n)
    if max_tokens is not None and n > max_tokens:
        keep = np.sort(np.random.default_rng(0).permutation(n)[:max_tokens])
    few = np.bincount(y[keep], minlength=n_classes)
    return keep[few[y[keep]] > 1]


def _wanted(share: float | str | None, counts: np.ndarray, n: int) -> np.ndarray:
    """Tokens to switch on for each class, int64 (C,); empty for no thresholds."""
    if share is None:
        return np.zeros(0, dtype=np.int64)
    if isinstance(share, str):
        if share != "prevalence":
            raise SettingError(f'share must be "prevalence" or a number, not "{share}"')
        return counts.astype(np.int64)
    if not 0 < share < 1:
        raise SettingError(f"share must lie between 0 and 1, not {share}")
    return np.full(len(counts), max(1, round(share * n)), dtype=np.int64)


def _go(
    XT: np.ndarray, y: np.ndarray, counts: np.ndarray, curves: bool, wanted: np.ndarray, k: int
) -> Swept:
    d, n = XT.shape
    C = len(counts)
    cut = C if len(wanted) else 0
    ranks = np.zeros((d, C if curves else 0))
    precision = np.zeros((d, 3, C if curves else 0))
    on, hits = np.zeros((d, 3, cut), dtype=np.int64), np.zeros((d, 3, cut), dtype=np.int64)
    shares = np.zeros((d, C))
    psi = digamma(np.arange(n + 1, dtype=np.float64)) if k else np.zeros(1)
    wants = bool(curves or cut or k)
    labels = y.astype(np.uint32)
    for here, part in neuron_blocks(XT) if wants else ():
        sweep(
            part,
            labels,
            counts,
            curves,
            wanted,
            k,
            psi,
            ranks[here],
            precision[here],
            on[here],
            hits[here],
            shares[here],
        )
    return Swept(
        counts=counts,
        ranks=ranks.T,
        precision=precision.transpose(1, 2, 0),
        on=on.transpose(1, 2, 0),
        hits=hits.transpose(1, 2, 0),
        shares=shares.T,
    )
