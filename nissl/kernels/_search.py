"""How one sparse probe is found: samples first, λ from strong to weak, sweeps, a certificate."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from nissl.kernels._accelerated import accelerate
from nissl.kernels._drive import Clock, Request
from nissl.kernels._joint import joint_step
from nissl.kernels._neurons import Neurons
from nissl.kernels._newton import State
from nissl.kernels.dense import minimise_ridge, minimise_split
from nissl.kernels.fit import Fit, certify

__all__ = ["Limits", "Samples", "solve", "walk"]

CONTINUATION = 0.3
"""Ratio of successive λ₁ on the way down from the smallest one that gives no weights."""

CAP = 128
"""Neurons that may join a class's working set at once, or as many as it has."""

SAMPLE = 5_000
"""Tokens of the first sample."""

GROWTH = 4
"""A sample is this many times smaller than the next, and the last than the whole."""

SLOW = 0.4
"""A sweep that leaves this share of the gap is slow."""

ROUNDING = 2e-5
"""Accelerated gradients compare objectives, which float32 products do not tell apart below this."""

NOISE = 0.06
"""Tokens of a sample times λ₁², at least: about the noise of a gradient there."""

DENSE = 0.5
"""Where Gram matrices would be larger than this share of the matrix of neurons, they are done
without: accelerated gradients need no memory."""

ALLOWED = 16_000_000
"""Numbers in Gram matrices that are always allowed (64 MiB)."""


@dataclass(frozen=True)
class Limits:
    """When to stop: relative gap, sweeps."""

    tol: float
    max_iter: int


class Samples:
    """Nested random samples of the tokens, made when first asked for and shared by problems."""

    def __init__(self, neurons: Neurons) -> None:
        self.whole = neurons
        n = neurons.n
        self.sizes: list[int] = []
        size = SAMPLE
        while size * GROWTH <= n:
            self.sizes.append(size)
            size *= GROWTH
        self._order = np.random.default_rng(0).permutation(n) if self.sizes else np.arange(0)
        self._made: dict[int, tuple[np.ndarray, Neurons]] = {}

    def get(self, size: int) -> tuple[np.ndarray, Neurons]:
        """Return tokens (sorted) and their neurons; smaller samples are given up."""
        if size not in self._made:
            tokens = np.sort(self._order[:size])
            self._made = {size: (tokens, self.whole.take(tokens))}
        return self._made[size]


def solve(
    state: State, l1: float, l2: float, limits: Limits, clock: Clock, samples: Samples | None
) -> Generator[Request, np.ndarray, Fit]:
    """Fit one pair of penalties from the state's weights, or afresh through samples."""
    if l1 == 0:
        # Nothing is sparse: the dense method is at home here.
        left = None if clock.deadline is None else max(0.0, clock.deadline - time.thread_time())
        fit, _ = minimise_ridge(
            state.neurons.XT,
            state.y,
            state.n_classes,
            state.theta,
            l2=l2,
            start=_warm(state) if state.W.any() else None,
            tol=limits.tol,
            time_limit=left,
        )
        state.start(fit.coef, fit.intercept)
        return fit
    if samples is not None:
        yield from _sampled(state, l1, l2, clock, samples)
    before = state.work
    fit = yield from _refine(state, l1, l2, limits, clock, before)
    if fit.converged or clock.late():
        return fit
    # At very small λ₁ the classes couple and blocks stall: go on with quasi-Newton steps.
    deadline = clock.deadline
    coef, intercept, calls = minimise_split(
        state.neurons.XT,
        state.y,
        state.theta,
        fit.coef,
        fit.intercept,
        l1=l1,
        l2=l2,
        tol=0.5 * limits.tol,
        deadline=deadline,
    )
    state.start(coef, intercept)
    state.work += calls * 4.0 * state.neurons.n * state.neurons.d * state.n_classes
    # These end at the rounding floor of the objective, which is above a tight tolerance: the
    # blocks, whose steps are judged by differences, have the last word.
    other = yield from _refine(state, l1, l2, limits, clock, before)
    if other.objective < fit.objective:
        return other
    state.start(fit.coef, fit.intercept)
    return fit


def walk(
    state: State,
    grid: list[tuple[float, float]],
    limits: Limits,
    clock: Clock,
    done: Callable[[int, Fit], None],
) -> Generator[Request, np.ndarray, None]:
    """Fit a grid of penalties in order, each from where the last one ended."""
    for i, (l1, l2) in enumerate(grid):
        state.work, before = 0.0, clock.seconds()
        fit = yield from solve(state, l1, l2, limits, clock, None)
        done(i, _since(fit, before))


def _since(fit: Fit, before: float) -> Fit:
    return dataclasses.replace(fit, seconds=max(0.0, fit.seconds - before))


def _warm(state: State) -> Fit:
    return Fit(
        state.W.astype(np.float64), state.b.copy(), np.inf, np.inf, np.inf, 0, 0.0, 0.0, False
    )


def _sampled(
    state: State, l1: float, l2: float, clock: Clock, samples: Samples
) -> Generator[Request, np.ndarray, None]:
    """Bring the state near the optimum: λ₁ from strong to weak, on samples while they suffice.

    A sample of m tokens tells a gradient of size λ₁ from noise as long as m λ₁² is not small.
    """
    at, size = state, state.neurons.n
    level = np.inf
    while True:
        wanted = next((m for m in samples.sizes if m * level**2 >= NOISE), state.neurons.n)
        if at is state and level == np.inf and samples.sizes:
            wanted = samples.sizes[0]
        if wanted != size:
            at, size = _move(state, at, wanted, samples), wanted
        gradient, _ = yield from _gradient(at)
        if level == np.inf:
            level = float(np.abs(gradient).max())
        level *= CONTINUATION
        if level <= l1 * 1.2 or clock.late():
            break
        at.sweep(at.violation(gradient, level, l2), level, l2, cap=CAP, tol=0.1)
    if at is not state:
        _move(state, at, state.neurons.n, samples)


def _move(state: State, small: State, size: int, samples: Samples) -> State:
    """Go on from ``small`` on another sample, or on the whole."""
    if size == state.neurons.n:
        large = state
    else:
        tokens, neurons = samples.get(size)
        weight = _reweighted(state, tokens)
        if weight is None:
            return small
        large = State(neurons, state.y[tokens], state.n_classes, weight)
    if small is not state:
        state.work += small.work
        small.work = 0.0
        _hand_over(small, large)
    return large


def _reweighted(state: State, tokens: np.ndarray) -> np.ndarray | None:
    """Weights of sampled tokens that give each class its share of the whole."""
    weight = state.theta[tokens]
    share = np.bincount(state.y[tokens], weights=weight, minlength=state.n_classes)
    if (share > 0).sum() < 2:
        return None
    weight = weight * (state.target / np.maximum(share, 1e-300))[state.y[tokens]]
    return weight / weight.sum()


def _hand_over(small: State, large: State) -> None:
    """Start a state from one over fewer tokens, which may lack classes."""
    b = small.b.copy()
    lacking = (small.target == 0) & (large.target > 0)
    if lacking.any():
        known = small.target > 0
        level = float((small.b[known] - np.log(small.target[known])).mean())
        b[lacking] = level + np.log(large.target[lacking])
    large.start(small.W, b)


def _gradient(state: State) -> Generator[Request, np.ndarray, tuple[np.ndarray, float]]:
    """Settle intercepts; return the gradient of the loss (C, d) and the entropy."""
    R, entropy = state.residual()
    G = yield Request(state.neurons, R)
    state.work += 2.0 * R.size * state.neurons.d
    return G, entropy


def _improve(state: State, gradient: np.ndarray, l1: float, l2: float, i: int) -> None:
    joint = i > 0 and joint_step(state, gradient, l1, l2)
    violation = state.violation(gradient, l1, l2)
    if joint:
        # The weights that are not zero have moved past this gradient: only newcomers count.
        violation[state.W != 0] *= 0.3
    tol = 0.05 if i < 6 else 0.01
    state.sweep(violation, l1, l2, cap=CAP, tol=tol)
    if i > 0:
        # Gram matrices are at hand: a second round is cheap beside the next gradient.
        state.sweep((state.W != 0).astype(np.float32), l1, l2, cap=0, tol=tol)


def _dense(state: State) -> bool:
    held = ((state.W != 0).sum(axis=1).astype(np.float64) ** 2).sum()
    return bool(held > max(ALLOWED, DENSE * state.neurons.XT.size))


def _gap(state: State, gradient: np.ndarray, entropy: float, l1: float, l2: float) -> float:
    """Return an estimate of the relative gap (float32; the certificate is made elsewhere)."""
    if l2 <= 0:
        return np.inf
    value = state.objective(l1, l2)
    over = np.maximum(np.abs(gradient) - np.float32(l1), 0)
    excess = float(np.einsum("cd,cd->", over, over, dtype=np.float64)) / (2 * l2)
    return (value - entropy + excess) / max(value, 1e-300)


def _refine(
    state: State, l1: float, l2: float, limits: Limits, clock: Clock, before: float
) -> Generator[Request, np.ndarray, Fit]:
    """Sweep over the classes up to ``max_iter`` times, until the certified gap is below tol."""
    aim, last = limits.tol, np.inf
    i = turns = 0
    while i < limits.max_iter:
        if aim >= ROUNDING and turns < 3 and _dense(state):
            i += yield from accelerate(state, l1, l2, aim, clock)
            turns += 1
        gradient, entropy = yield from _gradient(state)
        gap = _gap(state, gradient, entropy, l1, l2)
        if gap <= aim or (l2 == 0 and i % 5 == 4):
            fit = finish(state, l1, l2, i, clock, limits.tol)
            if fit.converged:
                return fit
            # The running logits carry rounding: start them afresh and ask for more.
            state.reset_logits()
            aim *= 0.5
        if clock.late():
            break
        if gap > SLOW * last:
            # Models of so few tokens have given what they can.
            state.take_care()
        last = gap
        _improve(state, gradient, l1, l2, i)
        i += 1
    return finish(state, l1, l2, i, clock, limits.tol)


def finish(state: State, l1: float, l2: float, iterations: int, clock: Clock, tol: float) -> Fit:
    """Certify the state's point in float64."""
    coef = state.W.astype(np.float64)
    primal, dual, kkt, intercept = certify(
        state.neurons.XT,
        state.y,
        coef,
        state.b,
        l1=l1,
        l2=l2,
        weight=state.theta,
        rms=state.neurons.rms,
    )
    state.work += 2.0 * state.E.size * (state.neurons.d + int(state.W.any(axis=0).sum()))
    gap = (primal - dual) / primal if primal > 0 else 0.0
    return Fit(
        coef=coef,
        intercept=intercept,
        objective=primal,
        gap=float(gap),
        kkt=kkt,
        iterations=iterations,
        gradients=state.gradients,
        seconds=clock.seconds(),
        converged=bool(gap <= tol),
    )
