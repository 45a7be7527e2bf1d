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

LAG = 0.4
"""A cached Gram matrix serves while its token weights have moved by less than this share."""

SMALL_WEIGHT = 2e-3
"""Tokens with p(1 − p) below this are left out of a Gram matrix (its mass is rescaled)."""


@dataclass
class _Gram:
    neurons: np.ndarray
    matrix: np.ndarray
    weights: np.ndarray


@dataclass
class State:
    """Weights, logits and caches of one problem.

    ``theta`` are the token weights, summing to 1.
    """

    XT: np.ndarray
    y: np.ndarray
    n_classes: int
    theta: np.ndarray
    W: np.ndarray = field(init=False)
    b: np.ndarray = field(init=False)
    E: np.ndarray = field(init=False)
    lse: np.ndarray = field(init=False)
    R: np.ndarray = field(init=False)
    grams: dict[int, _Gram] = field(default_factory=dict)
    gradients: float = 0.0

    def __post_init__(self) -> None:
        d, n = self.XT.shape
        self.token = np.arange(n)
        self.theta32 = self.theta.astype(np.float32)
        self.target = np.bincount(self.y, weights=self.theta, minlength=self.n_classes)
        self.own = np.zeros((self.n_classes, n), dtype=np.bool_)
        self.own[self.y, self.token] = True
        self.W = np.zeros((self.n_classes, d), dtype=np.float32)
        self.b = np.log(self.target + 1e-9)
        self.R = np.empty((self.n_classes, n), dtype=np.float32)
        self.reset_logits()

    def reset_logits(self) -> None:
        """Compute the logits afresh from the weights."""
        used = np.flatnonzero(self.W.any(axis=0))
        n = self.XT.shape[1]
        self.E = np.empty((self.n_classes, n), dtype=np.float32)
        if len(used):
            np.matmul(np.ascontiguousarray(self.W[:, used]), self.XT[used], out=self.E)
            self.E += self.b.astype(np.float32)[:, None]
        else:
            self.E[:] = self.b.astype(np.float32)[:, None]
        self.lse = _logsumexp(self.E)

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
        self.gradients += 0.5

    def objective(self, l1: float, l2: float) -> float:
        """Return the objective from the running logits."""
        loss = float(self.theta @ (self.lse - self.E[self.y, self.token]).astype(np.float64))
        W = self.W[self.W != 0].astype(np.float64)
        return loss + l1 * float(np.abs(W).sum()) + 0.5 * l2 * float(W @ W)

    def gradient(self) -> np.ndarray:
        """Settle the intercepts, then return the gradient of the loss, (C, d)."""
        self._settle_intercepts()
        P = self._probabilities()
        P *= self.theta32
        P[self.y, self.token] -= self.theta32
        self.R = P
        self.gradients += 0.5
        return P @ self.XT.T

    def _probabilities(self) -> np.ndarray:
        P = np.subtract(self.E, self.lse)
        np.exp(P, out=P)
        # Denormal numbers would slow the matrix product several times.
        P[P < 1e-20] = 0
        return P

    def _settle_intercepts(self) -> None:
        for _ in range(3):
            self.lse = _logsumexp(self.E)
            P = self._probabilities()
            totals = (P @ self.theta32).astype(np.float64)
            error = totals - self.target
            if np.abs(error).max() < 1e-7:
                return
            hessian = np.diag(totals) - ((P * self.theta32) @ P.T).astype(np.float64)
            hessian[np.diag_indices_from(hessian)] += 1e-8 + 1e-3 * totals
            step = np.clip(-np.linalg.solve(hessian, error), -1, 1)
            self.b += step
            self.E += step.astype(np.float32)[:, None]
        self.lse = _logsumexp(self.E)

    def dual(self, gradient: np.ndarray, l1: float, l2: float) -> float:
        """Return an estimate of the dual value (float32; the certificate is made elsewhere)."""
        if l2 <= 0:
            return -np.inf
        q = self._probabilities()
        entropy = -(q * np.log(np.maximum(q, 1e-30))).sum(axis=0)
        over = np.maximum(np.abs(gradient) - l1, 0).astype(np.float64)
        return float(self.theta @ entropy.astype(np.float64)) - float((over**2).sum()) / (2 * l2)

    def sweep(self, gradient: np.ndarray, l1: float, l2: float, cap: int, tol: float) -> None:
        """Update every class that violates its optimality conditions, worst first."""
        slope = gradient + np.float32(l2) * self.W
        nonzero = self.W != 0
        violation = np.where(
            nonzero,
            np.abs(slope + np.float32(l1) * np.sign(self.W)),
            np.maximum(np.abs(slope) - np.float32(l1), 0),
        )
        size = (violation.astype(np.float64) ** 2).sum(axis=1)
        worst = float(violation.max())
        for c in np.argsort(-size, kind="stable"):
            if size[c] < 1e-4 * size.max():
                break
            inside = np.flatnonzero(nonzero[c])
            fresh = np.flatnonzero(~nonzero[c] & (violation[c] > 0.02 * worst))
            most = max(cap, len(inside))
            if len(fresh) > most:
                fresh = fresh[np.argsort(-violation[c][fresh], kind="stable")[:most]]
            self._update_class(int(c), np.sort(np.concatenate([inside, fresh])), l1, l2, tol)

    def _update_class(self, c: int, neurons: np.ndarray, l1: float, l2: float, tol: float) -> None:
        p = np.exp(self.E[c] - self.lse)
        np.minimum(p, 1, out=p)
        r = (p - self.own[c]) * self.theta32
        curvature = p * (1 - p) * self.theta32
        neurons, H = self._hessian(c, neurons, curvature, l2)
        k = len(neurons)
        g = np.empty(k + 1, dtype=np.float32)
        _loops.products(self.XT, neurons, r, g)
        g[k] = r.sum(dtype=np.float64)
        old = np.empty(k + 1, dtype=np.float32)
        old[:k] = self.W[c, neurons]
        old[k] = 0  # the intercept's move; its own value does not enter the penalty
        g[:k] += np.float32(l2) * old[:k]
        new = _loops.descend(H, g, old, np.float32(l1), k, 200, np.float32(tol))
        delta = new - old
        if not delta.any():
            return
        move = np.empty_like(p)
        _loops.combine(self.XT, neurons, delta[:k], delta[k], move)
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
            change = _loops.step_change(p, move, self.own[c], self.theta, t) + penalty - before
            if change <= 0.01 * t * min(descent, 0.0):
                break
            t *= 0.5
        else:
            return
        _loops.apply_step(self.E, self.lse, c, p, move, np.float32(t))
        self.W[c, neurons] = new[:k] if t == 1.0 else (w + t * dw).astype(np.float32)
        self.b[c] += t * float(delta[k])

    def _hessian(
        self, c: int, neurons: np.ndarray, curvature: np.ndarray, l2: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the working set (maybe enlarged by the cached one) and its Hessian."""
        kept = self.grams.get(c)
        if kept is not None:
            if np.abs(curvature - kept.weights).sum() <= LAG * kept.weights.sum():
                fresh = np.setdiff1d(neurons, kept.neurons, assume_unique=True)
                if len(fresh) <= 0.5 * len(kept.neurons):
                    if len(fresh):
                        kept = self._extended(kept, fresh)
                        self.grams[c] = kept
                    pick = np.append(np.searchsorted(kept.neurons, neurons), len(kept.neurons))
                    return neurons, _ridge(kept.matrix[np.ix_(pick, pick)], l2)
            if len(kept.neurons) < 1.5 * len(neurons):
                neurons = np.union1d(neurons, kept.neurons)
        B, ratio = self._weighted(neurons, curvature)
        H = ssyrk(ratio, B.T, trans=1, lower=0)
        H = np.triu(H) + np.triu(H, 1).T
        self._count(len(B), len(B), B.shape[1])
        self.grams[c] = _Gram(neurons, H, curvature)
        return neurons, _ridge(H, l2)

    def _extended(self, kept: _Gram, fresh: np.ndarray) -> _Gram:
        """Add neurons to a Gram matrix, at its own token weights."""
        old, ratio = self._weighted(kept.neurons, kept.weights)
        new = self._weighted(fresh, kept.weights)[0][:-1]
        k, m = len(kept.neurons), len(fresh)
        neurons = np.union1d(kept.neurons, fresh)
        at = np.append(np.searchsorted(neurons, kept.neurons), k + m)
        to = np.searchsorted(neurons, fresh)
        cross = np.float32(ratio) * (new @ old.T)
        matrix = np.empty((k + m + 1, k + m + 1), dtype=np.float32)
        matrix[np.ix_(at, at)] = kept.matrix
        matrix[np.ix_(to, at)] = cross
        matrix[np.ix_(at, to)] = cross.T
        matrix[np.ix_(to, to)] = np.float32(ratio) * (new @ new.T)
        self._count(m, k + m, old.shape[1])
        return _Gram(neurons, matrix, kept.weights)

    def _weighted(self, neurons: np.ndarray, curvature: np.ndarray) -> tuple[np.ndarray, float]:
        """Return neurons and a row of ones, times √weight, on the tokens that matter.

        The second value is the total weight over that of these tokens.
        """
        rows = np.flatnonzero(curvature > SMALL_WEIGHT / len(curvature))
        if len(rows) < 200:
            rows = np.sort(np.argsort(-curvature, kind="stable")[:200])
        mass = float(curvature[rows].sum(dtype=np.float64))
        total = float(curvature.sum(dtype=np.float64))
        B = np.empty((len(neurons) + 1, len(rows)), dtype=np.float32)
        _loops.gather_scaled(self.XT, neurons, rows, np.sqrt(curvature[rows]), B)
        return B, total / mass if mass > 0 else 1.0

    def _count(self, rows: int, columns: int, tokens: int) -> None:
        """Add a product of this size to the work done, in units of one full gradient."""
        self.gradients += 0.5 * rows * columns * tokens / (self.XT.size * self.n_classes)


def _ridge(H: np.ndarray, l2: float) -> np.ndarray:
    """Add λ₂ for the neurons and a hair for the intercept and against rounding."""
    out = np.ascontiguousarray(H).copy()
    diagonal = np.arange(len(out))
    out[diagonal, diagonal] *= np.float32(1 + 1e-5)
    out[diagonal[:-1], diagonal[:-1]] += np.float32(l2)
    out[-1, -1] += np.float32(1e-9)
    return out


def _logsumexp(E: np.ndarray) -> np.ndarray:
    top = E.max(axis=0)
    work = E - top
    np.exp(work, out=work)
    return top + np.log(work.sum(axis=0))
