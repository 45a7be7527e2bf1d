"""The elastic-net probe: CPU seconds to a relative gap, against generic methods; work; memory.

Problems: parts of speech, coarse and fine, from all hidden neurons of MiniLM on English EWT, and a
planted set. Everything runs in one process with one thread; seconds are CPU seconds; every point is
judged by one float64 objective. The last line is JSON.

The treebank is read from ``../shared/data/ud-english-ewt`` where it is; its activations take some
minutes to extract and are kept in ``build/bench-probe``. Elsewhere, and with ``--quick``, the
embedded treebank serves.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from nissl.parallel import set_threads

ROOT = Path(__file__).resolve().parent.parent
PROBLEMS = ("upos", "xpos", "planted")
SECTIONS = (*PROBLEMS, "path", "stacked", "all_rows", "control", "memory")
LAMBDAS = (1e-2, 1e-3, 1e-4)
MAIN, GAP = "0.001", "0.001"
"""Penalty and gap of the headline figures."""


def main() -> None:
    args = arguments()
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    # Libraries that read the number of threads once, when they are loaded, are loaded after this.
    set_threads(1)
    if args.memory_child:
        from _probe_memory import child

        folder, method, cap = args.memory_child
        print(json.dumps(child(Path(folder), method, float(cap))))
        return
    from _probe_data import open_data, planted_data
    from _probe_memory import tiny
    from _probe_rows import solve

    from nissl.progress import set_quiet

    set_quiet(args.quick)
    shared = ROOT.parent / "shared" / "data" / "ud-english-ewt"
    build = ROOT / "build" / "bench-probe"
    if tuple(args.only) == ("planted",):
        data = planted_data(build, quick=args.quick)
    else:
        data = open_data(shared, build, store=args.store, quick=args.quick)
    print(f"activations: {data.source}")
    for note in data.notes:
        print(note)
    solve(tiny(), 1e-2, 1e-2, None)  # compiles the loops
    print(json.dumps(run(args, data)))


def arguments() -> argparse.Namespace:
    """Read and check the command line."""
    from _probe_rows import PEERS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small problems; under a minute")
    parser.add_argument("--only", type=_names(SECTIONS), default=SECTIONS, help="sections")
    parser.add_argument("--peers", type=_names(tuple(PEERS)), default=tuple(PEERS))
    parser.add_argument("--lambdas", type=_numbers, help="λ₁ = λ₂, separated by commas")
    parser.add_argument("--cap", type=float, help="CPU seconds a peer may take (120; quick: 0.6)")
    parser.add_argument("--store", type=Path, help="a store of EWT's training text, hidden sites")
    parser.add_argument("--memory-child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.cap = args.cap or (0.6 if args.quick else 120.0)
    args.lambdas = args.lambdas or ((1e-3,) if args.quick else LAMBDAS)
    return args


def run(args: argparse.Namespace, data: Any) -> dict[str, Any]:
    """Run the wanted sections, print each, and return the figures."""
    from _probe_memory import measure
    from _probe_rows import compare, gradient_seconds, table
    from _probe_sections import path, single, stacked

    figures: dict[str, Any] = {
        "source": data.source,
        "quick": args.quick,
        "cap_cpu_s": args.cap,
        "processor": processor(),
        "problems": {},
    }
    for name in PROBLEMS:
        if name not in args.only:
            continue
        problem = data.problem(name)
        entry: dict[str, Any] = {
            "tokens": len(problem.y),
            "neurons": len(problem.XT),
            "classes": problem.n_classes,
            "gradient_cpu_s": round(gradient_seconds(problem), 3),
            "lambdas": {},
        }
        figures["problems"][name] = entry
        for lam in args.lambdas:
            row = compare(problem, lam, args.peers, args.cap, 1 if args.quick else 3)
            entry["lambdas"][f"{lam:g}"] = row
            print("\n" + table(f"{problem}, λ₁ = λ₂ = {lam:g}", row, args.cap), flush=True)
    if "path" in args.only:
        show(figures, "path", path(data.problem("upos")))
    if "stacked" in args.only:
        upos = data.problem("upos")
        show(figures, "stacked", stacked(upos, data.forms, 4 if args.quick else 16))
    if "control" in args.only:
        show(figures, "control", single(data.problem("control"), 10 * args.cap))
    if "memory" in args.only:
        methods = ["nissl", *(["fista", "lbfgsb"] if not args.quick else [])]
        # The quick matrices are of some MB, to which a library's own buffers are much.
        which = PROBLEMS[:1] if args.quick else PROBLEMS
        cap = min(args.cap, 15)
        found = {name: measure(data.problem(name), methods, cap) for name in which}
        show(figures, "memory", found)
    if "all_rows" in args.only:
        show(figures, "all_rows", single(data.whole(), 20 * args.cap))
    return figures | headline(figures)


def headline(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that the whole comes down to; ``None`` where a section did not run."""
    from _probe_rows import GENERIC

    generic, bounds, sagas, saga_bounds, gradients = [], [], [], [], []
    for entry in figures["problems"].values():
        row = entry["lambdas"].get(MAIN)
        if row is None or not row["nissl"]["cpu_s"][GAP]:
            continue
        ours = row["nissl"]["cpu_s"][GAP]
        gradients.append(row["nissl"]["gradients"][GAP])
        peers = {
            name: (peer["cpu_s"][GAP] or peer["bound_cpu_s"], peer["cpu_s"][GAP] is None)
            for name, peer in row["peers"].items()
            if "cpu_s" in peer
        }
        timed = [peers[name] for name in GENERIC if name in peers]
        if timed:
            seconds, bound = min(timed)
            generic.append(round(seconds / ours, 2))
            bounds.append(bound)
        if "saga" in peers:
            seconds, bound = peers["saga"]
            sagas.append(round(seconds / ours, 1))
            saga_bounds.append(bound)
    memory = figures.get("memory", {})
    over = [m["nissl"]["over_x"] for m in memory.values() if m.get("nissl")]
    return {
        "speedup_best_generic": min(generic, default=None),
        "speedup_best_generic_is_bound": any(bounds),
        "speedup_saga": min(sagas, default=None),
        "speedup_saga_is_bound": any(saga_bounds),
        "gradient_equivalents": max(gradients, default=None),
        "memory_over_x": max(over, default=None),
        "path_gradients": figures.get("path", {}).get("gradients"),
        "path_seconds": figures.get("path", {}).get("cpu_s"),
    }


def show(figures: dict[str, Any], name: str, found: dict[str, Any]) -> None:
    """Enter a section's figures and print them."""
    figures[name] = found
    print(f"\n{name}")
    for key, value in found.items():
        print(f"  {key:22s} {value}", flush=True)


def processor() -> str:
    """Return the processor's name, where the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return os.uname().machine if hasattr(os, "uname") else sys.platform


def _names(known: tuple[str, ...]) -> Any:
    def names(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f'"{name}" is none of {", ".join(known)}')
        return found

    return names


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


if __name__ == "__main__":
    main()
