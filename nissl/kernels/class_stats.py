"""Counts, means, squares and histograms by class: one streaming pass, mergeable over shards.

All rankings by one neuron at a time that do not need a sort come from these
(:mod:`nissl.kernels.univariate`, :mod:`nissl.kernels.mutual_information`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt32

from nissl.errors import InputError
from nissl.kernels._blocks import neuron_blocks
from nissl.kernels._stats_loops import add_block
from nissl.kernels.checks import check_labels, check_matrix, check_shape, neuron_major

__all__ = ["BINS", "ClassStats", "bin_of", "class_stats", "collect_stats"]

BINS = 256
_REACH, _FINE = 16.0, 0.5
"""The outermost bins begin at ±16 (standard deviations); bins grow in width from ±0.5 on."""


def _make_table() -> np.ndarray:
    """Bin of every upper half of a float32, uint8 (65536,): even steps of asinh(z / 0.5)."""
    half = np.arange(65536, dtype=np.uint32)
    with np.errstate(invalid="ignore"):
        middle = ((half << np.uint32(16)) | np.uint32(0x8000)).view(np.float32).astype(np.float64)
    middle = np.nan_to_num(middle, nan=0.0, posinf=1e30, neginf=-1e30)
    place = np.arcsinh(middle / _FINE) / np.arcsinh(_REACH / _FINE) * (BINS // 2)
    return np.clip(np.floor(place) + BINS // 2, 0, BINS - 1).astype(np.uint8)


_TABLE = _make_table()


def bin_of(z: Float[np.ndarray, "*any"]) -> np.ndarray:
    """Return the bin of standardised values, uint8 of the same shape; bin 255 − b mirrors b."""
    values = np.ascontiguousarray(z, dtype=np.float32) + np.float32(0)
    return _TABLE[values.view(np.uint32) >> np.uint32(16)]


@dataclass(frozen=True, eq=False)
class ClassStats:
    """What is known of each neuron in each class, in units of z = (x − centre) · scale.

    Attributes
    ----------
    counts
        Tokens of each class, int64 (C,).
    sums, squares
        Sums of z and of z² by class, float64 (C, d).
    histogram
        Tokens by neuron, class and bin, uint32 (d, C, 256), or (0, C, 256) if it was not wanted.
        Bins are the same for all neurons (:func:`bin_of`), so that histograms add up.
    centre, scale
        What was taken off each neuron, and the factor after that, float64 (d,).
    """

    counts: Int[np.ndarray, " c"]
    sums: Float[np.ndarray, "c d"]
    squares: Float[np.ndarray, "c d"]
    histogram: UInt32[np.ndarray, "h c b"]
    centre: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return int(self.counts.sum())

    @property
    def means(self) -> np.ndarray:
        """Mean of z in each class, (C, d); NaN for a class without tokens."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.sums / self.counts[:, None]

    @property
    def spread(self) -> np.ndarray:
        """Population standard deviation of z over all tokens, (d,); 0 for a constant neuron."""
        n = self.n_tokens
        square, mean = self.squares.sum(axis=0) / n, self.sums.sum(axis=0) / n
        variance = square - mean**2
        # Where all of it is rounding, a neuron is constant (as in ``standardise.moments``).
        return np.sqrt(np.where(variance > 1e-13 * square, variance, 0.0))

    def merge(self, other: ClassStats) -> ClassStats:
        """Return the statistics of both sets of tokens together.

        Raises
        ------
        InputError
            The two are of other neurons, classes, centres or scales, or only one has histograms.
        """
        if self.sums.shape != other.sums.shape:
            raise InputError(
                f"statistics of {self.sums.shape} classes × neurons do not merge with "
                f"{other.sums.shape}"
            )
        if not np.array_equal(self.centre, other.centre) or not np.array_equal(
            self.scale, other.scale
        ):
            raise InputError("statistics around other centres or scales do not merge")
        if self.histogram.shape != other.histogram.shape:
            raise InputError("statistics with and without histograms do not merge")
        counts = self.counts + other.counts
        _check_counts(counts)
        return ClassStats(
            counts=counts,
            sums=self.sums + other.sums,
            squares=self.squares + other.squares,
            histogram=self.histogram + other.histogram,
            centre=self.centre,
            scale=self.scale,
        )


def class_stats(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    histograms: bool = True,
) -> ClassStats:
    """Collect the statistics of one matrix of standardised neurons (see :func:`collect_stats`)."""
    check_shape(X)
    return collect_stats([(X, y)], n_classes, histograms=histograms)


def collect_stats(
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    n_classes: int,
    *,
    centre: Float[np.ndarray, " d"] | None = None,
    scale: Float[np.ndarray, " d"] | None = None,
    histograms: bool = True,
) -> ClassStats:
    """Go once through blocks of tokens, such as the shards of a store.

    Parameters
    ----------
    blocks
        Pairs of neurons (m, d), any float type and memory order, and class codes (m,).
    n_classes
        Number of classes C.
    centre, scale
        For raw neurons: their mean, and 1 / standard deviation (0 for constant ones), (d,). By
        default 0 and 1, for standardised neurons. Bins are made for values within ±16 after this.
    histograms
        Whether to count by bin, which takes 1 KiB a neuron and class.

    Raises
    ------
    InputError
        No tokens, blocks of unequal width, a value that is not finite (the neuron is named).
    LabelError
        Labels that do not fit.
    """
    stats: ClassStats | None = None
    sums = squares = np.zeros((0, n_classes))
    for X, y in blocks:
        m, d = X.shape
        if m == 0:
            continue
        codes = check_labels(y, m, n_classes)
        if stats is None:
            sums, squares = np.zeros((d, n_classes)), np.zeros((d, n_classes))
            stats = ClassStats(
                counts=np.zeros(n_classes, dtype=np.int64),
                sums=sums.T,
                squares=squares.T,
                histogram=np.zeros((d if histograms else 0, n_classes, BINS), dtype=np.uint32),
                centre=_fits(np.zeros(d) if centre is None else centre, d),
                scale=_fits(np.ones(d) if scale is None else scale, d),
            )
        elif d != len(stats.centre):
            raise InputError(f"a block has {d} neurons, but the first had {len(stats.centre)}")
        stats.counts[:] += np.bincount(codes, minlength=n_classes)
        _check_counts(stats.counts)
        XT = neuron_major(X)
        labels = codes.astype(np.uint32)
        for here, part in neuron_blocks(XT):
            add_block(
                part,
                labels,
                stats.centre[here],
                stats.scale[here],
                _TABLE,
                sums[here],
                squares[here],
                stats.histogram[here],
            )
        if not np.isfinite(sums.sum()):
            check_matrix(X)  # says which neuron and token
            raise InputError("activations are too large to be squared and summed")
    if stats is None:
        raise InputError("there are no tokens in any block")
    return stats


def _fits(values: np.ndarray, d: int) -> np.ndarray:
    if len(values) != d:
        raise InputError(f"centre or scale of {len(values)} neurons does not fit blocks of {d}")
    return np.array(values, dtype=np.float64)


def _check_counts(counts: np.ndarray) -> None:
    if counts.max() >= 2**32:
        raise InputError("a class has more than 4,294,967,295 tokens; take a sample")
