"""The commands around stores: what they print, what they leave, exit status 0 or 2."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny

from nissl.cli import app, main
from nissl.extraction import extract, settings
from nissl.model import all_sites, load_model, resolve_sites
from nissl.parallel import set_threads
from nissl.progress import set_quiet
from nissl.store import Activations, verify_store

N_WORDS = tiny.corpus().n_tokens


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != ".lock"}


def flip(path: Path, at: int = -7) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def write_corpus(path: Path, label: str = "tag", sentences=tiny.SENTENCES) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for i, sentence in enumerate(sentences):
            words = sentence.split()
            tags = [f"{label}{len(word) % 3}" for word in words]
            item = {"id": f"{label}-{i}", "tokens": words, "labels": {label: tags}}
            file.write(json.dumps(item) + "\n")
    return path


def run(capsys, *argv: object) -> str:
    """Run a command that succeeds; return what it prints."""
    capsys.readouterr()
    assert main(list(map(str, argv))) == 0
    return capsys.readouterr().out


def fails(capsys, *argv: object) -> str:
    """Run a command that fails; return its one sentence."""
    capsys.readouterr()
    assert main(list(map(str, argv))) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("nissl: error:")]
    assert len(lines) == 1, printed.err
    assert "Traceback" not in printed.err + printed.out
    return lines[0].removeprefix("nissl: error: ")


@pytest.fixture(autouse=True)
def _threads():
    """A command takes every processor, and other threads round otherwise."""
    yield
    set_threads(1)
    set_quiet(True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus file and a store of a few shards, made by the command itself."""
    folder = tmp_path_factory.mktemp("cli")
    source = write_corpus(folder / "text.jsonl")
    keep = settings.SHARD_TOKENS
    settings.SHARD_TOKENS = 16
    try:
        argv = ["extract", source, "--model", tiny.folder("bert"), "--out", folder / "acts"]
        assert main([*map(str, argv), "--threads", "1", "-q"]) == 0
    finally:
        settings.SHARD_TOKENS = keep
    return source, folder / "acts"


@pytest.fixture
def source(made):
    return made[0]


@pytest.fixture
def store(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "acts")
    return tmp_path / "acts"


# Sites ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bert", "t5", "gpt2", "mixtral"])
def test_sites_lists_what_can_be_given(capsys, kind):
    folder = tiny.folder(kind)
    head, *lines = run(capsys, "sites", folder).splitlines()
    model = load_model(folder)
    found, lacking = all_sites(model)
    assert str(folder) in head
    assert f"{sum(site.width for site in found):,} neurons" in head
    named = []
    for line in lines[: len(lines) - len(lacking)]:
        names, widths, place = line.split("\t")
        first, _, last = names.partition(" … ")
        group, start = first.rsplit(".", 1)
        stop = int((last or first).rsplit(".", 1)[1])
        count, width = widths.replace(",", "").split(" × ")
        of_group = resolve_sites(model, [f"{group}.{i}" for i in range(int(start), stop + 1)])
        assert len(of_group) == int(count)
        assert {site.width for site in of_group} == {int(width)}
        assert place == f"{of_group[0].point} of {of_group[0].module}"
        named += of_group
    assert sorted(site.name for site in named) == sorted(site.name for site in found)
    assert [line.split(":")[0] for line in lines[len(lines) - len(lacking) :]] == [
        f"no {name}" for name in lacking
    ]
    assert "state" in lacking


def test_modules_lists_every_module_as_a_site_is_named(capsys):
    folder = tiny.folder("bert")
    lines = run(capsys, "sites", folder, "--modules").splitlines()
    model = load_model(folder)
    assert [line.split("\t") for line in lines] == [
        [f"module.{path}", type(part).__name__]
        for path, part in model.model.named_modules()
        if path
    ]
    assert "module.encoder.layer.0.output\tBertOutput" in lines
    assert resolve_sites(model, [lines[-1].split("\t")[0]])[0].width == tiny.WIDTH


def test_sites_of_no_model_name_the_folder(capsys, tmp_path):
    text = fails(capsys, "sites", tmp_path / "nothing")
    assert "nothing" in text
    assert "no such model folder" in text
    tiny.copy_folder("bert", tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    assert f"{tmp_path / 'bare'}: has no weights" in fails(capsys, "sites", tmp_path / "bare")
    assert "hidden.0 … hidden.3" in run(capsys, "sites", tmp_path / "bare", "--random-init")


# Info and verify --------------------------------------------------------------------------------


def test_info_says_what_made_it(capsys, store):
    text = run(capsys, "store", "info", store)
    said = dict(re.split(r" {2,}", line, maxsplit=1) for line in text.splitlines())
    acts = Activations.open(store)
    assert said["model"] == str(tiny.folder("bert"))
    assert said["size"] == f"{len(tiny.SENTENCES)} sentences, {N_WORDS} words"
    assert said["labels"] == "tag"
    assert said["sites"] == "hidden.0 … hidden.3 (4)"
    assert said["neurons"] == f"{4 * tiny.WIDTH} (float32)"
    assert said["pooling"] == "last"
    assert said["windows"] == "none: every sentence was one input"
    assert said["shards"].startswith(f"{len(acts.manifest['shards'])}, ")
    assert said["fingerprint"] == acts.fingerprint
    assert said["revision"] == "not given"
    assert "torch" in said["made with"]


def test_info_of_windows_and_random_weights(capsys, tmp_path):
    source = write_corpus(tmp_path / "long.jsonl", sentences=[" ".join(tiny.SENTENCES)])
    argv = ["extract", source, "-m", tiny.folder("bert"), "-o", tmp_path / "a", "-q"]
    argv += ["--random-init", "--seed", 3, "--store-dtype", "bfloat16", "--site", "mlp.2"]
    assert "--on-long window" in fails(capsys, *argv)
    run(capsys, *argv, "--on-long", "window")
    text = run(capsys, "store", "info", tmp_path / "a")
    count = json.loads((tmp_path / "a" / "manifest.json").read_text())["windows"]
    assert f"{count['count']}, at least {count['least_context']} subwords of context" in text
    assert "(random weights)" in text
    assert "40 (bfloat16)" in text
    assert "mlp.2 … mlp.2 (1)" in text


def test_verify_names_each_damaged_file(capsys, store):
    assert run(capsys, "store", "verify", store) == f"{store}: no fault\n"
    flip(store / "shard-00001.safetensors")
    text = fails(capsys, "store", "verify", store)
    assert text == f"{store}: has one fault; to mend it: nissl store repair {store}"
    (store / "plan.json").unlink()
    assert "has 2 faults" in fails(capsys, "store", "verify", store)
    assert main(["store", "verify", str(store)]) == 2
    out = capsys.readouterr().out
    assert "shard-00001.safetensors: is damaged" in out
    assert "plan.json: is missing" in out


@pytest.mark.parametrize("command", ["info", "verify", "repair"])
def test_no_store_at_the_place(capsys, store, command):
    text = fails(capsys, "store", command, store.parent / "actz")
    assert f'{store.parent / "actz"}: no such store. Did you mean "acts"?' in text
    (store.parent / "empty").mkdir()
    text = fails(capsys, "store", command, store.parent / "empty")
    assert f"{store.parent / 'empty'}: is not an activation store" in text
    (store / "manifest.json").unlink()
    assert "unfinished; run it again" in fails(capsys, "store", command, store)


# Repair and label -------------------------------------------------------------------------------


def test_repair_mends_and_says_what(capsys, store, source, made):
    whole = files_of(store)
    assert run(capsys, "store", "repair", store) == f"{store}: no fault\n"
    flip(store / "shard-00001.safetensors")
    (store / "shard-00000.json").unlink()
    text = run(capsys, "store", "repair", store, "--threads", 1, "-q")
    assert "found: shard-00001.safetensors: is damaged" in text
    assert "made anew: shard-00001.safetensors\n" in text
    assert "made anew: shard-00000.json\n" in text
    assert text.endswith(f"{store}: mended\n")
    assert files_of(store) == whole
    flip(store / "tokens.parquet")
    text = fails(capsys, "store", "repair", store, "-q")
    assert str(store / "tokens.parquet") in text
    assert "--corpus" in text
    run(capsys, "store", "repair", store, "--corpus", source, "-q")
    assert files_of(store) == whole
    assert run(capsys, "store", "verify", store) == f"{store}: no fault\n"


def test_repair_names_what_it_leaves_and_what_it_cannot_do(capsys, store):
    (store / "shard-00077.json").write_text("{}")
    assert main(["store", "repair", str(store)]) == 0
    assert "left, for you to look at and remove: shard-00077.json" in capsys.readouterr().err
    flip(store / "shard-00002.safetensors")
    other = tiny.folder("distilbert")
    text = fails(capsys, "store", "repair", store, "--model", other, "-q")
    assert f'model "{other}" has other weights' in text
    flip(store / "manifest.json")
    text = fails(capsys, "store", "repair", store)
    assert text.startswith(f"{store / 'manifest.json'}: is damaged; run the extraction again")


def test_label_changes_labels_and_no_shard(capsys, store, tmp_path):
    shards = {name: raw for name, raw in files_of(store).items() if name.startswith("shard-")}
    other = write_corpus(tmp_path / "other.jsonl", "kind")
    text = run(capsys, "store", "label", store, "--corpus", other)
    assert f"{N_WORDS} tokens × {4 * tiny.WIDTH} neurons" in text
    acts = Activations.open(store)
    assert acts.labels == ("kind",)
    assert acts.tokens["kind"][0].startswith("kind")
    assert {n: raw for n, raw in files_of(store).items() if n.startswith("shard-")} == shards
    assert verify_store(store) == []
    before = files_of(store)
    less = write_corpus(tmp_path / "less.jsonl", "kind", tiny.SENTENCES[:-1])
    text = fails(capsys, "store", "label", store, "--corpus", less)
    assert text.startswith(f"{store}: was made from another text than less")
    assert "other.json: no such file" in fails(
        capsys, "store", "label", store, "-c", tmp_path / "other.json"
    )
    assert files_of(store) == before
    assert "--corpus" in fails(capsys, "store", "label", store)


# Merge, export, import --------------------------------------------------------------------------


def test_merge_joins_sites_and_refuses_less_than_two(capsys, store, source, tmp_path):
    base = ["extract", source, "-m", tiny.folder("bert"), "-q"]
    run(capsys, *base, "--site", "mlp", "-o", tmp_path / "mlp")
    text = run(capsys, "store", "merge", store, tmp_path / "mlp", "--out", tmp_path / "both")
    assert f"{N_WORDS} tokens × {4 * tiny.WIDTH + 3 * tiny.MLP} neurons" in text
    both = Activations.open(tmp_path / "both")
    parts = [Activations.open(path).matrix() for path in (store, tmp_path / "mlp")]
    np.testing.assert_array_equal(both.matrix(), np.concatenate(parts, axis=1))
    assert verify_store(tmp_path / "both") == []
    assert "none: every sentence" in run(capsys, "store", "info", tmp_path / "both")
    assert "at least two" in fails(capsys, "store", "merge", store, "-o", tmp_path / "x")
    text = fails(capsys, "store", "merge", store, tmp_path / "mlpp", "-o", tmp_path / "x")
    assert f'{tmp_path / "mlpp"}: no such store. Did you mean "mlp"?' in text
    text = fails(capsys, "store", "merge", store, store, "-o", tmp_path / "x")
    assert f"{store}: site hidden.0 is in {store} too" in text
    text = fails(capsys, "store", "merge", store, tmp_path / "mlp", "-o", tmp_path / "both")
    assert f"{tmp_path / 'both'}: is there already" in text
    assert not (tmp_path / "x").exists()


def test_numpy_export_holds_the_chosen_site(capsys, store, tmp_path):
    out = tmp_path / "arrays"
    text = run(
        capsys, "store", "export", store, "--to", "numpy", "--site", "hidden.3", "--out", out
    )
    assert text.strip() == str(out)
    arrays = [np.load(path) for path in out.rglob("*.npy")]
    want = Activations.open(store)["hidden.3"]
    assert any(array.shape == want.shape and np.array_equal(array, want) for array in arrays)
    assert sum(array.size for array in arrays if array.dtype == np.float32) == want.size
    text = fails(capsys, "store", "export", store, "--to", "numpy", "--out", out)
    assert f"{out}: is there already" in text
    argv = ["store", "export", store, "--to", "numpy", "--out", tmp_path / "b"]
    assert 'no site "hidden.9"' in fails(capsys, *argv, "--site", "hidden.9")
    assert not (tmp_path / "b").exists()
    argv[4] = "parquet"
    assert "numpy" in fails(capsys, *argv), "the formats are listed"


def test_anndata_export_reads_back(capsys, store, tmp_path):
    anndata = pytest.importorskip("anndata", reason="anndata is not installed")
    out = tmp_path / "acts.h5ad"
    run(capsys, "store", "export", store, "--to", "anndata", "--out", out)
    back = anndata.read_h5ad(out)
    acts = Activations.open(store)
    np.testing.assert_array_equal(np.asarray(back.X), acts.matrix())
    assert list(back.var_names) == acts.neurons["neuron"].to_list()


def test_xarray_export_reads_back(capsys, store, tmp_path):
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    out = tmp_path / "acts.nc"
    run(capsys, "store", "export", store, "--to", "xarray", "--out", out)
    acts = Activations.open(store)
    found = xarray.open_dataarray(out)
    try:
        np.testing.assert_array_equal(found.transpose("token", "neuron").values, acts.matrix())
    finally:
        found.close()


@pytest.mark.parametrize("suffix", ["json", "hdf5"])
def test_neurox_files_come_back_as_a_store(capsys, store, source, tmp_path, suffix):
    if suffix == "hdf5":
        pytest.importorskip("h5py", reason="h5py is not installed")
    file, out = tmp_path / f"acts.{suffix}", tmp_path / "back"
    run(capsys, "store", "export", store, "--to", f"neurox-{suffix}", "--out", file)
    argv = ["store", "import", file, "--model", "ours"]
    text = run(capsys, *argv, "--corpus", source, "--out", out)
    assert f"{N_WORDS} tokens" in text
    back, acts = Activations.open(out), Activations.open(store)
    np.testing.assert_array_equal(back.matrix(), acts.matrix())
    assert back.labels == ("tag",)
    assert back.tokens["form"].to_list() == acts.tokens["form"].to_list()
    text = run(capsys, "store", "info", out)
    assert re.search(r"^model +ours$", text, re.MULTILINE)
    assert re.search(r"^windows +not known$", text, re.MULTILINE)
    assert run(capsys, "store", "verify", out) == f"{out}: no fault\n"
    less = write_corpus(tmp_path / "less.jsonl", "tag", tiny.SENTENCES[:-1])
    assert str(file) in fails(capsys, *argv, "--corpus", less, "--out", tmp_path / "c")
    assert not (tmp_path / "c").exists()
    wrong = tmp_path / f"wrong.{suffix}"
    wrong.write_bytes(b"not activations\n")
    argv[2] = wrong
    assert str(wrong) in fails(capsys, *argv, "--corpus", source, "--out", tmp_path / "c")
    wanted = fails(
        capsys, "store", "export", store, "--to", f"neurox-{suffix}", "--out", tmp_path / "x.txt"
    )
    assert str(tmp_path / "x.txt") in wanted
    assert f".{suffix}" in wanted


# Workers and help -------------------------------------------------------------------------------


def test_two_workers_make_the_store_of_one(capsys, store, source, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "SHARD_TOKENS", 16)
    out = tmp_path / "two"
    argv = ["extract", source, "--model", tiny.folder("bert"), "--out", out, "--jobs", 2, "-q"]
    text = run(capsys, *argv)
    assert f"{N_WORDS} tokens" in text
    assert files_of(out) == files_of(store)
    one = extract(tiny.corpus(), tiny.loaded("bert"), progress=False)
    np.testing.assert_allclose(Activations.open(out).matrix(), one.matrix(), rtol=0, atol=1e-5)


def commands(group=app, before=()):
    """Every command of the command line, through all groups."""
    for name in group:
        if name.startswith("-"):
            continue
        inner = [each for each in group[name] if not each.startswith("-")]
        if inner:
            yield from commands(group[name], (*before, name))
        else:
            yield (*before, name)


def test_the_commands_are_all_found():
    found = set(commands())
    assert {("extract",), ("sites",), ("demo",), ("run",)} <= found
    assert {name for group, *name in found if group == "store" and len(name) > 1} == set()
    assert {tuple(name) for group, *name in found if group == "store"} == {
        (name,) for name in ("info", "verify", "repair", "label", "merge", "import", "export")
    }


@pytest.mark.parametrize("command", sorted(commands()), ids=" ".join)
def test_every_command_shows_examples_that_name_it(capsys, command):
    text = run(capsys, *command, "--help")
    _, found, after = text.partition("Examples")
    assert found, text
    assert f"nissl {' '.join(command)}" in after
