"""Gaps of the allocator go back to the system, and only when they have grown."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nissl.extraction import heap
from nissl.extraction.heap import Heap

CODE = """
from pathlib import Path
from nissl.extraction.heap import Heap

def used():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

heap = Heap()
assert not heap.settle()
assert not heap.settle()
blocks = [b"x" * 100_000 for _ in range(2000)]
full = used()
# Every second one stays: the allocator cannot give the others back by itself.
blocks = blocks[::2]
gaps = used()
assert heap.settle()
print(full - gaps, gaps - used())
"""


@pytest.mark.skipif(heap._library() is None, reason="this is not the GNU C library")
def test_gaps_go_back_to_the_system():
    out = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        # Else the C library takes such blocks from the system one by one.
        env={"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "PATH": ""},
    )
    before, after = map(int, out.stdout.split())
    assert before < 20e6
    assert after > 60e6


def test_another_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap, "_library", lambda: None)
    assert not Heap().settle()
