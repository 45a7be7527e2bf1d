"""The one seam to threads and to joblib: thread counts are set here and nowhere else.

Two ways to do many things: :func:`map_tasks` for small ones that share memory (threads), and
:func:`run_tasks` for large ones that stand alone and leave their result on disk, which may run in
processes of this machine, on a Dask cluster or on Ray.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

from nissl.errors import EngineError, NisslError, SettingError, did_you_mean
from nissl.progress import bar, say

__all__ = ["ENGINES", "map_tasks", "run_tasks", "set_threads", "threads"]

ENGINES = ("local", "dask", "ray")

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


def run_tasks(
    fn: Callable[[_Item], _Out],
    items: Sequence[_Item],
    *,
    engine: str = "local",
    jobs: int | None = None,
    address: str | None = None,
    gpus: int = 0,
    rounds: int = 4,
    watch: Callable[[], None] | None = None,
) -> list[_Out]:
    """Apply ``fn`` to every item in other processes and return the results in order.

    A task must be idempotent: when a worker dies (killed, out of memory, machine gone), what was
    not reported is run again, and a task whose result is already on disk should say so at once.

    Parameters
    ----------
    fn
        A function that can be imported, with an item that can be pickled.
    engine
        ``local`` (processes of this machine), ``dask`` or ``ray``.
    jobs
        Number of workers; by default the processors of this machine, or what the cluster has.
    address
        Of a running cluster (``tcp://host:8786`` for Dask, ``auto`` or ``host:port`` for Ray);
        without one, a cluster of this machine is started, on the loopback address, and stopped.
    gpus
        GPUs that each worker needs; Ray keeps count of them.
    rounds
        How often tasks are handed out before giving up.
    watch
        Called every half second while the tasks run, and once at the end.

    Raises
    ------
    EngineError
        Workers died in every round, the engine is not installed, or it cannot be reached.
    SettingError
        An unknown engine.
    """
    if engine not in ENGINES:
        raise SettingError(
            f'engine is one of {", ".join(ENGINES)}, not "{engine}".{did_you_mean(engine, ENGINES)}'
        )
    if address is not None and engine == "local":
        raise SettingError("an address needs an engine: --engine dask or --engine ray")
    with _engine(engine, jobs, address, gpus) as workers, _watching(watch):
        for left in reversed(range(rounds)):
            try:
                return _round(fn, items, workers)
            except NisslError:
                raise
            # Errors of tasks come back as values; what is raised here is the engine's trouble.
            except Exception as error:
                first = (str(error).strip().splitlines() or [""])[0]
                why = f"{type(error).__name__}: {first}"[:300]
                if not left:
                    raise EngineError(
                        f"workers of engine {engine} died {rounds} times ({why}); what is "
                        "finished is kept: look at their memory, use fewer --jobs, and run again"
                    ) from error
                say(f"a worker died ({why}); going on with what is left")
    raise AssertionError("every round returns or raises")


def _round(fn: Callable[[_Item], _Out], items: Sequence[_Item], workers: int | None) -> list[_Out]:
    from joblib import Parallel, delayed

    found = Parallel(n_jobs=workers, batch_size=cast("Any", 1))(
        delayed(_guarded)(fn, item) for item in items
    )
    results: list[_Out] = []
    for value, error in cast("list[tuple[Any, BaseException | None]]", found):
        if error is not None:
            raise (
                error
                if isinstance(error, NisslError)
                else EngineError(f"a task failed with {type(error).__name__}: {error}")
            ) from error
        results.append(value)
    return results


def _guarded(fn: Callable[[_Item], _Out], item: _Item) -> tuple[_Out | None, Exception | None]:
    """Call ``fn``; return its error as a value, so that no engine takes it for its own."""
    try:
        return fn(item), None
    except Exception as error:
        try:
            import pickle

            pickle.dumps(error)
        except Exception:
            error = EngineError(f"{type(error).__name__}: {error}")
        return None, error


@contextlib.contextmanager
def _watching(watch: Callable[[], None] | None) -> Iterator[None]:
    """Call ``watch`` every half second from a thread, and once at the end."""
    if watch is None:
        yield
        return
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(0.5):
            watch()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        watch()


@contextlib.contextmanager
def _engine(name: str, jobs: int | None, address: str | None, gpus: int) -> Iterator[int | None]:
    """Connect to an engine, or start one here; yield the number of workers to ask joblib for."""
    from joblib import parallel_config

    with contextlib.ExitStack() as undo:
        if name == "local":
            jobs = jobs or available_cpus()
            undo.enter_context(parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1))
            yield jobs
        elif name == "dask":
            undo.enter_context(_dask(jobs, address))
            undo.enter_context(parallel_config("dask"))
            yield jobs or -1
        else:
            undo.enter_context(_ray(jobs, address))
            # An actor that dies is started anew; a round is repeated only when that fails too.
            remote = {"max_restarts": 3, "max_task_retries": 3, "num_gpus": gpus}
            undo.enter_context(parallel_config("ray", ray_remote_args=remote))
            yield jobs or -1


@contextlib.contextmanager
def _dask(jobs: int | None, address: str | None) -> Iterator[None]:
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError:
        raise EngineError('engine dask is not installed: pip install "nissl[dask]"') from None
    if address is None:
        count = jobs or available_cpus()
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=cast("Any", None),
        )
        with cluster, Client(cluster):
            yield
        return
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise EngineError(
            f"no Dask scheduler answers at {address} ({error}); start one with dask scheduler and "
            "give its tcp:// address"
        ) from None
    with client:
        yield


@contextlib.contextmanager
def _ray(jobs: int | None, address: str | None) -> Iterator[None]:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise EngineError('engine ray is not installed: pip install "nissl[ray]"') from None
    register_ray()
    ours = not ray.is_initialized()
    if ours:
        here: dict[str, Any] = {"num_cpus": jobs or available_cpus(), "include_dashboard": False}
        if address is None:
            here["_node_ip_address"] = "127.0.0.1"
        given: dict[str, Any] = {"address": address} if address else here
        try:
            ray.init(log_to_driver=False, **given)  # pyright: ignore[reportArgumentType]
        except (ConnectionError, ValueError) as error:
            raise EngineError(
                f"no Ray cluster answers at {address} ({error}); start one with ray start --head"
            ) from None
    try:
        yield
    finally:
        if ours:
            ray.shutdown()
