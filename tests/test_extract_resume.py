"""Extraction that is stopped, damaged, repeated or relabelled: the store is whole or says why."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import tiny_models as tiny
import torch
from safetensors.torch import load_file

from nissl.corpus import Corpus
from nissl.corpus.corpus import joined
from nissl.errors import StoreError
from nissl.extraction import extract, settings, task
from nissl.model import load_model
from nissl.store import Activations, verify_store

# Interruption and resuming ----------------------------------------------------------------------


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(settings, "SHARD_TOKENS", 16)


def files_of(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != ".lock"}


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
@pytest.mark.usefixtures("small_shards")
def test_interrupted_run_goes_on_and_ends_the_same(tmp_path, monkeypatch, stop):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    extract(corpus, model, tmp_path / "whole", progress=False)
    real, made = task.write_shard, []

    def failing(folder, index, *rest):
        if len(made) == 2:
            (folder / "shard-00002.safetensors.0123.part").write_bytes(b"half a sh")
            raise stop("the lights went out")
        made.append(index)
        return real(folder, index, *rest)

    out = tmp_path / "cut"
    monkeypatch.setattr(task, "write_shard", failing)
    with pytest.raises(stop):
        extract(corpus, model, out, progress=False)
    assert sorted(p.name for p in out.glob("shard-*.safetensors")) == [
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    ]
    with pytest.raises(StoreError, match="unfinished; run it again"):
        Activations.open(out)
    again = []
    monkeypatch.setattr(task, "write_shard", lambda f, i, *r: (again.append(i), real(f, i, *r))[1])
    extract(corpus, model, out, progress=False)
    shards = len(list((tmp_path / "whole").glob("shard-*.safetensors")))
    assert shards > 3
    assert again == list(range(2, shards)), "finished shards are not made again"
    assert files_of(out) == files_of(tmp_path / "whole")


@pytest.mark.parametrize("harm", ["cut", "flip", "gone", "mark"])
@pytest.mark.usefixtures("small_shards")
def test_damaged_shard_is_made_anew(tmp_path, harm):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    out = tmp_path / "store"
    extract(corpus, model, out, progress=False)
    before = files_of(out)
    shard = out / "shard-00001.safetensors"
    data = bytearray(shard.read_bytes())
    if harm == "cut":
        shard.write_bytes(data[:-7])
    elif harm == "flip":
        data[-7] ^= 1
        shard.write_bytes(data)
    elif harm == "gone":
        shard.unlink()
    else:
        shard.with_suffix(".json").write_bytes(b"\xff\xfe")
    extract(corpus, model, out, progress=False)
    assert files_of(out) == before


@pytest.mark.usefixtures("small_shards")
def test_interrupt_while_writing_leaves_whole_files(tmp_path, monkeypatch):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    whole = tmp_path / "whole"
    extract(corpus, model, whole, progress=False)
    real = os.replace
    for stop_at in range(1, 12):
        out = tmp_path / f"store{stop_at}"
        calls = 0

        def replace(partial, target, stop_at=stop_at):
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise KeyboardInterrupt
            real(partial, target)

        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            extract(corpus, model, out, progress=False)
        for path in out.glob("shard-*.safetensors"):
            load_file(path)
        for path in out.glob("*.json"):
            json.loads(path.read_text())
        monkeypatch.setattr(os, "replace", real)
        extract(corpus, model, out, progress=False)
        assert files_of(out) == files_of(whole)


@pytest.mark.usefixtures("small_shards")
def test_other_settings_are_refused_and_named(tmp_path):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    out = tmp_path / "store"
    extract(corpus, model, out, progress=False)
    before = files_of(out)
    cases = [
        ({"pooling": "mean"}, model, corpus, "pooling: last → mean"),
        (
            {"sites": ["mlp"]},
            model,
            corpus,
            r"sites: hidden.0…hidden.3 \(4\) → mlp.1, mlp.2, mlp.3",
        ),
        ({}, tiny.loaded("distilbert"), corpus, "model: .*bert → .*distilbert"),
        ({}, model, tiny.corpus(tiny.SENTENCES[:3]), "another text of the corpus"),
        (
            {},
            load_model(tiny.folder("bert"), dtype="bfloat16"),
            corpus,
            "dtype: float32 → bfloat16",
        ),
        ({}, load_model(tiny.folder("bert"), random_init=True), corpus, "another model"),
    ]
    for options, other, text, message in cases:
        with pytest.raises(
            StoreError, match=f"^{out}: holds an extraction with other settings.*{message}"
        ):
            extract(text, other, out, progress=False, **options)
    assert files_of(out) == before


def test_batch_size_is_no_setting_of_the_store(tmp_path, monkeypatch):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    extract(corpus, model, tmp_path / "s", progress=False)
    monkeypatch.setattr(task, "make_items", None)
    extract(corpus, model, tmp_path / "s", batch_tokens=7, progress=False)


def test_a_used_tokenizer_and_a_moved_model_are_the_same(tmp_path, monkeypatch):
    # Calling a tokenizer with padding and truncation changes its state, which must not count.
    model, corpus = load_model(tiny.folder("bert")), tiny.corpus()
    extract(corpus, model, tmp_path / "s", progress=False)
    model.tokenizer(["a", "b c"], padding="max_length", truncation=True, max_length=9)
    moved = load_model(tiny.copy_folder("bert", tmp_path / "elsewhere"))
    monkeypatch.setattr(task, "make_items", None)
    extract(corpus, model, tmp_path / "s", progress=False)
    store = extract(corpus, moved, tmp_path / "s", progress=False)
    assert store.manifest["model"] == moved.name
    assert verify_store(tmp_path / "s") == []


def test_tokenizer_that_pads_and_truncates_by_itself(tmp_path):
    # Such settings, stored in tokenizer.json by sentence encoders, must not cut or pad our input.
    folder = tiny.copy_folder("bert", tmp_path / "model")
    path = folder / "tokenizer.json"
    settings = json.loads(path.read_text())
    settings["truncation"] = {
        "direction": "Right",
        "max_length": 6,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    settings["padding"] = {
        "strategy": {"Fixed": 30},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    path.write_text(json.dumps(settings))
    corpus = tiny.corpus()
    got = extract(corpus, load_model(folder), progress=False)
    want = extract(corpus, tiny.loaded("bert"), progress=False)
    np.testing.assert_array_equal(got.matrix(), want.matrix())


# Labels -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_shards")
def test_other_labels_take_no_forward_pass(tmp_path, monkeypatch):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    out = tmp_path / "store"
    first = extract(corpus, model, out, progress=False)
    values, times = first.matrix(), {p.name: p.stat().st_mtime_ns for p in out.glob("shard-*")}
    monkeypatch.setattr(task, "make_items", None)  # calling it would fail
    other = corpus.with_column(
        "case", [(w[0].isupper() and "up") or "low" for w in corpus.tokens["form"]]
    )
    other = other.with_splits(seed=3)
    second = extract(other, model, out, progress=False)
    assert second.labels == ("tag", "case")
    assert second.tokens.equals(other.tokens)
    assert second.fingerprint == first.fingerprint
    assert second.manifest["corpus_fingerprint"] != first.manifest["corpus_fingerprint"]
    np.testing.assert_array_equal(second.matrix(), values)
    assert {p.name: p.stat().st_mtime_ns for p in out.glob("shard-*")} == times


@pytest.mark.parametrize("stop_at", ["tokens.parquet", "sentences.parquet", "manifest.json"])
def test_interrupted_relabelling_never_mixes_labels(tmp_path, monkeypatch, stop_at):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    out = tmp_path / "store"
    extract(corpus, model, out, progress=False)
    other = corpus.with_column("new", ["x"] * corpus.n_tokens)
    real = os.replace

    def replace(partial, target):
        if target.name == stop_at:
            raise KeyboardInterrupt
        real(partial, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        extract(other, model, out, progress=False)
    with pytest.raises(StoreError, match="unfinished"):
        Activations.open(out)
    monkeypatch.setattr(os, "replace", real)
    assert extract(other, model, out, progress=False).labels == ("tag", "new")


def test_moved_words_are_another_text(tmp_path):
    model = tiny.loaded("bert")
    corpus = tiny.corpus(("The cat sat .",))
    extract(corpus, model, tmp_path / "s", progress=False)
    _, spans = joined(["The", "cat", "sa"])
    assert spans[-1] == (8, 10)
    import polars as pl

    cut = corpus.tokens.with_columns(pl.Series("end", [3, 7, 10, 13], dtype=pl.Int32))
    other = Corpus("c", cut, corpus.sentences, corpus.labels)
    with pytest.raises(StoreError, match="another text"):
        extract(other, model, tmp_path / "s", progress=False)


# Folders ----------------------------------------------------------------------------------------


def test_second_writer_is_kept_out(tmp_path):
    from nissl.store.files import lock

    out = tmp_path / "store"
    out.mkdir()
    with lock(out), pytest.raises(StoreError, match="another process is writing here"):
        extract(tiny.corpus(), tiny.loaded("bert"), out, progress=False)
    assert extract(tiny.corpus(), tiny.loaded("bert"), out, progress=False).n_tokens


def test_lock_of_a_killed_writer_does_not_hold(tmp_path):
    pid = os.fork()
    if pid == 0:
        from nissl.store.files import lock

        with lock(tmp_path):
            os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert (tmp_path / ".lock").exists()
    assert extract(tiny.corpus(), tiny.loaded("bert"), tmp_path, progress=False).n_tokens


def test_foreign_folder_and_file_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(
        StoreError, match=r"neither empty nor an activation store \(it holds thesis.tex"
    ):
        extract(tiny.corpus(), tiny.loaded("bert"), tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StoreError, match="is a file"):
        extract(tiny.corpus(), tiny.loaded("bert"), tmp_path / "thesis.tex", progress=False)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_temporary_store_lives_and_dies_with_the_object():
    store = extract(tiny.corpus(), tiny.loaded("bert"), progress=False)
    path = store.path
    other = store.with_labels("x", ["a"] * store.n_tokens)
    del store
    assert other.matrix(rows=[0]).shape == (1, 4 * tiny.WIDTH)
    del other
    assert not path.exists()


def test_manifest_says_what_made_it(tmp_path):
    store = extract(tiny.corpus(), tiny.loaded("bert"), tmp_path / "s", progress=False)
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["pooling"] == "last"
    assert manifest["corpus_fingerprint"] == tiny.corpus().fingerprint
    assert repr(store).startswith("Activations(")
    assert [shard["file"] for shard in manifest["shards"]] == ["shard-00000.safetensors"]
