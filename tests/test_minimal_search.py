"""The minimal set: bisection, the confidence rule, stability, and equally good sets."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes

from nissl.errors import SettingError
from nissl.kernels.intervals import bootstrap_accuracy
from nissl.methods import equal_sets, minimal_set, rank, rank_order, set_stability
from nissl.methods.evaluate import correct_retrained
from nissl.methods.minimal_search import bisect_size, grid_size, growing
from nissl.results import load_result
from nissl.testing import planted_task


@pytest.fixture(scope="module")
def planted():
    return planted_task(
        n_tokens=3000, n_neurons=100, n_classes=3, informative=6, shift=2.0, copies=3, seed=6
    )


@pytest.fixture(scope="module")
def task(planted):
    return planted[0]


@pytest.fixture(scope="module")
def ranking(task):
    return rank(task, "lca")


@pytest.fixture(scope="module")
def minimal(task, ranking):
    return minimal_set(task, ranking, draws=2)


def oracle(smallest, asked):
    def enough(sizes):
        asked.extend(sizes)
        return {k: k >= smallest for k in sizes}

    return enough


@pytest.mark.parametrize("find", [bisect_size, grid_size])
@pytest.mark.parametrize("d", [1, 2, 7, 120, 2688])
def test_a_search_finds_the_planted_size_within_its_precision(find, d):
    for smallest in sorted({1, 2, d // 50 + 1, d // 3 + 1, d - 1, d}):
        if not 1 <= smallest <= d:
            continue
        asked: list[int] = []
        low, high = find(oracle(smallest, asked), d)
        assert low < smallest <= high
        assert high - low <= max(1, math.floor(0.03 * high))
        assert all(1 <= k <= d for k in asked)
        if find is bisect_size:
            assert len(asked) == len(set(asked))


def test_bisection_asks_for_few_and_small_sizes():
    for smallest in (3, 30, 300, 2600):
        few: list[int] = []
        many: list[int] = []
        bisect_size(oracle(smallest, few), 2688)
        grid_size(oracle(smallest, many), 2688)
        assert len(few) <= 11
        assert len(few) <= len(set(many))
    asked: list[int] = []
    bisect_size(oracle(30, asked), 2688)
    assert asked[0] == 52
    low, high = bisect_size(oracle(300, []), 2688, precision=0.001)
    assert (low, high) == (299, 300)


def test_nothing_suffices_but_all_neurons():
    assert bisect_size(lambda sizes: dict.fromkeys(sizes, False), 50) == (49, 50)
    assert bisect_size(lambda sizes: dict.fromkeys(sizes, True), 50) == (0, 1)


def test_growing_sizes():
    assert growing(2688, 1.6) == [7, 11, 18, 29, 46, 74, 118, 189, 302, 483, 773, 1237, 1979, 2688]
    assert growing(3, 1.6) == [1, 2, 3]


def test_differences_are_paired_with_all_neurons(minimal, task, ranking):
    whole = correct_retrained(task, np.arange(100), "dev")
    assert minimal.all_dev == whole.mean()
    for row in minimal.points.iter_rows(named=True):
        assert row["difference"] == pytest.approx(row["dev_accuracy"] - minimal.all_dev)
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    row = minimal.points.filter(pl.col("k") == minimal.size(1.0)).row(0, named=True)
    right = correct_retrained(task, np.sort(minimal.members(1.0)), "dev")
    value, low, high = bootstrap_accuracy(
        right.astype(float) - whole, task.dev.sentence, n_boot=1000, seed=0
    )
    assert row["difference"] == pytest.approx(value, abs=0.01)
    assert row["difference_high"] - row["difference_low"] == pytest.approx(high - low, rel=0.5)
    alone = [
        bootstrap_accuracy(right, task.dev.sentence)[2]
        - bootstrap_accuracy(right, task.dev.sentence)[1],
        bootstrap_accuracy(whole, task.dev.sentence)[2]
        - bootstrap_accuracy(whole, task.dev.sentence)[1],
    ]
    assert high - low < sum(alone)


def test_the_interval_of_the_size_holds_the_crossing(minimal):
    for row in minimal.sets.iter_rows(named=True):
        assert row["k_low"] <= row["k"] <= row["k_high"]
        points = {p["k"]: p for p in minimal.points.iter_rows(named=True)}
        assert points[row["k"]]["difference"] >= -row["delta"] / 100
        assert points[row["k_high"]]["difference_low"] >= -row["delta"] / 100
        below = points.get(row["k_low"] - 1)
        assert below is None or below["difference_high"] < -row["delta"] / 100
    assert "the dev tokens allow" in minimal.summary()[0]


def test_the_sure_rule_takes_the_upper_size(task, ranking, minimal):
    sure = minimal_set(task, ranking, rule="sure", draws=2)
    assert sure.sets["k"].to_list() == minimal.sets["k_high"].to_list()
    assert sure.sets["k_low"].to_list() == minimal.sets["k_low"].to_list()
    assert sure.rule == "sure"
    for row in sure.sets.iter_rows(named=True):
        assert row["dev_accuracy"] >= sure.all_dev - row["delta"] / 100


def test_fewer_dev_tokens_leave_more_sizes_open(task):
    """The interval of the size is about what the dev tokens can tell."""
    rows = np.arange(60)
    dev = task.dev
    small = dataclasses.replace(
        dev,
        X=np.asfortranarray(dev.X[rows]),
        y=dev.y[rows],
        rows=dev.rows[rows],
        sentence=dev.sentence[rows],
        form=dev.form[rows],
    )
    order = rank(task, "random", seed=2)
    wide, narrow = (
        minimal_set(t, order, deltas=(2.0,), draws=2).sets.row(0, named=True)
        for t in (dataclasses.replace(task, dev=small), task)
    )
    assert wide["k_high"] - wide["k_low"] > narrow["k_high"] - narrow["k_low"]


def test_grid_and_bisection_agree(task, ranking, minimal):
    grid = minimal_set(task, ranking, search="grid", draws=2)
    for delta in (0.5, 1.0):
        assert abs(grid.size(delta) - minimal.size(delta)) <= 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"deltas": ()}, "percentage points"),
        ({"search": "bisekt"}, 'Did you mean "bisect"'),
        ({"rule": "certain"}, "neither point nor sure"),
        ({"precision": 0.0}, "precision must lie"),
        ({"growth": 1.0}, "growth must be above 1"),
        ({"draws": 0}, "draws must be 1 or more"),
    ],
)
def test_impossible_settings(task, ranking, settings, message):
    with pytest.raises(SettingError, match=message):
        minimal_set(task, ranking, **settings)


@pytest.mark.parametrize("over", ["halves", "bootstrap"])
def test_a_set_of_strong_neurons_is_stable(task, minimal, over):
    found = set_stability(task, minimal, over=over, runs=4)
    assert found.k == minimal.size(1.0)
    assert found.runs.height == 4
    assert found.runs["overlap"].min() > 0.5
    assert found.table["frequency"].mean() == pytest.approx(found.runs["overlap"].mean())
    assert found.expected == found.k / 100
    assert "are among" in found.summary()[0]
    assert isinstance(found.plot(), Axes)


def test_a_random_set_is_not_stable(task):
    minimal = minimal_set(task, rank(task, "random"), deltas=(1.0,), draws=2)
    few = dataclasses.replace(minimal, sets=minimal.sets.with_columns(pl.lit(10).alias("k")))
    for seed in (0, 5):
        # The set's own ranking was made with seed 0: it must not simply come back.
        found = set_stability(task, few, "random", runs=6, seed=seed)
        assert found.k == 10
        assert found.runs["overlap"].max() < 0.5
        assert found.runs["overlap"].n_unique() > 1
    with pytest.raises(SettingError, match="ranking by random, not by lca"):
        set_stability(task, few)
    with pytest.raises(SettingError, match="even for halves"):
        set_stability(task, few, "random", runs=3)
    with pytest.raises(SettingError, match="over must be"):
        set_stability(task, few, "random", over="thirds")  # type: ignore[arg-type]


def test_each_copy_doubles_the_number_of_equal_sets(planted):
    """Three informative neurons have a copy each: 2³ sets are equally good, and no others."""
    task, truth = planted
    own = rank_order(task, "lca", truth.informative)
    minimal = minimal_set(task, own, deltas=(1.0,), draws=2)
    minimal = dataclasses.replace(minimal, sets=minimal.sets.with_columns(pl.lit(6).alias("k")))
    found = equal_sets(task, minimal, margin=1.0, draws=10)
    names = task.neurons["neuron"].to_list()
    want = {(names[original], names[copy]) for copy, original in truth.copies}
    assert {(r["out"], r["into"]) for r in found.swaps.iter_rows(named=True)} == want
    assert found.mates == 3
    assert found.swaps["equal"].all()
    assert (found.swaps["r"].abs() > 0.98).all()
    assert found.good == found.tried == 10
    assert 10**found.log10_sets == pytest.approx(8)
    assert "About 8 sets are equally good" in found.summary()[0]
    assert isinstance(found.plot(), Axes)


def test_a_worse_mate_is_no_equal_swap(planted):
    """At a loose threshold noise joins the clusters: its swaps must not count."""
    task, truth = planted
    own = rank_order(task, "lca", truth.informative)
    minimal = minimal_set(task, own, deltas=(1.0,), draws=2)
    minimal = dataclasses.replace(minimal, sets=minimal.sets.with_columns(pl.lit(6).alias("k")))
    found = equal_sets(task, minimal, threshold=0.985, draws=5, max_swaps=40)
    copies = {task.neurons["neuron"][int(copy)] for copy, _ in truth.copies}
    noise = found.swaps.filter(~pl.col("into").is_in(list(copies)) & (pl.col("r").abs() < 0.3))
    assert noise.height > 5
    assert not noise["equal"].any()
    assert (noise["difference"] < -0.01).all()
    assert found.swaps.height == min(40, found.mates)


def test_without_mates_the_set_stands_alone():
    task, truth = planted_task(n_tokens=1200, n_neurons=40, informative=4, seed=1)
    minimal = minimal_set(task, rank(task, "f"), deltas=(1.0,), draws=2)
    found = equal_sets(task, minimal)
    assert (found.mates, found.tried, found.log10_sets) == (0, 0, 0.0)
    assert found.frame().height == 0
    assert "no equally good set" in found.summary()[0]
    assert len(truth.informative) == 4
    with pytest.raises(SettingError, match="margin"):
        equal_sets(task, minimal, margin=0)
    with pytest.raises(SettingError, match="1 or more"):
        equal_sets(task, minimal, draws=0)


def test_results_are_saved_and_read_back(task, minimal, tmp_path):
    for i, result in enumerate(
        (minimal, set_stability(task, minimal, runs=2), equal_sets(task, minimal, draws=2))
    ):
        back = load_result(result.save(tmp_path / str(i)))
        assert type(back) is type(result)
        assert back.frame().equals(result.frame())
        assert back.summary() == result.summary()
