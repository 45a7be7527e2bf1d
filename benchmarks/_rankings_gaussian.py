"""Greedy Gaussian selection against a loop that fits every candidate from nothing.

Seconds are CPU seconds with one thread. The loop fits some 37,000 sets of neurons, which takes
about two minutes; with ``quick`` it is timed on some candidates of some steps, and the rest is
interpolated, as the output says.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from nissl.kernels.gaussian import gaussian_selection
from nissl.parallel import set_threads

__all__ = ["gaussian_figures", "refit"]

Pair = tuple[np.ndarray, np.ndarray]
D, STEPS, CLASSES, TOKENS = 768, 50, 3, 800
TIMED = (1, 10, 20, 30, 40, 50)
"""Steps at which the loop is timed when it is not run in full."""


def draw(seed: int) -> tuple[Pair, Pair]:
    """Return training and held-out tokens: correlated neurons, 40 with means of their own."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, 2 * TOKENS)
    X = rng.standard_normal((2 * TOKENS, D)) + rng.standard_normal((2 * TOKENS, 60)) @ (
        0.15 * rng.standard_normal((60, D))
    )
    X[:, :40] += 0.35 * rng.standard_normal((CLASSES, 40))[y]
    X -= X[:TOKENS].mean(axis=0)
    X /= X[:TOKENS].std(axis=0)
    first, second = np.split(np.asfortranarray(X, dtype=np.float32), 2)
    return (np.asfortranarray(first), y[:TOKENS]), (np.asfortranarray(second), y[TOKENS:])


def refit(train: Pair, there: Pair, S: list[int], k0: float = 0.01, m: float = 1.0) -> float:
    """Fit neurons S by MAP; return the mean log-probability of the scored tokens' labels."""
    X, y = train[0][:, S].astype(np.float64), train[1]
    scored = there[0][:, S].astype(np.float64)
    k, top = len(S), X.mean(axis=0)
    owns = [X[y == c] for c in range(CLASSES)]
    means = [own.mean(axis=0) for own in owns]
    pairs = zip(owns, means, strict=True)
    pooled = sum(((own - mean) ** 2).sum(axis=0) for own, mean in pairs) / len(X)
    joint = np.empty((CLASSES, len(scored)))
    for c, (own, mean) in enumerate(zip(owns, means, strict=True)):
        n, away = len(own), mean - top
        centred = own - mean
        scatter = centred.T @ centred + m * np.diag(pooled)
        scatter += k0 * n / (k0 + n) * np.outer(away, away)
        L = cholesky(scatter / (n + m + 2 * k + 3), lower=True, check_finite=False)
        centre = top + away * n / (k0 + n)
        z = solve_triangular(L, (scored - centre).T, lower=True, check_finite=False)
        joint[c] = np.log(n / len(X)) - np.log(np.diag(L)).sum() - 0.5 * (z**2).sum(axis=0)
    joint -= joint.max(axis=0)
    own = joint[there[1], np.arange(len(scored))]
    return float((own - np.log(np.exp(joint).sum(axis=0))).mean())


def full_loop(train: Pair, there: Pair) -> tuple[list[int], float]:
    """Return the loop's picks and its CPU seconds."""
    began, picks = time.process_time(), []
    for _ in range(STEPS):
        left = [j for j in range(D) if j not in picks]
        value = [refit(train, there, [*picks, j]) for j in left]
        picks.append(left[int(np.argmax(value))])
    return picks, time.process_time() - began


def sampled_loop(train: Pair, there: Pair, picks: list[int], some: int) -> float:
    """Return CPU seconds of the loop from those of some candidates of some steps."""
    each = []
    for step in TIMED:
        left = [j for j in range(D) if j not in picks[: step - 1]][:some]
        began = time.process_time()
        for j in left:
            refit(train, there, [*picks[: step - 1], j])
        each.append((time.process_time() - began) / len(left))
    steps = np.arange(1, STEPS + 1)
    return float((np.interp(steps, TIMED, each) * (D - steps + 1)).sum())


def gaussian_figures(*, quick: bool = False, seed: int = 0) -> dict[str, Any]:
    """Time both and compare their picks.

    Returns
    -------
    dict
        ``gaussian_speedup``; ``gaussian_picks_equal``: over all steps, or, where the loop is only
        sampled, over its first two; ``gaussian_naive_extrapolated``; CPU seconds of both.
    """
    train, there = draw(seed)
    gaussian_selection(*train, CLASSES, steps=1)  # compiles the inner loop
    began = time.process_time()
    found = gaussian_selection(*train, CLASSES, steps=STEPS, held_out=there)
    ours = time.process_time() - began
    picks = found.picks.tolist()
    if quick:
        naive = sampled_loop(train, there, picks, 12)
        checked = 2
        equal = True
        for step in range(checked):
            left = [j for j in range(D) if j not in picks[:step]]
            value = [refit(train, there, [*picks[:step], j]) for j in left]
            equal &= left[int(np.argmax(value))] == picks[step]
    else:
        theirs, naive = full_loop(train, there)
        checked, equal = STEPS, theirs == picks
    return {
        "gaussian_speedup": round(naive / ours, 1),
        "gaussian_picks_equal": equal,
        "gaussian_picks_checked": checked,
        "gaussian_naive_extrapolated": quick,
        "gaussian_cpu_s": round(ours, 2),
        "gaussian_naive_cpu_s": round(naive, 1),
        "gaussian_problem": f"{TOKENS} + {TOKENS} tokens, {D} neurons, {CLASSES} classes, "
        f"{STEPS} steps",
    }


def main() -> None:
    """Run alone: ``python benchmarks/_rankings_gaussian.py [--quick]``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="time the loop on a sample")
    set_threads(1)
    print(json.dumps(gaussian_figures(quick=parser.parse_args().quick)))


if __name__ == "__main__":
    main()
