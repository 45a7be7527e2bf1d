"""Killed at any moment and resumed: the store is byte for byte that of an unbroken run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny

from nissl.errors import StoreError
from nissl.extraction import extract, settings
from nissl.model import load_model
from nissl.store import Activations, verify_store

MOMENTS = 32
"""Kills that must come before the end; more are tried until there are so many."""
TEXT = tuple(f"{sentence} {word}" for word in "abcdefgh" for sentence in tiny.SENTENCES)


def corpus():
    return tiny.corpus(TEXT)


def work(folder: str, out: str, shard_tokens: int, ready) -> None:
    """What the killed process does: tell that it begins, then extract."""
    settings.SHARD_TOKENS = shard_tokens
    model = load_model(folder)
    text = corpus()
    ready.send(os.getpid())
    extract(text, model, out, progress=False)
    ready.send(0)


@pytest.fixture(scope="module")
def server():
    """Processes that have the libraries already: a kill is not to hit an import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["nissl.extraction", "pytest", "transformers.models.bert.modeling_bert", "tokenizers"]
    )
    return context


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The store of an unbroken run: its files, and the seconds it took."""
    keep = settings.SHARD_TOKENS
    settings.SHARD_TOKENS = 16
    try:
        out = tmp_path_factory.mktemp("unbroken") / "store"
        model, text = load_model(tiny.folder("bert")), corpus()
        extract(text, model, tmp_path_factory.mktemp("warm") / "store", progress=False)
        began = time.perf_counter()
        extract(text, model, out, progress=False)
        yield files_of(out), time.perf_counter() - began
    finally:
        settings.SHARD_TOKENS = keep


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != ".lock"}


def killed(server, out: Path, seconds: float) -> bool:
    """Extract in another process, kill it after so many seconds; whether it was still at work."""
    ours, theirs = server.Pipe()
    child = server.Process(
        target=work, args=(str(tiny.folder("bert")), str(out), settings.SHARD_TOKENS, theirs)
    )
    child.start()
    theirs.close()
    pid = ours.recv()
    finished = ours.poll(seconds)
    os.kill(pid, signal.SIGKILL)
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return not finished


def test_killed_at_random_moments_and_resumed(server, unbroken, tmp_path):
    files, whole = unbroken
    rng = np.random.default_rng(0)
    hit, begun, trial = 0, 0, 0
    while hit < MOMENTS:
        trial += 1
        assert trial < 3 * MOMENTS, f"only {hit} of {trial} kills came before the end"
        out = tmp_path / f"store{trial}"
        hit += killed(server, out, rng.uniform(0, whole))
        shards = len(list(out.glob("shard-*.safetensors"))) if out.exists() else 0
        begun += 0 < shards < 36
        if not (out / "manifest.json").exists():
            with pytest.raises(StoreError):
                Activations.open(out)
        extract(corpus(), load_model(tiny.folder("bert")), out, progress=False)
        assert files_of(out) == files, f"trial {trial}: the bytes differ"
        assert verify_store(out) == []
    assert begun >= 10, f"only {begun} kills fell between the first shard and the last"


def test_killed_again_and_again_in_one_folder(server, unbroken, tmp_path):
    files, whole = unbroken
    out, rng, before = tmp_path / "store", np.random.default_rng(1), 0
    for _ in range(6):
        killed(server, out, rng.uniform(0.1, 0.5) * whole)
        now = len(list(out.glob("shard-*.safetensors")))
        assert now >= before, "a finished shard was lost"
        before = now
    extract(corpus(), load_model(tiny.folder("bert")), out, progress=False)
    assert files_of(out) == files
