"""The store: reading equals numpy indexing, is lazy, and says what is wrong with a damaged one."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import textwrap

import numpy as np
import polars as pl
import pytest
import tiny_models as tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

import nissl.extraction as module
from nissl.errors import LabelError, SettingError, StoreError
from nissl.extraction import extract, shard_files
from nissl.site import Site, format_neuron, parse_neuron
from nissl.store import Activations
from nissl.store.shards import shard_name, write_json, write_shard, write_table


def planted(folder, bounds=(0, 5, 6, 13), widths=(3, 4, 2), dtype="float32"):
    """Write a store by hand, whose every value tells its row and column."""
    sites = [Site("hidden", i, f"blocks.{i}", "output", w) for i, w in enumerate(widths)]
    n, total = bounds[-1], sum(widths)
    values = np.arange(n)[:, None] * 100.0 + np.arange(total)[None, :]
    cuts = np.cumsum([0, *widths])
    sums = []
    for i, (a, b) in enumerate(itertools.pairwise(bounds)):
        sums.append(
            write_shard(
                folder,
                i,
                {
                    site.name: torch.from_numpy(values[a:b, x:y].copy()).to(getattr(torch, dtype))
                    for site, x, y in zip(sites, cuts, cuts[1:], strict=False)
                },
            )
        )
    write_table(folder / "tokens.parquet", pl.DataFrame({"form": ["w"] * n, "tag": ["x"] * n}))
    write_table(folder / "sentences.parquet", pl.DataFrame({"id": ["s"]}))
    manifest = {
        "format": 1,
        "model": "m",
        "corpus": "c",
        "sites": [dataclasses.asdict(site) for site in sites],
        "dtype": dtype,
        "labels": ["tag"],
        "bounds": list(bounds),
        "shards": sums,
        "fingerprint": "f",
    }
    write_json(folder / "manifest.json", manifest)
    return Activations.open(folder), values.astype(np.float32)


@pytest.fixture(scope="module")
def store_and_values(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("planted"))


@st.composite
def row_choices(draw):
    how = draw(st.sampled_from(["all", "mask", "any", "run"]))
    if how == "all":
        return None
    if how == "mask":
        return np.array(draw(st.lists(st.booleans(), min_size=13, max_size=13)))
    if how == "run":
        a, b = sorted((draw(st.integers(0, 13)), draw(st.integers(0, 13))))
        return np.arange(a, b)
    return np.array(draw(st.lists(st.integers(0, 12), max_size=30)), dtype=np.int64)


@given(rows=row_choices(), data=st.data())
def test_matrix_is_numpy_indexing(store_and_values, rows, data):
    store, values = store_and_values
    picked = slice(None) if rows is None else rows
    how = data.draw(st.sampled_from(["all", "sites", "ids", "positions", "mask"]))
    if how == "all":
        got, want = store.matrix(rows=rows), values[picked]
    elif how == "sites":
        names = data.draw(st.lists(st.sampled_from([s.name for s in store.sites]), max_size=4))
        columns = store.neurons["site"].is_in(list(names)).to_numpy()
        got, want = store.matrix(sites=names, rows=rows), values[picked][:, columns]
    elif how == "mask":
        columns = np.array(data.draw(st.lists(st.booleans(), min_size=9, max_size=9)))
        got, want = store.matrix(neurons=columns, rows=rows), values[picked][:, columns]
    else:
        columns = np.array(data.draw(st.lists(st.integers(0, 8), max_size=12)), dtype=np.int64)
        ids = store.neurons["neuron"].to_numpy()
        given = [str(i) for i in ids[columns]] if how == "ids" else columns
        got, want = store.matrix(neurons=given, rows=rows), values[picked][:, columns]
    assert got.dtype == np.float32
    assert got.T.flags.c_contiguous
    np.testing.assert_array_equal(got, want)


def test_half_precision_reads_as_float32(tmp_path):
    store, values = planted(tmp_path, dtype="bfloat16")
    want = torch.from_numpy(values).to(torch.bfloat16).to(torch.float32).numpy()
    got = store.matrix(rows=[12, 0, 5], neurons=[8, 0])
    np.testing.assert_array_equal(got, want[[12, 0, 5]][:, [8, 0]])


def test_tables_and_names(store_and_values):
    store, values = store_and_values
    assert (store.n_tokens, store.n_neurons) == values.shape
    assert store.neurons["neuron"][3] == "hidden.1:0"
    assert store.neurons.row(8) == ("hidden.2:1", "hidden.2", "hidden", 2, 1)
    np.testing.assert_array_equal(store["hidden.1"], values[:, 3:7])
    more = store.with_labels("new", [None, *["y"] * 12])
    assert more.labels == ("tag", "new")
    assert store.labels == ("tag",)
    np.testing.assert_array_equal(more.matrix(), values)


@given(st.sampled_from(["hidden", "mlp", "head"]), st.integers(0, 99), st.integers(0, 10**6))
def test_neuron_ids_round_trip(kind, layer, index):
    site = Site(kind, layer, "m", "output", 1)
    assert parse_neuron(format_neuron(site.name, index)) == (site.name, index)


@pytest.mark.parametrize("text", ["hidden.3", "hidden:3", "3:hidden", "hidden.3:-1", "a.1:2:3", ""])
def test_bad_neuron_ids(text):
    with pytest.raises(SettingError, match="is not a neuron id"):
        parse_neuron(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": ["hiden.1"]}, 'no site "hiden.1".*Did you mean "hidden.1"'),
        (
            {"neurons": ["hidden.1:9"]},
            'no neuron "hidden.1:9"; ids run from hidden.0:0 to hidden.2:1',
        ),
        ({"neurons": [9]}, "neuron positions run from 0 to 8"),
        ({"neurons": [-1]}, "neuron positions run from 0 to 8"),
        ({"neurons": [True]}, "a mask of 1 does not fit 9 neurons"),
        ({"rows": [13]}, "row positions run from 0 to 12"),
        ({"rows": [0.5]}, "whole numbers or a boolean mask"),
        ({"rows": [True, False]}, "a mask of 2 does not fit 13 rows"),
        ({"rows": [[1]]}, "not an array"),
        ({"sites": ["hidden.1"], "neurons": [1]}, "sites or neurons, not both"),
    ],
)
def test_bad_requests(store_and_values, options, message):
    with pytest.raises(SettingError, match=message):
        store_and_values[0].matrix(**options)


def test_label_of_another_length(store_and_values):
    with pytest.raises(LabelError, match='label "x" has 1 values for 13 tokens'):
        store_and_values[0].with_labels("x", ["a"])


# Damage -----------------------------------------------------------------------------------------


def edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            del manifest[key]
        else:
            manifest[key] = value
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda d: (d / shard_name(1)).unlink(), "shard-00001.safetensors is missing"),
        (lambda d: (d / "manifest.json").unlink(), "is not an activation store"),
        (lambda d: (d / "manifest.json").write_text('{"format": 1'), "manifest.json: is damaged"),
        (lambda d: (d / "manifest.json").write_text("[1]"), "manifest.json: does not hold a JSON"),
        (lambda d: (d / "manifest.json").write_bytes(b"\xff"), "manifest.json: is damaged"),
        (lambda d: edit_manifest(d, format=99), "has store format 99, this version reads 1"),
        (lambda d: edit_manifest(d, bounds=None), "is damaged .no bounds"),
        (lambda d: edit_manifest(d, bounds=[0, 5, 6, 14]), "tokens.parquet does not belong"),
        (lambda d: edit_manifest(d, labels=["other"]), "tokens.parquet does not belong"),
        (lambda d: (d / "tokens.parquet").unlink(), "tokens.parquet: is missing or damaged"),
        (
            lambda d: (d / "sentences.parquet").write_bytes(b"no"),
            "sentences.parquet: is missing or",
        ),
    ],
)
def test_open_says_what_is_wrong(tmp_path, harm, message):
    planted(tmp_path)
    harm(tmp_path)
    with pytest.raises(StoreError, match=message) as caught:
        Activations.open(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_open_nothing(tmp_path):
    (tmp_path / "acts").mkdir()
    with pytest.raises(StoreError, match=r'no such store. Did you mean "acts"'):
        Activations.open(tmp_path / "act")
    with pytest.raises(StoreError, match="is not an activation store"):
        Activations.open(tmp_path / "acts")


@pytest.mark.parametrize("harm", ["cut", "text", "gone"])
def test_damaged_shard_is_a_store_error(tmp_path, harm):
    store, values = planted(tmp_path)
    shard = tmp_path / shard_name(2)
    if harm == "cut":
        shard.write_bytes(shard.read_bytes()[:-5])
    elif harm == "text":
        shard.write_text("not safetensors")
    else:
        shard.unlink()
    with pytest.raises(StoreError, match=r"shard-00002.safetensors: is missing or damaged"):
        store.matrix()
    np.testing.assert_array_equal(store.matrix(rows=[0, 5]), values[[0, 5]])


# Laziness ---------------------------------------------------------------------------------------

MEASURE = """
    import resource, sys
    import numpy as np
    import safetensors, torch
    from nissl.store import Activations
    def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = Activations.open(sys.argv[1] + "/tiny")
    store.matrix()  # libraries are in memory now
    before = peak()
    store = Activations.open(sys.argv[1] + "/big")
    opened = peak()
    store.matrix(neurons=["hidden.0:1", "hidden.2:0"])
    print((opened - before) / 1024, (peak() - before) / 1024)
"""


def test_opening_and_reading_few_neurons_take_little_memory(tmp_path):
    for name, bounds, widths in (
        ("tiny", (0, 1, 2), (2, 2, 2)),
        ("big", tuple(range(0, 32_001, 4000)), (200, 200, 200)),
    ):
        (tmp_path / name).mkdir()
        planted(tmp_path / name, bounds, widths)
    size = sum(p.stat().st_size for p in (tmp_path / "big").glob("shard-*")) / 2**20
    assert size > 70
    run = [sys.executable, "-c", textwrap.dedent(MEASURE), str(tmp_path)]
    out = subprocess.run(run, capture_output=True, text=True, check=True)
    opened, read = map(float, out.stdout.split())
    assert opened < 10, f"opening took {opened} MiB"
    # One site of one shard at a time is 3 MiB.
    assert read < 30, f"reading two neurons took {read} MiB of {size}"


def test_only_needed_shards_and_sites_are_read(tmp_path, monkeypatch):
    import safetensors

    store, _ = planted(tmp_path)
    real, seen = safetensors.safe_open, []

    class Watched:
        def __init__(self, path, framework):
            self.path, self.inner = path, real(path, framework=framework)

        def __enter__(self):
            self.inner.__enter__()
            return self

        def __exit__(self, *rest):
            return self.inner.__exit__(*rest)

        def get_tensor(self, name):
            seen.append((self.path.name, name))
            return self.inner.get_tensor(name)

    monkeypatch.setattr(safetensors, "safe_open", Watched)
    store.matrix(neurons=["hidden.2:1"], rows=[12, 7])
    assert seen == [(shard_name(2), "hidden.2")]


def test_store_that_extract_wrote_reads_back(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_TOKENS", 16)
    store = extract(tiny.corpus(), tiny.loaded("bert"), tmp_path / "s", progress=False)
    from safetensors.numpy import load_file

    parts = [load_file(path) for path in shard_files(store)]
    assert len(parts) > 3
    whole = np.hstack([np.vstack([p[s.name] for p in parts]) for s in store.sites])
    np.testing.assert_array_equal(store.matrix(), whole)
    rows = np.array([40, 3, 3, 17])
    np.testing.assert_array_equal(store.matrix(rows=rows, neurons=[63, 0]), whole[rows][:, [63, 0]])
