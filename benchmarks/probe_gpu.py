"""Seconds of the torch engine: against the CPU engine, and against the device's matrix products.

Several probes (tasks and control tasks) on one planted matrix. The limit is what the two products
of each gradient would take alone, at the rate measured on the same shapes. Runs on the processor
when there is no GPU; the device's name is in the figures. Seconds are wall seconds on a GPU, else
those of the processor. The CPU engine runs on one thread, and stops at ``--limit`` seconds: its
figure is then a lower bound, and said to be one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from nissl.parallel import set_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small matrix, under a minute")
    parser.add_argument("--l1", type=float, default=3e-3)
    parser.add_argument("--probes", type=int, default=8)
    parser.add_argument("--halvings", type=int, default=3, help="λ is halved so often, then again")
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--neurons", type=int)
    parser.add_argument("--limit", type=float, help="seconds for the CPU engine")
    args = parser.parse_args()
    set_threads(1)
    import numpy as np
    import torch

    from nissl.kernels.fista import solve_many_torch
    from nissl.kernels.many import solve_many
    from nissl.kernels.problem import Problem
    from nissl.kernels.standardise import moments, standardise
    from nissl.testing import planted_activations

    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    n, d, C = (4000, 400, 8) if args.quick else (200_000, 4096, 16) if cuda else (20_000, 1000, 16)
    n, d = args.tokens or n, args.neurons or d
    planted = planted_activations(n_tokens=n, n_neurons=d, n_classes=C, seed=0)
    X = standardise(planted.X, *moments(planted.X))
    rng = np.random.default_rng(0)
    labels = [planted.y.astype(np.int64)]
    labels += [rng.permutation(labels[0]) for _ in range(args.probes - 1)]
    problems = [
        Problem(y, C, args.l1 / 2 ** (i % (args.halvings + 1)), args.l1)
        for i, y in enumerate(labels)
    ]

    T = torch.from_numpy(X).to(device)
    clock = time.perf_counter if cuda else time.process_time
    few = [Problem(labels[0][:256], C, 1e-2, 1e-2)]
    # Both start their libraries and compile their loops.
    solve_many_torch(T[:256], few)
    solve_many(X[:256], few)
    began = clock()
    fits = solve_many_torch(T, problems)
    ours = clock() - began
    began = time.process_time()
    others = solve_many(X, problems, time_limit=args.limit)
    cpu = time.process_time() - began
    limit = sum(_product_seconds(T, C * width, clock) for width in _widths(fits))
    pairs = [(a, b) for a, b in zip(fits, others, strict=True) if b.converged]
    apart = max((abs(a.objective / b.objective - 1) for a, b in pairs), default=float("nan"))
    name = torch.cuda.get_device_name() if cuda else "cpu"
    print(f"{len(fits)} probes, {n:,} tokens × {d:,} neurons × {C} classes, on {name}")
    print(f"torch engine: {ours:.2f} s, of which {limit:.2f} s are products of gradients")
    done = f"{len(pairs)} of {len(others)} done"
    print(f"CPU engine:   {cpu:.2f} s on one thread, {done}")
    figures = {
        "device": name,
        "tokens": n,
        "neurons": d,
        "classes": C,
        "probes": len(fits),
        "torch_s": round(ours, 3),
        "cpu_engine_s": round(cpu, 3),
        "cpu_engine_done": len(pairs),
        "cpu_over_torch": round(cpu / ours, 2),
        "gemm_limit_s": round(limit, 3),
        "share_of_limit": round(limit / ours, 3),
        "torch_gradients": [fit.gradients for fit in fits],
        "cpu_gradients": [round(fit.gradients, 1) for fit in others],
        "torch_gap": float(f"{max(fit.gap for fit in fits):.2e}"),
        "cpu_gap": float(f"{max(fit.gap for fit in others):.2e}"),
        "worst_objective_over_cpu": float(f"{apart:.1e}"),
    }
    print(json.dumps(figures))


def _widths(fits: list[Any]) -> list[int]:
    """Problems that were in the stack at each step."""
    steps = max(fit.iterations for fit in fits)
    return [sum(fit.iterations > step for fit in fits) for step in range(steps)]


_SECONDS: dict[int, float] = {}


def _product_seconds(T: Any, rows: int, clock: Callable[[], float]) -> float:
    """Seconds of both products of one gradient with so many stacked classes (median of 3)."""
    import torch

    if rows not in _SECONDS:
        W = torch.randn(rows, T.shape[1], device=T.device)
        times = []
        for _ in range(4):
            began = clock()
            float(((W @ T.T) @ T).sum())
            times.append(clock() - began)
        _SECONDS[rows] = sorted(times[1:])[1]
    return _SECONDS[rows]


if __name__ == "__main__":
    main()
