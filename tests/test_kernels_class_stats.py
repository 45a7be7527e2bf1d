"""Streaming statistics against float64 NumPy, in one piece, in blocks and merged."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from nissl.errors import InputError, LabelError
from nissl.kernels.class_stats import BINS, bin_of, class_stats, collect_stats
from nissl.kernels.rank_curves import histogram_curves, rank_curves


def draw(n=5000, d=6, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    X = rng.standard_normal((n, d)) + 0.5 * rng.standard_normal((classes, d))[y]
    return np.asfortranarray(X, dtype=np.float32), y


def test_sums_and_histograms_are_those_of_numpy():
    X, y = draw()
    stats = class_stats(X, y, 5)
    wide = X.astype(np.float64)
    for c in range(4):
        assert stats.counts[c] == (y == c).sum()
        assert stats.means[c] == pytest.approx(wide[y == c].mean(axis=0), abs=1e-12)
        assert stats.squares[c] == pytest.approx((wide[y == c] ** 2).sum(axis=0))
        for j in range(6):
            want = np.bincount(bin_of(X[y == c, j]), minlength=BINS)
            assert np.array_equal(stats.histogram[j, c], want)
    assert stats.spread == pytest.approx(wide.std(axis=0))
    assert np.isnan(stats.means[4]).all()
    assert stats.counts[4] == stats.histogram[:, 4].sum() == 0


def test_bins_rise_with_the_value_mirror_each_other_and_join_the_two_zeros():
    z = np.sort(np.random.default_rng(0).standard_normal(4000).astype(np.float32)) * 5
    assert (np.diff(bin_of(z).astype(int)) >= 0).all()
    assert np.array_equal(bin_of(-z).astype(int), 255 - bin_of(z).astype(int))
    assert bin_of(np.float32([-0.0]))[0] == bin_of(np.float32([0.0]))[0] == 128
    assert list(bin_of(np.float32([-3e38, -17, 17, 3e38]))) == [0, 0, 255, 255]


def test_blocks_and_merged_shards_give_the_same():
    X, y = draw()
    whole = class_stats(X, y, 4)
    cuts = [(0, 1), (1, 1), (1, 2500), (2500, 5000)]
    streamed = collect_stats(((np.ascontiguousarray(X[a:b]), y[a:b]) for a, b in cuts), 4)
    merged = class_stats(X[:700], y[:700], 4).merge(class_stats(X[700:], y[700:], 4))
    for other in (streamed, merged):
        assert np.array_equal(other.histogram, whole.histogram)
        assert np.array_equal(other.counts, whole.counts)
        assert other.sums == pytest.approx(whole.sums)
        assert other.squares == pytest.approx(whole.squares)


def test_raw_neurons_are_standardised_on_the_way():
    X, y = draw()
    mean, sd = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    raw = np.float32(X * 7 + 30)
    stats = collect_stats([(raw, y)], 4, centre=mean * 7 + 30, scale=1 / (sd * 7))
    assert np.abs(stats.sums.sum(axis=0)).max() < 0.02  # float32 neurons around 30
    assert stats.spread == pytest.approx(np.ones(6), rel=1e-5)
    assert stats.n_tokens == 5000


def test_histogram_curves_are_close_to_exact_ones_and_exact_on_bins():
    X, y = draw(n=20000)
    X -= np.median(X, axis=0)
    exact = rank_curves(X, y, 4)
    near = histogram_curves(class_stats(X, y, 4))
    assert np.median(np.abs(near.auc - exact.auc)) < 2e-4
    assert np.abs(near.auc - exact.auc).max() < 1e-3
    for name in ("high", "low", "outer"):
        assert np.abs(getattr(near, name) - getattr(exact, name)).max() < 0.01
    bins = bin_of(X).astype(np.float64)
    for j in range(6):
        mine = (y == 1).astype(int)
        assert near.auc[1, j] == pytest.approx(roc_auc_score(mine, bins[:, j]), abs=1e-12)
        for name, score in (
            ("high", bins[:, j]),
            ("low", -bins[:, j]),
            ("outer", np.abs(bins[:, j] - 127.5)),
        ):
            want = average_precision_score(mine, score)
            assert getattr(near, name)[1, j] == pytest.approx(want, abs=1e-12)


def test_what_does_not_fit_is_refused():
    X, y = draw(n=60)
    with pytest.raises(InputError, match="no tokens in any block"):
        collect_stats([], 3)
    with pytest.raises(InputError, match="the first had 6"):
        collect_stats([(X, y), (X[:, :5], y)], 4)
    with pytest.raises(LabelError, match="outside"):
        class_stats(X, y, 3)
    bad = X.copy()
    bad[17, 2] = np.nan
    with pytest.raises(InputError, match="neuron 2 is nan at token 17"):
        class_stats(bad, y, 4)
    with pytest.raises(InputError, match="centre or scale of 5"):
        collect_stats([(X, y)], 4, centre=np.zeros(5))
    stats = class_stats(X, y, 4)
    with pytest.raises(InputError, match="do not merge"):
        stats.merge(class_stats(X[:, :3], y, 4))
    with pytest.raises(InputError, match="other centres"):
        stats.merge(collect_stats([(X, y)], 4, centre=np.ones(6)))
    bare = class_stats(X, y, 4, histograms=False)
    with pytest.raises(InputError, match="with and without"):
        stats.merge(bare)
    with pytest.raises(InputError, match="need histograms"):
        histogram_curves(bare)
