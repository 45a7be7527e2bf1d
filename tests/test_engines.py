"""Extraction by other processes, Dask and Ray, workers killed: the store of a single process."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models as tiny

from nissl.errors import EngineError, InputError, SettingError
from nissl.extraction import extract, settings
from nissl.extraction.gpus import claim_gpu
from nissl.model import load_model
from nissl.parallel import run_tasks, set_threads
from nissl.store import verify_store

TEXT = tuple(f"{sentence} {word}" for word in "abcdefgh" for sentence in tiny.SENTENCES)


@pytest.fixture(scope="module", autouse=True)
def small_shards():
    keep = settings.SHARD_TOKENS
    settings.SHARD_TOKENS = 16
    set_threads(1)
    yield
    settings.SHARD_TOKENS = keep


@pytest.fixture(scope="module")
def model():
    return load_model(tiny.folder("bert"))


@pytest.fixture(scope="module")
def single(model, tmp_path_factory):
    """Files of the store that one process makes."""
    out = tmp_path_factory.mktemp("single") / "store"
    extract(tiny.corpus(TEXT), model, out, progress=False)
    return files_of(out)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != ".lock"}


class Killer(threading.Thread):
    """Kills one worker once a third of the shards are there; workers are found by ``pids``."""

    def __init__(self, out: Path, pids) -> None:
        super().__init__(daemon=True)
        self.out, self.pids, self.killed = out, pids, None

    def run(self) -> None:
        while len(list(self.out.glob("shard-*.safetensors"))) < 12:
            time.sleep(0.005)
        self.killed = self.pids()[0]
        os.kill(self.killed, signal.SIGKILL)
        self.left = 36 - len(list(self.out.glob("shard-*.safetensors")))


def children(word: str) -> list[int]:
    """Descendants of this process that have a word in their command line."""
    import psutil

    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if word in " ".join(child.cmdline()):
                found.append(child.pid)
        except psutil.Error:
            continue
    return found


def check(out: Path, single: dict[str, bytes], killer: Killer) -> None:
    killer.join(timeout=1)
    assert killer.killed is not None, "no worker was killed"
    assert files_of(out) == single
    assert verify_store(out) == []


def test_local_processes(model, single, tmp_path):
    out = tmp_path / "store"
    killer = Killer(out, lambda: children("LokyProcess"))
    killer.start()
    extract(tiny.corpus(TEXT), model, out, jobs=2, progress=False)
    check(out, single, killer)


def test_dask_cluster_of_three_workers(model, single, tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs nissl[dask]")
    out = tmp_path / "store"
    cluster = distributed.LocalCluster(
        n_workers=3,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
    )
    with cluster, distributed.Client(cluster) as client:
        assert len(client.run(os.getpid)) == 3
        killer = Killer(out, lambda: list(client.run(os.getpid).values()))
        killer.start()
        address = cluster.scheduler_address
        extract(tiny.corpus(TEXT), model, out, engine="dask", address=address, progress=False)
        check(out, single, killer)


def test_ray_on_this_machine(model, single, tmp_path):
    pytest.importorskip("ray", reason="needs nissl[ray]")
    out = tmp_path / "store"
    # A busy worker is renamed after what it runs.
    killer = Killer(out, lambda: children("PoolActor.run_batch") or children("PoolActor"))
    killer.start()
    extract(tiny.corpus(TEXT), model, out, engine="ray", jobs=3, progress=False)
    check(out, single, killer)


# What can go wrong ------------------------------------------------------------------------------


def test_errors_of_tasks_come_back_as_they_are(model, tmp_path):
    long = tiny.corpus((" ".join(tiny.SENTENCES),), name="long")
    with pytest.raises(InputError, match=r'^long.txt:1: sentence "long-0" has \d+ subwords'):
        extract(long, model, tmp_path / "s", jobs=2, progress=False)


def _die(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def _fail(item: int) -> int:
    raise ZeroDivisionError("one by nought")


def test_workers_that_always_die(capsys, monkeypatch):
    monkeypatch.setattr("nissl.progress._QUIET", False)
    with pytest.raises(EngineError, match=r"workers of engine local died 2 times.*run again"):
        run_tasks(_die, [1], jobs=1 + 1, rounds=2)
    assert "a worker died" in capsys.readouterr().err


def test_bugs_of_tasks_are_not_tried_again():
    with pytest.raises(EngineError, match="ZeroDivisionError: one by nought"):
        run_tasks(_fail, [1, 2], jobs=2)


def test_model_made_in_memory_cannot_be_shared_out(model, tmp_path):
    with pytest.raises(SettingError, match="made in memory"):
        extract(tiny.corpus(), replace(model, spec=None), tmp_path / "s", jobs=2, progress=False)


def test_no_scheduler_at_the_address(model, tmp_path):
    pytest.importorskip("distributed", reason="needs nissl[dask]")
    with pytest.raises(EngineError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"):
        extract(
            tiny.corpus(),
            model,
            tmp_path / "s",
            engine="dask",
            address="tcp://127.0.0.1:9",
            progress=False,
        )


def test_each_process_of_a_machine_claims_its_own_gpu(model, tmp_path, monkeypatch):
    monkeypatch.setattr("nissl.extraction.gpus._HELD", [])
    spec = replace(model.spec, device="cuda")
    taken = [claim_gpu(spec, count=2, folder=tmp_path).device for _ in range(2)]
    assert taken == ["cuda:0", "cuda:1"]
    with pytest.raises(EngineError, match=r"2 GPU\(s\) and each is taken.*at most 2 --jobs"):
        claim_gpu(spec, count=2, folder=tmp_path)
    assert claim_gpu(replace(spec, device="cuda:1"), count=2, folder=tmp_path).device == "cuda:1"
    assert claim_gpu(model.spec) is model.spec
