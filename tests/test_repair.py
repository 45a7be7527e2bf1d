"""Repair gives back the very bytes; relabelling changes labels and nothing else."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import torch

from nissl.errors import LabelError, ModelError, StoreError
from nissl.extraction import extract, relabel, repair, settings, task
from nissl.model import Site, load_model, wrap_model
from nissl.store import Activations, verify_store, write_store
from nissl.store.files import lock, read_json, write_json
from nissl.store.merge import merge_stores

# The function has the name of its module.
repairing = importlib.import_module("nissl.extraction.repair")

TABLES = ("tokens.parquet", "sentences.parquet")
SHARD, MARK = "shard-00001.safetensors", "shard-00001.json"


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != ".lock"}


def times_of(folder: Path, pattern: str = "*") -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.glob(pattern) if p.name != ".lock"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of a few shards, as an unbroken run leaves it."""
    keep = settings.SHARD_TOKENS
    settings.SHARD_TOKENS = 16
    try:
        out = tmp_path_factory.mktemp("made") / "store"
        extract(tiny.corpus(), load_model(tiny.folder("bert")), out, progress=False)
    finally:
        settings.SHARD_TOKENS = keep
    assert len(list(out.glob("shard-*.safetensors"))) > 3
    return out


@pytest.fixture
def store(made, tmp_path):
    shutil.copytree(made, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def no_model(monkeypatch):
    """Loading a model, or making a shard, fails."""

    def never(*args, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(repairing, "load_model", never)
    monkeypatch.setattr(task, "make_items", never)


# Harm -------------------------------------------------------------------------------------------


def flip(path: Path, at: int = -7) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def other_mark(path: Path) -> None:
    mark = json.loads(path.read_text())
    path.write_text(json.dumps({**mark, "rows": mark["rows"] + 1}))


def other_whole_mark(path: Path) -> None:
    """The mark of another shard: whole in itself."""
    shutil.copy(path.with_name("shard-00002.json"), path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap(path: Path) -> None:
    """Two shards change places, marks and all."""
    for end in (".safetensors", ".json"):
        one = path.with_suffix(end)
        two = one.with_name("shard-00002" + end)
        one.rename(one.with_suffix(".x"))
        two.rename(one)
        one.with_suffix(".x").rename(two)


def link_out(path: Path) -> None:
    """The same bytes, in another folder."""
    other = path.parent.parent / path.name
    path.rename(other)
    path.symlink_to(other)


SHARDS = [
    (SHARD, link_out),
    (SHARD, flip),
    (SHARD, lambda path: flip(path, 3)),
    (SHARD, cut),
    (SHARD, Path.unlink),
    (SHARD, empty),
    (SHARD, swap),
    (SHARD, lambda path: path.write_bytes(path.read_bytes() + b"\0")),
]
MARKS = [
    (MARK, Path.unlink),
    (MARK, other_mark),
    (MARK, other_whole_mark),
    (MARK, empty),
    (MARK, lambda path: path.write_bytes(b"\xff\xfe")),
    (MARK, lambda path: path.write_text("[]")),
]
PLANS = [
    ("plan.json", Path.unlink),
    ("plan.json", empty),
    ("plan.json", cut),
    ("plan.json", lambda path: write_json(path, {**read_json(path), "pooling": "mean"})),
    ("plan.json", lambda path: write_json(path, {**read_json(path), "more": 1})),
    ("plan.json", lambda path: write_json(path, {"model": "x"})),
]


@pytest.mark.parametrize(("name", "harm"), SHARDS)
def test_a_damaged_shard_is_made_with_the_same_bytes(made, store, name, harm):
    harm(store / name)
    names = {fault.file for fault in verify_store(store)}
    done = repair(store, progress=False)
    assert {fault.file for fault in done.faults} == names
    assert name in done.made
    assert done.changed == ()
    assert files_of(store) == files_of(made)
    assert not (store / name).is_symlink()
    assert verify_store(store) == []


@pytest.mark.parametrize(("name", "harm"), [*MARKS, *PLANS])
def test_what_lies_beside_whole_shards_is_mended_without_a_model(made, store, no_model, name, harm):
    harm(store / name)
    before = times_of(store, "*.safetensors")
    done = repair(store, progress=False)
    assert done.faults[0].file == name
    assert done.made == (name,)
    assert done.changed == ()
    assert files_of(store) == files_of(made)
    assert times_of(store, "*.safetensors") == before, "a whole shard was written again"


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("harm", [flip, cut, empty, Path.unlink])
def test_a_damaged_table_wants_the_corpus_and_no_model(made, store, no_model, name, harm):
    harm(store / name)
    harmed = files_of(store)
    with pytest.raises(
        StoreError,
        match=rf"{re.escape(str(store / name))}: is damaged, and only the corpus can make it anew: "
        r"give it \(--corpus\)",
    ):
        repair(store, progress=False)
    other = tiny.corpus(tiny.SENTENCES[::-1], name="other")
    with pytest.raises(StoreError, match="was made from another text than other; give the corpus"):
        repair(store, corpus=other, progress=False)
    assert files_of(store) == harmed, "what cannot be mended is left as it is"
    done = repair(store, corpus=tiny.corpus(), progress=False)
    assert done.made == (name,)
    assert files_of(store) == files_of(made)


def test_everything_at_once(made, store):
    for name in (*TABLES, "plan.json", "shard-00000.safetensors", MARK):
        flip(store / name, 20)
    (store / "shard-00002.safetensors").unlink()
    (store / "shard-00003.safetensors.0123.part").write_bytes(b"half")
    done = repair(store, corpus=tiny.corpus(), progress=False)
    assert len(done.faults) >= 7
    assert files_of(store) == files_of(made)


def test_what_an_interrupted_writer_left_is_removed(made, store, no_model):
    for name in ("shard-00001.safetensors.0a1b.part", "tokens.parquet.77.part"):
        (store / name).write_bytes(b"half")
    done = repair(store, progress=False)
    assert len(done.faults) == 2
    assert (done.made, done.changed) == ((), ())
    assert files_of(store) == files_of(made)


@pytest.mark.parametrize("name", ["shard-00009.safetensors", "shard-00009.json"])
def test_a_file_that_is_not_the_stores_is_left_and_named(made, store, no_model, name):
    (store / name).write_bytes(b"of somebody else")
    flip(store / "plan.json", 20)
    done = repair(store, progress=False)
    assert done.made == ("plan.json",)
    assert [fault.file for fault in done.left] == [name]
    assert files_of(store) == {**files_of(made), name: b"of somebody else"}
    assert list(done.left) == verify_store(store)


def test_an_intact_store_is_left_alone(store, no_model):
    before, times = files_of(store), times_of(store)
    folder = store.stat().st_mtime_ns if (store / ".lock").exists() else None
    done = repair(store, progress=False)
    assert (done.faults, done.made, done.changed, done.left) == ((), (), (), ())
    assert files_of(store) == before
    assert times_of(store) == times
    assert folder in (None, store.stat().st_mtime_ns)


def test_only_damaged_shards_are_computed(store, monkeypatch):
    flip(store / SHARD)
    (store / "shard-00003.safetensors").unlink()
    (store / "shard-00000.json").unlink()
    before = times_of(store, "*.safetensors")
    real, made = task.write_shard, []
    monkeypatch.setattr(
        task, "write_shard", lambda folder, i, *rest: (made.append(i), real(folder, i, *rest))[1]
    )
    repair(store, progress=False)
    assert made == [1, 3]
    after = times_of(store, "*.safetensors")
    assert {name for name in after if after[name] != before.get(name)} == {
        SHARD,
        "shard-00003.safetensors",
    }


def test_a_shard_of_another_model_is_made_anew_though_its_mark_is_whole(made, store, monkeypatch):
    monkeypatch.setattr(settings, "SHARD_TOKENS", 16)
    other = load_model(tiny.folder("bert"), random_init=True)
    extract(tiny.corpus(), other, store.parent / "other", progress=False)
    for name in (SHARD, MARK):
        shutil.copy(store.parent / "other" / name, store / name)
    assert repair(store, progress=False).made == (SHARD,)
    assert files_of(store) == files_of(made)


def test_a_repair_that_is_interrupted_goes_on(made, store, monkeypatch):
    for i in range(4):
        flip(store / f"shard-0000{i}.safetensors")
    real, calls = task.write_shard, []

    def failing(folder, index, *rest):
        calls.append(index)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(folder, index, *rest)

    monkeypatch.setattr(task, "write_shard", failing)
    with pytest.raises(KeyboardInterrupt):
        repair(store, progress=False)
    assert {fault.file for fault in verify_store(store)} >= {"shard-00003.safetensors"}
    monkeypatch.setattr(task, "write_shard", real)
    assert repair(store, progress=False).made == (
        "shard-00002.safetensors",
        "shard-00003.safetensors",
    )
    assert files_of(store) == files_of(made)


def test_windows_and_their_notes_are_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "SHARD_TOKENS", 40)
    words = " ".join(tiny.SENTENCES)
    corpus = tiny.corpus(("Rain !", words, *tiny.SENTENCES, words + " Rain"))
    out = tmp_path / "s"
    store = extract(corpus, load_model(tiny.folder("bert")), out, on_long="window", progress=False)
    assert store.manifest["windows"]["count"] > 3
    before = files_of(out)
    shards = sorted(out.glob("shard-*.safetensors"))
    for path in (shards[0].with_suffix(".json"), shards[-1].with_suffix(".json"), shards[1]):
        path.unlink()
    repair(out, progress=False)
    assert files_of(out) == before


def test_a_store_of_random_weights_is_repaired_by_its_seed(tmp_path):
    out = tmp_path / "s"
    model = load_model(tiny.folder("bert"), random_init=True, seed=7)
    extract(tiny.corpus(), model, out, store_dtype="bfloat16", pooling="mean", progress=False)
    before = files_of(out)
    flip(out / "shard-00000.safetensors")
    repair(out, progress=False)
    assert files_of(out) == before


def test_another_precision_is_repaired_in_it(tmp_path):
    out = tmp_path / "s"
    extract(tiny.corpus(), load_model(tiny.folder("bert"), dtype="bfloat16"), out, progress=False)
    before = files_of(out)
    flip(out / "shard-00000.safetensors")
    repair(out, progress=False)
    assert files_of(out) == before


# Models -----------------------------------------------------------------------------------------


def test_another_model_is_refused(store):
    flip(store / SHARD)
    harmed = files_of(store)
    same = tiny.copy_folder("bert", store.parent / "tokenizer")
    tiny.tokenizer("llama").save_pretrained(same)
    for other, message in (
        (load_model(tiny.folder("bert"), random_init=True), "has other weights"),
        (str(tiny.folder("distilbert")), "has other weights"),
        (load_model(tiny.folder("bert"), dtype="bfloat16"), "other weights"),
        (str(same), "the tokenizer of model .* differs"),
    ):
        with pytest.raises(ModelError, match=message):
            repair(store, model=other, progress=False)
        assert files_of(store) == harmed


def test_a_model_that_has_moved_is_given_by_its_place(made, store, monkeypatch):
    moved = tiny.copy_folder("bert", store.parent / "moved")
    manifest = json.loads((store / "manifest.json").read_text())
    assert manifest["model"] == str(tiny.folder("bert"))
    flip(store / SHARD)
    real = repairing.load_model

    def load(name, **options):
        if str(name) == manifest["model"]:
            raise ModelError("no such model folder")
        return real(name, **options)

    monkeypatch.setattr(repairing, "load_model", load)
    with pytest.raises(ModelError, match="no such model folder"):
        repair(store, progress=False)
    repair(store, model=str(moved), progress=False)
    assert files_of(store) == files_of(made)


def test_a_model_made_in_memory_is_given_as_it_is(tmp_path):
    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.word, self.top = torch.nn.Embedding(130, 4), torch.nn.Linear(4, 4)

        def forward(self, ids):
            return self.top(self.word(ids))

    model = wrap_model(Small(), tiny.tokenizer("bert"), name="in-memory-model")
    out = tmp_path / "s"
    extract(tiny.corpus(), model, out, sites=["module.top"], progress=False)
    before = files_of(out)
    flip(out / "shard-00000.safetensors")
    with pytest.raises(ModelError, match="in-memory-model"):
        repair(out, progress=False)
    repair(out, model=model, progress=False)
    assert files_of(out) == before


def test_other_bytes_than_before_are_said(store, monkeypatch):
    """As on another machine, which rounds otherwise: values near, a new fingerprint."""
    old = Activations.open(store)
    values = old.matrix()
    flip(store / SHARD)
    model = load_model(tiny.folder("bert"))
    handle = model.model.embeddings.register_forward_hook(lambda m, a, out: out + 1e-6)
    done = repair(store, model=model, progress=False)
    handle.remove()
    assert done.changed == (SHARD,)
    new = Activations.open(store)
    assert new.fingerprint != old.fingerprint
    assert verify_store(store) == []
    np.testing.assert_allclose(new.matrix(), values, rtol=0, atol=1e-3)


# What cannot be repaired ------------------------------------------------------------------------


@pytest.mark.parametrize("harm", [flip, cut, empty])
def test_a_damaged_manifest_is_made_by_the_extraction_it_advises(made, store, no_model, harm):
    path = store / "manifest.json"
    harm(path)
    with pytest.raises(
        StoreError,
        match=rf"{re.escape(str(path))}: is damaged; run the extraction again with the same corpus "
        "and options: remove the manifest first, whole shards are kept",
    ):
        repair(store, progress=False)
    path.unlink()
    with pytest.raises(StoreError, match="the extraction is unfinished; run it again to go on"):
        repair(store, progress=False)
    # As it says: the same corpus and options. No shard is made again.
    model = load_model(tiny.folder("bert"))
    settings_then = json.loads((store / "plan.json").read_text())["shard_tokens"]
    assert settings_then == 16
    keep = settings.SHARD_TOKENS
    settings.SHARD_TOKENS = settings_then
    try:
        extract(tiny.corpus(), model, store, progress=False)
    finally:
        settings.SHARD_TOKENS = keep
    assert files_of(store) == files_of(made)


def imported(folder: Path) -> Path:
    corpus = tiny.corpus()
    write_store(
        folder,
        model="elsewhere",
        corpus="tiny",
        sites=[Site("hidden", 1, "", "output", 3)],
        tokens=corpus.tokens,
        sentences=corpus.sentences,
        labels=corpus.labels,
        blocks=[{"hidden.1": np.ones((corpus.n_tokens, 3))}],
    )
    return folder


@pytest.mark.parametrize("harm", [flip, cut, Path.unlink])
def test_a_shard_of_an_imported_store_cannot_be_computed(tmp_path, no_model, harm):
    out = imported(tmp_path / "s")
    harm(out / "shard-00000.safetensors")
    harmed = files_of(out)
    with pytest.raises(
        StoreError, match=rf"^{out}: was not made by extraction but imported or merged; make it"
    ):
        repair(out, progress=False)
    assert files_of(out) == harmed


@pytest.mark.parametrize("name", ["plan.json", "shard-00000.json"])
def test_what_needs_no_values_is_mended_in_an_imported_store_too(tmp_path, no_model, name):
    out = imported(tmp_path / "s")
    before = files_of(out)
    (out / name).unlink()
    assert repair(out, progress=False).made == (name,)
    assert files_of(out) == before


def test_a_table_of_an_imported_store_is_not_taken_from_any_corpus(tmp_path, no_model):
    out = imported(tmp_path / "s")
    flip(out / "tokens.parquet")
    message = "does not say of which text it was made, as it was imported or merged"
    with pytest.raises(StoreError, match=message):
        repair(out, corpus=tiny.corpus(), progress=False)
    with pytest.raises(StoreError, match=message):
        relabel(out, tiny.corpus())


@pytest.mark.parametrize("by", ["sites", "sentences"])
def test_a_merged_store_is_mended_but_for_its_values(tmp_path, by):
    first, second = tiny.corpus(), tiny.corpus()
    sites = ["hidden", "mlp"]
    if by == "sentences":
        second, sites = tiny.corpus(tiny.SENTENCES[::-1], "more"), ["hidden", "hidden"]
    parts = [
        extract(text, tiny.loaded("bert"), tmp_path / f"part{i}", sites=[site], progress=False)
        for i, (text, site) in enumerate(zip((first, second), sites, strict=True))
    ]
    out = tmp_path / "merged"
    merge_stores(parts, out)
    before = files_of(out)
    (out / "shard-00000.json").unlink()
    flip(out / "plan.json", 20)
    assert set(repair(out, progress=False).made) == {"plan.json", "shard-00000.json"}
    assert files_of(out) == before
    flip(out / "shard-00000.safetensors")
    with pytest.raises(StoreError, match="imported or merged"):
        repair(out, progress=False)


def test_no_store_and_a_store_in_use(store, tmp_path):
    with pytest.raises(StoreError, match=r'storr: no such store. Did you mean "store"'):
        repair(tmp_path / "storr", progress=False)
    (tmp_path / "other").mkdir()
    with pytest.raises(StoreError, match="is not an activation store"):
        repair(tmp_path / "other", progress=False)
    flip(store / SHARD)
    harmed = files_of(store)
    with lock(store), pytest.raises(StoreError, match="another process is writing here"):
        repair(store, progress=False)
    assert files_of(store) == harmed


# Labels -----------------------------------------------------------------------------------------


def annotated(name="case"):
    corpus = tiny.corpus()
    forms = corpus.tokens["form"].to_list()
    return corpus.with_column(name, ["up" if w[0].isupper() else None for w in forms]).with_splits(
        seed=3
    )


def test_relabelling_changes_labels_splits_and_no_value(store, no_model):
    old = Activations.open(store)
    values, times = old.matrix(), times_of(store, "shard-*")
    plan = (store / "plan.json").read_bytes()
    other = annotated()
    new = relabel(store, other)
    assert new.labels == ("tag", "case")
    assert new.tokens.equals(other.tokens)
    assert new.sentences.equals(other.sentences)
    assert not new.tokens["split"].equals(tiny.corpus().tokens["split"])
    assert new.fingerprint == old.fingerprint
    assert new.manifest["corpus_fingerprint"] == other.fingerprint
    assert new.manifest["corpus_fingerprint"] != old.manifest["corpus_fingerprint"]
    np.testing.assert_array_equal(new.matrix(), values)
    assert times_of(store, "shard-*") == times
    assert (store / "plan.json").read_bytes() == plan
    assert verify_store(store) == []


def test_relabelling_back_gives_the_bytes_back(made, store):
    relabel(store, annotated())
    assert files_of(store) != files_of(made)
    relabel(store, tiny.corpus())
    assert files_of(store) == files_of(made)


def test_relabelling_is_what_extraction_with_other_labels_writes(made, store, monkeypatch):
    twin = store.parent / "twin"
    shutil.copytree(made, twin)
    monkeypatch.setattr(settings, "SHARD_TOKENS", 16)
    extract(annotated(), load_model(tiny.folder("bert")), twin, progress=False)
    relabel(store, annotated())
    assert files_of(store) == files_of(twin)


def test_a_damaged_table_after_relabelling_is_mended_with_the_new_labels(store, no_model):
    relabel(store, annotated())
    before = files_of(store)
    flip(store / "tokens.parquet")
    repair(store, corpus=annotated(), progress=False)
    assert files_of(store) == before


@pytest.mark.parametrize(
    "sentences",
    [
        tiny.SENTENCES[::-1],
        tiny.SENTENCES[:-1],
        ("the" + tiny.SENTENCES[0][3:], *tiny.SENTENCES[1:]),
    ],
)
def test_another_text_is_refused(store, sentences):
    before, times = files_of(store), times_of(store)
    with pytest.raises(
        StoreError,
        match=rf"^{store}: was made from another text than strange; labels can be attached to the "
        "very same sentences and words only",
    ):
        relabel(store, tiny.corpus(tuple(sentences), name="strange"))
    assert files_of(store) == before
    assert times_of(store) == times


@pytest.mark.parametrize("stop_at", ["tokens.parquet", "sentences.parquet", "manifest.json"])
@pytest.mark.parametrize("how", ["again", "repair", "back"])
def test_interrupted_relabelling_never_mixes_labels(made, store, monkeypatch, stop_at, how):
    real = os.replace

    def replace(partial, target):
        if Path(target).name == stop_at:
            raise KeyboardInterrupt
        real(partial, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        relabel(store, annotated())
    monkeypatch.setattr(os, "replace", real)
    if stop_at == "tokens.parquet":
        assert files_of(store) == files_of(made), "nothing was changed yet"
    else:
        with pytest.raises(StoreError, match=r"tokens.parquet: .*run nissl store repair"):
            Activations.open(store)
    other = tiny.corpus() if how == "back" else annotated()
    if how == "repair":
        repair(store, corpus=other, progress=False)
        assert verify_store(store) == []
    if how != "repair" or stop_at == "tokens.parquet":
        relabel(store, other)
    assert Activations.open(store).tokens.equals(other.tokens)
    assert Activations.open(store).labels == other.labels
    assert verify_store(store) == []
    if how == "back":
        assert files_of(store) == files_of(made)


def test_a_store_in_use_is_not_relabelled(store, made):
    with lock(store), pytest.raises(StoreError, match="another process is writing here"):
        relabel(store, annotated())
    assert files_of(store) == files_of(made)
    assert relabel(store, annotated()).labels == ("tag", "case")


def test_relabelled_stores_are_probed_by_their_new_label_only(store):
    new = relabel(store, annotated("colour"))
    assert new.with_labels("x", ["a"] * new.n_tokens).labels == ("tag", "colour", "x")
    with pytest.raises(LabelError, match="values for"):
        new.with_labels("x", ["a"])
