"""What every registered ranking finds on the planted bench."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

__all__ = ["bench_task", "truth_table"]

SPREAD_TOO = ("ap", "iou", "mi", "knn-mi", "gaussian")
"""Rankings that see a neuron whose spread alone depends on the class."""


def bench_task(bench: Any) -> Any:
    """Return the bench as a task; its dev and test part are the training tokens."""
    from nissl.kernels.standardise import moments
    from nissl.methods.task import Part, Task

    n, d = bench.Z.shape
    part = Part(
        X=np.asfortranarray(bench.Z, dtype=np.float32),
        y=bench.y.astype(np.int32),
        rows=np.arange(n),
        sentence=np.arange(n, dtype=np.int32) // 10,
        form=np.array(["w"] * n, dtype=object),
    )
    neurons = pl.DataFrame(
        {
            "neuron": [f"hidden.0:{j}" for j in range(d)],
            "site": ["hidden.0"] * d,
            "kind": ["hidden"] * d,
            "layer": [0] * d,
            "index": list(range(d)),
        }
    )
    mean, sd = moments(bench.X)
    return Task("planted", ("0", "1"), neurons, part, part, part, mean, sd, {}, {}, "planted")


def truth_table(seeds: int) -> dict[str, dict[str, list[int]]]:
    """Print and return hits by kind in the top 18, and loud neurons above a planted one seen.

    Searches over sets choose 18 neurons; an order is not theirs beyond that.
    """
    from nissl.methods import RANKINGS, rank
    from nissl.testing_bench import KINDS, hits, planted_bench

    settings: dict[str, dict[str, Any]] = {
        "k-sparse": {"k": 18},
        "gaussian": {"steps": 18, "max_tokens": 4000},
    }
    table: dict[str, dict[str, list[int]]] = {}
    for name in RANKINGS:
        if "classes" not in getattr(RANKINGS[name], "kinds", ("classes",)):
            continue
        for seed in range(seeds):
            bench = planted_bench(seed)
            order = rank(bench_task(bench), name, seed=seed, **settings.get(name, {})).order
            seen = KINDS[:3] if name in SPREAD_TOO else KINDS[:2]
            row = hits(bench, order) | {"loud above": loud_above(bench, order, seen)}
            for key, value in row.items():
                table.setdefault(name, {}).setdefault(key, []).append(value)
    print(f"every ranking: hits in the top 18, {seeds} seeds (of 6, 6, 6 planted, 4 loud);")
    print("loud noise neurons above a planted one of a kind that the method sees")
    columns = list(next(iter(table.values())))
    print(f"{'':16s}" + "".join(f"{name:>14s}" for name in columns))
    for name, row in table.items():
        print(f"{name:16s}" + "".join(f"{' '.join(map(str, row[c])):>14s}" for c in columns))
    return table


def loud_above(bench: Any, order: np.ndarray, seen: tuple[str, ...]) -> int:
    """Count loud neurons that an order puts above the last planted neuron of the kinds seen."""
    place = np.empty(len(order), dtype=np.int64)
    place[np.asarray(order)] = np.arange(len(order))
    last = max(int(place[getattr(bench, kind)].max()) for kind in seen)
    return int((place[bench.loud] < last).sum())
