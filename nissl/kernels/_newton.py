"""Block proximal Newton over classes for the sparse multinomial probe.

One block is the weights of one class. Its quadratic model uses the class-weighted Gram matrix of a
working set of neurons, kept while the token weights p(1 − p) move little; the model is minimised by
coordinate descent and the step is checked on the true objective. State is class-major, so that
every inner loop reads contiguous memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg.blas import ssyrk  # pyright: ignore[reportAttributeAccessIssue]

from nissl.kernels import _loops
from nissl.kernels._neurons import Neurons
from nissl.kernels._quadratic import minimise_quadratic

LAG = 0.4
"""A cached Gram matrix serves while its token weights have moved by less than this share."""

SMALL_WEIGHT = 5e-3
"""Tokens with p(1 − p) below this are left out of a Gram matrix (its mass is rescaled)."""

FEW_TOKENS = 3_000
"""A Gram matrix rests on so many tokens at least, if there are as many."""

TOKENS_A_NEURON = 4
"""And on so many a neuron: more hardly make a better model. Doubled where the model misleads."""

FRESH = 0.1
"""A neuron joins where it violates its condition by this share of the worst violation."""

EXTEND = 0.5
"""A Gram matrix is extended by up to this share of its neurons, and made anew for more."""

MISLED = 0.3
"""A step of less than this share of what its Gram matrix promised makes the matrix void."""

FARTHEST = 1e9
"""``SMALL_WEIGHT`` is divided by up to so much, where light tokens turn out to matter."""

MANY_CLASSES = 128
"""From here on intercepts settle by scaling: a Hessian over the classes would cost more."""


@dataclass
class Gram:
    """Weighted products of a class's working set and intercept, (k + 1, k + 1).

    ``whole`` where it rests on all tokens that matter, so that more care would change nothing.
    """

    neurons: np.ndarray
    matrix: np.ndarray
    weights: np.ndarray
    whole: bool

    def moved(self, weights: np.ndarray) -> float:
        """Return by what share the token weights have moved since."""
        return float(np.abs(weights - self.weights).sum() / max(self.weights.sum(), 1e-30))

    def of(self, neurons: np.ndarray) -> np.ndarray:
        """Return the products of some of its neurons (sorted) and the intercept."""
        pick = np.append(np.searchsorted(self.neurons, neurons), len(self.neurons))
        return self.matrix[np.ix_(pick, pick)]


@dataclass
class State:
    """Weights, logits and caches of one problem.

    ``theta`` are the token weights, summing to 1.
    """

    neurons: Neurons
    y: np.ndarray
    n_classes: int
    theta: np.ndarray
    W: np.ndarray = field(init=False)
    b: np.ndarray = field(init=False)
    E: np.ndarray = field(init=False)
    lse: np.ndarray = field(init=False)
    grams: dict[int, Gram] = field(default_factory=dict)
    care: np.ndarray = field(init=False)
    reach: np.ndarray = field(init=False)
    work: float = 0.0

    def __post_init__(self) -> None:
        d, n = self.neurons.d, self.neurons.n
        self.token = np.arange(n)
        self.care = np.ones(self.n_classes)
        self.reach = np.ones(self.n_classes)
        self.theta32 = self.theta.astype(np.float32)
        self.target = np.bincount(self.y, weights=self.theta, minlength=self.n_classes)
        self.W = np.zeros((self.n_classes, d), dtype=np.float32)
        self.b = np.log(self.target + 1e-9)
        self.E = np.empty((self.n_classes, n), dtype=np.float32)
        self.E[:] = self.b.astype(np.float32)[:, None]
        self.lse = logsumexp(self.E)

    @property
    def gradients(self) -> float:
        """Work done so far, in units of one full gradient (4 n d C operations)."""
        return self.work / (4.0 * self.neurons.n * self.neurons.d * self.n_classes)

    def reset_logits(self) -> None:
        """Compute the logits afresh from the weights."""
        np.add(self.neurons.forward(self.W), self.b.astype(np.float32)[:, None], out=self.E)
        self.lse = logsumexp(self.E)
        self.work += 2.0 * self.E.size * int(self.W.any(axis=0).sum())

    def start(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        """Begin from given weights."""
        self.W = np.array(coef, dtype=np.float32, order="C")
        self.b = np.array(intercept, dtype=np.float64)
        # A class may have no tokens here though it had some where the start was fitted.
        empty = self.target == 0
        self.W[empty] = 0
        self.b[empty] = self.b[~empty].min() + np.log(1e-9)
        self.grams.clear()
        self.reset_logits()

    def loss(self) -> float:
        """Return the weighted mean cross-entropy from the running logits."""
        return float(self.theta @ (self.lse - self.E[self.y, self.token]).astype(np.float64))

    def objective(self, l1: float, l2: float) -> float:
        """Return the objective from the running logits."""
        W = self.W[self.W != 0].astype(np.float64)
        return self.loss() + l1 * float(np.abs(W).sum()) + 0.5 * l2 * float(W @ W)

    def residual(self) -> tuple[np.ndarray, float]:
        """Settle the intercepts; return weighted residuals (C, n) and the mean entropy."""
        P, self.lse = self.settle(self.E, self.b)
        entropy = self.lse - np.einsum("cn,cn->n", P, self.E)
        P *= self.theta32
        P[self.y, self.token] -= self.theta32
        return P, float(self.theta @ entropy.astype(np.float64))

    def settle(self, E: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Newton steps on the intercepts b, in place in logits too; return P and log-sum-exp.

        Tiny probabilities are 0: denormal numbers would slow the matrix product several times.
        """
        before, turn = np.inf, 0
        while True:
            lse = logsumexp(E)
            P = np.subtract(E, lse)
            np.exp(P, out=P)
            P[P < 1e-20] = 0
            total = (P @ self.theta32).astype(np.float64)
            error = total - self.target
            size = float(np.abs(error).max())
            if size < 1e-7 or size > 0.7 * before or turn == 4:
                return P, lse
            before, turn = size, turn + 1
            if self.n_classes > MANY_CLASSES:
                step = np.clip(np.log((self.target + 1e-12) / (total + 1e-12)), -1, 1)
            else:
                hessian = np.diag(total) - ((P * self.theta32) @ P.T).astype(np.float64)
                hessian[np.diag_indices_from(hessian)] += 1e-8 + 1e-3 * total
                step = np.clip(-np.linalg.solve(hessian, error), -1, 1)
                self.work += 2.0 * P.size * self.n_classes
            b += step
            E += step.astype(np.float32)[:, None]

    def violation(self, gradient: np.ndarray, l1: float, l2: float) -> np.ndarray:
        """Return by how much each weight misses its optimality condition, (C, d)."""
        slope = gradient + np.float32(l2) * self.W
        return np.where(
            self.W != 0,
            np.abs(slope + np.float32(l1) * np.sign(self.W)),
            np.maximum(np.abs(slope) - np.float32(l1), 0),
        )

    def sweep(self, violation: np.ndarray, l1: float, l2: float, cap: int, tol: float) -> None:
        """Update every class that violates its optimality conditions, worst first."""
        size = (violation.astype(np.float64) ** 2).sum(axis=1)
        worst = float(violation.max())
        for c in np.argsort(-size, kind="stable"):
            if size[c] < 1e-4 * size.max():
                break
            nonzero = self.W[c] != 0
            inside = np.flatnonzero(nonzero)
            fresh = np.flatnonzero(~nonzero & (violation[c] > FRESH * worst))
            most = max(cap, len(inside))
            if len(fresh) > most:
                fresh = fresh[np.argsort(-violation[c][fresh], kind="stable")[:most]]
            self._update_class(int(c), np.sort(np.concatenate([inside, fresh])), l1, l2, tol)

    def take_care(self) -> None:
        """Let Gram matrices that rest on some tokens only be made again, from more."""
        for c in [c for c, gram in self.grams.items() if not gram.whole]:
            self.care[c] *= 3
            del self.grams[c]

    def _update_class(self, c: int, neurons: np.ndarray, l1: float, l2: float, tol: float) -> None:
        XT = self.neurons.XT
        p = np.exp(self.E[c] - self.lse)
        np.minimum(p, 1, out=p)
        r = p * self.theta32
        curvature = r * (1 - p)
        np.subtract(r, self.theta32, out=r, where=self.y == c)
        H = self.hessian(c, neurons, curvature, l2)
        k = len(neurons)
        g = np.empty(k + 1, dtype=np.float32)
        _loops.products(XT, neurons, r, g)
        g[k] = r.sum(dtype=np.float64)
        old = np.empty(k + 1, dtype=np.float32)
        old[:k] = self.W[c, neurons]
        old[k] = 0  # the intercept's move; its own value does not enter the penalty
        g[:k] += np.float32(l2) * old[:k]
        new = minimise_quadratic(H, g, old, l1, k, tol)
        delta = new - old
        self.work += 4.0 * k * self.neurons.n
        if not delta.any():
            return
        move = np.empty_like(p)
        _loops.combine(XT, neurons, delta[:k], delta[k], move)
        w = old[:k].astype(np.float64)
        dw = delta[:k].astype(np.float64)
        before = l1 * np.abs(w).sum() + 0.5 * l2 * (w @ w)
        descent = float(g.astype(np.float64) @ delta) + l1 * (
            np.abs(w + dw).sum() - np.abs(w).sum()
        )
        t = 1.0
        for _ in range(10):
            after = w + t * dw
            penalty = l1 * np.abs(after).sum() + 0.5 * l2 * (after @ after)
            change = _loops.step_change(p, move, self.y, c, self.theta, t) + penalty - before
            if change <= 0.01 * t * min(descent, 0.0):
                break
            t *= 0.5
        else:
            t = 0.0
        if t < 1:
            # The model promised too much: make the next one of more tokens.
            self.care[c] *= 2
        if t <= MISLED and self.grams[c].whole:
            # Somewhere a neuron is far out on tokens that were thought to weigh nothing.
            self.reach[c] = min(FARTHEST, self.reach[c] * 8)
            del self.grams[c]
        if t == 0:
            self.grams.pop(c, None)
            return
        _loops.apply_step(self.E, self.lse, c, p, move, np.float32(t))
        self.W[c, neurons] = new[:k] if t == 1.0 else (w + t * dw).astype(np.float32)
        self.b[c] += t * float(delta[k])

    def hessian(self, c: int, neurons: np.ndarray, curvature: np.ndarray, l2: float) -> np.ndarray:
        """Return the quadratic model of a working set and intercept, (k + 1, k + 1)."""
        kept = self.grams.get(c)
        if kept is not None and kept.moved(curvature) <= LAG:
            fresh = np.setdiff1d(neurons, kept.neurons, assume_unique=True)
            if len(fresh) <= EXTEND * len(kept.neurons):
                if len(fresh):
                    self.grams[c] = kept = self._extended(c, kept, fresh)
                return ridged(kept.of(neurons), l2)
        B, ratio, whole = self._weighted(c, neurons, curvature, len(neurons))
        H = ssyrk(ratio, B.T, trans=1, lower=0)
        H = np.triu(H) + np.triu(H, 1).T
        self.work += float(len(B)) ** 2 * B.shape[1]
        self.grams[c] = Gram(neurons, H, curvature, whole)
        return ridged(H, l2)

    def _extended(self, c: int, kept: Gram, fresh: np.ndarray) -> Gram:
        """Add neurons to a Gram matrix, at its own token weights."""
        k, m = len(kept.neurons), len(fresh)
        old, ratio, whole = self._weighted(c, kept.neurons, kept.weights, k)
        new = self._weighted(c, fresh, kept.weights, k)[0][:-1]
        neurons = np.sort(np.concatenate([kept.neurons, fresh]))
        at = np.append(np.searchsorted(neurons, kept.neurons), k + m)
        to = np.searchsorted(neurons, fresh)
        cross = np.float32(ratio) * (new @ old.T)
        matrix = np.empty((k + m + 1, k + m + 1), dtype=np.float32)
        matrix[np.ix_(at, at)] = kept.matrix
        matrix[np.ix_(to, at)] = cross
        matrix[np.ix_(at, to)] = cross.T
        matrix[np.ix_(to, to)] = np.float32(ratio) * (new @ new.T)
        self.work += 2.0 * m * (k + m) * old.shape[1]
        return Gram(neurons, matrix, kept.weights, whole)

    def _weighted(
        self, c: int, neurons: np.ndarray, curvature: np.ndarray, k: int
    ) -> tuple[np.ndarray, float, bool]:
        """Return neurons and a row of ones, times √weight, on the tokens that matter.

        The second value is the total weight over that of these tokens, the third whether they are
        all there are.
        """
        rows = heavy_tokens(curvature, self.reach[c])
        most = int(max(FEW_TOKENS, TOKENS_A_NEURON * k) * self.care[c])
        whole = len(rows) <= most
        if not whole:
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
        mass = float(curvature[rows].sum(dtype=np.float64))
        total = float(curvature.sum(dtype=np.float64))
        B = np.empty((len(neurons) + 1, len(rows)), dtype=np.float32)
        _loops.gather_scaled(self.neurons.XT, neurons, rows, np.sqrt(curvature[rows]), B)
        return B, total / mass if mass > 0 else 1.0, whole


def heavy_tokens(curvature: np.ndarray, reach: float = 1.0) -> np.ndarray:
    """Return the tokens that a class's curvature (weights included) rests on.

    With a longer reach more of them: a neuron may be far out on tokens that weigh little.
    """
    rows = np.flatnonzero(curvature > SMALL_WEIGHT / (len(curvature) * reach))
    if len(rows) < 200:
        rows = np.sort(np.argsort(-curvature, kind="stable")[:200])
    return rows


def ridged(H: np.ndarray, l2: float) -> np.ndarray:
    """Add λ₂ for the neurons and a hair for the intercept and against rounding."""
    out = np.ascontiguousarray(H).copy()
    diagonal = np.arange(len(out))
    out[diagonal, diagonal] *= np.float32(1 + 1e-5)
    out[diagonal[:-1], diagonal[:-1]] += np.float32(l2)
    out[-1, -1] += np.float32(1e-9)
    return out


def logsumexp(E: np.ndarray) -> np.ndarray:
    """Return log Σ exp over classes, (n,)."""
    top = E.max(axis=0)
    work = E - top
    np.exp(work, out=work)
    return top + np.log(work.sum(axis=0))
