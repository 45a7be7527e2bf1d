"""Masks of units: sizes, ties, constants, and the same bounds on other tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nissl.errors import InputError, SettingError
from nissl.kernels.unit_masks import unit_masks, unit_thresholds


def draw(n=400, units=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, units)).astype(np.float32)


def test_a_quantile_turns_on_the_tokens_of_highest_and_lowest_value():
    X = draw()
    found = unit_thresholds(X, share=0.05)
    masks = unit_masks(X, found)
    assert found.unit.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.side == ("high", "low") * 3
    for u in range(3):
        order = np.argsort(X[:, u])
        assert set(np.flatnonzero(masks[2 * u])) == set(order[-20:])
        assert set(np.flatnonzero(masks[2 * u + 1])) == set(order[:20])
    assert found.sizes.tolist() == [20] * 6
    assert not found.tied.any()
    assert not found.constant.any()
    assert not found.left_out


def test_bounds_hold_on_other_tokens():
    X, other = draw(seed=1), draw(seed=2)
    found = unit_thresholds(X, share=0.1, sides="high")
    for u in range(3):
        ordered = np.sort(X[:, u])
        assert found.low[u] == pytest.approx((ordered[-40] + ordered[-41]) / 2)
        assert (unit_masks(other, found)[u] == (other[:, u] > found.low[u])).all()


def test_both_sides_of_zero_leave_zero_out():
    X = np.array([[-1.0], [0.0], [2.0], [0.0], [3.0], [-0.5]], dtype=np.float32)
    found = unit_thresholds(X, kind="zero")
    high, low = unit_masks(X, found)
    assert high.tolist() == [False, False, True, False, True, False]
    assert low.tolist() == [True, False, False, False, False, True]


def test_a_side_without_a_token_is_left_out_and_counted():
    X = np.abs(draw(units=2)) + 0.1
    X[0, 1] = 0
    found = unit_thresholds(X, kind="zero")
    assert found.side == ("high",)
    assert found.unit.tolist() == [1]
    assert found.left_out == {
        "masks (high) of units always on": 1,
        "masks (low) of units never on": 2,
    }


def test_constant_units_have_no_mask_and_are_counted():
    X = draw()
    X[:, 1] = 7.0
    for kind in ("quantile", "zero", "ranges", "clusters"):
        found = unit_thresholds(X, kind=kind)
        assert found.constant.tolist() == [False, True, False]
        assert 1 not in found.unit
        assert found.left_out["constant units"] == 1


def test_tied_tokens_are_on_or_off_together():
    # 30 tokens share the top value: all of them are on, though 5 were asked for.
    top = np.r_[np.full(30, 1.0), np.linspace(-1, 0, 70)].astype(np.float32)[:, None]
    found = unit_thresholds(top, share=0.05, sides="high")
    assert found.sizes.tolist() == [30]
    assert found.tied.tolist() == [30]
    # A rectified unit, on for 3 of 100 tokens: the 97 zeros stay off at any share.
    rectified = np.r_[np.zeros(97), 1.0, 2.0, 3.0].astype(np.float32)[:, None]
    for share in (0.1, 0.9):
        found = unit_thresholds(rectified, share=share, sides="high")
        assert found.sizes.tolist() == [3]
        assert found.tied.tolist() == [97]
    # 4 above, 2 tied: 4 is nearer to 5 than 6 only as a tie of distances, which goes without.
    near = np.r_[np.arange(94) / 100, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0].astype(np.float32)[:, None]
    found = unit_thresholds(near, share=0.05, sides="high")
    assert found.sizes.tolist() == [4]
    assert found.tied.tolist() == [2]
    found = unit_thresholds(-near, share=0.05, sides="low")
    assert found.sizes.tolist() == [4]
    assert found.tied.tolist() == [2]


@given(
    st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]), min_size=2, max_size=40),
    st.floats(0.01, 0.99),
)
def test_a_quantile_mask_is_an_upper_set_never_none_or_all(values, share):
    x = np.array(values, dtype=np.float32)[:, None]
    found = unit_thresholds(x, share=share)
    for side, on in zip(found.side, unit_masks(x, found), strict=True):
        assert 0 < on.sum() < len(x)
        signed = x[:, 0] if side == "high" else -x[:, 0]
        assert signed[on].min() > signed[~on].max()
        # No other such set is nearer to the share asked for.
        sizes = [(signed >= v).sum() for v in np.unique(signed)[1:]]
        wanted = min(max(round(share * len(x)), 1), len(x) - 1)
        assert abs(on.sum() - wanted) == min(abs(np.array(sizes) - wanted))
    assert found.constant.tolist() == [len(set(values)) == 1]


def test_neighbouring_floats_are_told_apart():
    a = np.float32(1.0)
    x = np.array([a, a, np.nextafter(a, np.float32(2))], dtype=np.float32)[:, None]
    for sign, side in ((1, "high"), (-1, "low")):
        found = unit_thresholds(sign * x, share=0.3, sides=side)
        assert unit_masks(sign * x, found)[0].tolist() == [False, False, True]


@pytest.mark.parametrize("kind", ["ranges", "clusters"])
def test_ranges_divide_all_tokens(kind):
    X = draw(500)
    found = unit_thresholds(X, kind=kind, ranges=4)
    masks = unit_masks(X, found)
    assert found.side[:4] == tuple(f"range {i}/4" for i in (1, 2, 3, 4))
    for u in range(3):
        assert (masks[found.unit == u].sum(axis=0) == 1).all()
    if kind == "ranges":
        assert (found.sizes == 125).all()


def test_clusters_are_those_of_k_means_and_the_planted_ones():
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(3)
    label = rng.integers(0, 3, 600)
    x = (np.array([-5.0, 0.0, 7.0])[label] + rng.standard_normal(600)).astype(np.float32)
    found = unit_thresholds(x[:, None], kind="clusters", ranges=3)
    masks = unit_masks(x[:, None], found)
    assert (masks.argmax(axis=0) == label).mean() > 0.97
    skewed = np.exp(rng.standard_normal(400)).astype(np.float32)
    start = np.array([part.mean() for part in np.array_split(np.sort(skewed), 4)])[:, None]
    how: dict[str, Any] = {"init": start, "n_init": 1, "tol": 0, "max_iter": 1000}
    other = KMeans(4, **how).fit(skewed[:, None])
    found = unit_thresholds(skewed[:, None], kind="clusters", ranges=4)
    own = unit_masks(skewed[:, None], found).argmax(axis=0)
    order = np.argsort(np.argsort(other.cluster_centers_[:, 0]))
    assert (own == order[other.labels_]).all()


def test_a_rectified_unit_is_off_at_zero_and_few_values_give_fewer_ranges():
    x = np.r_[np.zeros(50), np.full(25, 1.0), np.full(25, 2.0)].astype(np.float32)[:, None]
    for kind in ("ranges", "clusters"):
        found = unit_thresholds(x, kind=kind, ranges=5)
        masks = unit_masks(x, found)
        assert masks.sum(axis=1).tolist() == [25, 25]
        assert not masks[:, :50].any()
        assert found.left_out == {"ranges that too few distinct values leave empty": 3}


def test_errors_name_the_place():
    X = draw()
    X[5, 2] = np.nan
    with pytest.raises(InputError, match="unit 2 is nan at token 5"):
        unit_thresholds(X)
    with pytest.raises(SettingError, match='Did you mean "quantile"'):
        unit_thresholds(draw(), kind="quantiles")
    with pytest.raises(SettingError, match="sides"):
        unit_thresholds(draw(), sides="up")
    with pytest.raises(SettingError, match="between 0 and 1"):
        unit_thresholds(draw(), share=1.0)
    with pytest.raises(SettingError, match="2 ranges"):
        unit_thresholds(draw(), ranges=1)
    with pytest.raises(InputError, match="no token"):
        unit_thresholds(draw(0))
    with pytest.raises(InputError, match="2 units, but thresholds of 3"):
        unit_masks(draw(units=2), unit_thresholds(draw()))
