"""A path of probes: its grid, each fit against the probe alone, the table and the figure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nissl.errors import NotConverged, SettingError
from nissl.estimators import Probe, ProbePath


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    X = rng.normal(size=(300, 20))
    X[:, :3] += 1.5 * np.eye(3)[y]
    X[:, 9] = 2.0
    return X, np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="module")
def path(data):
    return Probe(tol=1e-5).path(*data)


def test_the_default_grid_starts_where_the_first_weight_appears(data, path) -> None:
    X, y = data
    assert len(path) == 12
    l1, l2 = np.array(path.grid).T
    np.testing.assert_array_equal(l1, l2)
    np.testing.assert_allclose(l1[1:] / l1[:-1], (l1[-1] / l1[0]) ** (1 / 11))
    assert l1[-1] == pytest.approx(2e-4)
    # The smallest λ₁ that gives no weights is l1[0] / 0.9: below it some, above it none.
    assert path[0].coef_.any()
    strongest = l1[0] / 0.9
    assert Probe(0.99 * strongest, 0.0, tol=1e-6).fit(X, y).coef_.any()
    assert not Probe(1.001 * strongest, 0.0, tol=1e-6).fit(X, y).coef_.any()


def test_the_grid_counts_weights_as_repetition(data) -> None:
    X, y = data
    weight = np.random.default_rng(3).integers(0, 4, len(y))
    one = Probe().path(X, y, grid=3, sample_weight=weight)
    two = Probe().path(X.repeat(weight, axis=0), y.repeat(weight), grid=3)
    assert one.grid == two.grid
    np.testing.assert_array_equal(one[2].coef_, two[2].coef_)
    assert one.grid != Probe().path(X, y, grid=3).grid
    strongest = one.grid[0][0] / 0.9
    assert Probe(0.99 * strongest, 0.0, tol=1e-6).fit(X, y, weight).coef_.any()
    assert not Probe(1.001 * strongest, 0.0, tol=1e-6).fit(X, y, weight).coef_.any()


def test_each_probe_is_the_one_fitted_alone(data, path) -> None:
    X, y = data
    for i in (2, 7, 11):
        alone = Probe(*path.grid[i], tol=1e-5).fit(X, y)
        assert path[i].objective_ == pytest.approx(alone.objective_, rel=2e-5)
        assert path[i].get_params() == alone.get_params()
        assert path[i].n_features_in_ == 20
        np.testing.assert_array_equal(path[i].mean_, alone.mean_)
        assert (path[i].predict(X) == alone.predict(X)).mean() > 0.99
    np.testing.assert_allclose(path.score(X, y), [probe.score(X, y) for probe in path])


def test_a_list_keeps_its_order_and_numbers_stand_for_pairs(data) -> None:
    grid = [(1e-3, 0.0), 1e-1, (1e-2, 1e-3)]
    path = Probe().path(*data, grid=grid)
    assert path.grid == ((1e-3, 0.0), (1e-1, 1e-1), (1e-2, 1e-3))
    neurons = path.frame()["neurons"].to_list()
    assert neurons[0] > neurons[2] > neurons[1]


def test_the_probe_itself_is_left_alone(data) -> None:
    probe = Probe(0.5, 0.25)
    probe.path(*data, grid=2)
    assert (probe.l1, probe.l2) == (0.5, 0.25)
    assert not hasattr(probe, "coef_")


def test_table_and_figure(data, path) -> None:
    table = path.frame()
    assert table.height == 12
    assert table["converged"].all()
    assert table["gap"].max() <= 1e-5
    assert table["neurons"].to_list() == [int(p.coef_.any(axis=0).sum()) for p in path]
    assert table["weights"].to_list() == [np.count_nonzero(p.coef_) for p in path]
    line = path.plot().lines[0]
    np.testing.assert_array_equal(line.get_xdata(), table.sort("l1")["l1"])
    np.testing.assert_array_equal(line.get_ydata(), table.sort("l1")["neurons"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        path.probes = ()


def test_a_path_of_ridge_alone_can_be_drawn(data) -> None:
    path = Probe().path(*data, grid=[(0.0, 1e-2), (0.0, 1e-1)])
    assert isinstance(path, ProbePath)
    path.plot().figure.draw_without_rendering()


def test_neurons_that_say_nothing_still_give_a_grid() -> None:
    path = Probe().path(np.ones((10, 3)), np.arange(10) % 2)
    assert len(set(path.grid)) == 12
    assert not any(probe.coef_.any() for probe in path)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (0, "1 point or more"),
        ([(1e-3, 1e-3, 1.0)], "a point of the λ grid is a pair"),
        ([], "empty"),
        ([-1.0], "l1 must be 0 or more"),
    ],
)
def test_impossible_grids_are_refused(data, grid, words) -> None:
    with pytest.raises(SettingError, match=words):
        Probe().path(*data, grid=grid)


def test_fits_that_stop_early_warn_once(data) -> None:
    with pytest.warns(NotConverged, match="of 4 fits stopped") as caught:
        Probe(tol=1e-6, time_limit=1e-9).path(*data, grid=4)
    assert len(caught) == 1
    assert caught[0].filename == __file__
