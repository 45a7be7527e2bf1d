"""Forward selection: add the neuron that helps most beside those chosen already, and refit.

:func:`forward_selection` does it for a probe (cross-entropy), :func:`forward_linear` for least
squares, where every step is exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import InputError, NotConverged, SettingError, did_you_mean
from nissl.kernels._forward_probe import SetProbe
from nissl.kernels._forward_swap import swap_until_settled
from nissl.kernels._forward_sweep import Sweep
from nissl.kernels.checks import check_labels, check_matrix, check_penalty, neuron_major
from nissl.kernels.fit import one_thread
from nissl.kernels.problem import token_weights

__all__ = ["Forward", "ForwardLinear", "forward_linear", "forward_selection"]

SCORES = ("curvature", "gradient")


@dataclass(frozen=True, eq=False)
class Forward:
    """What forward selection found.

    Attributes
    ----------
    order
        Positions of all neurons, best first: the chosen ones as they came, then the rest by their
        score beside the chosen. (d,)
    chosen
        How many were chosen.
    sizes
        Numbers of neurons at which the probe was refitted, rising.
    losses
        Objective of the probe at each of ``sizes``, after swaps.
    swapped
        How many neurons swaps exchanged at each of ``sizes``.
    """

    order: np.ndarray
    chosen: int
    sizes: np.ndarray
    losses: np.ndarray
    swapped: np.ndarray


def forward_selection(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    k_max: int = 300,
    l2: float = 1e-3,
    score: str = "curvature",
    single: int = 20,
    growth: float = 0.04,
    swap_at: Sequence[int] = (),
    swap_growth: float = 0.0,
    failures: int = 8,
    sample_weight: Float[np.ndarray, " n"] | None = None,
    tol: float = 3e-2,
) -> Forward:
    """Group orthogonal matching pursuit with a probe (Lozano, Świrszcz & Abe 2011), and swaps.

    A step scores every neuron beside the chosen ones, adds the best, and refits a ridge probe from
    where it stood. A neuron comes with its weights for every class. Once the set is large, several
    neurons are added between refits; gradients are then brought up to date by the quadratic model
    after each (``_forward_sweep.py``), so that a second copy of a neuron is not added.

    Parameters
    ----------
    X
        Standardised neurons (n, d), float32 in Fortran order preferred.
    y
        Class indices, (n,).
    k_max
        How many neurons to choose; all others follow by score.
    l2
        Ridge penalty of the refits.
    score
        ``curvature``: ½ Σ_c g_cj² / (s_c ρ_j + l2), the fall of the loss in second order, with ρ_j
        what of the neuron's variance the chosen ones leave and s_c the mean of q (1 − q).
        ``gradient``: ‖g_j‖₂ over classes, as published.
    single
        Up to this many, neurons are added one a refit.
    growth
        From there on, share of the set that is added between refits.
    swap_at
        Sizes at which to swap until no swap lowers the objective (see ``_forward_swap.py``). The
        set at an earlier one of these sizes stays, so that the order stays one.
    swap_growth
        Swap on the way there too, whenever the set has grown by this factor (such as 1.3) since the
        last time; 0 or less than 1: only at ``swap_at``.
    failures
        How many single exchanges must fail before swapping ends.
    sample_weight
        Weight of each token, 0 or more.
    tol
        Relative duality gap of each refit.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong lengths, one class, impossible settings.

    Warns
    -----
    NotConverged
        Some refits stopped early.
    """
    check_penalty(l2=l2)
    if score not in SCORES:
        raise SettingError(
            f'there is no score "{score}"; choose one of {", ".join(SCORES)}.'
            f"{did_you_mean(score, SCORES)}"
        )
    if l2 == 0:
        raise SettingError("forward selection refits ridge probes: set l2 above 0")
    if k_max < 1 or single < 0 or growth < 0:
        raise SettingError(
            f"k_max must be 1 or more, single and growth 0 or more, not {k_max}, {single}, {growth}"
        )
    check_matrix(X)
    y = check_labels(y, X.shape[0], n_classes)
    XT = neuron_major(X)
    theta = token_weights(sample_weight, len(y))
    k_max = min(k_max, len(XT))
    stops = sorted({min(int(k), k_max) for k in swap_at} | {k_max})
    sizes, losses, swapped, fixed, last = [], [], [], 0, 2
    with one_thread():
        probe = SetProbe(XT, y, n_classes, theta, l2=l2, room=k_max)
        gradient, curvature = probe.gradient()
        # One ridge for all classes, in units of a neuron's variance.
        sweep = Sweep(XT, theta, ridge=l2 / float(curvature.max()))
        while len(probe.chosen) < k_max:
            k = len(probe.chosen)
            m = 1 if k < single else max(1, int(growth * k))
            m = min(m, next(s for s in stops if s > k) - k)
            new = _best(sweep, probe.chosen, gradient, curvature, l2, m, score)
            if not new:
                break  # the neurons left are constant, or copies of chosen ones
            probe.add(new)
            probe.refit(tol=tol)
            exchanged = 0
            k = len(probe.chosen)
            if k in stops and k in swap_at:
                exchanged = swap_until_settled(
                    probe, sweep, fixed=fixed, failures=failures, tol=tol
                )
                fixed = last = k
            elif swap_growth >= 1 and fixed < max(swap_at, default=0) and k >= swap_growth * last:
                exchanged = swap_until_settled(
                    probe, sweep, fixed=fixed, failures=max(1, failures // 4), tol=tol
                )
                last = k
            sizes.append(len(probe.chosen))
            losses.append(probe.loss)
            swapped.append(exchanged)
            gradient, curvature = probe.gradient()
        value = _score(sweep, probe.chosen, gradient, curvature, l2, score)
    if probe.short:
        warnings.warn(
            f"{probe.short} refits of forward selection stopped before a relative gap of {tol:g}",
            NotConverged,
            stacklevel=2,
        )
    rest = np.setdiff1d(np.arange(len(XT)), probe.chosen)
    rest = rest[np.argsort(-value[rest], kind="stable")]
    return Forward(
        order=np.concatenate([np.array(probe.chosen, dtype=np.int64), rest]),
        chosen=len(probe.chosen),
        sizes=np.array(sizes),
        losses=np.array(losses),
        swapped=np.array(swapped),
    )


def _score(
    sweep: Sweep,
    chosen: list[int],
    gradient: np.ndarray,
    curvature: np.ndarray,
    l2: float,
    score: str,
) -> np.ndarray:
    if sweep.chosen != chosen:
        sweep.reset(chosen)
    value = sweep.gains(gradient, curvature, l2)
    if score == "gradient":
        value = np.where(value >= 0, (gradient**2).sum(axis=0), -1.0)
    return value


def _best(
    sweep: Sweep,
    chosen: list[int],
    gradient: np.ndarray,
    curvature: np.ndarray,
    l2: float,
    m: int,
    score: str,
) -> list[int]:
    new: list[int] = []
    for _ in range(m):
        value = _score(sweep, chosen + new, gradient, curvature, l2, score)
        j = int(value.argmax())
        if value[j] < 0:
            break
        new.append(j)
        sweep.add(j, gradient)
    return new


@dataclass(frozen=True, eq=False)
class ForwardLinear:
    """Greedy least squares.

    Attributes
    ----------
    order
        Positions of the chosen neurons, in the order in which they came, (k,).
    losses
        Objective after 0, 1, …, k neurons, (k + 1,).
    """

    order: np.ndarray
    losses: np.ndarray


def forward_linear(
    X: Float[np.ndarray, "n d"],
    Y: Float[np.ndarray, "n t"],
    *,
    k_max: int,
    l2: float = 0.0,
    sample_weight: Float[np.ndarray, " n"] | None = None,
) -> ForwardLinear:
    """Greedily choose neurons for least squares, exactly as trying every candidate would.

    At each step the neuron is added with which ½ Σᵢ θᵢ ‖yᵢ − W xᵢ − b‖² + (l2/2) ‖W‖², minimised
    over W and b, is smallest; the first of equal ones. Trying means one fit a candidate; sweeping
    (Chen, Billings & Luo 1989) gives the same losses for one row of the Gram matrix a step.

    Parameters
    ----------
    X
        Neurons (n, d). float64 is used as it is (exact to rounding); anything else as float32.
    Y
        Targets (n, t): numbers, or a 0/1 column for each class.
    k_max
        How many neurons to choose; fewer come back where no other can help.
    l2
        Ridge penalty.
    sample_weight
        Weight of each token, 0 or more.

    Raises
    ------
    InputError, SettingError
        NaN, wrong lengths, impossible settings.
    """
    check_penalty(l2=l2)
    check_matrix(X)
    check_matrix(Y)
    if len(Y) != len(X):
        raise InputError(f"Y has {len(Y)} rows, but there are {len(X)} tokens")
    if k_max < 1:
        raise SettingError(f"k_max must be 1 or more, not {k_max}")
    XT = np.ascontiguousarray(X.T) if X.dtype == np.float64 else neuron_major(X)
    theta = token_weights(sample_weight, len(X))
    centred = Y.T.astype(np.float64) - (theta @ Y)[:, None]
    loss = 0.5 * float((centred**2 @ theta).sum())
    losses = [loss]
    with one_thread():
        sweep = Sweep(XT, theta, ridge=l2)
        gradient = ((centred * theta).astype(XT.dtype) @ XT.T).astype(np.float64)
        one = np.ones(len(gradient))
        for _ in range(min(k_max, len(XT))):
            gain = sweep.gains(gradient, one, l2)
            j = int(gain.argmax())
            if gain[j] <= 0:
                break
            loss -= float(gain[j])
            losses.append(loss)
            sweep.add(j, gradient)
    return ForwardLinear(np.array(sweep.chosen, dtype=np.int64), np.array(losses))
