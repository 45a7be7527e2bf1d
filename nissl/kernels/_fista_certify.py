"""The certificate of :mod:`nissl.kernels.fit` in torch, by blocks of rows, for several points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nissl.kernels._fista_rows import Rows, device_budget

CERTIFY_BYTES = 1 << 30
"""Float64 logits that are kept at a time while certifying."""


@dataclass(frozen=True)
class Point:
    """What to certify: labels (n,) of which each has weight, token weights, weights, penalties."""

    y: np.ndarray
    theta: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    l1: float
    l2: float


@dataclass(frozen=True)
class Certificate:
    """Primal, dual, KKT violation, polished intercept, and the lowest of the tokens' top logits."""

    primal: float
    dual: float
    kkt: float
    intercept: np.ndarray
    floor: float


def certify_rows(rows: Rows, points: Sequence[Point]) -> list[Certificate]:
    """Certify several points in two passes over X, in float64.

    The same formulas as :func:`nissl.kernels.fit.certify`; the dual is explained there. Logits
    (float64, Σ C × n) stay on the device when they fit, all else is made a block at a time.
    """
    import torch

    double, device = torch.float64, rows.device
    K = sum(len(p.coef) for p in points)
    home = device if 8 * K * rows.n <= max(CERTIFY_BYTES, device_budget(device) // 8) else "cpu"
    L = torch.empty(K, rows.n, dtype=double, device=home)
    W = torch.from_numpy(np.concatenate([p.coef for p in points])).to(device, double)
    for start, stop, X in rows(double):
        L[:, start:stop] = (W @ X.T).to(home)
    tops = np.cumsum([len(p.coef) for p in points])
    views = [
        _Tokens(p, L[end - len(p.coef) : end], rows) for p, end in zip(points, tops, strict=True)
    ]
    polished = [view.polish() for view in views]
    tops = np.cumsum([len(p.coef) for p in points])[:-1]
    sums = torch.zeros(K, rows.d, dtype=double, device=device)
    for start, stop, X in rows(double):
        left = [v.residual(b, start, stop) for v, b in zip(views, polished, strict=True)]
        sums.addmm_(torch.cat(left), X)
    parts = np.split(sums.cpu().numpy(), tops)
    rms = rows.rms()
    return [v.finish(b, g, rms) for v, b, g in zip(views, polished, parts, strict=True)]


class _Tokens:
    """Class probabilities of one point, a block of tokens at a time."""

    def __init__(self, point: Point, L: Any, rows: Rows) -> None:
        import torch

        self.point, self.L, self.rows = point, L, rows
        self.y = torch.from_numpy(point.y)
        self.theta = torch.from_numpy(point.theta)
        self.target = np.bincount(point.y, weights=point.theta, minlength=len(point.coef))

    def spans(self) -> Iterator[tuple[int, int]]:
        for start in range(0, self.rows.n, self.rows.block):
            yield start, min(start + self.rows.block, self.rows.n)

    def part(self, b: np.ndarray, start: int, stop: int) -> tuple[Any, Any, Any, Any]:
        """Return logits and log probabilities (C, r), labels (1, r) and token weights (r,)."""
        import torch

        device = self.rows.device
        z = self.L[:, start:stop].to(device) + torch.from_numpy(b).to(device)[:, None]
        y = self.y[None, start:stop].to(device)
        return z, torch.log_softmax(z, dim=0), y, self.theta[start:stop].to(device)

    def totals(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted class totals (C,) of the predictions and their derivative by b (C, C)."""
        C = len(b)
        total, outer = np.zeros(C), np.zeros((C, C))
        for start, stop in self.spans():
            _, logp, _, theta = self.part(b, start, stop)
            q = logp.exp()
            total += (q @ theta).cpu().numpy()
            outer += ((q * theta) @ q.T).cpu().numpy()
        return total, np.diag(total) - outer

    def polish(self) -> np.ndarray:
        """Newton steps on the intercepts alone, halved while the totals get no closer."""
        b = self.point.intercept.astype(np.float64)
        total, hessian = self.totals(b)
        for _ in range(40):
            error = total - self.target
            size = float(np.abs(error / self.target).max())
            if size < 1e-11:
                break
            damped = hessian + np.diag(1e-12 + 1e-9 * total)
            # A class with next to no token has its optimum far away: bound the step.
            step = np.clip(-np.linalg.solve(damped, error), -2, 2)
            for _ in range(8):
                other, bend = self.totals(b + step)
                if np.abs(other / self.target - 1).max() < size:
                    break
                if size < 1e-9:  # the rounding floor
                    return b
                step *= 0.5
            else:
                return b
            b, total, hessian = b + step, other, bend
        return b

    def residual(self, b: np.ndarray, start: int, stop: int) -> Any:
        """Predictions less labels, times the token weights, (C, r)."""
        _, logp, y, theta = self.part(b, start, stop)
        return (logp.exp() * theta).scatter_add_(0, y, -theta[None])

    def finish(self, b: np.ndarray, gradient: np.ndarray, rms: np.ndarray) -> Certificate:
        """Put the certificate together; ``gradient`` is the residual times X, (C, d)."""
        import torch

        l1, l2, coef, target = self.point.l1, self.point.l2, self.point.coef, self.target
        total = self.totals(b)[0]
        # Mix q with a constant distribution a so that the class totals are exact.
        excess = (total - target) / np.maximum(total, 1e-300)
        share = min(1.0, max(0.0, float(excess.max())) * (1 + 1e-9) + 1e-15)
        a = np.maximum(total + (target - total) / share, 0.0)
        a /= a.sum()
        lean = share * np.outer(a + np.sqrt(total), rms)
        U = np.abs(gradient) + lean * np.sqrt(self.rows.n * self.point.theta.max())
        largest = float(U.max())
        shrink, penalty = 1.0, 0.0
        if l2 > 0:
            penalty = float((np.maximum(U - l1, 0) ** 2).sum()) / (2 * l2)
        elif l1 == 0 and largest > 0:
            penalty = np.inf
        elif largest > 0:
            shrink = min(1.0, l1 / largest)
        constant = torch.from_numpy(a).to(self.rows.device)[:, None]
        loss = entropy = 0.0
        floor = np.inf
        for start, stop in self.spans():
            z, logp, y, theta = self.part(b, start, stop)
            loss -= float(theta @ logp.gather(0, y)[0])
            q = ((1 - share) * logp.exp() + share * constant) * shrink
            q.scatter_add_(0, y, torch.full_like(theta, 1 - shrink)[None])
            entropy -= float(theta @ torch.xlogy(q, q).sum(dim=0))
            floor = min(floor, float(z.amax(dim=0).min()))
        slope = gradient + l2 * coef
        kkt = np.where(
            coef != 0, np.abs(slope + l1 * np.sign(coef)), np.maximum(np.abs(slope) - l1, 0)
        )
        return Certificate(
            primal=loss + l1 * float(np.abs(coef).sum()) + 0.5 * l2 * float((coef**2).sum()),
            dual=entropy - penalty,
            kkt=max(float(kkt.max()), float(np.abs(total - target).max())),
            intercept=b,
            floor=floor,
        )
