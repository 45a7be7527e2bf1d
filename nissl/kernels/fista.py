"""The engine for accelerators: many probes on one matrix by stacked FISTA, in torch.

Steps are float32 on the device (``_fista_step.py``); what is returned is certified in float64 from
the data, with the formulas of :func:`nissl.kernels.fit.certify`, on the device and by row blocks.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from nissl.errors import InputError, NotConverged, SettingError, did_you_mean
from nissl.kernels._fista_certify import CERTIFY_BYTES, Certificate, Point, certify_rows
from nissl.kernels._fista_rows import Rows
from nissl.kernels._fista_step import Member, Stack
from nissl.kernels.checks import check_matrix
from nissl.kernels.fit import Fit
from nissl.kernels.problem import Problem

__all__ = ["solve_many_torch"]

PATIENCE = 100
"""Steps after which a problem close to its tolerance is certified in any case."""


def solve_many_torch(
    X: Shaped[Any, "n d"],
    problems: Sequence[Problem],
    *,
    tol: float = 1e-3,
    max_iter: int = 2000,
    time_limit: float | None = None,
    device: Any = None,
    block: int | None = None,
    dtype: Any = "float32",
) -> list[Fit]:
    """Fit many problems on one matrix, all of them in the same matrix products.

    Parameters
    ----------
    X
        Standardised neurons, (n, d): float16, float32 or float64 of numpy (a memory map is read
        block by block), or a torch tensor of floats, bfloat16 too.
    problems
        Labels, penalties, token weights and starts.
    tol
        Relative duality gap at which a problem is done and leaves the stack.
    max_iter
        Steps; each takes one gradient of all problems that are left.
    time_limit
        Wall seconds (a processor's clock does not see the device) after which the best points
        are returned as they are.
    device
        A torch device; by default that of a tensor X, else the first CUDA device, else the
        processor.
    block
        Tokens in a block of rows, in which logits are made and X is streamed when it does not fit.
    dtype
        ``"float32"`` or ``"float64"`` for the steps. float32 reaches gaps of about 1e-5.

    Returns
    -------
    list of Fit
        In the order of ``problems``. ``objective``, ``gap`` and ``kkt`` are float64 values from the
        data; ``seconds`` are wall seconds until the problem was done, shared with the others;
        ``gradients`` leaves certificates out.

    Raises
    ------
    InputError, LabelError, SettingError

    Warns
    -----
    NotConverged
        When steps or time ran out; the fits say how far they are.
    """
    import torch

    began = time.perf_counter()
    for name, value in (("tol", tol), ("max_iter", max_iter), ("block", block)):
        if value is not None and not value > 0:
            raise SettingError(f"{name} must be greater than 0, not {value}")
    if time_limit is not None and not time_limit >= 0:
        raise SettingError(f"time_limit must be 0 or more, not {time_limit}")
    data = _tensor(X)
    place = _device(device, data if isinstance(X, torch.Tensor) else None)
    kind = _dtype(dtype)
    n, d = data.shape
    jobs = [_Job.of(p, n, d) for p in problems]
    if not jobs:
        return []
    K = sum(len(job.present) for job in jobs)
    rows = Rows(data, place, kind, rows=K, block=block)
    length = 1 / _largest_variance(rows, kind)
    stack = Stack([job.member(d, length) for job in jobs], n, d, device=place, dtype=kind)
    for step in range(1, max_iter + 1):
        stack.step(rows)
        near = stack.relative.tolist()
        late = time_limit is not None and time.perf_counter() - began > time_limit
        due = []
        for i, p in enumerate(stack.order):
            job = jobs[p]
            job.steps = step
            promising = near[i] <= 0.9 * tol and step - job.asked >= job.wait
            if promising or (step - job.asked >= PATIENCE and near[i] <= 10 * tol):
                due.append(i)
        if due:
            stay = [True] * len(stack.order)
            _certify(stack, due, ("W", "b"), jobs, rows, tol=tol, began=began)
            for i in due:
                job = jobs[stack.order[i]]
                job.asked = step
                job.wait = min(2 * job.wait, 16)
                stay[i] = not (job.fit is not None and job.fit.converged)
            if not any(stay):
                break
            if not all(stay):
                stack.keep(stay)
        if late or step == max_iter:
            left = list(range(len(stack.order)))
            _certify(stack, left, ("W", "b"), jobs, rows, tol=tol, began=began)
            _certify(stack, left, ("Y_best", "c_best"), jobs, rows, tol=tol, began=began)
            break
    fits = [job.fit for job in jobs if job.fit is not None]
    open_gaps = [fit.gap for fit in fits if not fit.converged]
    if open_gaps:
        warnings.warn(
            f"{len(open_gaps)} of {len(fits)} probes stopped before their tolerance {tol:g} "
            f"(largest gap {max(open_gaps):.1e}); raise max_iter or time_limit, or the penalties",
            NotConverged,
            stacklevel=2,
        )
    return fits


@dataclass
class _Job:
    """A problem on its way: its classes that have weight, and the best fit so far."""

    problem: Problem
    y: np.ndarray
    theta: np.ndarray
    present: np.ndarray
    fit: Fit | None = None
    steps: int = 0
    asked: int = 0
    wait: int = 1

    @classmethod
    def of(cls, problem: Problem, n: int, d: int) -> _Job:
        y, theta = problem.check(n, d)
        target = np.bincount(y, weights=theta, minlength=problem.n_classes)
        present = np.flatnonzero(target > 0)
        # A class without weight only adds to the loss: it is left out, its weights are 0. Tokens
        # without weight may be of such a class; any other label serves.
        number = np.zeros(problem.n_classes, dtype=np.int64)
        number[present] = np.arange(len(present))
        return cls(problem, number[y], theta, present)

    def member(self, d: int, length: float) -> Member:
        p, C = self.problem, len(self.present)
        if p.start is None:
            W = np.zeros((C, d))
            b = np.log(np.bincount(self.y, weights=self.theta, minlength=C))
        else:
            W, b = p.start.coef[self.present], p.start.intercept[self.present]
        return Member(self.y, self.theta, C, p.l1, p.l2, W, b, p.start is None, length)

    def take(self, found: Certificate, W: np.ndarray, tol: float, began: float) -> None:
        """Keep a certified point if it is the best of this problem."""
        if self.fit is not None and not found.primal < self.fit.objective:
            return
        gap = (found.primal - found.dual) / found.primal if found.primal > 0 else 0.0
        C = self.problem.n_classes
        coef = np.zeros((C, W.shape[1]))
        coef[self.present] = W
        # Where a class has no weight its intercept is so low that no token has e⁻⁴⁰ of it.
        intercept = np.full(C, found.floor - 40.0)
        intercept[self.present] = found.intercept
        self.fit = Fit(
            coef=coef,
            intercept=intercept,
            objective=found.primal,
            gap=float(gap),
            kkt=found.kkt,
            iterations=self.steps,
            gradients=float(self.steps),
            seconds=time.perf_counter() - began,
            converged=bool(gap <= tol),
        )


def _certify(
    stack: Stack,
    which: list[int],
    names: tuple[str, str],
    jobs: list[_Job],
    rows: Rows,
    *,
    tol: float,
    began: float,
) -> None:
    """Certify points of some problems of a stack, as many at a time as memory takes."""
    W, b = getattr(stack, names[0]), getattr(stack, names[1])
    ends = stack.size.cumsum(0).tolist()
    share = max(1, CERTIFY_BYTES // (8 * rows.n))
    bunch: list[int] = []
    width = 0
    for place, i in enumerate(which):
        bunch.append(i)
        width += int(stack.size[i])
        if place + 1 < len(which) and width + int(stack.size[which[place + 1]]) <= share:
            continue
        picked = [jobs[stack.order[j]] for j in bunch]
        spans = [slice(ends[j] - int(stack.size[j]), ends[j]) for j in bunch]
        coefs = [W[span].cpu().numpy().astype(np.float64) for span in spans]
        points = [
            Point(job.y, job.theta, coef, b[span].cpu().numpy(), job.problem.l1, job.problem.l2)
            for job, coef, span in zip(picked, coefs, spans, strict=True)
        ]
        for job, coef, found in zip(picked, coefs, certify_rows(rows, points), strict=True):
            job.take(found, coef, tol, began)
        bunch, width = [], 0


def _tensor(X: Any) -> Any:
    """Return X as a torch tensor that shares its memory where that can be, after checking it."""
    import torch

    if isinstance(X, torch.Tensor):
        if not X.is_floating_point():
            raise InputError(f"activations must be floating-point numbers, not {X.dtype}")
        _check_tensor(X)
        return X.detach()
    if not isinstance(X, np.ndarray):
        raise InputError(f"X must be a numpy array or a torch tensor, not {type(X).__name__}")
    if X.dtype.kind != "f" or X.dtype.itemsize > 8:
        raise InputError(f"activations must be float16, float32 or float64, not {X.dtype}")
    check_matrix(X)
    native = X.astype(X.dtype.newbyteorder("="), copy=False)
    if any(step < 0 for step in native.strides):
        native = native.copy()
    with warnings.catch_warnings():
        # torch warns of arrays that cannot be written, as memory maps; nothing writes here.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(native)


def _check_tensor(X: Any) -> None:
    """The checks of :func:`nissl.kernels.checks.check_matrix`, on the tensor's own device."""
    import torch

    if X.ndim != 2 or 0 in X.shape:
        check_matrix(np.empty(tuple(X.shape), dtype=np.float32))
    total = X.sum(dim=0, dtype=torch.float64)
    if not bool(total.isfinite().all()):
        column = int((~total.isfinite()).nonzero()[0, 0])
        row = int((~X[:, column].isfinite()).nonzero()[0, 0])
        raise InputError(
            f"neuron {column} is {float(X[row, column])} at token {row}; activations must be finite"
        )


def _device(device: Any, tensor: Any) -> Any:
    """Return the torch device to work on."""
    import torch

    if device is None:
        if tensor is not None:
            place = tensor.device
        else:
            place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    else:
        try:
            place = torch.device(device)
        except RuntimeError:
            name = str(device)
            hint = did_you_mean(name, ["cpu", "cuda", "cuda:0"])
            raise SettingError(
                f'there is no device "{name}"; name "cpu" or "cuda".{hint}'
            ) from None
    if place.type not in ("cpu", "cuda"):
        raise SettingError(
            f'device "{place}" cannot certify in float64; name "cpu" or "cuda" instead'
        )
    if place.type == "cuda":
        if not torch.cuda.is_available() or (place.index or 0) >= torch.cuda.device_count():
            raise SettingError(f'torch sees no device "{place}" here; use "cpu"')
        # Tensors name their device by number, and are compared with it.
        place = torch.device(
            "cuda", torch.cuda.current_device() if place.index is None else place.index
        )
    return place


def _dtype(dtype: Any) -> Any:
    """Return the torch type of the steps."""
    import torch

    name = str(dtype).removeprefix("torch.")
    known = {"float32": torch.float32, "float64": torch.float64}
    if name not in known:
        hint = did_you_mean(name, known)
        raise SettingError(f'steps are made in "float32" or "float64", not "{name}".{hint}')
    return known[name]


def _largest_variance(rows: Rows, dtype: Any) -> float:
    """Largest eigenvalue of XᵀX / n, roughly: power iteration on the first block of tokens."""
    import torch

    _, _, X = next(rows(dtype))
    v = torch.from_numpy(np.random.default_rng(0).standard_normal(rows.d)).to(X)
    largest = 0.0
    for _ in range(8):
        v = X.T @ (X @ (v / v.norm()))
        largest = float(v.norm()) / len(X)
        if not largest > 0:
            return 1.0
    return largest
