"""The quadratic model of a block: nearly collinear neurons must be settled too."""

from __future__ import annotations

import numpy as np
import pytest

from nissl.kernels import _search
from nissl.kernels._quadratic import minimise_quadratic
from nissl.kernels.elastic_net import fit_elastic_net


def collinear(k: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Gram matrix whose eigenvalues span six decades, a slope, and where to start."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((k, k)))
    H = (basis * np.logspace(1, -5, k)) @ basis.T
    H = 0.5 * (H + H.T)
    g = H @ rng.standard_normal(k) * 0.3
    return H, g, rng.standard_normal(k) * (rng.random(k) < 0.3)


def conditions(
    H: np.ndarray, g: np.ndarray, w: np.ndarray, v: np.ndarray, l1: float, penalised: int
) -> float:
    """By how much the optimality conditions at v are missed, at most."""
    slope = g + H @ (v - w)
    missed = np.where(v != 0, np.abs(slope + l1 * np.sign(v)), np.maximum(np.abs(slope) - l1, 0))
    missed[penalised:] = np.abs(slope[penalised:])
    return float(missed.max())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [30, 120])
def test_collinear_neurons_are_settled(k: int, seed: int) -> None:
    H, g, w = collinear(k, seed)
    l1 = 0.02 * float(np.abs(g).max())
    v = minimise_quadratic(
        H.astype(np.float32), g.astype(np.float32), w.astype(np.float32), l1, k - 1, 1e-4
    ).astype(np.float64)
    assert conditions(H, g, w, v, l1, k - 1) < 0.02 * l1
    assert (v[: k - 1] == 0).any()


def dense_problem() -> tuple[np.ndarray, np.ndarray]:
    """More neurons than tokens, most of them along 20 directions."""
    rng = np.random.default_rng(0)
    low = rng.standard_normal((300, 20)) @ rng.standard_normal((20, 400))
    X = low + 0.3 * rng.standard_normal((300, 400))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = (X[:, :5].sum(axis=1) + rng.standard_normal(300) > 0).astype(np.int64)
    return np.asfortranarray(X, dtype=np.float32), y


def test_a_probe_with_few_zeros_on_few_tokens_needs_few_sweeps() -> None:
    X, y = dense_problem()
    fit = fit_elastic_net(X, y, n_classes=2, l1=1e-4, l2=1e-4, tol=1e-4)
    assert fit.converged
    assert fit.iterations <= 25  # hundreds with coordinate descent alone


def test_accelerated_gradients_end_at_the_same_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = dense_problem()
    blocks = fit_elastic_net(X, y, n_classes=2, l1=1e-4, l2=1e-4, tol=1e-4)
    monkeypatch.setattr(_search, "ALLOWED", 0)
    monkeypatch.setattr(_search, "DENSE", 0.0)
    gradients = fit_elastic_net(X, y, n_classes=2, l1=1e-4, l2=1e-4, tol=1e-4)
    assert gradients.converged
    assert gradients.iterations > 25
    assert gradients.objective == pytest.approx(blocks.objective, rel=2e-4)
