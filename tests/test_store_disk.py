"""Disks that are full or read-only, and two writers: errors that say so, nothing half done."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from test_store import hidden, planted, tables

from nissl.errors import StoreError
from nissl.store import Activations, verify_store, write_store
from nissl.store.files import finished, lock, shard_name, write_json, write_shard, write_table

SIZE = 2 << 20
ROWS, WIDTH = 1000, 150
"""A shard of 0.6 MB: three fit on the small disk."""

WRITE = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_store_disk import write_large
    from nissl.errors import StoreError
    {before}
    try:
        write_large(Path(sys.argv[1]))
    except StoreError as error:
        print(error)
    else:
        print("written")
"""


def write_large(folder, shards=6, dtype="float32"):
    """Write more than the small disk holds, a shard at a time."""
    tokens, sentences = tables(ROWS * shards)
    blocks = (
        {"hidden.0": np.random.default_rng(i).standard_normal((ROWS, WIDTH)).astype(np.float32)}
        for i in range(shards)
    )
    return write_store(
        folder,
        model="m",
        corpus="c",
        sites=hidden((WIDTH,)),
        tokens=tokens,
        sentences=sentences,
        labels=["tag"],
        blocks=blocks,
        dtype=dtype,
    )


def run_write(folder, *, before="", prefix=(), shell=None):
    """Write in a process of its own; return what it says."""
    code = textwrap.dedent(WRITE).format(tests=str(Path(__file__).parent), before=before)
    command = [sys.executable, "-c", code, str(folder)]
    if shell is not None:
        command = [*prefix, "sh", "-c", shell, "sh", *command]
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    out = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert out.returncode == 0, out.stderr
    return out.stdout.strip()


def check_what_is_left(folder, most=5):
    """Whole shards with their marks, and nothing else; return how many."""
    names = {p.name for p in folder.iterdir()} - {".lock"}
    assert not [name for name in names if name.endswith(".part")]
    whole = [i for i in range(6) if finished(folder, i, ROWS) is not None]
    assert whole == list(range(len(whole)))
    assert len(whole) <= most
    # A mark comes before its shard: the last may be alone.
    shards = {shard_name(i) for i in whole}
    marks = {Path(name).with_suffix(".json").name for name in shards}
    assert shards | marks <= names <= shards | marks | {f"shard-{len(whole):05d}.json"}
    # What is left does not pass for a store.
    with pytest.raises(StoreError):
        Activations.open(folder)
    return len(whole)


FULL = r"cannot be written \(No space left on device\); what is finished is kept: make room and run"


@contextlib.contextmanager
def small_disk(folder, options=f"size={SIZE}"):
    """Mount a file system of its own; skip where that is not allowed."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def test_a_full_disk_is_named_and_what_is_finished_is_kept(disk):
    with pytest.raises(StoreError, match=FULL) as caught:
        write_large(disk / "s")
    assert caught.value.where == str(disk / "s" / shard_name(3))
    assert check_what_is_left(disk / "s") == 3


def test_a_store_that_just_fits_is_written(disk):
    """Half of the width takes half of the room: the disk is not refused before it is full."""
    store = write_large(disk / "s", shards=6, dtype="float16")
    assert store.n_tokens == 6 * ROWS
    assert verify_store(disk / "s") == []


def test_a_disk_that_is_full_at_any_moment_leaves_nothing_half_done(tmp_path):
    """From no room for the first mark to no room for the manifest."""
    places, written = [], 0
    with small_disk(tmp_path / "disk") as disk:
        for room in range(0, 80, 4):
            folder = disk / f"s{room}"
            folder.mkdir()
            filler = disk / "filler"
            free = shutil.disk_usage(disk).free
            with filler.open("wb") as file:
                file.write(bytes(free - room * 1024))
            failed = None
            try:
                planted(folder, (0, 20, 40), (9, 90))
            except StoreError as error:
                failed = error
            if failed is None:
                assert verify_store(folder) == []
                written += 1
            else:
                assert "No space left on device" in str(failed)
                assert not list(folder.glob("*.part"))
                assert not (folder / "manifest.json").exists()
                places.append(Path(failed.where).name)
            filler.unlink()
            shutil.rmtree(folder)
    assert written > 0
    assert {shard_name(0), shard_name(1), "tokens.parquet", "manifest.json"} <= set(places)


def test_a_disk_full_of_names_is_a_store_error(tmp_path):
    """Room for bytes but for no more files: the lock itself cannot be made."""
    with small_disk(tmp_path / "disk", f"size={SIZE},nr_inodes=3") as disk:
        (disk / "s").mkdir()
        (disk / "other").write_text("")
        with pytest.raises(StoreError, match="No space left on device") as caught:
            write_large(disk / "s")
        assert caught.value.where == str(disk / "s")


def test_a_full_disk_in_a_namespace_of_its_own(tmp_path):
    """The same as without root, where users may make namespaces."""
    prefix = ["unshare", "-rm"]
    target = tmp_path / "disk"
    target.mkdir()
    mount = f'mount -t tmpfs -o size={SIZE} tmpfs "$TARGET"'
    tried = shutil.which("unshare") and subprocess.run(
        [*prefix, "sh", "-c", mount], capture_output=True, env={**os.environ, "TARGET": str(target)}
    )
    if not tried or tried.returncode:
        pytest.skip("no namespace with a disk of its own can be made here")
    count = f'; ls "{target}/s" | grep -c part; ls "{target}/s"'
    said = run_write(
        target / "s",
        prefix=prefix,
        shell=f'mount -t tmpfs -o size={SIZE} tmpfs "{target}" && "$@"{count}',
    )
    first, parts, *names = said.splitlines()
    assert first.startswith(f"{target / 's' / shard_name(3)}: cannot be written (No space left")
    assert parts == "0"
    assert names == sorted(
        [*(shard_name(i) for i in range(3)), *(f"shard-{i:05d}.json" for i in range(3))]
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on the size of files")
@pytest.mark.parametrize(("limit", "file"), [(100_000, shard_name(0)), (100, shard_name(0))])
def test_a_limit_on_the_size_of_files_is_named(tmp_path, limit, file):
    """As a quota does, and without root: the first write beyond it fails."""
    before = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    said = run_write(tmp_path / "s", before=before)
    assert said == (
        f"{tmp_path / 's' / file}: cannot be written (File too large); what is finished is kept: "
        "make room and run again"
    )
    assert check_what_is_left(tmp_path / "s") == 0
    assert run_write(tmp_path / "other") == "written"


LARGE_TABLE = """
    import resource, sys
    from pathlib import Path
    import polars as pl
    from nissl.errors import StoreError
    from nissl.store.files import write_table
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        write_table(Path(sys.argv[1]), pl.DataFrame({"a": [str(i**9) for i in range(100_000)]}))
    except StoreError as error:
        print(error)
"""


def test_a_table_too_large_for_the_disk_is_named(tmp_path):
    """Polars writes it and has errors of its own."""
    path = tmp_path / "tokens.parquet"
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LARGE_TABLE), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.startswith(f"{path}: cannot be written (File too large); what is finished")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("write", "call"),
    [
        (write, call)
        for write in ("shard", "json", "table")
        for call in ("write", "fsync", "replace", "open")
        if (write, call) != ("table", "write")  # Polars' own
    ],
)
def test_a_writer_that_fails_leaves_the_old_file(tmp_path, monkeypatch, write, call):
    """At each of its steps: the file that was there is whole, and no temporary one is left."""
    folder = tmp_path
    acts = {
        "shard": lambda: write_shard(
            folder, 0, {"a.0": 2}, 3, "float32", [np.zeros((2, 3), np.uint32)]
        ),
        "json": lambda: write_json(folder / "x.json", {"a": 1}),
        "table": lambda: write_table(folder / "t.parquet", tables(3)[0]),
    }
    acts[write]()
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert before

    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"nissl.store.files.os.{call}", broken)
        with pytest.raises(StoreError, match=FULL):
            acts[write]()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nissl.store.files.os.fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_json(tmp_path / "x.json", {})
    assert list(tmp_path.iterdir()) == []


# Read-only --------------------------------------------------------------------------------------


def test_a_read_only_disk_can_be_read_and_says_that_it_cannot_be_written(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        _, values = planted(disk / "s")
        (disk / "empty").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        np.testing.assert_array_equal(Activations.open(disk / "s").matrix(), values)
        assert verify_store(disk / "s") == []
        for name in ("empty", "new"):
            with pytest.raises(StoreError, match="Read-only file system") as caught:
                planted(disk / name)
            assert caught.value.where == str(disk / name)


def test_a_folder_that_may_not_be_written_to_says_so():
    """Root may write anywhere: there, the process gives up its rights first."""
    before = "import filelock, os"
    if os.geteuid() == 0:
        before += "; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        said = run_write(folder, before=before)
        new = run_write(f"{folder}/new", before=before)
        assert os.listdir(folder) == []
        os.chmod(folder, 0o755)
    assert said == f"{folder}: cannot be written to (Permission denied)"
    assert new == f"{folder}/new: cannot be used (Permission denied)"


# Two writers ------------------------------------------------------------------------------------

HOLD = """
    import sys
    from pathlib import Path
    from nissl.store.files import lock
    with lock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
"""


@contextlib.contextmanager
def other_writer(folder):
    """Another process that holds the lock of a folder until the block ends."""
    command = [sys.executable, "-c", textwrap.dedent(HOLD), str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    with other_writer(folder) as process:
        for act in (lambda: planted(folder), lambda: lock(folder).__enter__()):
            with pytest.raises(StoreError, match="another process is writing here; wait") as caught:
                act()
            assert caught.value.where == str(folder)
        assert {p.name for p in folder.iterdir()} <= {".lock"}
        assert process.poll() is None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(30) == 0
    planted(folder)
    assert verify_store(folder) == []


def test_a_writer_that_was_killed_holds_no_lock(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    with other_writer(folder) as process:
        process.kill()
        process.wait(30)
        planted(folder)
    assert verify_store(folder) == []


def test_a_store_that_is_being_written_elsewhere_can_be_read(tmp_path):
    """Readers take no lock."""
    folder = tmp_path / "s"
    _, values = planted(folder)
    with other_writer(folder):
        np.testing.assert_array_equal(Activations.open(folder).matrix(), values)


def test_the_lock_is_given_back_when_writing_fails(tmp_path):
    for _ in range(2):
        with pytest.raises(StoreError, match="mine"), lock(tmp_path):
            raise StoreError("mine")
    with lock(tmp_path):
        pass


def test_an_error_inside_the_lock_is_not_taken_for_one_of_the_lock(tmp_path):
    with pytest.raises(OSError, match="mine"), lock(tmp_path):
        raise OSError(28, "mine")
