"""Maps of a convolutional network's units, brought to the pixels that concepts are marked on.

Network dissection (Bau et al. 2017, "Network Dissection", section 3.2): a unit's map is enlarged
bilinearly to the size of the segmentation, and the unit is on in the pixels that belong to its
highest values over all images. Mu & Andreas (2020, section 3) take the top 0.5 %.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from nissl.errors import InputError, SettingError
from nissl.kernels.unit_masks import Thresholds, unit_masks, unit_thresholds

__all__ = ["map_masks", "map_pixels", "resize_maps"]

VISION_SHARE = 0.005
"""Share of pixels on, of Bau et al. and of Mu & Andreas."""
BLOCK = 64
"""Maps that are enlarged at a time."""


def resize_maps(
    maps: Float[np.ndarray, "*batch h w"], size: tuple[int, int]
) -> Float[np.ndarray, "*batch H W"]:
    """Return maps enlarged (or shrunk) bilinearly.

    A cell's value lies at its centre; a pixel outside the centres takes the value of the nearest
    (``align_corners=False`` of PyTorch). Between cells, values are never beyond those of the cells.

    Parameters
    ----------
    maps
        float (…, h, w).
    size
        Rows and columns (H, W) of the result.

    Raises
    ------
    InputError
        A map without cells.
    SettingError
        A size below 1.
    """
    if min(maps.shape[-2:]) < 1:
        raise InputError(f"a map has one cell or more, not {maps.shape[-2]} × {maps.shape[-1]}")
    if min(size) < 1:
        raise SettingError(f"the size of a map is 1 × 1 or more, not {size[0]} × {size[1]}")
    down, across = (
        _weights(n, m).astype(maps.dtype) for n, m in zip(maps.shape[-2:], size, strict=True)
    )
    return down @ maps @ across.T


def map_pixels(
    maps: Float[np.ndarray, "b u h w"], size: tuple[int, int]
) -> Float[np.ndarray, "n u"]:
    """Return every unit's value in every pixel of all images, float32 (B · H · W, U).

    Pixels of an image stand together, row by row; the result is in Fortran order, so that a unit's
    values do.

    Parameters
    ----------
    maps
        Of B images and U units, (B, U, h, w).
    size
        Rows and columns (H, W) of the concepts' masks.

    Raises
    ------
    InputError, SettingError
        As :func:`resize_maps`.
    """
    images, units = maps.shape[:2]
    out = np.empty((units, images, *size), dtype=np.float32)
    for start in range(0, images, BLOCK):
        part = resize_maps(maps[start : start + BLOCK].astype(np.float32, copy=False), size)
        out[:, start : start + BLOCK] = part.transpose(1, 0, 2, 3)
    return out.reshape(units, -1).T


def map_masks(
    maps: Float[np.ndarray, "b u h w"],
    size: tuple[int, int],
    *,
    share: float = VISION_SHARE,
    thresholds: Thresholds | None = None,
) -> tuple[Bool[np.ndarray, "m n"], Thresholds]:
    """Return the pixels in which each unit is on, bool (M, B · H · W), and the bounds.

    Parameters
    ----------
    maps, size
        As in :func:`map_pixels`.
    share
        Of pixels, over all images, that a unit is on in.
    thresholds
        Bounds found on other images, instead of a share of these.

    Returns
    -------
    masks
        Rows follow ``thresholds.unit``: a unit that never changes has none.
    thresholds
        Those given, or those found here.

    Raises
    ------
    InputError
        As :func:`resize_maps`; no image, a value that is not finite, or thresholds of another
        number of units.
    SettingError
        An impossible share or size.
    """
    X = map_pixels(maps, size)
    if thresholds is None:
        thresholds = unit_thresholds(X, kind="quantile", share=share, sides="high")
    return unit_masks(X, thresholds), thresholds


def _weights(n: int, m: int) -> np.ndarray:
    """Weights of n cells in each of m pixels, (m, n)."""
    place = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    left = np.minimum(np.floor(place).astype(np.int64), max(n - 2, 0))
    out = np.zeros((m, n))
    out[np.arange(m), left] = 1 - (place - left)
    # Of one cell there is no right neighbour; its weight is 1 already.
    out[np.arange(m), np.minimum(left + 1, n - 1)] += place - left
    return out
