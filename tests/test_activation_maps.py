"""Maps brought to pixels: against PyTorch, and with thresholds counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.errors import InputError, SettingError
from nissl.kernels.activation_maps import map_masks, map_pixels, resize_maps

SIDE = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.integers(0, 999))
def test_resized_as_pytorch_does(h: int, w: int, big_h: int, big_w: int, seed: int) -> None:
    maps = np.random.default_rng(seed).normal(size=(2, 3, h, w))
    ours = resize_maps(maps, (big_h, big_w))
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(maps), size=(big_h, big_w), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-12)
    assert ours.max() <= maps.max() + 1e-12
    assert ours.min() >= maps.min() - 1e-12


def test_pixels_of_an_image_stand_together_row_by_row() -> None:
    maps = np.random.default_rng(0).normal(size=(70, 4, 3, 5)).astype(np.float32)
    X = map_pixels(maps, (3, 5))
    assert X.shape == (70 * 15, 4)
    assert X.flags.f_contiguous
    np.testing.assert_allclose(X[15 * 68 + 5 * 2 + 4], maps[68, :, 2, 4], rtol=1e-6)
    np.testing.assert_allclose(X[:, 3], maps[:, 3].reshape(-1), rtol=1e-6)


def test_a_unit_is_on_in_its_share_of_all_pixels_and_in_its_highest_ones() -> None:
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(50, 3, 4, 4)).astype(np.float32)
    maps[:, 1] = 2.0
    masks, bounds = map_masks(maps, (16, 16), share=0.02)
    assert bounds.unit.tolist() == [0, 2]
    assert bounds.constant.tolist() == [False, True, False]
    X = map_pixels(maps, (16, 16))
    for row, unit in zip(masks, bounds.unit, strict=True):
        assert row.sum() == round(0.02 * 50 * 256)
        assert X[row, unit].min() > X[~row, unit].max()


def test_the_share_of_the_papers_is_the_default() -> None:
    maps = np.random.default_rng(2).normal(size=(25, 1, 4, 4)).astype(np.float32)
    assert map_masks(maps, (16, 16))[0].mean() == 0.005


def test_bounds_of_other_images_are_used_as_they_are() -> None:
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(40, 2, 4, 4)).astype(np.float32)
    _, bounds = map_masks(maps, (8, 8), share=0.1)
    other = maps + np.float32(10)
    masks, same = map_masks(other, (8, 8), thresholds=bounds)
    assert same is bounds
    assert masks.all()
    with pytest.raises(InputError, match="1 units, but thresholds of 2"):
        map_masks(maps[:, :1], (8, 8), thresholds=bounds)


def test_what_cannot_be_resized_is_refused() -> None:
    with pytest.raises(InputError, match="0 × 3"):
        resize_maps(np.zeros((2, 0, 3)), (4, 4))
    with pytest.raises(SettingError, match="0 × 4"):
        resize_maps(np.zeros((2, 3, 3)), (0, 4))
    with pytest.raises(SettingError, match="share"):
        map_masks(np.zeros((2, 1, 3, 3), dtype=np.float32), (4, 4), share=0.0)
    spoiled = np.zeros((2, 1, 3, 3), dtype=np.float32)
    spoiled[1, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="unit 0"):
        map_masks(spoiled, (3, 3))
