"""A stack of probes on one matrix, and the accelerated proximal step that they share (torch).

The classes of all problems are stacked, so that logits and gradients of all of them come from two
matrix products a block of tokens. Step lengths, momentum, restarts and penalties are each
problem's own; they are vectors over problems and change by masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

CONTINUATION = 0.3
"""Ratio of successive λ₁ on the way down from the smallest one that gives no weights."""
COARSE = 8
"""Steps at each λ₁ on the way, at most."""
FLUSH = 1e-25
"""Weighted probabilities below this are 0: denormal numbers slow a processor several times."""
RARE = 0.02
"""A class's curvature counts as at least this share of the largest of its problem."""
GROW, CALM = 1.1, 0.7
"""A step length grows by GROW while its product with the curvature seen is below CALM."""
FAR = 0.1
"""An objective that is so much (relatively) above the lowest seen is on its way out."""
HUGE = 1e200
"""What an overflow counts as: finite, so that it does not spread."""
LOOSE = 0.2
"""How much of the misfit of the class totals counts against a dual estimate; by trial."""
NOISE = 1e-6
"""Relative rounding of an objective from float32 products."""

PROBLEM_ARRAYS = (
    *("size", "y", "theta", "l1", "l2", "level", "length", "momentum", "beta", "coarse"),
    *("last", "lowest", "best", "fresh", "relative"),
)
ROW_ARRAYS = ("W", "b", "Y", "c", "Y_best", "c_best", "Y_low", "c_low", "Y_old", "G_old", "scale")

Blocks = Callable[[Any], Iterator[tuple[int, int, Any]]]


@dataclass
class Member:
    """One problem of a stack.

    ``y`` are labels among the ``n_classes`` that have weight, (n,); ``theta`` token weights that
    sum to 1, (n,); ``W`` and ``b`` the start, (C, d) and (C,); ``cold`` whether λ₁ may come down to
    ``l1`` from a larger one; ``length`` the first step length.
    """

    y: np.ndarray
    theta: np.ndarray
    n_classes: int
    l1: float
    l2: float
    W: np.ndarray
    b: np.ndarray
    cold: bool
    length: float


class Stack:
    """FISTA on all members at once; K = Σ C rows of weights, P problems.

    The method is that of Beck & Teboulle (2009, SIAM J. Imaging Sci. 2(1), eq. 4.1-4.3) with the
    momentum of Scheinberg, Goldfarb & Bai (2014, Found. Comput. Math. 14, alg. 5) for step lengths
    that change, and the adaptive restarts of O'Donoghue & Candès (2015, Found. Comput. Math. 15,
    eq. 12 and 13). Each class is scaled by its curvature Σᵢ θᵢ q(1 − q): diag(q) − q qᵀ is at most
    2 diag(q(1 − q)) (Gershgorin), and rare classes would else take steps far too short.

    A step length is judged from gradients that are there anyway, at successive extrapolated points
    (no trial evaluations): it shrinks where ‖Δg‖² / ⟨Δg, Δy⟩ says that it exceeds the inverse
    curvature, and where an objective rises without momentum the problem goes back to its best
    point with half the length.
    """

    def __init__(self, members: list[Member], n: int, d: int, *, device: Any, dtype: Any) -> None:
        import torch

        # Members with equally many classes stand side by side: their softmax is one.
        self.order = sorted(range(len(members)), key=lambda p: members[p].n_classes)
        picked = [members[p] for p in self.order]
        self.device, self.dtype, self.d = device, dtype, d
        self.size = torch.tensor([m.n_classes for m in picked], device=device)
        wide = max(m.n_classes for m in picked) > 2**15 - 1
        kind = np.int32 if wide else np.int16
        self.y = torch.from_numpy(np.stack([m.y.astype(kind) for m in picked])).to(device)
        theta = np.stack([m.theta for m in picked])
        self.theta = torch.from_numpy(theta).to(device, dtype)

        def vector(values: list[float]) -> Any:
            return torch.tensor(values, device=device, dtype=torch.float64)

        def rows(values: list[np.ndarray], kind: Any) -> Any:
            return torch.from_numpy(np.concatenate(values)).to(device, kind)

        self.l1, self.l2 = vector([m.l1 for m in picked]), vector([m.l2 for m in picked])
        self.W, self.b = (
            rows([m.W for m in picked], dtype),
            rows([m.b for m in picked], torch.float64),
        )
        P, zero = len(picked), vector([0.0] * len(picked))
        self.level = vector([np.inf if m.cold and m.l1 > 0 else m.l1 for m in picked])
        self.length = vector([m.length for m in picked])
        self.momentum, self.beta, self.coarse = zero + 1, zero.clone(), zero.clone()
        self.last, self.lowest, self.best = zero + np.inf, zero + np.inf, zero + np.inf
        self.fresh = torch.ones(P, dtype=torch.bool, device=device)
        self.Y, self.c = self.W.clone(), self.b.clone()
        self.Y_best, self.c_best = self.W.clone(), self.b.clone()
        self.Y_low, self.c_low = self.W.clone(), self.b.clone()
        self.Y_old, self.G_old = self.W.clone(), torch.zeros_like(self.W)
        self.scale = torch.zeros(len(self.W), dtype=torch.float64, device=device)
        self.relative = zero + np.inf
        self._index()

    def _index(self) -> None:
        """Set up what tells which rows belong to which problem."""
        import torch

        P = len(self.size)
        self.owner = torch.repeat_interleave(torch.arange(P, device=self.device), self.size)
        # Sums over a problem's rows as a product: unlike scattered additions, in a fixed order.
        self.total = torch.nn.functional.one_hot(self.owner, P).T.to(torch.float64)
        sizes, counts = np.unique(self.size.cpu().numpy(), return_counts=True)
        self.groups: list[tuple[int, int, int, int]] = []
        problem = row = 0
        for C, count in zip(sizes.tolist(), counts.tolist(), strict=True):
            self.groups.append((problem, problem + count, row, C))
            problem, row = problem + count, row + count * C

    def keep(self, stay: list[bool]) -> None:
        """Drop the problems that are done."""
        import torch

        mask = torch.tensor(stay, device=self.device)
        rows = mask[self.owner]
        self.order = [p for p, s in zip(self.order, stay, strict=True) if s]
        for name in PROBLEM_ARRAYS:
            setattr(self, name, getattr(self, name)[mask])
        for name in ROW_ARRAYS:
            setattr(self, name, getattr(self, name)[rows])
        self._index()

    def gradient(self, blocks: Blocks) -> tuple[Any, Any, Any, Any]:
        """Return loss (P,), gradients (K, d) and (K,), and curvature of each class (K,) at Y."""
        import torch

        K, P = len(self.owner), len(self.size)
        double = torch.float64
        loss = torch.zeros(P, dtype=double, device=self.device)
        bend = torch.zeros(K, dtype=double, device=self.device)
        g = torch.zeros(K, dtype=double, device=self.device)
        G = torch.zeros(K, self.d, dtype=self.dtype, device=self.device)
        shift = self.c.to(self.dtype)[:, None]
        for start, stop, X in blocks(self.dtype):
            E = torch.addmm(shift, self.Y, X.T)
            for first, last, row, C in self.groups:
                theta = self.theta[first:last, None, start:stop]
                y = self.y[first:last, None, start:stop].long()
                end = row + (last - first) * C
                q = E[row:end].view(last - first, C, stop - start)
                q -= q.amax(dim=1, keepdim=True)
                own = q.gather(1, y)
                q.exp_()
                total = q.sum(dim=1, keepdim=True)
                loss[first:last] += ((total.log() - own) * theta).sum(dim=(1, 2), dtype=double)
                q /= total
                bend[row:end] += ((q - q * q) * theta).sum(dim=2, dtype=double).view(-1)
                q *= theta
                torch.threshold_(q, FLUSH, 0.0)
                q.scatter_add_(1, y, -theta)
            g += E.sum(dim=1, dtype=double)
            G.addmm_(E, X)
        return loss, G, g, bend

    def _add(self, rows: Any) -> Any:
        """Sum of a (K,) vector over each problem, float64 (P,)."""
        import torch

        # In a product 0 · ∞ would carry one problem's overflow into all others.
        return self.total @ torch.nan_to_num(rows.double(), nan=HUGE, posinf=HUGE, neginf=-HUGE)

    def _sum(self, rows: Any) -> Any:
        """Sum of a (K, d) array over each problem, float64 (P,)."""
        import torch

        return self._add(rows.sum(dim=1, dtype=torch.float64))

    def _most(self, rows: Any) -> Any:
        """Largest of each problem's entries of a (K,) vector of numbers ≥ 0, (P,)."""
        import torch

        return (self.total * torch.nan_to_num(rows, nan=HUGE, posinf=HUGE)[None]).amax(dim=1)

    def _choose(self, mask: Any, names: tuple[str, str], source: tuple[str, str]) -> None:
        import torch

        rows = mask[self.owner]
        for name, other in zip(names, source, strict=True):
            old, new = getattr(self, name), getattr(self, other)
            at = rows[:, None] if old.ndim == 2 else rows
            setattr(self, name, torch.where(at, new, old))

    def step(self, blocks: Blocks) -> None:
        """Evaluate the gradient once and move every problem one step."""
        import torch

        loss, G, g, bend = self.gradient(blocks)
        own = self.owner
        size1, size2 = self._sum(self.Y.abs()), self._sum(self.Y * self.Y)
        ridge = 0.5 * self.l2 * size2
        true = loss + self.l1 * size1 + ridge
        # First step of a cold start: the smallest λ₁ that leaves all weights at 0 is known now.
        highest = self._most(G.abs().amax(dim=1).double())
        down = CONTINUATION * highest
        self.level = torch.where(self.level == np.inf, torch.maximum(self.l1, down), self.level)
        value = loss + self.level * size1 + ridge
        cross = self._sum(G * self.Y)
        over = (G.abs() - self.l1[own].to(self.dtype)[:, None]).clamp_(min=0)
        excess = self._sum(over * over) / (2 * self.l2)
        shrink = torch.where(highest > self.l1, self.l1 / highest, 1.0)
        entropy = loss - cross - self._add(g * self.c)
        # Class totals do not fit yet: settling the intercepts may take some of this off.
        loose = LOOSE * self._add((g * self.c).abs())
        entropy = entropy - loose
        dual = torch.where(self.l2 > 0, entropy - excess, shrink * entropy)
        self.relative = torch.where(true > 0, (true - dual) / true, 0.0)
        better = true < self.best
        self._choose(better, ("Y_best", "c_best"), ("Y", "c"))
        self.best = torch.where(better, true, self.best)
        better = value < self.lowest
        self._choose(better, ("Y_low", "c_low"), ("Y", "c"))
        self.lowest = torch.where(better, value, self.lowest)

        # Step lengths, from how the gradient changed since the last point.
        dY, dG = self.Y - self.Y_old, G - self.G_old
        inner = self._sum(dY * dG)
        steep = self._add((dG * dG).sum(dim=1, dtype=torch.float64) / self.scale.clamp(min=1e-12))
        seen = (~self.fresh) & (inner > 0)
        bent = torch.where(seen, steep / inner.clamp(min=1e-300), 0.0) * self.length
        factor = torch.where(seen & (bent < CALM), GROW, 1.0)
        factor = torch.where(bent > 1, (0.95 / bent).clamp(min=0.5), factor)
        # A rise is the momentum's fault, or without momentum the length's.
        rise = value > self.last * (1 + NOISE)
        wrong = (rise & (self.beta == 0) & ~self.fresh) | ~(value <= self.lowest * (1 + FAR))
        factor = torch.where(wrong, 0.5, factor)
        self.Y_old, self.G_old = self.Y, G
        old_length = self.length
        self.length = self.length * factor

        # The proximal step, each class in its own scale.
        restart = rise | wrong | self.fresh
        self.last = torch.where(wrong, self.lowest, value)
        m = torch.maximum(bend, RARE * self._most(bend)[own]).clamp(min=1e-12)
        # Where tokens become certain curvature fades, but that of the others does not.
        m = torch.maximum(m, 0.5 * self.scale)
        self.scale = torch.where(restart[own], m, self.scale)
        move = self.length[own] / self.scale
        stretch = move.to(self.dtype)[:, None]
        V = torch.addcmul(self.Y, G, stretch, value=-1)
        cut = (move * self.level[own]).to(self.dtype)[:, None]
        W = torch.nn.functional.relu(V.abs() - cut).copysign_(V)
        W /= (1 + move * self.l2[own]).to(self.dtype)[:, None]
        W += 0.0  # no negative zeros
        b = self.c - g / (4 * self.scale)
        dW, db = W - self.W, b - self.b
        against = self._sum((self.Y - W) * dW / stretch)
        against = against + self._add((self.c - b) * db * 4 * self.scale)
        restart = restart | (against > 0)
        # Down with λ₁, in coarse steps.
        self.coarse += 1
        lower = (self.level > self.l1) & (self.coarse >= COARSE)
        level = torch.maximum(self.l1, CONTINUATION * self.level)
        level = torch.where(level < 1.2 * self.l1, self.l1, level)
        self.level = torch.where(lower, level, self.level)
        self.coarse = torch.where(lower, 0.0, self.coarse)
        self.last = torch.where(lower, np.inf, self.last)
        self.lowest = torch.where(lower, np.inf, self.lowest)
        restart = restart | lower
        a = torch.where(restart, 1.0, self.momentum)
        self.momentum = 0.5 * (1 + (1 + 4 * (old_length / self.length) * a * a).sqrt())
        self.beta = torch.where(restart, 0.0, (a - 1) / self.momentum)
        self.momentum = torch.where(restart, 1.0, self.momentum)
        beta = self.beta[own]
        self.Y = torch.addcmul(W, dW, beta.to(self.dtype)[:, None])
        self.c = b + beta * db
        self.W, self.b = W, b
        self.fresh = wrong
        self._choose(wrong, ("Y", "c"), ("Y_low", "c_low"))
        self._choose(wrong, ("W", "b"), ("Y_low", "c_low"))
