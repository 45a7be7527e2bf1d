"""Swap steps: exchange chosen neurons for others where the quadratic model says that it helps.

With A the neurons' second moments plus the ridge, s_c A the Hessian of class c, S the chosen ones,
V = A_SS⁻¹ and B = V A_S·, giving up neuron r costs ½ Σ_c s_c w_cr² / V_rr; it leaves the gradients
g_cm − s_c w_cr B_rm / V_rr and the spare variances ρ_m + B_rm² / V_rr. So the net gain of every
exchange r → m comes from what is there already, and only promising ones are tried by a refit.
"""

from __future__ import annotations

import numpy as np

from nissl.kernels._forward_probe import SetProbe
from nissl.kernels._forward_sweep import Sweep

__all__ = ["exchange_gains", "swap_until_settled"]

LEAST = 1e-5
"""An exchange is kept where it lowers the objective by this share of it."""


def swap_until_settled(
    probe: SetProbe,
    sweep: Sweep,
    *,
    fixed: int = 0,
    share: float = 0.2,
    failures: int = 8,
    rounds: int | None = None,
    tol: float,
) -> int:
    """Exchange several neurons at once, fewer after each failure; return how many stayed exchanged.

    Parameters
    ----------
    probe
        Fitted; left fitted on the best set found. New neurons stand last in ``probe.chosen``.
    sweep
        Over the same neurons.
    fixed
        The first so many neurons are not given up.
    share
        Share of the neurons that the first attempt exchanges.
    failures
        How many single exchanges must fail, the next best one tried each time.
    rounds
        Refits at most; 60 and ten times ``failures`` by default.
    tol
        Relative duality gap of the refits.
    """
    rounds = 60 + 10 * failures if rounds is None else rounds
    first = set(probe.chosen)
    m = max(1, int(share * (len(probe.chosen) - fixed)))
    while rounds > 0 and len(probe.chosen) > fixed:
        net, V = exchange_gains(probe, sweep)
        net[:fixed] = -np.inf
        better = False
        while m > 1 and rounds > 0 and not better:
            rounds -= 1
            better = _attempt(probe, _disjoint(net, m), V, tol)
            m = m if better else m // 2
        # The model is rough: the exchange that helps most is often not the one it puts first.
        best = np.argsort(-net, axis=None, kind="stable")[:failures]
        for r, newcomer in zip(*np.unravel_index(best, net.shape), strict=True):
            if better or rounds <= 0 or not np.isfinite(net[r, newcomer]):
                break
            rounds -= 1
            better = _attempt(probe, [(int(r), int(newcomer))], V, tol)
        if not better:
            break
    return len(set(probe.chosen) - first)


def exchange_gains(probe: SetProbe, sweep: Sweep) -> tuple[np.ndarray, np.ndarray]:
    """Return estimated falls of the objective by exchanges, (k, d), and V (k, k).

    Entry (r, m) is for giving up the neuron at place r for neuron m; −inf where m is chosen.
    """
    G, curvature = probe.gradient()
    if sweep.chosen != probe.chosen:
        sweep.reset(probe.chosen)
    l2, ridge = probe.l2, sweep.ridge
    rows = np.stack([sweep.gram(j) for j in probe.chosen])
    A = rows[:, probe.chosen]
    A[np.diag_indices(len(A))] += ridge + 1e-9
    V = np.linalg.inv(A)
    B = V @ rows
    diagonal = np.diag(V)
    open_to = sweep.gains(G, curvature, l2) >= 0
    net = np.full(rows.shape, -np.inf)
    spare, g = sweep.spare[open_to] - ridge, G[:, open_to]
    for r, inverse in enumerate(diagonal):
        b = B[r, open_to]
        weight = curvature * probe.W[:, r] / inverse
        left = (g - weight[:, None] * b) ** 2
        room = spare + b * b / inverse
        gain = sum(x / (s * room + l2) for x, s in zip(left, curvature, strict=True))
        cost = float(curvature @ probe.W[:, r] ** 2) / inverse
        net[r, open_to] = 0.5 * (gain - cost)
    return net, V


def _disjoint(net: np.ndarray, m: int) -> list[tuple[int, int]]:
    """Return the m best exchanges (place, newcomer), no place or newcomer twice."""
    left, pairs = net.copy(), []
    while len(pairs) < m:
        r, newcomer = np.unravel_index(int(left.argmax()), left.shape)
        if not np.isfinite(left[r, newcomer]):
            break
        pairs.append((int(r), int(newcomer)))
        left[r] = -np.inf
        left[:, newcomer] = -np.inf
    return pairs


def _attempt(probe: SetProbe, pairs: list[tuple[int, int]], V: np.ndarray, tol: float) -> bool:
    """Make these exchanges and refit; undo them where the objective does not fall."""
    before = (list(probe.chosen), probe.W, probe.b, probe.loss)
    if not pairs:
        return False
    out = [r for r, _ in pairs]
    # The others take over what those given up did, as the quadratic model says.
    W = probe.W - np.linalg.solve(V[np.ix_(out, out)], probe.W[:, out].T).T @ V[out]
    probe.drop(out, W)
    probe.add([m for _, m in pairs])
    if probe.refit(tol=tol) < before[3] * (1 - LEAST):
        return True
    chosen, probe.W, probe.b, probe.loss = before
    for i, j in enumerate(chosen):
        if probe.chosen[i] != j:
            probe.rows[i] = probe.XT[j]
    probe.chosen = chosen
    return False
