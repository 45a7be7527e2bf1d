"""The one seam to threads and to joblib: thread counts are set here and nowhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar, cast

from nissl.progress import bar

__all__ = ["map_tasks", "set_threads", "threads"]

_Item = TypeVar("_Item")
_Out = TypeVar("_Out")
_THREADS: int | None = None


def available_cpus() -> int:
    """Return the number of processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(count: int | None = None) -> int:
    """Set the number of threads for BLAS, OpenMP, torch and numba; return it.

    ``None`` takes every processor that this process may use. Oversubscription is what makes small
    machines slow (measured: 7 to 18 times the CPU), so libraries that are not loaded yet are told
    through their environment variables and those that are, directly.
    """
    global _THREADS
    count = max(1, int(count or available_cpus()))
    _THREADS = count
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(count)
    # Threads that wait actively burn a busy machine's other processor (measured on extraction with
    # two threads: 3.6 CPU s, 1.6 when they sleep).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(count)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)
    return count


def threads() -> int:
    """Return the thread count in force (all available processors unless it was set)."""
    return _THREADS or available_cpus()


def map_tasks(
    fn: Callable[[_Item], _Out],
    items: Iterable[_Item],
    *,
    jobs: int | None = None,
    description: str | None = None,
) -> list[_Out]:
    """Apply ``fn`` to every item, several at once, and return the results in order.

    Workers are threads by default, because the arrays are large and the kernels release the
    interpreter lock; each worker runs single-threaded BLAS, so results do not depend on ``jobs``.
    A backend set outside with ``joblib.parallel_config`` (Dask, Ray, loky) takes precedence.
    """
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    todo = list(items)
    jobs = min(max(1, jobs or threads()), max(1, len(todo)))
    results: list[_Out] = []
    with threadpool_limits(1), bar(len(todo), description, unit="tasks") as advance:
        stream = Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(
            delayed(_call)(fn, item, os.getpid()) for item in todo
        )
        for out in stream:
            results.append(cast("_Out", out))
            advance(1)
    return results


def _call(fn: Callable[[_Item], _Out], item: _Item, parent: int) -> _Out:
    """Call ``fn`` with single-threaded BLAS, also where the worker is another process."""
    if os.getpid() == parent:
        return fn(item)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return fn(item)
