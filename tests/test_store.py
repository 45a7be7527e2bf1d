"""The store: reading equals numpy indexing, is lazy, and says what is wrong with a damaged one."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from nissl.errors import LabelError, SettingError, StoreError
from nissl.site import Site, format_neuron, parse_neuron
from nissl.store import Activations, verify_store, write_store
from nissl.store import tensors as reader
from nissl.store.files import shard_name
from nissl.store.manifest import write_manifest
from nissl.store.tensors import Shard, open_shard

DTYPES = ("float32", "float16", "bfloat16")


def tables(n):
    """Token and sentence tables for n tokens, with one label."""
    tokens = pl.DataFrame({"form": ["w"] * n, "sentence": [0] * n, "tag": ["x"] * n})
    return tokens, pl.DataFrame({"id": ["s"], "words": [n]})


def hidden(widths):
    return [Site("hidden", i, f"blocks.{i}", "output", w) for i, w in enumerate(widths)]


def blocks_of(values, bounds, sites):
    """Cut a matrix into what write_store takes."""
    cuts = np.cumsum([0, *(site.width for site in sites)])
    for a, b in itertools.pairwise(bounds):
        yield {
            site.name: values[a:b, x:y]
            for site, x, y in zip(sites, cuts[:-1], cuts[1:], strict=True)
        }


def planted(
    folder,
    bounds=(0, 5, 6, 13),
    widths=(3, 4, 2),
    dtype="float32",
    *,
    values=None,
    sites=None,
    about=None,
):
    """Write a store whose every value tells its row and column (below 2048, exact in float16)."""
    sites = hidden(widths) if sites is None else sites
    n, total = bounds[-1], sum(site.width for site in sites)
    if values is None:
        values = np.arange(n)[:, None] * 100.0 + np.arange(total)[None, :]
    tokens, sentences = tables(n)
    store = write_store(
        folder,
        model="m",
        corpus="c",
        sites=sites,
        tokens=tokens,
        sentences=sentences,
        labels=["tag"],
        blocks=blocks_of(values, bounds, sites),
        dtype=dtype,
        about=about,
    )
    return store, values.astype(np.float32)


def random_values(dtype, shape=(13, 9), seed=0):
    """Finite values that the dtype holds exactly, of every size and sign."""
    rng = np.random.default_rng(seed)
    if dtype == "float16":
        bits = rng.integers(0, 1 << 16, shape, dtype=np.uint16)
        bits[(bits & 0x7C00) == 0x7C00] ^= 0x4000
        return bits.view(np.float16).astype(np.float32)
    bits = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    bits[(bits & 0x7F800000) == 0x7F800000] ^= 0x40000000
    return (bits if dtype == "float32" else bits & 0xFFFF0000).view(np.float32)


def same_bits(got, want):
    """Equal to the last bit: -0 is not 0."""
    assert got.dtype == want.dtype == np.float32
    np.testing.assert_array_equal(
        np.ascontiguousarray(got).view(np.uint32), np.ascontiguousarray(want).view(np.uint32)
    )


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Dtype → store of 13 × 9 with an empty shard in it, and its values."""
    return {
        dtype: planted(
            tmp_path_factory.mktemp("planted") / dtype,
            (0, 5, 5, 6, 13),
            dtype=dtype,
            values=random_values(dtype),
        )
        for dtype in DTYPES
    }


@pytest.fixture(scope="module")
def store_and_values(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("plain"))


# Reading ----------------------------------------------------------------------------------------


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


@st.composite
def column_choices(draw):
    """What matrix takes, and the positions that numpy takes."""
    how = draw(st.sampled_from(["all", "sites", "ids", "positions", "mask"]))
    if how == "all":
        return {}, slice(None)
    names = [name for w, name in zip((3, 4, 2), range(3), strict=True) for _ in range(w)]
    if how == "sites":
        chosen = draw(st.lists(st.integers(0, 2), max_size=4))
        return {"sites": [f"hidden.{i}" for i in chosen]}, np.isin(names, chosen)
    if how == "mask":
        mask = np.array(draw(st.lists(st.booleans(), min_size=9, max_size=9)))
        return {"neurons": mask}, mask
    columns = np.array(draw(st.lists(st.integers(0, 8), max_size=12)), dtype=np.int64)
    if how == "positions":
        return {"neurons": columns}, columns
    starts = (0, 3, 7)
    return {"neurons": [f"hidden.{names[i]}:{i - starts[names[i]]}" for i in columns]}, columns


@settings(max_examples=400)
@given(dtype=st.sampled_from(DTYPES), rows=row_choices(), columns=column_choices())
def test_matrix_is_numpy_indexing(stores, dtype, rows, columns):
    store, values = stores[dtype]
    options, picked = columns
    got = store.matrix(rows=rows, **options)
    assert got.T.flags.c_contiguous
    same_bits(got, values[slice(None) if rows is None else rows][:, picked])


@settings(max_examples=60)
@given(dtype=st.sampled_from(DTYPES), columns=column_choices())
def test_stream_yields_the_shards_in_order(stores, dtype, columns):
    store, values = stores[dtype]
    options, picked = columns
    parts = list(store.stream(**options))
    assert [rows.tolist() for rows, _ in parts] == [[0, 1, 2, 3, 4], [5], [6, 7, 8, 9, 10, 11, 12]]
    same_bits(np.vstack([part for _, part in parts]), values[:, picked])


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_lines_than_one_system_call_takes(tmp_path, dtype):
    values = random_values(dtype, (7, 1300))
    store, _ = planted(tmp_path / "s", (0, 4, 7), (1100, 200), dtype, values=values)
    same_bits(store.matrix(), values)
    picked = np.r_[1299:0:-1, 5, 5, 600:1200]
    same_bits(store.matrix(neurons=picked, rows=[6, 1, 1]), values[[6, 1, 1]][:, picked])


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_smaller_than_a_site(stores, monkeypatch, dtype):
    monkeypatch.setattr(reader, "RUN", 2)
    monkeypatch.setattr(reader, "BLOCK", 8)
    store, values = stores[dtype]
    same_bits(store.matrix(), values)
    same_bits(store.matrix(rows=[12, 7, 8]), values[[12, 7, 8]])


@pytest.mark.parametrize("most", [1, 3, 7, 50])
def test_reads_that_come_back_short_go_on(stores, monkeypatch, most):
    real = os.preadv

    def short(file, places, offset):
        left, some = most, []
        for place in places:
            some.append(place[:left])
            left -= some[-1].nbytes
            if left == 0:
                break
        return real(file, some, offset)

    monkeypatch.setattr(reader.os, "preadv", short)
    for store, values in stores.values():
        same_bits(store.matrix(), values)


def test_a_disk_that_cannot_be_read_is_a_store_error(store_and_values, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(reader.os, "preadv", broken)
    message = r"shard-00000.safetensors: cannot be read \(Input/output error\)"
    with pytest.raises(StoreError, match=message):
        store_and_values[0].matrix()


def test_a_file_cut_while_it_is_read_is_a_store_error(tmp_path):
    planted(tmp_path / "s")
    path = tmp_path / "s" / shard_name(0)
    with open_shard(path) as shard:
        os.truncate(path, path.stat().st_size - 4)
        with pytest.raises(StoreError, match=r"shard-00000.safetensors: ends too early"):
            shard.read("hidden.2", np.empty((2, 5), np.float32), None, None)


@pytest.mark.parametrize("dtype", DTYPES)
def test_shards_are_safetensors_files_of_the_same_values(stores, dtype):
    store, values = stores[dtype]
    start = 0
    for index, (a, b) in enumerate(itertools.pairwise((0, 5, 5, 6, 13))):
        # Numpy has no bfloat16; torch has.
        framework = "pt" if dtype == "bfloat16" else "np"
        with safe_open(store.path / shard_name(index), framework=framework) as file:
            assert file.metadata()["layout"] == "neuron,token"
            assert sorted(file.keys()) == ["hidden.0", "hidden.1", "hidden.2"]
            for site, start, stop in (("hidden.0", 0, 3), ("hidden.1", 3, 7), ("hidden.2", 7, 9)):
                tensor = file.get_tensor(site)
                assert str(tensor.dtype).removeprefix("torch.") == dtype
                whole = tensor.float().numpy() if framework == "pt" else tensor.astype(np.float32)
                same_bits(whole, values[a:b, start:stop].T)


def test_every_bfloat16_comes_back(tmp_path):
    bits = np.arange(1 << 16, dtype=np.uint32) << 16
    values = bits[(bits & 0x7F800000) != 0x7F800000].view(np.float32).reshape(-1, 16)
    store, _ = planted(tmp_path / "s", (0, len(values)), (16,), "bfloat16", values=values)
    same_bits(store.matrix(), values)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounding_to_half_precision_is_that_of_torch(tmp_path, dtype):
    import torch

    rng = np.random.default_rng(1)
    values = random_values("float32", (500, 8), seed=1)
    if dtype == "float16":
        values = np.clip(rng.standard_cauchy((500, 8)), -65504, 65504).astype(np.float32)
    values[0] = np.float32([1.00390625, 1.01171875, -1.00390625, 0, -0.0, 1e-45, 1 / 3, 65504])
    # Halfway between two bfloat16 values, to both sides.
    bits = rng.integers(0x3F80, 0x4000, (2, 8)).astype(np.uint32) << 16 | 0x8000
    values[1:3] = bits.view(np.float32)
    if dtype == "bfloat16":
        values[np.abs(values) > 3.3e38] = 1
    store, _ = planted(tmp_path / "s", (0, 500), (8,), dtype, values=values)
    want = torch.from_numpy(values).to(getattr(torch, dtype)).to(torch.float32).numpy()
    same_bits(store.matrix(), want)


def test_tables_and_names(store_and_values):
    store, values = store_and_values
    assert (store.n_tokens, store.n_neurons) == values.shape
    assert store.neurons["neuron"][3] == "hidden.1:0"
    assert store.neurons.row(8) == ("hidden.2:1", "hidden.2", "hidden", 2, 1)
    assert store.tokens.columns == ["form", "sentence", "tag"]
    assert store.sentences["id"].to_list() == ["s"]
    assert store.sites == tuple(hidden((3, 4, 2)))
    np.testing.assert_array_equal(store["hidden.1"], values[:, 3:7])
    more = store.with_labels("new", [None, *["y"] * 12])
    assert more.labels == ("tag", "new")
    assert store.labels == ("tag",)
    np.testing.assert_array_equal(more.matrix(), values)
    assert "13 tokens × 9 neurons, sites hidden.0…hidden.2, float32" in repr(store)


NAMED = [
    (Site("hidden", 3, "a.3", "output", 2), "hidden.3"),
    (Site("hidden", 3, "d.3", "output", 2, stack="decoder"), "decoder.hidden.3"),
    (Site("mlp", 1, "e.1.mlp", "input", 1, stack="encoder"), "encoder.mlp.1"),
    (Site("state", 1, "rnn", "output", 3, part="cell"), "state.cell.1"),
    (Site("module", 0, "a.b", "input", 1), "module.a.b@input"),
    (Site("module", 0, "a.b", "output", 1), "module.a.b"),
    (Site("mlp", 7, "shared.ff", "output", 1, call=6), "mlp.7"),
]


def test_sites_of_every_kind_keep_names_and_fields(tmp_path):
    sites = [site for site, _ in NAMED]
    store, values = planted(tmp_path / "s", sites=sites)
    again = Activations.open(tmp_path / "s")
    assert again.sites == tuple(sites)
    assert [site.name for site in again.sites] == [name for _, name in NAMED]
    ids = again.neurons["neuron"].to_list()
    for column, ident in enumerate(ids):
        name, index = parse_neuron(ident)
        assert (name, index) == (again.neurons["site"][column], again.neurons["index"][column])
        np.testing.assert_array_equal(again.matrix(neurons=[ident])[:, 0], values[:, column])
    np.testing.assert_array_equal(again["module.a.b@input"], store["module.a.b@input"])
    assert verify_store(tmp_path / "s") == []


WORD = st.text("abc_xyz", min_size=1, max_size=9)
PATH = st.lists(st.text("aZ09_-", min_size=1, max_size=9), min_size=1, max_size=4).map(".".join)


@given(
    st.builds(
        Site,
        kind=st.sampled_from(["hidden", "mlp", "head", "state"]),
        layer=st.integers(0, 99),
        module=st.just("m"),
        point=st.sampled_from(["input", "output"]),
        width=st.just(1),
        stack=st.sampled_from(["", "encoder", "decoder"]),
        part=st.one_of(st.just(""), WORD),
    )
    | st.builds(
        Site,
        kind=st.just("module"),
        layer=st.just(0),
        module=PATH,
        point=st.sampled_from(["input", "output"]),
        width=st.just(1),
    ),
    st.integers(0, 10**6),
)
def test_neuron_ids_round_trip(site, index):
    assert parse_neuron(format_neuron(site.name, index)) == (site.name, index)


@pytest.mark.parametrize("text", ["hidden.3", "hidden:3", "3:hidden", "hidden.3:-1", "a.1:2:3", ""])
def test_bad_neuron_ids(text):
    with pytest.raises(SettingError, match="is not a neuron id"):
        parse_neuron(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": ["hiden.1"]}, 'no site "hiden.1".*Did you mean "hidden.1"'),
        ({"sites": "hidden.1"}, 'no site "h"'),
        (
            {"neurons": ["hidden.1:9"]},
            'no neuron "hidden.1:9"; ids run from hidden.0:0 to hidden.2:1',
        ),
        ({"neurons": [9]}, "neuron positions run from 0 to 8"),
        ({"neurons": [-1]}, "neuron positions run from 0 to 8"),
        ({"neurons": [True]}, "a mask of 1 does not fit 9 neurons"),
        ({"rows": [13]}, "row positions run from 0 to 12"),
        ({"rows": [-1]}, "row positions run from 0 to 12"),
        ({"rows": np.array([2**64 - 1], dtype=np.uint64)}, "row positions run from 0 to 12"),
        ({"rows": [2**70]}, "whole numbers or a boolean mask"),
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


# Opening ----------------------------------------------------------------------------------------


def rewrite(folder, **changes):
    """Write the manifest anew, with other fields and the checksum of those."""
    manifest = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, {**manifest, **changes})


def rows(folder, *pairs):
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    return [{**shard, "rows": list(pair)} for shard, pair in zip(shards, pairs, strict=True)]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda d: (d / shard_name(1)).unlink(), "shard-00001.safetensors: is missing"),
        (lambda d: (d / shard_name(1)).write_bytes(b""), "shard-00001.safetensors: has 0 bytes in"),
        (lambda d: (d / "manifest.json").write_text('{"format": 2'), "manifest.json: is damaged"),
        (lambda d: (d / "manifest.json").write_text("[1]"), "manifest.json: does not hold a JSON"),
        (lambda d: (d / "manifest.json").write_bytes(b"\xff"), "manifest.json: is damaged"),
        (lambda d: (d / "manifest.json").unlink(), "the extraction is unfinished; run it again"),
        (
            lambda d: [(d / name).unlink() for name in ("manifest.json", "plan.json")],
            "is not an activation store",
        ),
        (
            lambda d: (d / "manifest.json").write_text('{"format": 1}'),
            "has store format 1, this version reads 2; extract again",
        ),
        (
            lambda d: (d / "manifest.json").write_text('{"format": 2}'),
            "manifest.json: is damaged .model: Field required",
        ),
        (
            lambda d: rewrite(d, shards=rows(d, (0, 5), (5, 6), (6, 12))),
            "tokens.parquet does not belong",
        ),
        (lambda d: rewrite(d, labels=["other"]), "tokens.parquet does not belong"),
        (lambda d: rewrite(d, shards=rows(d, (0, 5), (6, 6), (6, 13))), "do not follow each"),
        (lambda d: rewrite(d, shards=rows(d, (1, 5), (5, 6), (6, 13))), "do not follow each"),
        (lambda d: rewrite(d, shards=rows(d, (0, 5), (5, 4), (4, 13))), "they run backwards"),
        (lambda d: rewrite(d, shards=rows(d, (0, 5), (5, 6), (6, 99))), "do not fit into its"),
        (lambda d: rewrite(d, shards=rows(d, (0, 0), (0, 0), (0, 0))), "they hold no token"),
        (lambda d: rewrite(d, shards=[]), "is damaged .shards"),
        (lambda d: rewrite(d, dtype="int8"), "dtype: 'int8' is none of float32, float16, bfloat16"),
        (lambda d: rewrite(d, tables={}), "tables: they must be tokens.parquet and sentences"),
        (lambda d: (d / "tokens.parquet").unlink(), "tokens.parquet: is missing"),
        (
            lambda d: (d / "sentences.parquet").write_bytes(b"no"),
            "sentences.parquet: has 2 bytes in place of",
        ),
    ],
)
def test_open_says_what_is_wrong(tmp_path, harm, message):
    planted(tmp_path)
    harm(tmp_path)
    with pytest.raises(StoreError, match=message) as caught:
        Activations.open(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_table_that_was_replaced_by_one_of_other_rows_is_refused(tmp_path):
    """Even where the manifest knows of it."""
    from nissl.store.files import write_table

    planted(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    tokens = tables(12)[0]
    entry = write_table(tmp_path / "tokens.parquet", tokens)
    rewrite(tmp_path, tables={**manifest["tables"], "tokens.parquet": entry})
    with pytest.raises(StoreError, match=r"tokens.parquet does not belong to the manifest"):
        Activations.open(tmp_path)


def test_open_nothing(tmp_path):
    (tmp_path / "acts").mkdir()
    with pytest.raises(StoreError, match=r'no such store. Did you mean "acts"'):
        Activations.open(tmp_path / "act")
    with pytest.raises(StoreError, match="is not an activation store"):
        Activations.open(tmp_path / "acts")
    with pytest.raises(StoreError, match="no such store"):
        Activations.open(tmp_path / "no" / "such" / "folder")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="no such store"):
        Activations.open(tmp_path / "file")


@pytest.mark.parametrize("harm", ["cut", "text", "gone", "other"])
def test_a_shard_damaged_after_opening_is_a_store_error(tmp_path, harm):
    store, values = planted(tmp_path / "s")
    shard = tmp_path / "s" / shard_name(2)
    message = r"shard-00002.safetensors: is missing or damaged"
    if harm == "cut":
        shard.write_bytes(shard.read_bytes()[:-5])
    elif harm == "text":
        shard.write_text("not safetensors")
    elif harm == "gone":
        shard.unlink()
    else:
        shard.write_bytes((tmp_path / "s" / shard_name(0)).read_bytes())
        message = r"shard-00002.safetensors: does not belong to the manifest \(hidden.0"
    with pytest.raises(StoreError, match=message):
        store.matrix()
    np.testing.assert_array_equal(store.matrix(rows=[0, 5]), values[[0, 5]])


# Writing ----------------------------------------------------------------------------------------


def write(folder, **changes):
    tokens, sentences = tables(4)
    values = np.arange(12.0).reshape(4, 3)
    options = {
        "model": "m",
        "corpus": "c",
        "sites": hidden((2, 1)),
        "tokens": tokens,
        "sentences": sentences,
        "labels": ["tag"],
        "blocks": [{"hidden.0": values[:, :2], "hidden.1": values[:, 2:]}],
    }
    return write_store(folder, **(options | changes))


def block(hidden_0, hidden_1):
    return [{"hidden.0": np.array(hidden_0), "hidden.1": np.array(hidden_1)}]


ONE = [[0.0]] * 4
TWO = [[0.0, 0.0]] * 4


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"blocks": block(ONE, ONE)}, StoreError, r"hidden.0 of block 0 has shape \(4, 1\), not"),
        ({"blocks": block([0.0] * 4, ONE)}, StoreError, r"has shape \(4,\), not \(tokens, 2\)"),
        ({"blocks": block(TWO[:3], ONE)}, StoreError, "block 0 does not have every site once"),
        ({"blocks": block(0.0, 0.0)}, StoreError, r"has shape \(\), not"),
        ({"blocks": [{"hidden.0": np.array(TWO)}]}, StoreError, "does not have every site once"),
        ({"blocks": [{}]}, StoreError, "block 0 does not have every site once"),
        (
            {"blocks": [{**block(TWO, ONE)[0], "more": np.array(ONE)}]},
            StoreError,
            "does not have every site once",
        ),
        ({"blocks": block(TWO[:3], ONE[:3])}, StoreError, "3 rows for 4 tokens"),
        ({"blocks": block(TWO, ONE) * 2}, StoreError, "8 rows for 4 tokens"),
        ({"blocks": []}, StoreError, "0 rows for 4 tokens"),
        (
            {"blocks": block([*TWO[:3], [0, np.nan]], ONE)},
            StoreError,
            "neuron hidden.0:1 is nan at row 3, which float32 cannot hold",
        ),
        (
            {"blocks": block(TWO, [[0.0], [-np.inf], [0.0], [0.0]])},
            StoreError,
            "neuron hidden.1:0 is -inf at row 1, which float32 cannot hold",
        ),
        (
            {"blocks": block([[0, 0], [0, 0], [0, 70000.0], [0, 0]], ONE), "dtype": "float16"},
            StoreError,
            "neuron hidden.0:1 is 70000.0 at row 2, which float16 cannot hold",
        ),
        (
            {"blocks": block([[0, 0], [3.4e38, 0], [0, 0], [0, 0]], ONE), "dtype": "bfloat16"},
            StoreError,
            r"neuron hidden.0:0 is 3.\d+e\+38 at row 1, which bfloat16 cannot hold",
        ),
        (
            {"blocks": block([*TWO[:3], [0, 1e39]], ONE)},
            StoreError,
            "neuron hidden.0:1 is inf at row 3, which float32 cannot hold",
        ),
        (
            {
                "blocks": [
                    *block(TWO[:2], ONE[:2]),
                    *block([[0, 0], [0, np.nan]], ONE[:2]),
                ]
            },
            StoreError,
            "neuron hidden.0:1 is nan at row 3,",
        ),
        ({"dtype": "float23"}, SettingError, 'not "float23".*Did you mean "float32"'),
        ({"sites": [hidden((2,))[0]] * 2}, SettingError, "site hidden.0 is given twice"),
        ({"sites": []}, SettingError, "there is no site"),
        (
            {"sites": [Site("module", 0, "a\n", "output", 1)]},
            SettingError,
            r"a site cannot be named 'module.a\\n'",
        ),
        ({"labels": ["tags"]}, LabelError, 'label "tags" is no column.*Did you mean "tag"'),
        ({"about": {"shards": []}}, SettingError, 'about may not have "shards"'),
        ({"about": {"format": 1}}, SettingError, 'about may not have "format"'),
        ({"about": {"dtype": "float16"}}, SettingError, 'about may not have "dtype"'),
        ({"about": {"x": object()}}, SettingError, "about must be what JSON can hold"),
        (
            {"tokens": tables(0)[0], "blocks": block(np.empty((0, 2)), np.empty((0, 1)))},
            StoreError,
            "there is no token to write",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, changes, kind, message):
    with pytest.raises(kind, match=message):
        write(tmp_path / "s", **changes)
    assert not (tmp_path / "s" / "manifest.json").exists()
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("name", ["note.txt", "manifest.json", "plan.json", "x.part"])
def test_a_folder_that_is_not_empty_is_refused(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(StoreError, match=rf"is not empty \(it holds {name}\); name another"):
        write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "s").write_text("mine")
    with pytest.raises(StoreError, match=r"s: cannot be used \(File exists\)"):
        write(tmp_path / "s")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OWN = {"model", "corpus", "sites", "dtype", "labels", "shards", "tables", "fingerprint"}
OWN |= {"format", "checksum", "random_init"}


@settings(max_examples=50)
@given(
    widths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(any),
    dtype=st.sampled_from(DTYPES),
    about=st.dictionaries(
        (st.text() | st.sampled_from(["windows", "left_out"])).filter(lambda k: k not in OWN),
        JSON,
        max_size=3,
    ),
)
def test_what_was_written_verifies_and_opens(tmp_path_factory, widths, cuts, dtype, about):
    folder = tmp_path_factory.mktemp("any") / "s"
    bounds = (0, *np.cumsum(cuts).tolist())
    values = random_values(dtype, (bounds[-1], sum(widths)), seed=len(cuts))
    planted(folder, bounds, widths, dtype, values=values, about=about)
    assert verify_store(folder) == []
    store = Activations.open(folder)
    for key, value in about.items():
        assert json.dumps(store.manifest[key]) == json.dumps(value)
    same_bits(store.matrix(), values)


def test_about_is_kept_as_json_has_it(tmp_path):
    about = {"of": {9: "a", 10: ("b", None)}, "bad": float("nan"), "name": "caf\udce9"}
    planted(tmp_path / "s", about=about)
    assert verify_store(tmp_path / "s") == []
    manifest = Activations.open(tmp_path / "s").manifest
    assert manifest["of"] == {"9": "a", "10": ["b", None]}
    assert np.isnan(manifest["bad"])
    assert manifest["name"] == "caf\udce9"


def test_the_same_values_make_the_same_bytes_and_fingerprint(tmp_path):
    one, _ = planted(tmp_path / "one")
    two, _ = planted(tmp_path / "two")
    names = sorted(p.name for p in (tmp_path / "one").iterdir() if p.name != ".lock")
    assert names == sorted(p.name for p in (tmp_path / "two").iterdir() if p.name != ".lock")
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    values = np.arange(13)[:, None] * 100.0 + np.arange(9)
    values[12, 8] += 1
    other, _ = planted(tmp_path / "other", values=values)
    assert one.fingerprint == two.fingerprint != other.fingerprint


# Laziness ---------------------------------------------------------------------------------------

MEASURE = """
    import resource, sys
    import numpy as np
    from nissl.store import Activations
    def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = Activations.open(sys.argv[1] + "/tiny")
    store.matrix()  # libraries are in memory now
    before = peak()
    store = Activations.open(sys.argv[1] + "/big")
    opened = peak()
    store.matrix(neurons=["hidden.0:1", "hidden.2:0"])
    few = peak()
    for rows, part in store.stream():
        del rows, part
    print(*((now - before) / 1024 for now in (opened, few, peak())))
"""


def test_opening_and_reading_few_neurons_take_little_memory(tmp_path):
    planted(tmp_path / "tiny", (0, 1, 2), (2, 2, 2))
    planted(tmp_path / "big", tuple(range(0, 32_001, 4000)), (200, 200, 200))
    size = sum(p.stat().st_size for p in (tmp_path / "big").glob("shard-*")) / 2**20
    assert size > 70
    run = [sys.executable, "-c", textwrap.dedent(MEASURE), str(tmp_path)]
    out = subprocess.run(run, capture_output=True, text=True, check=True)
    opened, read, streamed = map(float, out.stdout.split())
    assert opened < 10, f"opening took {opened} MiB"
    # Two neurons of all tokens are 0.25 MiB, and the neurons' table.
    assert read < 15, f"reading two neurons took {read} MiB of {size}"
    # A shard is 9 MiB.
    assert streamed < 45, f"streaming took {streamed} MiB of {size}"


@pytest.fixture
def watched(monkeypatch):
    """What is read: (shard, site) of each read, and the bytes that the system was asked for."""
    seen = {"reads": [], "bytes": 0}
    real_read, real_preadv = Shard.read, os.preadv

    def read(self, site, *rest):
        seen["reads"].append((self.path.name, site))
        return real_read(self, site, *rest)

    def preadv(file, places, offset):
        seen["bytes"] += sum(place.nbytes for place in places)
        return real_preadv(file, places, offset)

    monkeypatch.setattr(Shard, "read", read)
    monkeypatch.setattr(reader.os, "preadv", preadv)
    return seen


def test_only_needed_shards_sites_and_lines_are_read(tmp_path, watched):
    store, _ = planted(tmp_path / "s")
    assert watched == {"reads": [], "bytes": 0}
    store.matrix(neurons=["hidden.2:1"], rows=[12, 7])
    assert watched["reads"] == [(shard_name(2), "hidden.2")]
    assert watched["bytes"] == 7 * 4
    watched["reads"].clear()
    store.matrix(sites=["hidden.1"], rows=[5, 0])
    assert watched["reads"] == [(shard_name(0), "hidden.1"), (shard_name(1), "hidden.1")]
    assert watched["bytes"] == 7 * 4 + (5 + 1) * 4 * 4
    watched["reads"].clear()
    assert store.matrix(rows=[]).shape == (0, 9)
    assert store.matrix(sites=[]).shape == (13, 0)
    assert store.matrix(neurons=[]).shape == (13, 0)
    assert watched["reads"] == []


# From extraction --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    import tiny_models as tiny

    from nissl.extraction import extract, settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "SHARD_TOKENS", 16)
        patch.setattr(settings, "FEWEST_TOKENS", 1)
        folder = tmp_path_factory.mktemp("extracted") / "s"
        return extract(tiny.corpus(), tiny.loaded("bert"), folder, progress=False)


def test_a_store_that_extract_wrote_reads_back(extracted):
    from safetensors.numpy import load_file

    parts = [load_file(path) for path in sorted(extracted.path.glob("shard-*.safetensors"))]
    assert len(parts) > 3
    whole = np.vstack([np.hstack([p[s.name] for p in parts]) for s in extracted.sites]).T
    np.testing.assert_array_equal(extracted.matrix(), whole)
    rows = np.array([40, 3, 3, 17])
    columns = [63, 0]
    np.testing.assert_array_equal(
        extracted.matrix(rows=rows, neurons=columns), whole[rows][:, columns]
    )


def test_a_store_that_extract_wrote_has_no_fault(extracted):
    assert verify_store(extracted.path) == []
