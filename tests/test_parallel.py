"""Workers: order kept, BLAS single-threaded in each, errors passed on, no wait for each other."""

from __future__ import annotations

import threading
import time

import pytest
from threadpoolctl import threadpool_info

from nissl.parallel import map_tasks, set_threads, threads


def blas_threads(_):
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


def test_results_come_in_order_whatever_finishes_first():
    def slow(i):
        time.sleep(0.02 * (5 - i))
        return i * i

    assert map_tasks(slow, range(5), jobs=3) == [0, 1, 4, 9, 16]
    assert map_tasks(slow, [], jobs=3) == []


def test_blas_is_single_threaded_in_every_worker_and_restored_after():
    set_threads(2)
    try:
        assert blas_threads(0) == 2
        assert map_tasks(blas_threads, range(4), jobs=2) == [1] * 4
        assert blas_threads(0) == 2
    finally:
        set_threads(1)


def test_workers_really_run_at_once():
    together = threading.Barrier(2, timeout=20)
    assert len(map_tasks(lambda _: together.wait(), range(2), jobs=2)) == 2


def test_other_processes_are_limited_too():
    from joblib import parallel_config

    set_threads(2)
    try:
        with parallel_config(backend="loky", n_jobs=2, inner_max_num_threads=2):
            assert map_tasks(blas_threads, range(2), jobs=2) == [1, 1]
    finally:
        set_threads(1)


def test_errors_reach_the_caller():
    def broken(i):
        if i == 2:
            raise RuntimeError("task two")
        return i

    with pytest.raises(RuntimeError, match="task two"):
        map_tasks(broken, range(4), jobs=2)


def test_thread_count_is_set_in_one_place(monkeypatch):
    import os

    set_threads(3)
    try:
        assert threads() == 3
        assert os.environ["OMP_NUM_THREADS"] == "3"
    finally:
        set_threads(1)
