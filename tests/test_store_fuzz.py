"""Damaged and hostile stores: whatever the bytes, reading succeeds or says what is wrong.

Each example is a seed, from which a block of mutated cases is made: a failing seed is reported and
shrinks, and the cases cost no more than the reading does. Besides other exceptions, a case fails
when it makes room for what a file only claims to hold.
"""

# ruff: noqa: PT017
from __future__ import annotations

import contextlib
import json
import shutil
import tracemalloc

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from test_store import planted

from nissl.errors import NisslError, StoreError
from nissl.store import Activations, verify_store
from nissl.store.files import checksum_of, digest_of, shard_name
from nissl.store.manifest import open_manifest, sites_of, write_manifest
from nissl.store.tensors import DTYPES, header_of, load_json, open_shard, parse_header

BLOCK = 200
ROOM = 32 << 20
"""No case may hold so many bytes; the stores are of a few kilobytes."""
WATCHED = 8
"""Memory is watched in one block of so many: it makes everything five times slower."""

INTERESTING = [0, 1, -1, 2, 3, 8, 9, 255, 2**31 - 1, 2**31, 2**32, 2**61, 2**62, 2**63, 2**64]
INTERESTING += [-(2**31), -(2**63), 10**25, 0.0, -0.0, 0.5, 1e308, float("nan"), float("inf")]
INTERESTING += [True, False, None, "", "x", "\0", "\ud800", "\x1b[2J", "F16", "float16", "F64"]
INTERESTING += ["../x", "/", "__metadata__", "hidden.0", [], [0], [0, 0], [1, 2, 3], {}, [[]]]
INTERESTING += [[2**62, 0], [0, 2**62], [2**61, 2**61], [-1, -1], {"": {}}, "9" * 5000]

TOKENS = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\ud800", b"\\u0000", b"null", b"true"]
TOKENS += [b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 4301, b"9" * 18, b"[" * 2000, b"\xff"]
TOKENS += [b"\xef\xbb\xbf", b"\xed\xa0\x80", b'{"a":' * 1200, b"\0", b" " * 64, b"/*", b"0x1", b"."]


def fuzz(examples):
    """Run a function of a generator, block by block, on so many seeds."""

    def run(case):
        count = 0

        @settings(
            database=None,
            deadline=None,
            derandomize=True,
            max_examples=examples,
            suppress_health_check=list(HealthCheck),
        )
        @given(seed=st.integers(0, 2**32 - 1))
        def block(seed):
            nonlocal count
            rng = np.random.default_rng(seed)
            with watched(seed % WATCHED == 0) as peak:
                for i in range(BLOCK):
                    try:
                        case(rng)
                        assert peak() < ROOM, "too much memory"
                    except BaseException:
                        note(f"case {i} of the seed's block")
                        raise
                    count += 1

        block()
        return count

    return run


@contextlib.contextmanager
def watched(really):
    """Yield a function that tells the most memory that was held since it was last called."""
    if not really:
        yield lambda: 0
        return

    def peak():
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        return most

    tracemalloc.start(1)
    try:
        yield peak
    finally:
        tracemalloc.stop()


def put(path, raw):
    """Overwrite a file; a file cut to nothing first would go to the disk each time."""
    with path.open("r+b") as file:
        file.write(raw)
        file.truncate()


def pick(rng, options):
    return options[int(rng.integers(len(options)))]


def mutate_bytes(rng, raw):
    """Change a few places as damage, or someone with bad intent, would."""
    raw = bytearray(raw)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(raw) + 1))
        # Half of the time in the first bytes: there, lengths are.
        if rng.random() < 0.2:
            at = int(rng.integers(min(8, len(raw)) + 1))
        span = int(rng.integers(1, 40))
        how = int(rng.integers(9))
        if how <= 1 and at < len(raw):
            raw[at] ^= 1 << int(rng.integers(8))
        elif how == 2 and at < len(raw):
            raw[at] = int(rng.integers(256))
        elif how == 3:
            del raw[at : at + span]
        elif how == 4:
            raw[at:at] = rng.bytes(span)
        elif how == 5:
            del raw[at:]
        elif how == 6:
            raw[at:at] = raw[at : at + span]
        elif how == 7:
            raw[at:at] = pick(rng, TOKENS)
        else:
            number = pick(rng, [0, 1, 2**16, 2**31, 2**32, 10**8, 2**63, 2**64 - 1, len(raw)])
            raw[at : at + 8] = number.to_bytes(8, "little")
    return bytes(raw)


def mutate_json(rng, value):
    """Change a few places of a JSON value; the value itself is kept."""
    root = {"": copied(value)}
    for _ in range(int(rng.integers(1, 4))):
        places = [(root, key) for key in root]
        for holder, key in places:  # grows while it is read: every place, breadth first
            inner = holder[key]
            if isinstance(inner, dict | list):
                places += [
                    (inner, k) for k in (inner if isinstance(inner, dict) else range(len(inner)))
                ]
        if not places:
            return None
        holder, key = pick(rng, places)
        old = holder[key]
        how = int(rng.integers(10))
        if how == 0 and isinstance(holder, dict):
            name = pick(rng, [f"{key}x", "", "\ud800", str(key)[:-1], "width", "rows", "shape"])
            holder[name] = holder.pop(key)
        elif how == 1:
            del holder[key]
        elif how == 2:
            other, where = pick(rng, places)
            holder[key] = copied(other[where])
        elif how == 3:
            holder[key] = [copied(old) for _ in range(int(rng.integers(4)))]
        elif how == 4:
            for _ in range(pick(rng, [1, 5, 200, 400])):
                old = [old]
            holder[key] = old
        elif how == 5:
            holder[key] = {str(old)[:50]: old}
        elif how <= 7 and isinstance(old, int | float):
            holder[key] = old + pick(rng, [-1, 1, 2**31, -(2**40), 0.5])
        else:
            holder[key] = copied(pick(rng, INTERESTING))
    return root.get("")


def copied(value):
    return json.loads(json.dumps(value))


HEAD = header_of({"hidden.0": 2, "hidden.1": 3}, 4, "float32", {"layout": "neuron,token"})
HEADS = [
    (HEAD, 80),
    (header_of({"a.0": 3}, 5, "float16", {}), 30),
    (header_of({f"hidden.{i}": 1 for i in range(9)}, 2, "bfloat16", {"x": "y"}), 36),
    (header_of({"a.0": 3, "b.0": 1}, 0, "float32", {}), 0),
    (header_of({}, 0, "float32", {}), 0),
]


def framed(text, length=None):
    """A head of this text, whose length is right unless another is given."""
    return (len(text) if length is None else length).to_bytes(8, "little") + text


def mutated_head(rng):
    """Bytes of a file's head, and the size that the file is said to have."""
    head, body = pick(rng, HEADS)
    how = int(rng.integers(4))
    if how == 0:
        head = mutate_bytes(rng, head)
    elif how == 1:  # the text alone, so that its length stays right
        head = framed(mutate_bytes(rng, head[8:]))
    else:
        value = mutate_json(rng, json.loads(head[8:]))
        head = framed(
            json.dumps(value, ensure_ascii=bool(how % 2)).encode("utf-8", "surrogatepass")
        )
    total = len(head) + body
    if rng.random() < 0.2:
        total = pick(rng, [0, 7, 8, len(head), total - 1, total + 1, 2**40, 2**63])
    return head, total


def check_entries(entries, head, total):
    """What parse_header accepts lies in the file, whole, in order, and nothing beside it."""
    end = 8 + int.from_bytes(head[:8], "little")
    for entry in sorted(entries.values(), key=lambda e: (e.start, e.width * e.rows)):
        assert entry.start == end
        end += entry.width * entry.rows * DTYPES[entry.dtype][1]
    assert end == total


def test_any_head_is_read_or_a_value_error():
    accepted = 0

    def case(rng):
        nonlocal accepted
        head, total = mutated_head(rng)
        try:
            entries = parse_header(head, total)
        except ValueError as error:
            assert type(error) is ValueError
            assert str(error).isprintable()
            assert len(str(error)) < 300
        else:
            check_entries(entries, head, total)
            accepted += 1

    assert fuzz(400)(case) >= 80_000
    # Cases that get to the end keep the others honest.
    assert accepted > 2000


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return [
        planted(tmp_path_factory.mktemp("fuzz") / dtype, (0, 4, 6), (2, 3), dtype)[0]
        for dtype in DTYPES
    ]


@contextlib.contextmanager
def restored(path):
    raw = path.read_bytes()
    try:
        yield raw
    finally:
        put(path, raw)


def test_any_shard_is_read_or_a_store_error(stores):
    """And where the safetensors library reads it too, it reads the same values."""
    read = both = 0

    def case(rng):
        nonlocal read, both
        store = pick(rng, stores)
        path = store.path / shard_name(0)
        whole = raws[store.path]
        length = 8 + int.from_bytes(whole[:8], "little")
        how = int(rng.integers(4))
        if how == 0:
            raw = mutate_bytes(rng, whole)
        elif how == 1:
            raw = whole[:length] + mutate_bytes(rng, whole[length:])
        elif how == 2:
            raw = framed(mutate_bytes(rng, whole[8:length])) + whole[length:]
        else:
            text = json.dumps(mutate_json(rng, json.loads(whole[8:length])))
            raw = framed(text.encode()) + whole[length:]
        put(path, raw)
        rows = pick(rng, [None, [3, 0], [2, 3, 4]])
        neurons = pick(rng, [None, [4, 0, 1], ["hidden.1:2"]])
        try:
            values = store.matrix(rows=rows, neurons=neurons)
        except StoreError as error:
            assert str(path) == error.where
            assert error.message.isprintable()
            assert len(error.message) < 500
        else:
            assert values.shape == (6 if rows is None else len(rows), len(neurons or range(5)))
            read += 1
        try:
            with open_shard(path) as shard:
                for site, entry in shard.entries.items():
                    if entry.rows:
                        shard.read(
                            site, np.empty((entry.width, entry.rows), np.float32), None, None
                        )
        except StoreError:
            return
        try:
            theirs = dict(safetensors.deserialize(raw))
        except safetensors.SafetensorError:
            return
        both += 1
        assert set(theirs) == set(shard.entries)
        for site, entry in shard.entries.items():
            size = entry.width * entry.rows * DTYPES[entry.dtype][1]
            assert theirs[site]["shape"] == [entry.width, entry.rows]
            assert theirs[site]["dtype"] == DTYPES[entry.dtype][0]
            assert bytes(theirs[site]["data"]) == raw[entry.start : entry.start + size]

    with contextlib.ExitStack() as undo:
        raws = {s.path: undo.enter_context(restored(s.path / shard_name(0))) for s in stores}
        assert fuzz(75)(case) >= 15_000
    assert read > 800
    assert both > 800


def use(folder):
    """Open a store and do with it what readers do."""
    store = Activations.open(folder)
    repr(store)
    assert store.tokens.height == store.n_tokens
    assert store.sentences.height == 1
    assert store.neurons.height == store.n_neurons
    store.matrix(rows=[0], neurons=[0])
    assert store.matrix().shape == (store.n_tokens, store.n_neurons)
    return store


def test_any_manifest_is_read_or_a_store_error(stores):
    """Half of them with a right checksum of their own, so that what comes after it is met."""
    opened = 0

    def case(rng):
        nonlocal opened
        how = int(rng.integers(4))
        if how == 0:
            raw = mutate_bytes(rng, whole)
        else:
            value = mutate_json(rng, manifest)
            if how > 1 and isinstance(value, dict):
                if rng.random() < 0.95:
                    value["format"] = 2
                value["checksum"] = digest_of(value, "checksum")
            raw = json.dumps(value).encode()
        put(path, raw)
        for act in (open_manifest, use):
            try:
                act(folder)
            except NisslError as error:
                assert type(error) is StoreError
                assert str(error).isprintable()
                assert len(error.message) < 500
            else:
                opened += act is use

    folder = stores[0].path
    path = folder / "manifest.json"
    with restored(path) as whole:
        manifest = json.loads(whole)
        assert fuzz(75)(case) >= 15_000
    assert opened > 200


def test_any_store_is_verified(stores, tmp_path):
    """Whatever the damage to whatever file: it is found, and laid to that file."""
    folder = shutil.copytree(stores[1].path, tmp_path / "s")
    names = sorted(p.name for p in folder.iterdir() if p.name != ".lock")
    assert len(names) == 8

    def case(rng):
        name = pick(rng, names)
        path = folder / name
        with restored(path) as whole:
            raw = mutate_bytes(rng, whole)
            put(path, raw)
            try:
                found = {fault.file for fault in verify_store(folder)}
            except StoreError as error:
                assert name == "manifest.json"
                assert "has store format" in error.message
                return
        if found != {name}:
            assert found == set()
            # The same bytes, or JSON that says the same.
            assert raw == whole or load_json(raw) == load_json(whole)

    assert fuzz(10)(case) >= 2000


def test_any_table_with_a_right_checksum_is_read_or_a_store_error(stores, tmp_path):
    """Damage is told by the checksum; a Parquet reader that meets malice may panic, not crash."""
    folder = shutil.copytree(stores[2].path, tmp_path / "s")
    path = folder / "tokens.parquet"
    whole = path.read_bytes()
    manifest = open_manifest(folder)
    refused = 0

    def case(rng):
        nonlocal refused
        put(path, mutate_bytes(rng, whole))
        entry = {"bytes": path.stat().st_size, "checksum": checksum_of(path)}
        tables = {**manifest["tables"], "tokens.parquet": entry}
        fields = {**manifest, "tables": tables}
        fields["checksum"] = digest_of(fields, "checksum")
        put(folder / "manifest.json", json.dumps(fields).encode())
        try:
            use(folder)
        except StoreError:
            refused += 1
        assert {fault.file for fault in verify_store(folder)} <= {"tokens.parquet"}

    assert fuzz(5)(case) >= 1000
    assert refused > 500


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", None, 1]) | ANY_JSON,
        "shape": st.lists(st.integers(-1, 5) | ANY_JSON, max_size=3),
        "data_offsets": st.lists(st.integers(-1, 50) | ANY_JSON, max_size=3),
    },
)


@settings(max_examples=500, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.text(max_size=3), ENTRY | ANY_JSON, max_size=3) | ANY_JSON,
    st.integers(0, 300),
)
def test_any_json_for_a_head_is_read_or_a_value_error(value, body):
    head = framed(json.dumps(value).encode())
    try:
        entries = parse_header(head, len(head) + body)
    except ValueError as error:
        assert type(error) is ValueError
    else:
        check_entries(entries, head, len(head) + body)


@settings(max_examples=500, database=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=60), st.integers(0, 80))
def test_any_bytes_for_a_head_are_read_or_a_value_error(raw, total):
    for head in (raw, framed(raw)):
        try:
            entries = parse_header(head, total)
        except ValueError as error:
            assert type(error) is ValueError
        else:
            check_entries(entries, head, total)


@settings(max_examples=300, database=None, suppress_health_check=list(HealthCheck))
@given(value=st.dictionaries(st.text(max_size=9), ANY_JSON, max_size=4) | ANY_JSON)
def test_any_json_for_a_manifest_is_a_store_error(tmp_path, value):
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(StoreError):
        Activations.open(tmp_path)


def test_the_fuzzing_fails_where_a_reader_does():
    """The harness itself: it reports what is not a NisslError, and room that was made."""

    def wrong(rng):
        raise OverflowError("planted")

    def large(rng):
        np.empty(ROOM + 1, np.uint8)

    with pytest.raises(OverflowError, match="planted"):
        fuzz(1)(wrong)
    with pytest.raises(AssertionError, match="too much memory"):
        fuzz(1)(large)
    assert fuzz(3)(lambda rng: None) == 3 * BLOCK


def test_the_manifest_that_fuzzing_starts_from_is_whole(stores):
    """Else every case would fail at the same first check."""
    for store in stores:
        use(store.path)
        manifest = open_manifest(store.path)
        assert sites_of(manifest) == store.sites
        before = (store.path / "manifest.json").read_bytes()
        write_manifest(store.path, manifest)
        assert (store.path / "manifest.json").read_bytes() == before
