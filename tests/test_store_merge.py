"""Merging: values stay bit by bit, tables join or follow, and what differs is named."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.errors import StoreError
from nissl.site import Site
from nissl.store import verify_store, write_store
from nissl.store.merge import merge_stores

DTYPES = ("float32", "float16", "bfloat16")


def text_of(lengths, prefix="s"):
    """Token and sentence tables of sentences of these lengths."""
    number = [i for i, n in enumerate(lengths) for _ in range(n)]
    tokens = pl.DataFrame(
        {
            "sentence": pl.Series(number, dtype=pl.Int32),
            "position": pl.Series([i for n in lengths for i in range(n)], dtype=pl.Int32),
            "form": [f"{prefix}w{i}" for i in range(sum(lengths))],
            "split": pl.Series([None] * sum(lengths), dtype=pl.String),
        }
    )
    sentences = pl.DataFrame(
        {
            "sentence": pl.Series(range(len(lengths)), dtype=pl.Int32),
            "id": [f"{prefix}{i}" for i in range(len(lengths))],
            "where": [f"{prefix}.txt:{i + 1}" for i in range(len(lengths))],
        }
    )
    return tokens, sentences


def planted(
    folder,
    sites=(("hidden", 0, 3),),
    lengths=(2, 3, 1),
    *,
    prefix="s",
    dtype="float32",
    cuts=(),
    labels=None,
    split=None,
    seed=0,
    model="m",
    corpus="c",
    **about,
):
    """Write a store of random values; return it."""
    tokens, sentences = text_of(lengths, prefix)
    for name, values in (labels or {}).items():
        tokens = tokens.with_columns(pl.Series(name, values, dtype=pl.String))
    if split:
        tokens = tokens.with_columns(pl.Series("split", split, dtype=pl.String))
    made = [Site(kind, layer, f"blocks.{layer}", "output", width) for kind, layer, width in sites]
    rng = np.random.default_rng(seed)
    n = tokens.height
    values = {site.name: rng.normal(size=(n, site.width)) for site in made}
    bounds = [0, *cuts, n]
    return write_store(
        folder,
        model=model,
        corpus=corpus,
        sites=made,
        tokens=tokens,
        sentences=sentences,
        labels=list(labels or {}),
        blocks=(
            {name: value[a:b] for name, value in values.items()}
            for a, b in itertools.pairwise(bounds)
        ),
        dtype=dtype,
        about={"pooling": "last", **about},
    )


def bits(store, rows=slice(None)):
    return store.matrix()[rows].view(np.uint32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sites_of_one_text_stand_side_by_side(tmp_path, dtype):
    one = planted(tmp_path / "a", dtype=dtype, cuts=(2,), labels={"pos": list("NVNVNV")})
    two = planted(
        tmp_path / "b",
        (("mlp", 1, 2), ("mlp", 2, 4)),
        dtype=dtype,
        cuts=(1, 5),
        labels={"pos": list("NVNVNV"), "ner": ["O", None, "O", "P", "O", "O"]},
        split=["train"] * 5 + ["test"],
        seed=1,
    )
    got = merge_stores([one, two], tmp_path / "out")
    assert [site.name for site in got.sites] == ["hidden.0", "mlp.1", "mlp.2"]
    np.testing.assert_array_equal(bits(got), np.hstack([bits(one), bits(two)]))
    assert got.labels == ("pos", "ner")
    assert got.tokens["ner"].to_list() == ["O", None, "O", "P", "O", "O"]
    assert got.tokens["split"].to_list() == ["train"] * 5 + ["test"]
    assert got.manifest["dtype"] == dtype
    assert got.manifest["pooling"] == "last"
    assert got.manifest["merged_from"] == [
        {"fingerprint": store.fingerprint, "corpus": "c", "model": "m"} for store in (one, two)
    ]
    assert verify_store(tmp_path / "out") == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_sentences_of_one_model_follow_each_other(tmp_path, dtype):
    sites = (("hidden", 0, 3), ("mlp", 1, 2))
    one = planted(tmp_path / "a", sites, dtype=dtype, labels={"pos": list("NVNVNV")}, cuts=(4,))
    two = planted(
        tmp_path / "b", sites[::-1], (4, 1), prefix="t", dtype=dtype, seed=1, corpus="d",
        labels={"ner": list("OOPOP")}, split=["dev"] * 5,
    )  # fmt: skip
    got = merge_stores([one, two], tmp_path / "out")
    assert got.sites == one.sites
    np.testing.assert_array_equal(bits(got, slice(0, 6)), bits(one))
    for site in one.sites:
        np.testing.assert_array_equal(got[site.name][6:], two[site.name])
    assert got.tokens["sentence"].to_list() == [0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 4]
    assert got.sentences["sentence"].to_list() == [0, 1, 2, 3, 4]
    assert got.sentences["id"].to_list() == ["s0", "s1", "s2", "t0", "t1"]
    assert got.tokens["pos"].to_list() == [*"NVNVNV", *[None] * 5]
    assert got.tokens["ner"].to_list() == [*[None] * 6, *"OOPOP"]
    assert got.tokens["split"].to_list() == [*[None] * 6, *["dev"] * 5]
    assert got.tokens["sentence"].dtype == pl.Int32
    assert got.manifest["corpus"] == "c+d"
    assert verify_store(tmp_path / "out") == []


@settings(max_examples=20)  # each writes several stores, durably
@given(
    lengths=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=2, max_size=4),
    widths=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    dtype=st.sampled_from(DTYPES),
)
def test_merged_rows_are_the_stores_rows(tmp_path_factory, lengths, widths, dtype):
    folder = tmp_path_factory.mktemp("rows")
    sites = [("hidden", i, width) for i, width in enumerate(widths)]
    stores = [
        planted(folder / str(i), sites, part, prefix=f"p{i}.", dtype=dtype, seed=i)
        for i, part in enumerate(lengths)
    ]
    got = merge_stores(stores, folder / "out", name="all")
    np.testing.assert_array_equal(bits(got), np.vstack([bits(store) for store in stores]))
    assert got.tokens["form"].to_list() == [
        form for store in stores for form in store.tokens["form"].to_list()
    ]
    assert got.manifest["corpus"] == "all"


def test_merging_twice_equals_merging_once(tmp_path):
    parts = [planted(tmp_path / str(i), prefix=f"p{i}.", seed=i) for i in range(3)]
    once = merge_stores(parts, tmp_path / "once")
    pair = merge_stores(parts[:2], tmp_path / "pair")
    twice = merge_stores([pair, parts[2]], tmp_path / "twice")
    np.testing.assert_array_equal(bits(once), bits(twice))
    assert once.tokens.equals(twice.tokens)
    assert once.sentences.equals(twice.sentences)


def test_labels_added_in_memory_are_merged(tmp_path):
    one = planted(tmp_path / "a").with_labels("x", list("abcabc"))
    two = planted(tmp_path / "b", (("mlp", 1, 2),))
    got = merge_stores([one, two], tmp_path / "out")
    assert got.labels == ("x",)
    assert got.tokens["x"].to_list() == list("abcabc")


def test_counts_and_windows_are_summed_over_texts_and_kept_over_sites(tmp_path):
    about = {"left_out": {"empty": 2}, "windows": {"count": 3, "least_context": 5}}
    other = {"left_out": {"empty": 1, "long": 4}, "windows": {"count": 1, "least_context": 2}}
    one = planted(tmp_path / "a", **about)
    rows = merge_stores([one, planted(tmp_path / "b", prefix="t", **other)], tmp_path / "rows")
    assert rows.manifest["left_out"] == {"empty": 3, "long": 4}
    assert rows.manifest["windows"] == {"count": 4, "least_context": 2}
    sites = merge_stores(
        [one, planted(tmp_path / "c", (("mlp", 1, 2),), **about)], tmp_path / "sites"
    )
    assert sites.manifest["left_out"] == {"empty": 2}
    assert sites.manifest["windows"] == {"count": 3, "least_context": 5}


MLP = (("mlp", 1, 2),)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({}, {}, r"site hidden\.0 is in .*a too"),
        ({}, {"sites": MLP, "dtype": "float16"}, r"b: dtype float32 → float16"),
        ({}, {"sites": MLP, "pooling": "mean", "model": "n"}, "model m → n.*pooling last → mean"),
        ({}, {"prefix": "t", "pooling": "mean"}, "pooling last → mean"),
        ({"model_fingerprint": "x"}, {"prefix": "t", "model_fingerprint": "y"}, "weights differ"),
        ({}, {"prefix": "t", "sites": MLP}, "another text .*form of row 0.*lacks hidden.0.*same"),
        ({}, {"lengths": (2,), "sites": MLP}, r"another text \(2 words in place of 6\)"),
        ({}, {"prefix": "t", "sites": (("hidden", 0, 4),)}, "hidden.0 has another module or width"),
        ({"text": "x"}, {"text": "y", "sites": MLP}, "same words in other sentences or places"),
        (
            {"labels": {"pos": list("NVNVNV")}},
            {"labels": {"pos": list("NVNNNN")}, "sites": MLP},
            r'b: column "pos" differs at word "sw3" of sentence 1 \(row 3\): "N" in place of "V"',
        ),
        (
            {"labels": {"pos": list("NVNVNV")}},
            {"labels": {"pos": [None] * 6}, "sites": MLP},
            'row 0.: no value in place of "N"',
        ),
        ({"split": ["dev"] * 6}, {"split": ["test"] * 6, "sites": MLP}, 'column "split" differs'),
    ],
)
def test_what_differs_is_named(tmp_path, first, second, message):
    stores = [planted(tmp_path / "a", **first), planted(tmp_path / "b", **second)]
    with pytest.raises(StoreError, match=message):
        merge_stores(stores, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_same_weights_under_two_names_are_one_model(tmp_path):
    one = planted(tmp_path / "a", model_fingerprint="x")
    two = planted(tmp_path / "b", prefix="t", model_fingerprint="x", model="local copy")
    assert merge_stores([one, two], tmp_path / "out").manifest["model"] == "m"


def test_a_sentence_id_in_two_stores_is_named(tmp_path):
    one = planted(tmp_path / "a")
    two = planted(tmp_path / "b", lengths=(1, 1))
    with pytest.raises(StoreError, match=r'b: sentence id "s0" is in .*a too'):
        merge_stores([one, two], tmp_path / "out")


def test_one_store_is_no_merge_and_a_folder_in_use_is_kept(tmp_path):
    one, two = planted(tmp_path / "a"), planted(tmp_path / "b", prefix="t")
    with pytest.raises(StoreError, match="two stores or more, not 1"):
        merge_stores([one], tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(StoreError, match="is there already"):
        merge_stores([one, two], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_damaged_shard_leaves_nothing(tmp_path):
    one, two = planted(tmp_path / "a"), planted(tmp_path / "b", prefix="t")
    shard = tmp_path / "b" / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(StoreError, match="shard-00000"):
        merge_stores([one, two], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_memory_is_that_of_a_shard(tmp_path):
    sites = (("hidden", 0, 2560),)
    parts = [
        planted(tmp_path / str(i), sites, [10] * 200, prefix=f"p{i}.", cuts=range(100, 2000, 100))
        for i in range(2)
    ]
    whole = sum(store.n_tokens * store.n_neurons * 4 for store in parts)
    merge_stores(parts, tmp_path / "warm")
    tracemalloc.start()
    merge_stores(parts, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole / 3
