"""Greedy linear selection against a naive loop.

Seconds are CPU seconds with one thread. Run in full, the loop would fit tens of thousands of sets
of neurons; it is timed on a few candidates of a few steps and the rest interpolated, as the output
says. That its picks are the same is checked on a smaller problem, where it runs whole.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

from nissl.kernels.forward import forward_linear
from nissl.parallel import set_threads

__all__ = ["forward_figures"]

D, STEPS, CLASSES, TOKENS = 768, 50, 10, 4000
SMALL_D, SMALL_STEPS = 96, 12
TIMED = (1, 10, 20, 30, 40, 50)
"""Numbers of chosen neurons at which the naive loop's candidates are timed."""
CANDIDATES = 8


def draw(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return correlated neurons, float32 (n, d), a third of which carry classes, and one-hots."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, n)
    X = rng.standard_normal((n, d))
    X += 0.5 * rng.standard_normal((n, d // 8)) @ rng.standard_normal((d // 8, d))
    X[:, : d // 3] += rng.standard_normal((CLASSES, d // 3))[y]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return np.asfortranarray(X, dtype=np.float32), np.eye(CLASSES)[y]


def naive_loss(X: np.ndarray, Y: np.ndarray, chosen: list[int]) -> float:
    """Fit one set from nothing; return half the mean squared error."""
    Z = X[:, chosen].astype(np.float64)
    Z -= Z.mean(axis=0)
    R = Y - Y.mean(axis=0)
    # Normal equations: the fastest way to fit one set.
    W = np.linalg.solve(Z.T @ Z, Z.T @ R)
    return 0.5 * float(((R - Z @ W) ** 2).sum(axis=1).mean())


def naive(X: np.ndarray, Y: np.ndarray, k: int) -> list[int]:
    """Try every candidate at every step."""
    chosen: list[int] = []
    for _ in range(k):
        left = [j for j in range(X.shape[1]) if j not in chosen]
        chosen.append(min(left, key=lambda j: naive_loss(X, Y, [*chosen, j])))
    return chosen


def forward_figures(*, seed: int = 0) -> dict[str, Any]:
    """Return ``forward_speedup``, both times, and whether the picks of a small problem agree."""
    set_threads(1)
    X, Y = draw(1000, SMALL_D, seed)
    same = forward_linear(X, Y, k_max=SMALL_STEPS).order.tolist() == naive(X, Y, SMALL_STEPS)
    X, Y = draw(TOKENS, D, seed)
    began = time.process_time()
    order = forward_linear(X, Y, k_max=STEPS).order.tolist()
    ours = time.process_time() - began
    each, candidates = [], [j for j in range(D) if j not in order]
    for k in TIMED:
        began = time.process_time()
        for j in range(CANDIDATES):
            naive_loss(X, Y, [*order[: k - 1], candidates[j]])
        each.append((time.process_time() - began) / CANDIDATES)
    steps = np.arange(1, STEPS + 1)
    loop = float((np.interp(steps, TIMED, each) * (D - steps + 1)).sum())
    return {
        "forward_speedup": loop / ours,
        "forward_seconds": ours,
        "forward_naive_seconds": loop,
        "forward_naive_is": f"extrapolated from {CANDIDATES} candidates of steps {list(TIMED)}",
        "forward_picks_identical": same,
        "forward_size": f"{TOKENS} tokens × {D} neurons × {CLASSES} classes, {STEPS} steps",
    }


if __name__ == "__main__":
    print(json.dumps(forward_figures(), indent=2))
