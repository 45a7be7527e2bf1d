"""Rankings on real text: accuracy of a probe retrained on each one's best neurons.

Neurons are MiniLM's. Each ranking is made from the training tokens with its settings as named; a
ridge probe is then trained on its best k neurons until it has converged. The ridge is chosen for
each k by a fifth of the training sentences on the neurons that LCA puts first (no other method is
favoured), and is the same for all. Accuracy is that on the test part, with 95 % intervals by
sentence; random sets are ten draws. The second table is the smallest set within one point of all
neurons on the dev part. Seconds are CPU seconds of one thread.

``--train`` and ``--test`` are stores made by ``nissl extract`` (MiniLM on the train and dev part of
UD English EWT for the figures in docs/rankings.md). Without them, and with ``--quick``, the
treebank that comes with Nissl is used. Orders are kept in ``--work`` and used again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from nissl.parallel import set_threads

SIZES = "27,134,269"
RIDGES = (1e-2, 1e-3, 3e-4, 1e-4, 3e-5)
QUICK = ("random", "probeless", "f", "lca", "weights")
METHODS = (
    *("random", "f", "mean-difference", "probeless", "auc", "ap", "iou", "mi", "knn-mi"),
    *("lca", "lca:penalty=ridge", "lca:penalty=none", "weights", "weights:over=max"),
    *("attribution", "attribution:method=gradient", "k-sparse:pool=128", "gaussian", "latent"),
    *("backward", "group-lasso:smallest=0.05", "forward:score=gradient", "forward"),
    "forward:l2=1e-4:swap_at=27:failures=150:tol=1e-2",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="treebank, five rankings")
    parser.add_argument("--train", help="store of training tokens")
    parser.add_argument("--test", help="store of test tokens")
    parser.add_argument("--label", default="xpos")
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--methods", help="rankings, separated by commas; all by default")
    parser.add_argument("--minimal", help="rankings whose minimal sets are sought")
    parser.add_argument("--work", type=Path, help="folder in which orders are kept")
    args = parser.parse_args()
    set_threads(1)
    from _rankings_text_data import show, text_task, treebank_task

    from nissl.progress import set_quiet

    set_quiet(True)
    if bool(args.train) != bool(args.test):
        parser.error("give --train and --test together")
    if args.train:
        task = text_task(args.train, args.test, args.label, args.tokens)
    else:
        task = treebank_task(args.label)
    print(task)
    methods = args.methods.split(",") if args.methods else QUICK if args.quick else METHODS
    minimal = ("lca", "weights") if args.quick else ("lca", "weights", "forward")
    minimal = args.minimal.split(",") if args.minimal else minimal
    sizes = [int(k) for k in args.sizes.split(",")]
    orders, seconds = orders_of(task, dict.fromkeys([*methods, *minimal]), args.work)
    ridges = choose_ridges(task, orders.get("lca"), sizes)
    print("ridge by k:", ridges)
    rows = table(task, {name: orders[name] for name in methods}, sizes, ridges)
    for row in rows:
        row["cpu_s"] = seconds.get(str(row["ranking"]))
    show([{k: v for k, v in row.items() if not k.endswith("_interval")} for row in rows])
    sets = [minimal_row(task, name, orders[name]) for name in minimal]
    show(sets)
    figures = {
        "label": task.name,
        "tokens": len(task.train),
        "ridges": {str(k): ridge for k, ridge in ridges.items()},
        "accuracy": {row["ranking"]: [row[str(k)] for k in sizes] for row in rows},
        "intervals": {row["ranking"]: [row[f"{k}_interval"] for k in sizes] for row in rows},
        "cpu_s": seconds,
        "minimal": {row["ranking"]: [row["k_low"], row["k"], row["k_high"]] for row in sets},
    }
    print(json.dumps(figures))


def orders_of(
    task: Any, names: dict[str, None], work: Path | None
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Rank by every method, or read the order that an earlier run kept."""
    from nissl.methods import rank

    orders, seconds = {}, {}
    for name in names:
        kept = None if work is None else work / f"{task.name}-{len(task.train)}-{name}.json"
        if kept is not None and kept.is_file():
            found = json.loads(kept.read_text())
        else:
            began = time.process_time()
            order = rank(task, name).order.tolist()
            found = {"order": order, "cpu_s": round(time.process_time() - began, 1)}
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(found))
        orders[name], seconds[name] = np.array(found["order"]), found["cpu_s"]
        print(f"{name}: {seconds[name]} CPU s", flush=True)
    return orders, seconds


def choose_ridges(task: Any, order: np.ndarray | None, sizes: list[int]) -> dict[int, float]:
    """Return the ridge of each k that does best on held-out training sentences."""
    from _rankings_text_data import held_out

    from nissl.kernels.dense import fit_dense
    from nissl.kernels.fit import predict_scores

    order = np.random.default_rng(0).permutation(task.n_neurons) if order is None else order
    fit_on, score_on = held_out(task)
    XT, y = task.train.X.T, task.train.y
    chosen = {}
    for k in sizes:
        Z = XT[order[:k]]
        A, B = np.ascontiguousarray(Z[:, fit_on]).T, np.ascontiguousarray(Z[:, score_on]).T
        best, start = (-1.0, 0.0), None
        for ridge in RIDGES:
            start = fit_dense(
                A, y[fit_on], task.n_classes, l2=ridge, start=start, tol=1e-3, certificate=False
            )
            guess = predict_scores(B, start.coef, start.intercept).argmax(axis=1)
            # Ties go to the larger ridge, which is fitted sooner.
            best = max(best, (float((guess == y[score_on]).mean()), ridge))
        chosen[k] = best[1]
    return chosen


def table(
    task: Any, orders: dict[str, np.ndarray], sizes: list[int], ridges: dict[int, float]
) -> list[dict[str, Any]]:
    """Return one row a ranking, and one for random sets and for all neurons."""
    from nissl.kernels.dense import fit_dense
    from nissl.methods.evaluate import correct_of_subset, estimate, random_sets, take_columns

    def right(neurons: np.ndarray, k: int) -> np.ndarray:
        X = take_columns(task.train.X, neurons)
        fit = fit_dense(X, task.train.y, task.n_classes, l2=ridges[k], tol=1e-3, certificate=False)
        return correct_of_subset(task.test, fit.coef, fit.intercept, neurons)

    def row(name: str, found: dict[int, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {"ranking": name}
        for k, value in found.items():
            out[str(k)] = round(value.value, 4)
            out[f"{k} 95 %"] = f"{value.low:.3f}–{value.high:.3f}"
            out[f"{k}_interval"] = [round(value.low, 4), round(value.high, 4)]
        return out

    draws = {
        k: np.stack([right(s, k) for s in random_sets(task.n_neurons, k, 10, 0)]) for k in sizes
    }
    chance = {k: estimate(value, task.test, seed=0) for k, value in draws.items()}
    print(
        "random sets of",
        {k: f"{v.mean(1).min():.3f}–{v.mean(1).max():.3f}" for k, v in draws.items()},
    )
    rows = [row("(10 random sets)", chance)]
    for name, order in orders.items():
        found = {k: estimate(right(order[:k], k), task.test, seed=0) for k in sizes}
        rows.append(row(name, found))
    return sorted(rows, key=lambda r: r[str(sizes[0])])


def minimal_row(task: Any, name: str, order: np.ndarray) -> dict[str, Any]:
    """Return the smallest set of an order within one point of all neurons on the dev part."""
    from nissl.methods import minimal_set
    from nissl.methods.rank import rank_order

    ranking = dataclasses.replace(rank_order(task, "order", order), method=name)
    found = minimal_set(task, ranking, deltas=(1.0,), draws=5, seed=0)
    row = found.sets.row(0, named=True)
    return {
        "ranking": name,
        "k_low": row["k_low"],
        "k": row["k"],
        "k_high": row["k_high"],
        "test": round(row["accuracy"], 4),
        "random": round(row["random_accuracy"], 4),
        "all": round(found.all_test, 4),
    }


if __name__ == "__main__":
    main()
