"""Direct reading and writing: the very bytes, whatever the disk does."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os

import numpy as np
import pytest

from nissl.store import direct
from nissl.store.direct import BLOCK, DirectWriter, read_blocks

SIZES = (0, 1, mmap.PAGESIZE, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 12345, 3 * BLOCK)
DIRECT = getattr(os, "O_DIRECT", 0)


def is_direct(file):
    return bool(DIRECT and fcntl.fcntl(file, fcntl.F_GETFL) & DIRECT)


def write(path, parts):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with DirectWriter(file) as out:
            for part in parts:
                out.write(part)
        assert not is_direct(file)
    finally:
        os.close(file)


def read(path):
    file = os.open(path, os.O_RDONLY)
    try:
        return b"".join(bytes(block) for block in read_blocks(file))
    finally:
        os.close(file)


def cut(whole, seed):
    """Cut bytes into parts of odd sizes, some of them empty."""
    at = np.sort(np.random.default_rng(seed).integers(0, len(whole) + 1, 7))
    return [whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True)]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_read(tmp_path, size):
    whole = np.random.default_rng(size).bytes(size)
    write(tmp_path / "a", cut(whole, size))
    assert (tmp_path / "a").read_bytes() == whole
    assert read(tmp_path / "a") == whole


def test_a_part_may_change_once_it_is_written(tmp_path):
    part = np.zeros(BLOCK // 4 + 3, np.int32)

    def parts():
        for value in range(3):
            part[:] = value
            yield part

    write(tmp_path / "a", parts())
    found = np.fromfile(tmp_path / "a", np.int32)
    np.testing.assert_array_equal(found, np.repeat([0, 1, 2], len(part)))


@pytest.mark.skipif(not DIRECT, reason="this system has no direct reading and writing")
@pytest.mark.parametrize("call", ["write", "readv"])
def test_a_disk_that_refuses_is_served_the_usual_way(tmp_path, monkeypatch, call):
    whole = np.random.default_rng(0).bytes(SIZES[-2])
    refused = []
    real = getattr(os, call)

    def refuse(file, part):
        if is_direct(file):
            refused.append(file)
            raise OSError(errno.EINVAL, "refused")
        return real(file, part)

    monkeypatch.setattr(direct.os, call, refuse)
    write(tmp_path / "a", cut(whole, 1))
    assert read(tmp_path / "a") == whole
    assert refused


def test_a_disk_that_does_not_know_it_is_served_the_usual_way(tmp_path, monkeypatch):
    whole = np.random.default_rng(0).bytes(SIZES[-2])
    real = fcntl.fcntl

    def unknown(file, what, *given):
        if what == fcntl.F_SETFL:
            raise OSError(errno.EINVAL, "unknown")
        return real(file, what, *given)

    monkeypatch.setattr(fcntl, "fcntl", unknown)
    write(tmp_path / "a", cut(whole, 1))
    assert read(tmp_path / "a") == whole


@pytest.mark.parametrize("most", [mmap.PAGESIZE, 100_001])
def test_a_call_that_moves_less_than_asked_is_followed_by_another(tmp_path, monkeypatch, most):
    whole = np.random.default_rng(0).bytes(SIZES[-2])
    write_some, read_some = os.write, os.readv
    monkeypatch.setattr(direct.os, "write", lambda file, part: write_some(file, part[:most]))
    monkeypatch.setattr(
        direct.os, "readv", lambda file, parts: read_some(file, [part[:most] for part in parts])
    )
    write(tmp_path / "a", cut(whole, 1))
    assert read(tmp_path / "a") == whole


def test_another_error_is_not_hidden(tmp_path, monkeypatch):
    def full(file, part):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(direct.os, "write", full)
        with pytest.raises(OSError, match="full"):
            write(tmp_path / "a", [b"abc"])
    assert (tmp_path / "a").read_bytes() == b""


@pytest.mark.skipif(not DIRECT, reason="this system has no direct reading and writing")
def test_damage_in_the_cache_is_seen(tmp_path):
    """What another program changed and the system has not written yet counts, too."""
    whole = bytearray(np.random.default_rng(0).bytes(SIZES[-2]))
    write(tmp_path / "a", [whole])
    with (tmp_path / "a").open("r+b") as file:
        file.seek(BLOCK + 7)
        file.write(b"!")
    whole[BLOCK + 7] = ord("!")
    assert read(tmp_path / "a") == bytes(whole)
