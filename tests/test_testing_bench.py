"""The planted-truth bench, and what each ranking of single neurons sees on it."""

from __future__ import annotations

import numpy as np
import pytest

from nissl.errors import SettingError
from nissl.kernels.all_univariate import METHODS, univariate_scores
from nissl.testing_bench import hits, noise_above, planted_bench

LINEAR = ("probeless", "selectivity", "f", "auc")


def test_the_bench_is_what_it_says():
    bench = planted_bench(3)
    assert bench.X.shape == bench.Z.shape == (4000, 96)
    assert bench.X.dtype == np.float32
    assert bench.X.flags.f_contiguous
    assert np.bincount(bench.y).tolist() == [2000, 2000]
    in0, in1 = (bench.X[bench.y == c].astype(np.float64) for c in (0, 1))
    shift = in1.mean(axis=0) - in0.mean(axis=0)
    assert shift[bench.raised] == pytest.approx(np.full(6, 0.8), abs=0.15)
    assert shift[bench.lowered] == pytest.approx(np.full(6, -0.8), abs=0.15)
    assert shift[bench.spread] == pytest.approx(np.zeros(6), abs=0.2)
    assert (in1.std(axis=0) / in0.std(axis=0))[bench.spread] == pytest.approx(
        np.full(6, 2), abs=0.2
    )
    assert bench.X.std(axis=0)[bench.loud] == pytest.approx(np.full(4, 40), rel=0.1)
    quiet = np.setdiff1d(bench.noise, bench.loud)
    assert len(quiet) == 74
    assert bench.X.std(axis=0)[quiet] == pytest.approx(np.ones(74), abs=0.1)
    assert bench.Z.std(axis=0) == pytest.approx(np.ones(96), abs=1e-4)
    assert np.array_equal(planted_bench(3).X, bench.X)
    assert not np.array_equal(planted_bench(4).X, bench.X)


def test_hits_and_noise_are_counted():
    bench = planted_bench(0)
    best = np.r_[bench.planted, bench.noise]
    assert hits(bench, best) == {"raised": 6, "lowered": 6, "spread": 6, "loud": 0}
    assert noise_above(bench, best) == 0
    assert hits(bench, best[::-1])["raised"] == 0
    assert noise_above(bench, best[::-1]) == 78
    swapped = best.copy()
    swapped[[17, 18]] = swapped[[18, 17]]
    assert noise_above(bench, swapped) == 1
    assert noise_above(bench, swapped, ("raised", "lowered")) == 0


@pytest.mark.parametrize("seed", range(5))
def test_every_ranking_finds_what_it_can_see(seed):
    bench = planted_bench(seed)
    found = univariate_scores(bench.Z, bench.y, 2)
    assert tuple(found) == METHODS
    for name, scores in found.items():
        order = np.argsort(-scores.overall, kind="stable")
        count = hits(bench, order)
        assert count["raised"] == count["lowered"] == 6, name
        seen = ("raised", "lowered") if name in LINEAR else ("raised", "lowered", "spread")
        assert noise_above(bench, order, seen) == 0, name
        if name not in LINEAR:
            assert count["spread"] == 6, name


def test_too_small_a_bench_is_refused():
    with pytest.raises(SettingError, match="22 neurons"):
        planted_bench(0, n_neurons=21)
