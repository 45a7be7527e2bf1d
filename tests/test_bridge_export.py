"""Exports: what other libraries read is what the store holds; a failure leaves nothing."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import polars as pl
import pytest

from nissl.errors import NisslError, SettingError, StoreError
from nissl.site import Site
from nissl.store import Activations, write_store
from nissl.store.bridge import EXPORTS, to_anndata, to_numpy, to_xarray

DTYPES = ("float32", "float16", "bfloat16")
SUFFIX = {
    "neurox-json": ".json",
    "neurox-hdf5": ".hdf5",
    "numpy": "",
    "xarray": ".nc",
    "anndata": ".h5ad",
}
FORMS = ["He", 'said "a, b"', "=1+1", "new\nline", "é", "zwölf", "x"]


def planted(folder, dtype="float32", *, labels=True, widths=(3, 3), names=("hidden", "mlp")):
    """Three sentences of 2, 4 and 1 words in shards that end inside sentences."""
    tokens = pl.DataFrame(
        {
            "sentence": pl.Series([0, 0, 1, 1, 1, 1, 2], dtype=pl.Int32),
            "position": pl.Series([0, 1, 0, 1, 2, 3, 0], dtype=pl.Int32),
            "form": FORMS,
            "split": ["train", "train", "dev", "dev", "dev", "dev", "test"],
            "pos": ["N", None, "V", "N", "V", None, "N"],
            "head": pl.Series([0, 1, None, 2, 2, 2, 0], dtype=pl.Int32),
            "layer": ["up", "up", "down", "up", "up", "up", "up"],
        }
    )
    sentences = pl.DataFrame(
        {"sentence": pl.Series([0, 1, 2], dtype=pl.Int32), "id": ["s0", "s1", "s2"]}
    )
    sites = [
        Site(name, i, f"blocks.{i}", "output", width)
        for i, (name, width) in enumerate(zip(names, widths, strict=True))
    ]
    rng = np.random.default_rng(0)
    values = {site.name: rng.normal(size=(7, site.width)) for site in sites}
    return write_store(
        folder,
        model="m",
        corpus="c",
        sites=sites,
        tokens=tokens,
        sentences=sentences,
        labels=["pos", "layer"] if labels else [],
        blocks=(
            {k: v[a:b] for k, v in values.items()} for a, b in [(0, 1), (1, 5), (5, 5), (5, 7)]
        ),
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_files_hold_the_store(tmp_path, dtype):
    acts = planted(tmp_path / "store", dtype)
    assert to_numpy(acts, tmp_path / "out") == tmp_path / "out"
    for site in acts.sites:
        mapped = np.load(tmp_path / "out" / f"{site.name}.npy", mmap_mode="r")
        assert mapped.dtype == np.float32
        assert mapped.flags.c_contiguous
        np.testing.assert_array_equal(mapped, acts[site.name])
    with (tmp_path / "out" / "tokens.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["form"] for row in rows] == FORMS
    assert [row["pos"] for row in rows] == ["N", "", "V", "N", "V", "", "N"]
    neurons = pl.read_csv(tmp_path / "out" / "neurons.csv")
    assert neurons["neuron"].to_list() == acts.neurons["neuron"].to_list()
    assert neurons["file"].to_list() == ["hidden.0.npy"] * 3 + ["mlp.1.npy"] * 3
    about = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert about["fingerprint"] == acts.fingerprint
    assert about["files"] == {"hidden.0": "hidden.0.npy", "mlp.1": "mlp.1.npy"}
    assert about["store_manifest"]["dtype"] == dtype


def test_a_site_name_stays_in_the_folder(tmp_path):
    site = Site("module", 0, "/../../x", "output", 2)
    twin = Site("module", 0, "_.._.._x", "output", 2)
    acts = write_store(
        tmp_path / "store", model="m", corpus="c", sites=[site, twin], labels=[],
        tokens=pl.DataFrame({"form": ["a"]}), sentences=pl.DataFrame({"id": ["s"]}),
        blocks=[{site.name: np.ones((1, 2)), twin.name: np.zeros((1, 2))}],
    )  # fmt: skip
    to_numpy(acts, tmp_path / "out")
    found = sorted(path.name for path in (tmp_path / "out").glob("*.npy"))
    assert found == ["module._.._.._x.npy", "module._.._.._x~1.npy"]
    assert np.load(tmp_path / "out" / found[0]).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_xarray_reads_back(tmp_path, dtype):
    xr = pytest.importorskip("xarray", reason="xarray is in the bridge extra")
    pytest.importorskip("h5netcdf", reason="h5netcdf is in the bridge extra")
    acts = planted(tmp_path / "store", dtype)
    EXPORTS["xarray"](acts, tmp_path / "a.nc", None)
    with xr.open_dataarray(tmp_path / "a.nc", engine="h5netcdf") as read:
        for array in (to_xarray(acts), read):
            assert array.dims == ("token", "neuron")
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array.values, acts.matrix())
            assert array["form"].values.tolist() == FORMS
            assert array["sentence"].values.tolist() == [0, 0, 1, 1, 1, 1, 2]
            assert array["pos"].values.tolist() == ["N", "", "V", "N", "V", "", "N"]
            assert array["label_layer"].values.tolist() == acts.tokens["layer"].to_list()
            assert array["layer"].values.tolist() == [0, 0, 0, 1, 1, 1]
            assert array.sel(neuron="mlp.1:2").values.tolist() == acts["mlp.1"][:, 2].tolist()
            assert array.attrs["fingerprint"] == acts.fingerprint
            assert json.loads(array.attrs["labels"]) == ["pos", "layer"]
            assert (array.attrs["model"], array.attrs["corpus"]) == ("m", "c")


@pytest.mark.parametrize("dtype", DTYPES)
def test_anndata_reads_back(tmp_path, dtype):
    ad = pytest.importorskip("anndata", reason="anndata is in the bridge extra")
    acts = planted(tmp_path / "store", dtype)
    EXPORTS["anndata"](acts, tmp_path / "a.h5ad", None)
    for data in (to_anndata(acts), ad.read_h5ad(tmp_path / "a.h5ad")):
        assert data.shape == (7, 6)
        assert data.X.dtype == np.float32
        np.testing.assert_array_equal(data.X, acts.matrix())
        assert data.obs["form"].tolist() == FORMS
        assert data.obs["pos"].isna().tolist() == [v is None for v in acts.tokens["pos"]]
        assert data.obs["pos"].dropna().tolist() == ["N", "V", "N", "V", "N"]
        assert data.obs["head"].isna().sum() == 1
        assert data.obs["sentence_id"].tolist() == ["s0"] * 2 + ["s1"] * 4 + ["s2"]
        assert data.var_names.tolist() == acts.neurons["neuron"].to_list()
        assert data.var["layer"].tolist() == [0, 0, 0, 1, 1, 1]
        assert data.uns["nissl"]["fingerprint"] == acts.fingerprint
        assert json.loads(data.uns["nissl"]["manifest"]) == acts.manifest


def need(name):
    for module in {"xarray": ("xarray", "h5netcdf"), "anndata": ("anndata",)}.get(name, ()):
        pytest.importorskip(module, reason=f"{module} is in the bridge extra")
    if name == "neurox-hdf5":
        pytest.importorskip("h5py", reason="h5py is in the bridge extra")


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_takes_some_sites_or_no_labels(tmp_path, name):
    need(name)
    acts = planted(tmp_path / "store", labels=False)
    for i, sites in enumerate((["mlp.1"], None)):
        out = tmp_path / f"out{i}{SUFFIX[name]}"
        assert EXPORTS[name](acts, out, sites) == out
        assert out.exists()


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_refuses_a_place_that_is_taken(tmp_path, name):
    need(name)
    acts = planted(tmp_path / "store")
    out = tmp_path / f"out{SUFFIX[name]}"
    out.write_text("mine")
    with pytest.raises(StoreError, match=r"out.*is there already"):
        EXPORTS[name](acts, out, None)
    assert out.read_text() == "mine"
    out.unlink()
    out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="is there already"):
        EXPORTS[name](acts, out, None)
    assert out.is_symlink()


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_leaves_nothing_when_it_fails(tmp_path, name):
    need(name)
    acts = planted(tmp_path / "store")
    shard = tmp_path / "store" / "shard-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4])
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="shard-00003"):
        EXPORTS[name](acts, tmp_path / "out" / f"x{SUFFIX[name]}", None)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_names_an_unknown_site(tmp_path, name):
    need(name)
    acts = planted(tmp_path / "store")
    out = tmp_path / f"out{SUFFIX[name]}"
    with pytest.raises(SettingError, match=r'no site "mpl.1".*Did you mean "mlp.1"'):
        EXPORTS[name](acts, out, ["mpl.1"])
    with pytest.raises(SettingError, match="no site is chosen"):
        EXPORTS[name](acts, out, [])
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("xarray", "xarray"),
        ("xarray", "h5netcdf"),
        ("anndata", "anndata"),
        ("neurox-hdf5", "h5py"),
    ],
)
def test_a_missing_library_says_what_installs_it(tmp_path, name, library, monkeypatch):
    need(name)
    acts = planted(tmp_path / "store")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(StoreError, match=rf'{library}.*pip install "nissl\[bridge\]"'):
        EXPORTS[name](acts, tmp_path / f"x{SUFFIX[name]}", None)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("xarray", lambda a: a.with_labels("a/b", ["x"] * 7), 'label "a/b" has a slash'),
        ("xarray", lambda a: a.with_labels("t", ["", None, *"abcde"]), "empty texts beside nulls"),
        ("xarray", lambda a: a.with_labels("t", ["a\0b"] * 7), "cannot be written as netCDF"),
        ("anndata", lambda a: a.with_labels("a/b", ["x"] * 7), 'column "a/b"'),
        ("anndata", lambda a: a.with_labels("t", ["a\0b"] * 7), "cannot be written as .h5ad"),
    ],
)
def test_what_a_format_cannot_hold_is_named(tmp_path, name, change, message):
    need(name)
    acts: Activations = change(planted(tmp_path / "store"))
    with pytest.raises(NisslError, match=message):
        EXPORTS[name](acts, tmp_path / f"x{SUFFIX[name]}", None)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
