"""Explaining arrays: the same as explaining a store, and planted units of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from explain_planted import planted_store

from nissl.errors import InputError, SettingError
from nissl.kernels.activation_maps import map_pixels
from nissl.kernels.formulas import Formula
from nissl.methods.concepts import concepts_from_masks, make_concepts
from nissl.methods.explain import explain
from nissl.methods.explain_masks import explain_masks
from nissl.report.explain import write_explain
from nissl.results import load_result

IMAGES, CELLS = 120, 8
NAMES = ("red", "blue", "circle", "stripes", "left")


def scenes(seed: int = 0):
    """Return concepts as blocks of pixels, and the image of each pixel."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((len(NAMES), IMAGES, CELLS, CELLS), dtype=bool)
    for image in range(IMAGES):
        for k in range(4):
            if rng.random() < 0.7:
                a, b = rng.integers(0, CELLS - 3, 2)
                masks[k, image, a : a + 4, b : b + 4] = True
    masks[4, :, :, : CELLS // 2] = True
    concepts = concepts_from_masks(NAMES, masks.reshape(len(NAMES), -1))
    return concepts, np.repeat(np.arange(IMAGES), CELLS * CELLS)


CONCEPTS, IMAGE = scenes()
TRUTH = Formula((0, 1, 2), ("or", "and not"))


def maps(seed: int = 0) -> np.ndarray:
    """Return three units: one that computes TRUTH, one of noise, and one that never changes."""
    rng = np.random.default_rng(seed)
    out = np.zeros((IMAGES, 3, CELLS, CELLS), dtype=np.float32)
    on = TRUTH.mask(CONCEPTS.masks()).reshape(IMAGES, CELLS, CELLS)
    out[:, 0] = np.where(on, 1, -1) * rng.uniform(0.5, 1.5, on.shape)
    out[:, 1] = rng.normal(size=on.shape)
    return out


def test_the_same_as_of_a_store(tmp_path: Path) -> None:
    acts = planted_store(tmp_path / "store")
    concepts = make_concepts(acts)
    how = {"mask": "zero", "sides": "both", "permutations": 200, "n_boot": 50, "noise": 2}
    stored = explain(acts, concepts, exhaustive="never", **how)
    sites = list(dict.fromkeys(acts.neurons["site"]))
    given = {
        site: acts.matrix(
            neurons=[n for n, s in acts.neurons.select("neuron", "site").rows() if s == site]
        )
        for site in sites
    }
    found = explain_masks(concepts, given, acts.tokens["sentence"].to_numpy(), **how)
    names = ["formula", "score_train", "iou", "low", "high", "chance", "p", "q", "best", "beyond"]
    assert found.table.select(names).equals(stored.table.select(names), null_equal=True)
    assert found.table.height > 5


def test_planted_units_of_images_and_the_page_that_says_pixels(tmp_path: Path) -> None:
    settings = {"mask": "zero", "held_out": 0.5, "n_boot": 30, "penalty": 1.0, "noise": 3}
    found = explain_masks(
        CONCEPTS, {"conv": lambda: map_pixels(maps(), (CELLS, CELLS))}, IMAGE, **settings
    )
    unit, noise = found.best().sort("index").iter_rows(named=True)
    assert found.formula("conv:0") == TRUTH
    assert (unit["iou"], unit["low"], unit["high"]) == (1.0, 1.0, 1.0)
    assert unit["beyond"]
    assert unit["p"] == 1 / 60  # 60 images are held out, which is 59 shifts
    assert found.permutations == 59
    assert noise["p"] > 0.05
    assert not noise["beyond"]
    assert found.left_out["constant units"] == 1
    # What the search finds for shifted masks is no more than for noise.
    assert found.noise["score"].max() < 0.75
    assert "held-out pixels" in found.summary()[0]
    assert "on the images that formulas were chosen on" in found.summary()[1]
    page = write_explain(found, tmp_path / "page.html", title="Shapes").read_text(encoding="utf-8")
    assert "shifts of the neuron's mask by whole images" in page
    assert "token" not in page.split("<main>")[1].split("</main>")[0]
    loaded = load_result(found.save(tmp_path / "found"))
    assert loaded.summary() == found.summary()
    direct = explain_masks(
        CONCEPTS, {"conv": map_pixels(maps(), (CELLS, CELLS))}, IMAGE, **settings
    )
    assert direct.table.equals(found.table, null_equal=True)


def test_rows_held_out_by_name() -> None:
    held = IMAGE >= 90
    X = map_pixels(maps(), (CELLS, CELLS))
    # On held-out images the unit computes something else, which only they can tell.
    X[held, 0] = np.where(CONCEPTS.masks()[3][held], 1, -1)
    found = explain_masks(
        CONCEPTS, {"conv": X[:, :1]}, IMAGE, mask="zero", held_out=held, n_boot=20, noise=0
    )
    row = found.best().row(0, named=True)
    assert row["iou_train"] == 1.0
    assert row["iou"] < 0.6
    assert found.held_out == held.sum()
    with pytest.raises(InputError, match="group 90 is held out in part"):
        explain_masks(CONCEPTS, {"conv": X}, IMAGE, held_out=np.arange(len(IMAGE)) > 90 * 64)
    with pytest.raises(InputError, match="boolean for each"):
        explain_masks(CONCEPTS, {"conv": X}, IMAGE, held_out=held[1:])
    with pytest.raises(SettingError, match="fewer than 2 groups to hold out"):
        explain_masks(CONCEPTS, {"conv": X}, IMAGE, held_out=IMAGE >= IMAGES - 1)


def test_what_cannot_be_is_said() -> None:
    X = map_pixels(maps(), (CELLS, CELLS))
    with pytest.raises(InputError, match="activations of conv are"):
        explain_masks(CONCEPTS, {"conv": X[1:]}, IMAGE)
    with pytest.raises(InputError, match="apart"):
        explain_masks(CONCEPTS, {"conv": X}, np.tile(np.arange(IMAGES), CELLS * CELLS))
    with pytest.raises(InputError, match="no neuron has a mask"):
        explain_masks(CONCEPTS, {"conv": X[:, 2:]}, IMAGE)
    with pytest.raises(SettingError, match="false discovery rate"):
        explain_masks(CONCEPTS, {"conv": X}, IMAGE, fdr=0.0)


def test_a_value_that_is_not_finite_is_named_on_held_out_rows_too() -> None:
    X = map_pixels(maps(), (CELLS, CELLS))
    held = IMAGE >= 90
    for at in (np.flatnonzero(held)[7], np.flatnonzero(~held)[7]):
        bad = X.copy()
        bad[at, 1] = np.nan
        with pytest.raises(InputError, match=f"neuron conv:1 is nan at row {at}"):
            explain_masks(CONCEPTS, {"conv": bad}, IMAGE, mask="zero", held_out=held)


def test_noise_is_a_number_and_concepts_left_out_are_of_items() -> None:
    X = map_pixels(maps(), (CELLS, CELLS))
    with pytest.raises(SettingError, match="noise is a number of neurons, not -1"):
        explain_masks(CONCEPTS, {"conv": X}, IMAGE, noise=-1)
    masks = np.concatenate([CONCEPTS.masks(), np.ones((1, len(IMAGE)), dtype=bool)])
    concepts = concepts_from_masks([*NAMES, "all"], masks)
    # Nested lists are as good as arrays.
    found = explain_masks(
        concepts, {"conv": X[:, :1].tolist()}, IMAGE, mask="zero", n_boot=5, noise=0
    )
    assert found.no_concepts == {"given: all pixels": 1}
