"""Class-conditional Gaussians on a growing set of neurons, with every candidate's next step ready.

For class c let Λ_c be the posterior scatter (prior plus data), divided by the number of tokens that
it is worth. With L_c the Cholesky factor of Λ_c on the selected neurons S, the state is

    V_c = L_c⁻¹ Λ_c[S, :]  (k, d),   Z_c = L_c⁻¹ (x_S − μ_cS)  (k, n),   s_cj = Λ_c[j, j] − ‖V_cj‖²,

so that a candidate j has, given S, mean μ_cj + V_cj·Z_c and variance s_cj: the Schur complement. A
pick adds one row to V_c and Z_c, for which only row j of Λ_c is needed; Λ_c is never formed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nissl.kernels._gaussian_loops import score_block

__all__ = ["Gaussians", "Prior", "build"]

CANDIDATES, TOKENS = 16, 512
"""Size of a block: its scores for all classes stay in the cache of a core."""


@dataclass(frozen=True)
class Prior:
    """Normal-inverse-Wishart prior: tokens that it is worth, and how the covariance is read off.

    ``covariance`` is ``"mean"``, ``"map"`` or ``"joint"``; see ``gaussian.gaussian_selection``.
    """

    mean_tokens: float
    scatter_tokens: float
    covariance: str

    def factor(self, counts: np.ndarray, k: int, d: int) -> np.ndarray:
        """Return by what to multiply Λ_c to have the covariance of k of d neurons, (C,)."""
        worth = counts + self.scatter_tokens
        if self.covariance == "mean":
            return np.ones(len(counts))
        # Mode of an inverse-Wishart times a normal; a marginal over k neurons has ν − (d − k).
        return worth / (worth + 2.0 * (d if self.covariance == "joint" else k) + 3.0)


class Gaussians:
    """The state; see the module. Training tokens are sorted by class, scored ones need not be."""

    def __init__(
        self, XT: np.ndarray, counts: np.ndarray, scored: np.ndarray, y: np.ndarray, prior: Prior
    ) -> None:
        self.XT, self.counts, self.scored, self.y, self.prior = XT, counts, scored, y, prior
        d, n, n_classes = len(XT), scored.shape[1], len(counts)
        self.edges = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.worth = counts + prior.scatter_tokens
        self.raw = np.empty((n_classes, d))  # class means of the data
        self.var = np.empty((n_classes, d))
        total = XT.mean(axis=1, dtype=np.float64)
        spread = np.zeros(d)
        for c, part in self._parts():
            for start in range(0, d, 256):
                rows = slice(start, start + 256)
                block = XT[rows, part].astype(np.float64)
                self.raw[c, rows] = block.mean(axis=1)
                block -= self.raw[c, rows, None]
                self.var[c, rows] = np.einsum("ij,ij->i", block, block)
                spread[rows] += self.var[c, rows]
        lean = counts * prior.mean_tokens / (counts + prior.mean_tokens)
        away = self.raw - total
        between = (counts[:, None] * away**2).sum(axis=0)
        # A neuron that is constant inside every class still needs some prior variance.
        self.prior_var = np.maximum(spread, 1e-4 * between) / XT.shape[1]
        self.mean = total + away * (counts / (counts + prior.mean_tokens))[:, None]
        self.away, self.lean = away, lean
        self.var += prior.scatter_tokens * self.prior_var + lean[:, None] * away**2
        self.var /= self.worth[:, None]
        # In exact arithmetic what is left of a variance is never less than the prior's part.
        self.least = 0.5 * prior.scatter_tokens * self.prior_var / self.worth[:, None]
        size = (spread + between) / XT.shape[1]
        self.usable = size > 1e-12 * np.maximum(1.0, total**2)
        self.picks: list[int] = []
        self.V = np.empty((n_classes, 0, d))
        self.Z = np.empty((n_classes, 0, n))
        self.V32 = np.empty((n_classes, 0, d), dtype=np.float32)
        self.Z32 = np.empty((n_classes, 0, n), dtype=np.float32)
        self.log_prior = np.log(counts / counts.sum())
        self.square = np.zeros((n_classes, n))
        self.log_det = np.zeros(n_classes)

    def _parts(self) -> list[tuple[int, slice]]:
        return [(c, slice(self.edges[c], self.edges[c + 1])) for c in range(len(self.counts))]

    def reserve(self, steps: int) -> None:
        """Make room for so many picks."""
        for name in ("V", "Z", "V32", "Z32"):
            old = getattr(self, name)
            shape = (old.shape[0], steps, old.shape[2])
            setattr(self, name, np.empty(shape, dtype=old.dtype))

    def joint(self, k: int | None = None) -> np.ndarray:
        """Log joint probability (C, n), the covariance read off as for ``k`` neurons."""
        f = self.factor(k)[:, None]
        held = len(self.picks)
        constant = self.log_prior - 0.5 * (self.log_det + held * np.log(2 * np.pi * f[:, 0]))
        return constant[:, None] - 0.5 * self.square / f

    def factor(self, k: int | None = None) -> np.ndarray:
        """Return the factor of :class:`Prior` for ``k`` neurons; by default the selected ones."""
        k = len(self.picks) if k is None else k
        return self.prior.factor(self.counts, max(k, 1), len(self.XT))

    def scores(self, candidates: np.ndarray) -> np.ndarray:
        """Mean log-probability of the labels and mean negative entropy, float32 work: (2, m)."""
        held, n = len(self.picks), self.scored.shape[1]
        f = self.factor(held + 1)[:, None]
        joint = self.joint(held + 1)
        base = (joint - joint.max(axis=0)).astype(np.float32)
        bases = [np.ascontiguousarray(base[:, i : i + TOKENS]) for i in range(0, n, TOKENS)]
        var = self.var[:, candidates] * f
        scale = (1 / np.sqrt(2 * var)).astype(np.float32)
        constant = (-0.5 * np.log(var)).astype(np.float32)
        mean = self.mean[:, candidates].astype(np.float32)
        found = np.zeros((2, len(candidates)))
        room = np.empty(len(self.counts) * CANDIDATES * TOKENS, dtype=np.float32)
        for first in range(0, len(candidates), CANDIDATES):
            some = slice(first, min(first + CANDIDATES, len(candidates)))
            VT = np.ascontiguousarray(self.V32[:, :held, candidates[some]].transpose(0, 2, 1))
            values = self.scored[candidates[some]]
            args = [np.ascontiguousarray(a[:, some]) for a in (mean, scale, constant)]
            out = np.zeros((2, VT.shape[1]))
            for start in range(0, n, TOKENS):
                part = slice(start, min(start + TOKENS, n))
                # All contiguous: the compiled loop uses vector instructions only then.
                shape = (len(VT), VT.shape[1], part.stop - start)
                R = room[: shape[0] * shape[1] * shape[2]].reshape(shape)
                if held:
                    np.matmul(VT, self.Z32[:, :held, part], out=R)
                else:
                    R[...] = 0
                x = np.ascontiguousarray(values[:, part])
                score_block(R, x, *args, bases[start // TOKENS], self.y[part], out)
            found[:, some] = out
        return found / n

    def exact(self, j: int) -> np.ndarray:
        """Return what :meth:`scores` does for one candidate, in float64: (2,)."""
        held = len(self.picks)
        f = self.factor(held + 1)
        var = self.var[:, j] * f
        r = self._residual(j)
        a = self.joint(held + 1) - 0.5 * (np.log(var)[:, None] + r**2 / var[:, None])
        return np.array(summary(a, self.y)[:2])

    def _residual(self, j: int) -> np.ndarray:
        """Distance of the scored tokens to what is expected of neuron j in each class, (C, n)."""
        held = len(self.picks)
        expected = np.einsum("ck,ckn->cn", self.V[:, :held, j], self.Z[:, :held])
        return self.scored[j].astype(np.float64) - self.mean[:, j, None] - expected

    def _row(self, j: int) -> np.ndarray:
        """Row j of every class's Λ_c, (C, d), float64."""
        d = len(self.XT)
        row = self.lean[:, None] * self.away * self.away[:, j, None]
        for c, part in self._parts():
            own = self.XT[j, part].astype(np.float64) - self.raw[c, j]
            for start in range(0, d, 256):
                rows = slice(start, start + 256)
                # The mean of the other neuron drops out: ``own`` sums to nothing.
                row[c, rows] += self.XT[rows, part].astype(np.float64) @ own
        row[:, j] += self.prior.scatter_tokens * self.prior_var[j]
        return row / self.worth[:, None]

    def add(self, j: int) -> None:
        """Select neuron j."""
        held = len(self.picks)
        root = np.sqrt(self.var[:, j])
        r = self._residual(j) / root[:, None]
        row = self._row(j)
        row -= np.einsum("ck,ckd->cd", self.V[:, :held, j], self.V[:, :held])
        row /= root[:, None]
        self.V[:, held], self.Z[:, held] = row, r
        self.V32[:, held], self.Z32[:, held] = row, r
        self.square += r**2
        self.log_det += 2 * np.log(root)
        self.var = np.maximum(self.var - row**2, self.least)
        self.picks.append(j)


def summary(joint: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Mean log-probability of the labels, mean negative entropy, accuracy; from (C, n)."""
    log_p = joint - joint.max(axis=0)
    log_p -= np.log(np.exp(log_p).sum(axis=0))
    own = log_p[y, np.arange(len(y))]
    p = np.exp(log_p)
    # p log p is 0 at p = 0, where the logarithm may be minus infinity.
    plogp = np.where(p > 0, p * np.where(p > 0, log_p, 0.0), 0.0).sum(axis=0)
    return float(own.mean()), float(plogp.mean()), float((log_p.argmax(axis=0) == y).mean())


def build(
    XT: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    scored: tuple[np.ndarray, np.ndarray] | None,
    prior: Prior,
) -> Gaussians:
    """Sort the training tokens by class, leave out empty classes, and make the state.

    Parameters
    ----------
    XT
        Training tokens, (d, n) float32.
    scored
        Tokens (d, m) and classes to score on; by default the training tokens.
    """
    counts = np.bincount(y, minlength=n_classes)
    used = np.flatnonzero(counts)
    new = np.full(n_classes, -1)
    new[used] = np.arange(len(used))
    order = np.argsort(y, kind="stable")
    XT = XT if (order == np.arange(len(y))).all() else np.take(XT, order, axis=1)
    there, labels = (XT, y[order]) if scored is None else scored
    return Gaussians(XT, counts[used].astype(np.float64), there, new[labels], prior)
