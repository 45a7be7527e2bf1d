"""Layouts of a store, by what they cost to write and in the three reads that matter.

Random float32 of the size of MiniLM's hidden layers on a test corpus, written as Nissl's shards
(neuron × token), as the same shards with tokens first, as one .npy a site with tokens first, and as
HDF5. Read are one site whole, 300 neurons over all tokens, and 1,000 random tokens; every reader
hands out float32 tokens × neurons with neurons contiguous, which is what the probe takes. Files are
in the page cache; milliseconds are the best of some rounds of one thread.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nissl.parallel import set_threads

WIDTH, LAYERS, SHARD = 384, 7, 8000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 tokens in place of 25,147")
    args = parser.parse_args()
    set_threads(1)
    import numpy as np

    n = 10_000 if args.quick else 25_147
    rng = np.random.default_rng(0)
    values = {
        f"hidden.{i}": rng.standard_normal((n, WIDTH), dtype=np.float32) for i in range(LAYERS)
    }
    picked = np.sort(rng.choice(WIDTH * LAYERS, 300, replace=False))
    rows = rng.choice(n, 1000, replace=False)
    work = Path(tempfile.mkdtemp(prefix="nissl-layout-"))
    figures: dict[str, Any] = {"tokens": n, "neurons": WIDTH * LAYERS}
    try:
        for name, (write, read) in LAYOUTS.items():
            began = time.process_time()
            try:
                write(work / name, values)
            except ImportError as error:
                print(f"{name}: not run ({error})")
                continue
            figures[f"{name}_write_cpu_s"] = round(time.process_time() - began, 3)
            whole = np.concatenate(list(values.values()), axis=1)
            wanted = {
                "site": (("hidden.3", None, None), values["hidden.3"]),
                "neurons": ((None, picked, None), whole[:, picked]),
                "rows": ((None, None, rows), whole[rows]),
            }
            for what, (choice, want) in wanted.items():
                ms, got = best(lambda r=read, c=choice, p=work / name: r(p, *c))
                if not (np.array_equal(got, want) and got.T.flags.c_contiguous):
                    raise SystemExit(f"{name} read something else ({what})")
                figures[f"{name}_{what}_ms"] = ms
    finally:
        shutil.rmtree(work)
    header = ("write CPU s", "site ms", "neurons ms", "rows ms")
    print(f"{'':22s}" + "".join(f"{title:>14s}" for title in header))
    for name in LAYOUTS:
        if f"{name}_site_ms" in figures:
            keys = (f"{name}_write_cpu_s", *(f"{name}_{w}_ms" for w in ("site", "neurons", "rows")))
            print(f"{name:22s}" + "".join(f"{figures[key]:14,}" for key in keys))
    print(json.dumps(figures))


def best(run: Callable[[], Any], rounds: int = 5) -> tuple[float, Any]:
    """Return the smallest CPU milliseconds of some rounds, and what was read."""
    times, out = [], None
    for _ in range(rounds):
        began = time.process_time()
        out = run()
        times.append(time.process_time() - began)
    return round(min(times) * 1000, 1), out


def runs(values: dict[str, Any]) -> list[slice]:
    n = len(next(iter(values.values())))
    return [slice(a, min(a + SHARD, n)) for a in range(0, n, SHARD)]


def write_ours(path: Path, values: dict[str, Any]) -> None:
    import polars as pl

    from nissl.site import Site
    from nissl.store import write_store

    n = len(next(iter(values.values())))
    write_store(
        path,
        model="random",
        corpus="random",
        sites=[Site("hidden", i, f"blocks.{i}", "output", WIDTH) for i in range(LAYERS)],
        tokens=pl.DataFrame({"form": ["w"] * n, "sentence": [0] * n}),
        sentences=pl.DataFrame({"id": ["s"]}),
        labels=[],
        blocks=({name: value[run] for name, value in values.items()} for run in runs(values)),
    )


def read_ours(path: Path, site: str | None, neurons: Any, rows: Any) -> Any:
    from nissl.store import Activations

    return Activations.open(path).matrix(sites=[site] if site else None, neurons=neurons, rows=rows)


def write_tokens_first(path: Path, values: dict[str, Any]) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    path.mkdir()
    for i, run in enumerate(runs(values)):
        part = {name: np.ascontiguousarray(value[run]) for name, value in values.items()}
        save_file(part, path / f"{i:05d}.safetensors")


def read_tokens_first(path: Path, site: str | None, neurons: Any, rows: Any) -> Any:
    import numpy as np
    from safetensors import safe_open

    parts, start = [], 0
    for file in sorted(path.iterdir()):
        with safe_open(file, framework="numpy") as shard:
            names = [site] if site else [f"hidden.{i}" for i in range(LAYERS)]
            got = [np.asarray(shard.get_tensor(name)) for name in names]
        parts.append((start, thin(got, neurons, rows, start)))
        start += len(got[0])
    return put(parts, rows)


def write_npy(path: Path, values: dict[str, Any]) -> None:
    import numpy as np

    path.mkdir()
    for name, value in values.items():
        np.save(path / f"{name}.npy", value)


def read_npy(path: Path, site: str | None, neurons: Any, rows: Any) -> Any:
    import numpy as np

    names = [site] if site else [f"hidden.{i}" for i in range(LAYERS)]
    got = [np.load(path / f"{name}.npy", mmap_mode="r") for name in names]
    return put([(0, thin(got, neurons, rows, 0))], rows)


def write_hdf5(path: Path, values: dict[str, Any]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file.create_dataset(name, data=value)


def read_hdf5(path: Path, site: str | None, neurons: Any, rows: Any) -> Any:
    import h5py

    names = [site] if site else [f"hidden.{i}" for i in range(LAYERS)]
    with h5py.File(path) as file:
        got = [file[name][:] for name in names]  # pyright: ignore[reportIndexIssue]
    return put([(0, thin(got, neurons, rows, 0))], rows)


def thin(got: list[Any], neurons: Any, rows: Any, start: int) -> Any:
    """Take what is wanted out of the sites of a run of tokens; neurons come out contiguous."""
    import numpy as np

    if neurons is not None:
        out = np.empty((len(neurons), len(got[0])), np.float32)
        for i, value in enumerate(got):
            mine = np.flatnonzero(neurons // WIDTH == i)
            out[mine] = value[:, neurons[mine] % WIDTH].T
        return out
    if rows is not None:
        inside = rows[(rows >= start) & (rows < start + len(got[0]))] - start
        return np.ascontiguousarray(np.concatenate([value[inside].T for value in got]))
    return np.ascontiguousarray(np.concatenate([value.T for value in got]))


def put(parts: list[tuple[int, Any]], rows: Any) -> Any:
    """Join runs of tokens; random rows go back to the order in which they were asked for."""
    import numpy as np

    whole = np.ascontiguousarray(np.concatenate([part for _, part in parts], axis=1))
    if rows is None or len(parts) == 1:
        return whole.T
    starts = np.array([start for start, _ in parts])
    run = np.searchsorted(starts, rows, side="right")
    back = np.argsort(np.argsort(run, kind="stable"), kind="stable")
    return np.ascontiguousarray(whole[:, back]).T


LAYOUTS = {
    "nissl": (write_ours, read_ours),
    "tokens_first": (write_tokens_first, read_tokens_first),
    "npy": (write_npy, read_npy),
    "hdf5": (write_hdf5, read_hdf5),
}


if __name__ == "__main__":
    main()
