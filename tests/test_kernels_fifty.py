"""The optimum of random problems against saga and L-BFGS-B, which share no code with the solver."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from nissl.kernels.elastic_net import fit_elastic_net

KINDS = ("plain", "wide", "duplicated", "constant", "separable", "one token", "weights")
PENALTIES = ((1e-1, 1e-2), (1e-2, 1e-2), (3e-3, 1e-3), (1e-3, 1e-2), (1e-2, 0.0), (0.0, 1e-2))


def build(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    rng = np.random.default_rng(seed)
    C = int(rng.integers(3, 6))
    n, d = (30, 60) if kind == "wide" else (int(rng.integers(80, 160)), int(rng.integers(5, 25)))
    X = rng.standard_normal((n, d)) @ (np.eye(d) + 0.3 * rng.standard_normal((d, d)))
    W = rng.standard_normal((C, d)) * (rng.random((C, d)) < 0.4)
    y = (X @ W.T + rng.gumbel(size=(n, C)) * (0.0 if kind == "separable" else 2.0)).argmax(axis=1)
    y[:C] = np.arange(C)
    if kind == "duplicated":
        X[:, 1] = X[:, 0]
        X[:, 2] = -X[:, 0]
    if kind == "constant":
        X[:, 0] = 0.0
    if kind == "one token":
        y[y == C - 1] = 0
        y[0] = C - 1
    weight = rng.integers(0, 4, n).astype(float) if kind == "weights" else np.ones(n)
    weight[:C] = 1.0
    X = X - X.mean(axis=0)
    X /= np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    return np.asfortranarray(X.astype(np.float32)), y.astype(np.int64), C, weight


def objective(X, y, W, b, l1, l2, theta) -> float:
    logp = log_softmax(X.astype(np.float64) @ W.T + b, axis=1)
    loss = -float(theta @ logp[np.arange(len(y)), y])
    return loss + l1 * float(np.abs(W).sum()) + l2 / 2 * float((W**2).sum())


def split(X, y, C, l1, l2, theta) -> float:
    X = X.astype(np.float64)
    d = X.shape[1]
    size, hot = C * d, np.eye(C)[y]

    def evaluate(z):
        W = (z[:size] - z[size : 2 * size]).reshape(C, d)
        logp = log_softmax(X @ W.T + z[2 * size :], axis=1)
        R = theta[:, None] * (np.exp(logp) - hot)
        g = (R.T @ X + l2 * W).ravel()
        value = -float(theta @ (hot * logp).sum(axis=1)) + l1 * float(z[: 2 * size].sum())
        return value + l2 / 2 * float((W**2).sum()), np.concatenate([g + l1, l1 - g, R.sum(axis=0)])

    found = minimize(
        evaluate,
        np.zeros(2 * size + C),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * size) + [(None, None)] * C,
        options={"maxiter": 5000, "maxfun": 10000, "ftol": 1e-13, "gtol": 1e-9},
    )
    z = found.x
    W = (z[:size] - z[size : 2 * size]).reshape(C, d)
    return objective(X, y, W, z[2 * size :], l1, l2, theta)


def saga(X, y, l1, l2, weight) -> float:
    total = weight.sum()
    peer = LogisticRegression(
        solver="saga",
        C=1 / (total * (l1 + l2)),
        l1_ratio=l1 / (l1 + l2),
        max_iter=20_000,
        tol=1e-6,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Whole weights are repetitions; its own weights led saga to another, worse point.
        times = weight.astype(np.int64)
        peer.fit(np.repeat(X.astype(np.float64), times, axis=0), np.repeat(y, times))
    W: Any = peer.coef_
    return objective(X, y, W, np.asarray(peer.intercept_), l1, l2, weight / total)


@settings(max_examples=50)
@given(
    kind=st.sampled_from(KINDS),
    penalty=st.sampled_from(PENALTIES),
    seed=st.integers(0, 10_000),
)
def test_same_optimum_as_saga_and_split(kind, penalty, seed):
    X, y, C, weight = build(kind, seed)
    l1, l2 = penalty
    theta = weight / weight.sum()
    fit = fit_elastic_net(X, y, C, l1=l1, l2=l2, sample_weight=weight, tol=1e-5)
    assert fit.converged
    ours = objective(X, y, fit.coef, fit.intercept, l1, l2, theta)
    assert ours == pytest.approx(fit.objective, rel=1e-9)
    for theirs in (split(X, y, C, l1, l2, theta), saga(X, y, l1, l2, weight)):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_no_penalty_reaches_the_unpenalised_optimum():
    X, y, C, weight = build("plain", 3)
    X = np.asfortranarray(X[:, :6])
    theta = weight / weight.sum()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = fit_elastic_net(X, y, C, l1=0.0, l2=0.0)
    assert fit.objective == pytest.approx(split(X, y, C, 0.0, 0.0, theta), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_huge_penalty_leaves_only_intercepts(kind):
    X, y, C, weight = build(kind, 11)
    fit = fit_elastic_net(X, y, C, l1=100.0, l2=1.0, sample_weight=weight)
    assert not fit.coef.any()
    share = np.bincount(y, weights=weight, minlength=C) / weight.sum()
    assert fit.objective == pytest.approx(-float(share @ np.log(share)), rel=1e-9)
