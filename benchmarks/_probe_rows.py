"""CPU seconds to a relative gap: Nissl and its peers on one problem and one pair of penalties."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _probe_clock import GAPS, Enough, Recorder, objective
from _probe_data import Problem
from _probe_generic import fista, lbfgsb, saga
from _probe_optional import NotApplicable, cyanure, neurox, skglm, sklearn_lbfgs

__all__ = ["GENERIC", "PEERS", "compare", "gradient_seconds", "solve", "table"]

Peer = Callable[[Problem, float, float, Recorder], None]
PEERS: dict[str, Peer] = {
    "fista": fista,
    "lbfgsb": lbfgsb,
    "cyanure": cyanure,
    "saga": saga,
    "skglm": skglm,
    "sklearn-lbfgs": sklearn_lbfgs,
    "neurox": neurox,
}
GENERIC = ("fista", "lbfgsb", "cyanure", "saga", "skglm")
"""Methods for any smooth loss and separable penalty; NeuroX trains and does not solve."""
REFERENCE = 1e-5
"""Gap of the solution that all gaps are relative to."""


def solve(problem: Problem, lam: float, tol: float, limit: float | None) -> tuple[float, Any]:
    """Fit with Nissl at λ₁ = λ₂; return CPU seconds and the fit."""
    from nissl.kernels.elastic_net import fit_elastic_net

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit says itself whether it converged
        began = time.process_time()
        fit = fit_elastic_net(
            problem.X, problem.y, problem.n_classes, l1=lam, l2=lam, tol=tol, time_limit=limit
        )
        return time.process_time() - began, fit


def compare(
    problem: Problem, lam: float, peers: Sequence[str], cap: float, rounds: int
) -> dict[str, Any]:
    """Time Nissl and the peers on one problem.

    Nissl's seconds are those of a fit that ends with a certificate of the gap, the middle one of
    some rounds where one is quick. A peer's are those up to its first point whose objective is
    within the gap of the best, however it would have known.

    Returns
    -------
    dict
        Figures; seconds that were not reached are ``None``, and ``bound_cpu_s`` is what they are
        more than: the cap, or the time of a run that ended before it.
    """
    spent, best = solve(problem, lam, REFERENCE, 3 * cap)
    lowest = objective(problem, best.coef, best.intercept, lam, lam)
    row: dict[str, Any] = {
        "best": lowest,
        "best_certified_gap": _short(best.gap),
        "best_cpu_s": round(spent, 2),
        "weights": int(np.count_nonzero(best.coef)),
        "nissl": {"cpu_s": {}, "gradients": {}, "certified_gap": {}, "true_gap": {}},
        "peers": {},
    }
    values = [lowest]
    for gap in GAPS:
        seconds, fit = solve(problem, lam, gap, 3 * cap)
        times = [seconds]
        while seconds < 10 and len(times) < rounds:
            times.append(solve(problem, lam, gap, 3 * cap)[0])
        value = objective(problem, fit.coef, fit.intercept, lam, lam)
        values.append(value)
        ours, key = row["nissl"], f"{gap:g}"
        ours["cpu_s"][key] = round(sorted(times)[len(times) // 2], 3) if fit.converged else None
        ours["gradients"][key] = round(float(fit.gradients), 1)
        ours["certified_gap"][key] = _short(fit.gap)
        ours["true_gap"][key] = _short(value / lowest - 1)
    norm = float(np.linalg.norm(best.coef))
    for name in peers:
        clock = Recorder(problem, lam, lam, best=lowest, norm=norm, cap=cap)
        row["peers"][name] = _run(PEERS[name], clock)
        values.append(clock.lowest)
    # The check of the certificate: nobody may be below what it says is possible.
    if min(values) < lowest * (1 - max(float(best.gap), 0.0)) - 1e-9:
        raise SystemExit(
            f"{problem.name}, λ = {lam:g}: objective {min(values):.8f} is below the certified "
            f"bound of {lowest:.8f} less {best.gap:.1e}; a certificate or an objective is wrong"
        )
    return row


def _run(peer: Peer, clock: Recorder) -> dict[str, Any]:
    try:
        peer(clock.problem, clock.l1, clock.l2, clock)
    except Enough:
        pass
    except NotApplicable as error:
        return {"note": str(error)}
    out: dict[str, Any] = {
        "cpu_s": {
            f"{gap:g}": round(clock.reached[gap], 3) if gap in clock.reached else None
            for gap in clock.gaps
        },
        "bound_cpu_s": round(min(clock.seconds, clock.cap), 3),
        "lowest_gap": _short(clock.lowest / clock.best - 1),
    }
    return out | ({"note": clock.why} if clock.why else {})


def gradient_seconds(problem: Problem) -> float:
    """Return CPU seconds of one full gradient's two matrix products, the middle one of three."""
    size = (problem.n_classes, len(problem.XT))
    W = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    times = []
    for _ in range(3):
        began = time.process_time()
        _ = (W @ problem.XT) @ problem.XT.T
        times.append(time.process_time() - began)
    return sorted(times)[1]


def table(title: str, row: dict[str, Any], cap: float) -> str:
    """Return a comparison as text."""
    keys = [f"{gap:g}" for gap in GAPS]
    ours = row["nissl"]["cpu_s"]
    lines = [title, f"  {'CPU s to a gap of':18s}" + "".join(f"{key:>12s}" for key in keys)]
    lines.append(f"  {'nissl (certified)':18s}" + "".join(_cell(ours[k], 3 * cap) for k in keys))
    for name, peer in row["peers"].items():
        note = f"  {peer['note']}" if "note" in peer else ""
        if "cpu_s" not in peer:
            lines.append(f"  {name:18s}{note}")
            continue
        bound = peer["bound_cpu_s"]
        cells = "".join(_cell(peer["cpu_s"][key], bound) for key in keys)
        mine, theirs = ours["0.001"], peer["cpu_s"]["0.001"]
        if mine:
            more = "" if theirs else "> "
            cells += f"   {more}{(theirs or bound) / mine:.1f} × nissl's at 0.001"
        if None in peer["cpu_s"].values():
            cells += f", ended at {peer['lowest_gap']:.1e}"
        lines.append(f"  {name:18s}{cells}{note}")
    return "\n".join(lines)


def _cell(seconds: float | None, bound: float) -> str:
    return f"{seconds:12.2f}" if seconds is not None else f"{f'> {bound:.3g}':>12s}"


def _short(value: float) -> float:
    return float(f"{value:.3g}")
