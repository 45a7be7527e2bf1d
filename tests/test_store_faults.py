"""Every fault of a store is found and laid to the right file; none is read as if it were whole."""

from __future__ import annotations

import contextlib
import json
import os
import shutil

import numpy as np
import pytest
import xxhash
from test_store import hidden, planted, random_values, rewrite

import nissl.store.verify as verifying
from nissl.errors import StoreError
from nissl.store import Activations, Fault, verify_store
from nissl.store.files import checksum_of, finished, shard_name, write_json, write_shard
from nissl.store.manifest import write_manifest
from nissl.store.tensors import parse_header

BOUNDS = (0, 4, 8, 9)
WIDTHS = (2, 3)
SHARDS = [shard_name(i) for i in range(3)]
MARKS = [name.replace(".safetensors", ".json") for name in SHARDS]
TABLES = ["tokens.parquet", "sentences.parquet"]
FILES = [*SHARDS, *MARKS, *TABLES, "plan.json", "manifest.json"]
ABOUT = {"revision": None, "pooling": "last", "of": {"a": [1, None]}}
VALUES = random_values("float32", (9, 5))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original") / "s"
    planted(folder, BOUNDS, WIDTHS, values=VALUES, about=ABOUT)
    return folder


@pytest.fixture
def store(original, tmp_path):
    """A copy of the store that may be harmed."""
    return shutil.copytree(original, tmp_path / "s")


def blamed(folder, *, foreign=False):
    """Files that verify_store finds fault with, or the manifest where its format is foreign."""
    try:
        return {fault.file for fault in verify_store(folder)}
    except StoreError as error:
        if foreign and "has store format" in error.message:
            return {"manifest.json"}
        raise


def read_or_refuse(folder):
    """The values, or None where the store says that it is damaged."""
    with contextlib.suppress(StoreError):
        return Activations.open(folder).matrix()
    return None


def refused(folder):
    return read_or_refuse(folder) is None


def same(values):
    return values is not None and values.tobytes() == VALUES.tobytes()


@contextlib.contextmanager
def harmed(path, raw):
    """Another content for as long as the block runs."""
    before = path.read_bytes()
    put(path, raw)
    try:
        yield
    finally:
        put(path, before)


def put(path, raw):
    """Overwrite a file; a file cut to nothing first would go to the disk each time."""
    with path.open("r+b") as file:
        file.write(raw)
        file.truncate()


def test_an_untouched_store_has_no_fault(store):
    assert verify_store(store) == []
    assert verify_store(str(store)) == []
    assert same(read_or_refuse(store))


def test_a_fault_says_file_and_problem(store):
    (store / "plan.json").unlink()
    faults = verify_store(store)
    assert [type(fault) for fault in faults] == [Fault]
    assert str(faults[0]).startswith("plan.json: is missing")


# Bytes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_found(store, name):
    """One bit of every byte of every file."""
    raw = (store / name).read_bytes()
    assert len(raw) > 100
    for place in range(len(raw)):
        flipped = bytearray(raw)
        flipped[place] ^= 1 << (place % 8)
        with harmed(store / name, flipped):
            assert blamed(store, foreign=True) == {name}, f"byte {place}"
    assert verify_store(store) == []


@pytest.mark.parametrize("name", [*TABLES, "manifest.json"])
def test_a_table_or_manifest_with_a_flipped_bit_does_not_open(store, name):
    raw = (store / name).read_bytes()
    for place in range(len(raw)):
        flipped = bytearray(raw)
        flipped[place] ^= 1 << (place % 7)
        with harmed(store / name, flipped):
            assert refused(store), f"byte {place}"


def test_a_flipped_bit_in_the_head_of_a_shard_is_refused_or_harmless(store):
    """Every bit: values come out right, or not at all."""
    path = store / SHARDS[0]
    raw = path.read_bytes()
    head = 8 + int.from_bytes(raw[:8], "little")
    count = {True: 0, False: 0}
    for bit in range(head * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << (bit % 8)
        with harmed(path, flipped):
            values = read_or_refuse(store)
        assert values is None or same(values), f"bit {bit}"
        count[values is None] += 1
    # Only what stands in the metadata says nothing of the values.
    assert count[True] > 4 * count[False] > 0


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["cut", "longer", "empty", "gone", "folder", "pipe", "zeros"])
def test_a_file_of_another_size_or_kind_is_found(store, name, how):
    path = store / name
    raw = path.read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how != "gone":
        said = {"cut": raw[:-3], "longer": raw + b"x", "empty": b"", "zeros": bytes(len(raw))}
        path.write_bytes(said[how])
    if name == "manifest.json" and how in ("gone", "folder", "pipe"):
        for act in (verify_store, Activations.open):
            with pytest.raises(StoreError, match="the extraction is unfinished"):
                act(store)
        return
    assert blamed(store) == {name}
    if name in MARKS or name == "plan.json":
        assert same(read_or_refuse(store))
    else:
        assert refused(store)


def test_a_shard_cut_anywhere_is_found_and_refused(store):
    path = store / SHARDS[1]
    raw = path.read_bytes()
    for length in range(len(raw)):
        with harmed(path, raw[:length]):
            assert blamed(store) == {SHARDS[1]}
            assert refused(store)


def test_a_file_that_the_disk_does_not_give_back_is_a_fault(store, monkeypatch):
    def broken(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(verifying, "checksum_of", broken)
    faults = verify_store(store)
    assert {fault.file for fault in faults} == {*SHARDS, *TABLES}
    assert all("Input/output error" in fault.problem for fault in faults)


# Files in the wrong place -----------------------------------------------------------------------


def test_shards_that_changed_places_are_found(store):
    """Equal in shape and size: only their checksums tell."""
    one, two = (store / name for name in SHARDS[:2])
    assert one.stat().st_size == two.stat().st_size
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert blamed(store) == set(SHARDS[:2])
    first, second = ((store / name).read_bytes() for name in MARKS[:2])
    (store / MARKS[0]).write_bytes(second)
    (store / MARKS[1]).write_bytes(first)
    assert blamed(store) == {*SHARDS[:2], *MARKS[:2]}


def test_shards_of_other_lengths_that_changed_places_are_refused(store):
    one, two = store / SHARDS[0], store / SHARDS[2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert blamed(store) == {SHARDS[0], SHARDS[2]}
    assert refused(store)


@pytest.mark.parametrize("with_mark", [False, True])
def test_a_shard_of_another_store_is_found(store, tmp_path, with_mark):
    values = VALUES.copy()
    values[5, 4] += 1
    planted(tmp_path / "other", BOUNDS, WIDTHS, values=values)
    for name in [SHARDS[1], *([MARKS[1]] if with_mark else [])]:
        shutil.copy(tmp_path / "other" / name, store / name)
    assert blamed(store) == {SHARDS[1], *([MARKS[1]] if with_mark else [])}


@pytest.mark.parametrize("name", [*TABLES, "plan.json", "manifest.json"])
def test_a_file_of_another_store_is_found(store, tmp_path, name):
    values = VALUES + 1
    folder = tmp_path / "other"
    planted(folder, (0, 4, 8, 10), WIDTHS, values=np.vstack([values, values[:1]]))
    shutil.copy(folder / name, store / name)
    # A manifest of another store is whole: it finds fault with everything else.
    found = blamed(store)
    assert (name in found) if name != "manifest.json" else ({*SHARDS, "tokens.parquet"} <= found)


@pytest.mark.parametrize(
    "name", [shard_name(3), "shard-00003.json", "shard-x", "shard-00000.safetensors.bak"]
)
def test_a_shard_too_many_is_found(store, name):
    shutil.copy(store / SHARDS[0], store / name)
    assert blamed(store) == {name}
    assert same(read_or_refuse(store))


@pytest.mark.parametrize("name", [f"{SHARDS[0]}.0a1b2c3d.part", "manifest.json.00000000.part"])
def test_what_an_interrupted_writer_left_is_found(store, name):
    (store / name).write_bytes(b"half")
    assert [str(fault) for fault in verify_store(store)] == [
        f"{name}: was left by an interrupted writer"
    ]
    assert same(read_or_refuse(store))


@pytest.mark.parametrize("name", [*SHARDS, *TABLES])
def test_a_link_that_leads_out_of_the_folder_is_refused(store, tmp_path, name):
    """Even to the very bytes that should be there, and through a folder inside the store."""
    outside = tmp_path / "outside"
    (store / name).rename(outside)
    inside = store / "deeper"
    inside.mkdir()
    for target in (outside, "../outside", inside / ".." / ".." / "outside"):
        (store / name).symlink_to(target)
        assert blamed(store) == {name}
        with pytest.raises(StoreError, match="is a link that leads out of the store"):
            Activations.open(store)
        (store / name).unlink()
    shutil.copy(outside, inside / "copy")
    (store / name).symlink_to("deeper/copy")
    assert blamed(store) == {name}


@pytest.mark.parametrize("target", ["nowhere", SHARDS[1]])
def test_a_link_that_leads_nowhere_is_found(store, target):
    (store / SHARDS[1]).unlink()
    (store / SHARDS[1]).symlink_to(target)
    assert blamed(store) == {SHARDS[1]}
    assert refused(store)


def test_a_link_inside_the_folder_is_followed(store):
    (store / TABLES[0]).rename(store / "other-name")
    (store / TABLES[0]).symlink_to("other-name")
    assert verify_store(store) == []
    assert same(read_or_refuse(store))


@pytest.mark.parametrize(
    "name",
    [
        *("../s2/shard-00001.safetensors", "/{}", "./shard-00001.safetensors", "", ".."),
        *("shard-1.safetensors", "shard-00001.safetensors\n", "\0", "\x1b[2J", "\ud800"),
        "x" * 100_000,
    ],
    ids=lambda name: repr(name[:30]),
)
def test_a_manifest_that_names_another_file_is_refused(store, tmp_path, name):
    """With a right checksum of its own, and the very bytes at that place."""
    shutil.copytree(store, tmp_path / "s2")
    name = name.replace("/{}", str(tmp_path / "s2" / SHARDS[1]))
    shards = json.loads((store / "manifest.json").read_text())["shards"]
    shards[1]["file"] = name
    rewrite(store, shards=shards)
    assert blamed(store) == {"manifest.json"}
    with pytest.raises(StoreError, match=r"shards\.1\.file") as caught:
        Activations.open(store)
    assert str(caught.value).isprintable()
    assert len(caught.value.message) < 400


def test_a_manifest_that_names_other_tables_is_refused(store):
    tables = json.loads((store / "manifest.json").read_text())["tables"]
    for name in ("../tokens.parquet", "manifest.json"):
        rewrite(store, tables={name: tables["tokens.parquet"], TABLES[1]: tables[TABLES[1]]})
        assert blamed(store) == {"manifest.json"}
        assert refused(store)


# Manifest, plan, marks --------------------------------------------------------------------------


def places(value, path=()):
    """Paths to everything in a JSON value."""
    if path:
        yield path
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from places(inner, (*path, key))


def others(value):
    """Values that stand for something else than this one."""
    yield from ("x", -1, [], {}, 0.5, 2**63)
    if value is not None:
        yield None
    if isinstance(value, bool):
        yield int(value)
        yield not value
    elif isinstance(value, int):
        yield value + 1
        yield value == 1
        yield float(value)
        yield str(value)
    elif isinstance(value, str):
        yield value + " "
        yield value[:-1]
        yield value.swapcase()
    elif isinstance(value, list):
        yield value[:-1]
        yield [*value, *value[:1]]
        yield value[::-1]
    elif isinstance(value, dict):
        yield {**value, "more": 1}


def altered(value):
    """The value with one thing changed, for every thing in it, and what was changed."""
    for path in places(value):
        for change in ("delete", "rename", *others_at(value, path)):
            copy = json.loads(json.dumps(value))
            at = copy
            for key in path[:-1]:
                at = at[key]
            if change == "delete":
                del at[path[-1]]
            elif change == "rename":
                if isinstance(at, list):
                    continue
                at[f"{path[-1]}2"] = at.pop(path[-1])
            else:
                at[path[-1]] = change[0]
            if json.dumps(copy) != json.dumps(value):
                yield path, change, copy


def others_at(value, path):
    for key in path:
        value = value[key]
    return [(other,) for other in others(value)]


@pytest.mark.parametrize("name", ["manifest.json", "plan.json", *MARKS])
def test_anything_else_in_a_json_file_is_found(store, name):
    """Every field altered, renamed, deleted, and of another type, one at a time."""
    value = json.loads((store / name).read_text())
    count = 0
    for path, change, copy in altered(value):
        with harmed(store / name, json.dumps(copy).encode()):
            found = blamed(store, foreign=path == ("format",))
            assert found == {name}, (path, change)
            assert refused(store) == (name == "manifest.json")
        count += 1
    assert count > 10 * len(value)


def test_another_layout_of_the_same_json_is_no_fault(store):
    for name in ("manifest.json", "plan.json", *MARKS):
        value = json.loads((store / name).read_text())
        (store / name).write_text(json.dumps(dict(reversed(value.items())), indent=4))
    assert verify_store(store) == []
    assert same(read_or_refuse(store))


@pytest.mark.parametrize("name", ["manifest.json", "plan.json", *MARKS])
def test_a_key_that_is_there_twice_is_found(store, name):
    """Parsers differ in which one they take."""
    text = (store / name).read_text()
    key, value = next(iter(json.loads(text).items()))
    (store / name).write_text(text.replace("{", f'{{"{key}": {json.dumps(value)},', 1))
    assert json.loads((store / name).read_text()) == json.loads(text)
    assert blamed(store) == {name}


@pytest.mark.parametrize(
    "version",
    [1, 3, 99, -2, 2.5, "2", "x", None, True, [2], {}, "\x1b[2J", 2**70],
)
def test_a_foreign_format_is_named(store, version):
    """Nothing else of such a manifest is believed, not even its checksum."""
    path = store / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": version}))
    for act in (verify_store, Activations.open):
        with pytest.raises(StoreError, match=r"has store format .*, this version reads 2") as e:
            act(store)
        assert str(e.value).isprintable()


@pytest.mark.parametrize("raw", [b"", b"{}", b"null", b"[]", b"\xef\xbb\xbf{}", b"{" * 10**6])
def test_a_manifest_of_nothing_is_found(store, raw):
    (store / "manifest.json").write_bytes(raw)
    with pytest.raises(StoreError):
        Activations.open(store)
    if raw != b"{}":
        assert blamed(store) == {"manifest.json"}


@pytest.mark.parametrize("depth", [*range(900, 1000, 7), 5000, 10**6])
def test_a_manifest_nested_deep_is_read_or_refused(store, depth):
    """At any depth: reading, checking and comparing each have a limit of their own."""
    for name in ("manifest.json", "plan.json", MARKS[0]):
        path = store / name
        text = path.read_text().rstrip().removesuffix("}") + ', "deep": ' + "[" * depth
        with harmed(path, (text + "]" * depth + "}").encode()):
            assert blamed(store) == {name}


def test_a_manifest_too_deep_for_its_checksum_is_refused(store, monkeypatch):
    """Versions of Python differ in which of the two gives up first."""

    def deep(*_):
        raise RecursionError

    monkeypatch.setattr("nissl.store.manifest.digest_of", deep)
    with pytest.raises(StoreError, match=r"manifest.json: is damaged \(nested too deep\)"):
        Activations.open(store)
    assert blamed(store) == {"manifest.json"}


@pytest.mark.parametrize("size", [5000, 10**6])
def test_a_number_of_many_digits_is_refused(store, size):
    for name in ("manifest.json", "plan.json", MARKS[0]):
        text = (store / name).read_text().rstrip().removesuffix("}") + ', "n": ' + "9" * size + "}"
        with harmed(store / name, text.encode()):
            assert blamed(store) == {name}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 2**31}, "width"),
        ({"width": 2**31 - 1}, "its rows do not fit into its bytes"),
        ({"width": 0}, "width"),
        ({"width": 2.0}, "width"),
        ({"width": True}, "width"),
        ({"width": "2"}, "width"),
        ({"layer": 2**31}, "layer"),
        ({"layer": -1}, "layer"),
        ({"layer": 1}, "one is named twice"),
        ({"kind": ""}, "kind"),
        ({"part": "\ud800"}, "cannot be a name"),
        ({"stack": "\x1b[2J"}, "cannot be a name"),
        ({"stack": None}, "stack"),
    ],
)
def test_a_site_that_cannot_be_is_refused(store, changes, message):
    """With a right checksum of the manifest; nothing of such a size is ever made."""
    sites = json.loads((store / "manifest.json").read_text())["sites"]
    rewrite(store, sites=[{**sites[0], **changes}, *sites[1:]])
    with pytest.raises(StoreError, match=message):
        Activations.open(store)
    assert blamed(store) == {"manifest.json"}


@pytest.mark.parametrize(
    "changes",
    [{"model": "m2"}, {"dtype": "float16"}, {"revision": "a"}, {"pooling": "first"}, {"new": 1}],
)
def test_a_manifest_that_its_plan_does_not_bear_out_is_found(store, changes):
    rewrite(store, **changes)
    assert "plan.json" in blamed(store)


def test_a_manifest_with_other_checksums_is_found(store):
    """Its own checksum being right."""
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["shards"][0]["checksum"] = manifest["shards"][1]["checksum"]
    manifest["tables"]["tokens.parquet"]["checksum"] = "xxh3-128:0"
    write_manifest(store, manifest)
    assert blamed(store) == {SHARDS[0], MARKS[0], "tokens.parquet"}


def test_labels_that_the_tokens_lack_are_found(store):
    rewrite(store, labels=["tag", "other\x1b"])
    assert [str(fault) for fault in verify_store(store)] == [
        r"tokens.parquet: lacks the label column 'other\x1b'"
    ]
    assert refused(store)


def test_a_damaged_mark_does_not_count_as_finished(store):
    """What goes on where it stopped believes a mark's notes: they must be those written."""
    lines = [np.zeros((2, 3), np.uint32)]
    notes = {"windows": 2, "context": 0}
    write_shard(store, 7, {"hidden.0": 2}, 3, "float32", lines, notes)
    assert finished(store, 7, 3)["windows"] == 2
    assert finished(store, 7, 4) is None
    assert finished(store, 8, 3) is None
    path = store / "shard-00007.json"
    raw = path.read_bytes()
    for place in range(len(raw)):
        flipped = bytearray(raw)
        flipped[place] ^= 1 << (place % 8)
        with harmed(path, flipped):
            assert finished(store, 7, 3) is None, f"byte {place}"
    shard = store / shard_name(7)
    body = bytearray(shard.read_bytes())
    body[-1] ^= 1
    with harmed(shard, body):
        assert finished(store, 7, 3) is None
    shard.unlink()
    assert finished(store, 7, 3) is None


# Heads of shards --------------------------------------------------------------------------------


def forge(folder, raw, index=0):
    """Put these bytes in place of a shard, with a mark and a manifest that say so."""
    path = folder / SHARDS[index]
    path.write_bytes(raw)
    said = {"bytes": len(raw), "checksum": checksum_of(path)}
    rows = BOUNDS[index + 1] - BOUNDS[index]
    mark = {**said, "rows": rows}
    text = json.dumps(mark, sort_keys=True).encode()
    mark["mark"] = f"xxh3-128:{xxhash.xxh3_128_hexdigest(text)}"
    write_json(folder / MARKS[index], mark)
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    shards[index] |= said
    rewrite(folder, shards=shards)


def with_head(head, body):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def parts(folder):
    """Head and values of the first shard."""
    raw = (folder / SHARDS[0]).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def one(head, **changes):
    return {**head, "hidden.0": {**head["hidden.0"], **changes}}


def nested(depth):
    return (b'{"hidden.0":' + b"[" * depth + b"]" * depth) + b"}"


HEADS = {
    "other dtype": lambda h: one(h, dtype="F64"),
    "other dtype of the same size": lambda h: one(h, dtype="I32"),
    "unknown dtype": lambda h: one(h, dtype="f32"),
    "dtype no text": lambda h: one(h, dtype=["F32"]),
    "dtype nested": lambda h: one(h, dtype=[[[["F32"]]]]),
    "dtype missing": lambda h: {**h, "hidden.0": {"shape": [2, 4], "data_offsets": [0, 32]}},
    "other shape": lambda h: one(h, shape=[4, 2]),
    "shape too large": lambda h: one(h, shape=[2**61, 2**61]),
    "shape too small": lambda h: one(h, shape=[2, 3]),
    "shape negative": lambda h: one(h, shape=[-2, -4]),
    "shape of floats": lambda h: one(h, shape=[2.0, 4.0]),
    "shape of booleans": lambda h: one(h, shape=[True, 8]),
    "shape of texts": lambda h: one(h, shape=["2", "4"]),
    "shape of three": lambda h: one(h, shape=[2, 4, 1]),
    "shape of one": lambda h: one(h, shape=[8]),
    "shape null": lambda h: one(h, shape=None),
    "shape infinite": lambda h: one(h, shape=[float("inf"), float("nan")]),
    "overlap": lambda h: {**h, "hidden.1": {**h["hidden.1"], "data_offsets": [16, 64]}},
    "overlap whole": lambda h: {**h, "hidden.1": {**h["hidden.1"], "data_offsets": [0, 48]}},
    "hole": lambda h: {**h, "hidden.1": {**h["hidden.1"], "data_offsets": [36, 84]}},
    "end too early": lambda h: {**h, "hidden.1": {**h["hidden.1"], "data_offsets": [32, 76]}},
    "end too late": lambda h: one(h, data_offsets=[0, 36]),
    "from the middle": lambda h: one(h, data_offsets=[4, 36]),
    "backwards": lambda h: one(h, data_offsets=[32, 0]),
    "negative": lambda h: one(h, data_offsets=[-32, 0]),
    "floats": lambda h: one(h, data_offsets=[0.0, 32.0]),
    "booleans": lambda h: one(h, data_offsets=[False, 32]),
    "offsets missing": lambda h: {**h, "hidden.0": {"dtype": "F32", "shape": [2, 4]}},
    "changed places": lambda h: {**h, "hidden.0": h["hidden.1"], "hidden.1": h["hidden.0"]},
    "site missing": lambda h: {"hidden.0": h["hidden.0"]},
    "site renamed": lambda h: {"hidden.0": h["hidden.0"], "hidden.2": h["hidden.1"]},
    "site of control characters": lambda h: {**h, "\x1b[2J\ud800": h["hidden.0"]},
    "empty site too many": lambda h: {
        **h,
        "x": {"dtype": "F32", "shape": [0, 4], "data_offsets": [80, 80]},
    },
    "site a number": lambda h: {**h, "hidden.0": 1},
    "nothing": lambda h: {},
    "a list": lambda h: [h],
    "null": lambda h: None,
    "no text": lambda h: b"",
    "not JSON": lambda h: b"{'hidden.0': 1}",
    "not UTF-8": lambda h: b'{"\xff": 1}',
    "UTF-16": lambda h: json.dumps(h).encode("utf-16"),
    "cut": lambda h: json.dumps(h).encode()[:-1],
    "text after it": lambda h: json.dumps(h).encode() + b"{}",
    "deep": lambda h: nested(100),
    "deep beyond Python": lambda h: nested(10**6),
    "many digits": lambda h: json.dumps(h).encode().replace(b"32", b"9" * 5000, 1),
    "twice": lambda h: (
        json.dumps(h).encode()[:-1] + b', "hidden.0": ' + json.dumps(h["hidden.0"]).encode() + b"}"
    ),
    "twice inside": lambda h: json.dumps(h).encode().replace(b'"dtype"', b'"dtype":"F16","dtype"'),
}


@pytest.mark.parametrize("how", HEADS)
def test_a_head_that_does_not_fit_is_found_and_refused(store, how):
    """Where checksums, sizes and manifest agree: only the head can tell."""
    head, body = parts(store)
    forge(store, with_head(HEADS[how](head), body))
    faults = verify_store(store)
    assert {fault.file for fault in faults} == {SHARDS[0]}
    assert all(str(fault).isprintable() and len(str(fault)) < 400 for fault in faults)
    opened = Activations.open(store)
    with pytest.raises(StoreError, match=r"shard-00000.safetensors: ") as caught:
        opened.matrix()
    assert str(caught.value).isprintable()
    assert len(caught.value.message) < 400


def test_a_head_written_otherwise_that_says_the_same_is_read(store):
    """So that the test before this one refuses what it changed, and not the forgery."""
    head, body = parts(store)
    del head["__metadata__"]
    forge(store, with_head(json.dumps(dict(reversed(head.items())), indent=2).encode(), body))
    assert verify_store(store) == []
    assert same(read_or_refuse(store))


@pytest.mark.parametrize("length", [0, 1, 2**16, 2**31, 2**32 + 100, 10**8 + 1, 2**63, 2**64 - 1])
def test_a_head_of_another_length_is_found_and_refused(store, length):
    raw = (store / SHARDS[0]).read_bytes()
    forge(store, length.to_bytes(8, "little") + raw[8:])
    assert blamed(store) == {SHARDS[0]}
    assert refused(store)


@pytest.mark.parametrize("length", [10**8 + 8, 2**40])
def test_a_head_longer_than_any_is_refused_before_it_is_read(length):
    """Even where the file is as long."""
    with pytest.raises(ValueError, match=r"its head would take 1[\d,]+ bytes of 4,"):
        parse_header(length.to_bytes(8, "little") + b"{}", 2**42)


@pytest.mark.parametrize("size", range(8))
def test_a_shard_shorter_than_a_head_is_found_and_refused(store, size):
    """The manifest says how many bytes it must have at least."""
    forge(store, bytes(size))
    assert blamed(store) == {"manifest.json"}
    assert refused(store)


def test_a_head_longer_than_one_read_is_read(store):
    head, body = parts(store)
    head["__metadata__"] = {"long": "x" * 200_000}
    forge(store, with_head(head, body))
    assert verify_store(store) == []
    assert same(read_or_refuse(store))


def test_a_store_whose_shard_has_another_dtype_is_found(store, tmp_path):
    """As many bytes: float16 of twice the rows."""
    values = random_values("float16", (8, 5))
    planted(tmp_path / "half", (0, 8), WIDTHS, "float16", values=values)
    forge(store, (tmp_path / "half" / SHARDS[0]).read_bytes())
    assert blamed(store) == {SHARDS[0]}
    assert refused(store)


def test_sites_in_another_order_are_read_by_name(store):
    """The head says where a site lies; the manifest, in which order its columns come."""
    assert [site.name for site in Activations.open(store).sites] == ["hidden.0", "hidden.1"]
    sites = json.loads((store / "manifest.json").read_text())["sites"]
    rewrite(store, sites=sites[::-1])
    plan = json.loads((store / "plan.json").read_text())
    write_json(store / "plan.json", {**plan, "sites": sites[::-1]})
    assert verify_store(store) == []
    got = Activations.open(store).matrix()
    np.testing.assert_array_equal(got, VALUES[:, [2, 3, 4, 0, 1]])
    assert hidden(WIDTHS)[1].name == "hidden.1"
