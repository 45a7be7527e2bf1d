"""Peak memory of a fit, beyond a process that already holds the neurons.

Each method runs in a process of its own: it loads X (float32, Fortran order) and the labels, warms
up on a tiny problem, resets the highest memory so far (Linux), fits, and reads it again.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _probe_clock import Enough, Recorder
from _probe_data import Problem
from _probe_rows import PEERS, solve

__all__ = ["child", "measure", "tiny"]

LAMBDA, TOL = 1e-3, 1e-3


def measure(problem: Problem, methods: list[str], cap: float) -> dict[str, Any]:
    """Return extra peak bytes over the bytes of X, for each method (``None`` where unmeasured).

    A peer runs until ``cap`` seconds only, so its figure is a lower bound; these methods take what
    they take within their first tens of steps.
    """
    out: dict[str, Any] = {"problem": str(problem)}
    with tempfile.TemporaryDirectory(prefix="nissl-probe-") as work:
        np.save(Path(work) / "XT.npy", problem.XT)
        np.save(Path(work) / "y.npy", problem.y)
        for method in methods:
            command = [sys.executable, str(Path(__file__).parent / "probe.py"), "--memory-child"]
            ran = subprocess.run([*command, work, method, str(cap)], capture_output=True, text=True)
            if ran.returncode:
                raise SystemExit(f"memory of {method}: {ran.stderr.strip().splitlines()[-1]}")
            out[method] = json.loads(ran.stdout.splitlines()[-1])
    return out


def child(folder: Path, method: str, cap: float) -> dict[str, float] | None:
    """Measure one method in this process."""
    XT, y = np.load(folder / "XT.npy"), np.load(folder / "y.npy")
    problem = Problem("memory", XT, y)
    run(tiny(), method, 1.0)  # compiles, and loads what is loaded late
    try:
        # What was freed goes back to the system, or it would hide what the fit takes.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return None
    before = status("VmRSS")
    run(problem, method, cap)
    extra = status("VmHWM") - before
    return {"extra_mb": round(extra / 1e6, 1), "over_x": round(extra / XT.nbytes, 3)}


def run(problem: Problem, method: str, cap: float) -> None:
    if method == "nissl":
        solve(problem, LAMBDA, TOL, None)
        return
    clock = Timer(problem, LAMBDA, LAMBDA, best=1.0, norm=1.0, cap=cap)
    with contextlib.suppress(Enough):
        PEERS[method](problem, LAMBDA, LAMBDA, clock)


class Timer(Recorder):
    """A clock that judges nothing, for judging takes memory."""

    def check(self, W: np.ndarray, b: np.ndarray, value: float | None = None) -> None:
        """End the run when its time is over."""
        self.halt()
        if self.seconds > self.cap:
            raise Enough
        self.go()

    def judge(self, W: np.ndarray, b: np.ndarray, seconds: float) -> float:
        """Know nothing."""
        return np.inf


def tiny() -> Problem:
    """A problem of 200 tokens × 30 neurons × 3 classes, to compile the loops with."""
    rng = np.random.default_rng(0)
    XT = rng.standard_normal((30, 200), dtype=np.float32)
    return Problem("tiny", XT, np.argmax(XT[:3] + rng.gumbel(size=(3, 200)), axis=0))


def status(name: str) -> int:
    """Return a figure of ``/proc/self/status`` in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)
