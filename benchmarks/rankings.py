"""Rankings of neurons: what each finds on planted truth, and what it costs.

Everything runs in one process with one thread; seconds are CPU seconds. The large problem (2,688
neurons × 200,000 tokens × 50 tags, tag frequencies 1/rank) and its memory are measured in a process
of its own. ``auc_speedup`` compares exact AUC and average precision of all neurons and classes with
a loop over scikit-learn on the same tokens, per neuron and class: the loop is timed on some. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from nissl.parallel import set_threads

FULL, QUICK = (2688, 200_000, 50), (64, 20_000, 50)
"""Neurons, tokens and tags of the problem that all rankings are timed on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small problems; under a minute")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    set_threads(1)
    from _rankings_forward import forward_figures
    from _rankings_gaussian import gaussian_figures
    from _rankings_truth import truth_table

    size = QUICK if args.quick else FULL
    if args.child:
        print(json.dumps(univariate(*size)))
        return
    figures: dict[str, Any] = {"quick": args.quick} | {"truth": truth_table(1 if args.quick else 5)}
    figures |= against_scikit_learn(5 if args.quick else 20)
    command = [sys.executable, __file__, "--child", *(["--quick"] if args.quick else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures |= json.loads(done.stdout.splitlines()[-1])
    figures |= gaussian_figures(quick=args.quick) | forward_figures()
    print()
    for key, value in figures.items():
        print(f"{key:28s} {value}")
    print(json.dumps(figures))


def draw(d: int, n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Neurons of which half know something of the tags; tag frequencies fall as 1 / rank."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, classes + 1)
    y = rng.choice(classes, n, p=share / share.sum())
    XT = np.empty((d, n), dtype=np.float32)
    for j in range(d):
        XT[j] = rng.standard_normal(n, dtype=np.float32)
        if j % 2:
            XT[j] += rng.standard_normal(classes, dtype=np.float32)[y]
            XT[j] = (XT[j] - XT[j].mean()) / XT[j].std()
    return XT.T, y


def against_scikit_learn(neurons: int) -> dict[str, Any]:
    """Exact curves of 20,000 tokens and 17 classes, and the loop on some neurons and classes."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from nissl.kernels.rank_curves import rank_curves

    X, y = draw(200, 20_000, 17)
    rank_curves(X[:500, :2], y[:500], 17)  # compiles the loops
    ours, found = cpu(lambda: rank_curves(X, y, 17))
    some = [(j, c) for j in range(neurons) for c in (0, 5, 16)]

    def loop() -> list[tuple[float, ...]]:
        out = []
        for j, c in some:
            mine, x = (y == c).astype(int), X[:, j]
            ends = (x, -x, np.abs(x - np.median(x).astype(np.float64)))
            precision = [float(average_precision_score(mine, end)) for end in ends]
            out.append((float(roc_auc_score(mine, x)), *precision))
        return out

    loop_s, want = cpu(loop)
    got = [[a[c, j] for a in (found.auc, found.high, found.low, found.outer)] for j, c in some]
    each, base = ours / (200 * 17), loop_s / len(some)
    return {
        "auc_us_per_neuron_class": round(1e6 * each, 2),
        "sklearn_us_per_neuron_class": round(1e6 * base, 1),
        "auc_speedup": round(base / each, 1),
        "auc_largest_difference": float(np.abs(np.array(got) - np.array(want)).max()),
    }


def univariate(d: int, n: int, classes: int) -> dict[str, Any]:
    """Seconds of each ranking alone and of all together, and the process's peak memory."""
    from nissl.kernels.all_univariate import METHODS, univariate_scores
    from nissl.kernels.correlation import pearson, spearman
    from nissl.kernels.mutual_information import neighbour_information

    X, y = draw(d, n, classes)
    univariate_scores(X[:500, :2], y[:500], classes)
    spearman(X[:500, :2], np.arange(500.0))  # compiles the loops
    each = {}
    for name in METHODS:
        each[name] = cpu(lambda name=name: univariate_scores(X, y, classes, methods=[name]))[0]
    every, _ = cpu(lambda: univariate_scores(X, y, classes))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    some = max(1, d // 20)
    exact, _ = cpu(lambda: neighbour_information(X[:, :some], y, classes, max_tokens=None))
    target = np.sin(np.arange(float(n)))
    each["pearson"] = cpu(lambda: pearson(X, target))[0]
    each["spearman"] = cpu(lambda: spearman(X, target))[0]
    return {
        "univariate_size": [d, n, classes],
        "univariate_cpu_s": round(every, 2),
        "univariate_gib": round(peak, 2),
        "univariate_cpu_s_each": {name: round(value, 2) for name, value in each.items()},
        "univariate_knn_all_tokens_cpu_s": round(exact * d / some, 1),
    }


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return CPU seconds and the result."""
    since = time.process_time()
    out = work()
    return time.process_time() - since, out


if __name__ == "__main__":
    main()
