"""Penalties of other tools: each convention minimised by code that knows nothing of ours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from nissl.errors import SettingError
from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.penalties import (
    from_glmnet,
    from_neurox,
    from_sklearn,
    to_glmnet,
    to_neurox,
    to_sklearn,
)

TOL = 1e-6


def planted(n_classes, n=200, d=12):
    rng = np.random.default_rng(n_classes)
    y = rng.integers(0, n_classes, n).astype(np.int64)
    X = rng.normal(size=(n, d))
    X[:, :n_classes] += np.eye(n_classes)[y]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return np.asfortranarray(X, dtype=np.float32), y


def minimise(value, shape, classes):
    """Minimise value(W, b) -> (smooth value, gradients, λ₁ ‖·‖₁'s λ₁) over W = P − N; float64."""
    size = int(np.prod(shape))

    def evaluate(z):
        W = (z[:size] - z[size : 2 * size]).reshape(shape)
        loss, gW, gb, l1 = value(W, z[2 * size :])
        g = gW.ravel()
        return loss + l1 * z[: 2 * size].sum(), np.concatenate([g + l1, l1 - g, gb])

    start = np.full(2 * size + classes, 1e-3)
    start[: size // 2] += 0.1  # away from W = 0, where an unsquared norm has no gradient
    found = minimize(
        evaluate,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * size) + [(None, None)] * classes,
        options={"maxiter": 20000, "maxfun": 50000, "ftol": 1e-15, "gtol": 1e-10},
    )
    return (found.x[:size] - found.x[size : 2 * size]).reshape(shape), found.x[2 * size :]


def cross_entropy(X, y, W, b):
    """Mean cross-entropy and its gradients, one vector a class."""
    X = X.astype(np.float64)
    logp = log_softmax(X @ W.T + b, axis=1)
    residual = (np.exp(logp) - np.eye(len(W))[y]) / len(y)
    return -logp[np.arange(len(y)), y].mean(), residual.T @ X, residual.sum(axis=0)


def binomial(X, y, w, b):
    """Mean cross-entropy and its gradients, one vector for two classes."""
    X = X.astype(np.float64)
    logit = X @ w[0] + b[0]
    loss = np.logaddexp(0, logit) - y * logit
    residual = (1 / (1 + np.exp(-logit)) - y) / len(y)
    return loss.mean(), (residual @ X)[None], residual.sum(keepdims=True)


def loss_of(X, y, W, b):
    """Mean cross-entropy with one vector a class, or with one vector for two classes."""
    return (binomial if len(W) == 1 else cross_entropy)(X, y, W, b)[0]


def as_theirs(coef, intercept):
    """Two vectors as the one they stand for."""
    if len(coef) == 2:
        return coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    return coef, intercept


def same_weights(one, two):
    """Compare weights up to what the model cannot see: a shift of all classes of a neuron.

    With an even number of classes λ₁ alone does not settle it either.
    """
    if len(one) > 1:
        one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    np.testing.assert_allclose(one, two, atol=0.01)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize(("C", "ratio"), [(0.5, 0.7), (0.3, 0.1), (1.0, 1.0)])
def test_scikit_learn(n_classes, C, ratio):
    X, y = planted(n_classes)
    theirs = LogisticRegression(solver="saga", C=C, l1_ratio=ratio, tol=1e-9, max_iter=20000)
    theirs.fit(X.astype(np.float64), y)
    l1, l2 = from_sklearn(C, ratio, len(y), n_classes=n_classes)
    ours = fit_elastic_net(X, y, n_classes, l1=l1, l2=l2, tol=TOL)
    W, b = as_theirs(ours.coef, ours.intercept)

    def objective(W, b):
        loss = C * len(y) * loss_of(X, y, W, b)
        return loss + ratio * np.abs(W).sum() + (1 - ratio) / 2 * (W**2).sum()

    best = objective(theirs.coef_, theirs.intercept_)
    assert objective(W, b) == pytest.approx(best, rel=1e-5)
    # And ours is as low at their weights, so that both are one problem and not only near.
    assert ours.objective == pytest.approx(best / (C * len(y)), rel=1e-5)
    same_weights(W, theirs.coef_)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("strength", "alpha"), [(0.03, 0.5), (0.02, 0.9), (0.1, 0.0)])
def test_glmnet(n_classes, strength, alpha):
    X, y = planted(n_classes)
    loss = binomial if n_classes == 2 else cross_entropy
    vectors = 1 if n_classes == 2 else n_classes

    def value(W, b):
        at, gW, gb = loss(X, y, W, b)
        ridge = strength * (1 - alpha)
        return at + ridge / 2 * (W**2).sum(), gW + ridge * W, gb, strength * alpha

    theirs, bias = minimise(value, (vectors, X.shape[1]), vectors)

    def objective(W, b):
        ridge = (1 - alpha) / 2 * (W**2).sum()
        return loss_of(X, y, W, b) + strength * (ridge + alpha * np.abs(W).sum())

    l1, l2 = from_glmnet(strength, alpha, n_classes=n_classes)
    ours = fit_elastic_net(X, y, n_classes, l1=l1, l2=l2, tol=TOL)
    W, b = as_theirs(ours.coef, ours.intercept)
    best = objective(theirs, bias)
    assert objective(W, b) == pytest.approx(best, rel=1e-5)
    assert ours.objective == pytest.approx(best, rel=1e-5)
    same_weights(W, theirs)


def neurox(X, y, n_classes, lambda_l1, lambda_l2):
    """Minimise NeuroX's objective; return weights, intercept and the objective."""

    def value(W, b):
        at, gW, gb = cross_entropy(X, y, W, b)
        norm = np.sqrt((W**2).sum())
        return at + lambda_l2 * norm, gW + lambda_l2 * W / norm, gb, lambda_l1

    def objective(W, b):
        norm = np.linalg.norm(W)
        return loss_of(X, y, W, b) + lambda_l1 * np.abs(W).sum() + lambda_l2 * norm

    return *minimise(value, (n_classes, X.shape[1]), n_classes), objective


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("lambda_l1", "lambda_l2"), [(0.005, 0.02), (0.01, 0.05), (0.0, 0.05)])
def test_neurox(n_classes, lambda_l1, lambda_l2):
    X, y = planted(n_classes)
    theirs, bias, objective = neurox(X, y, n_classes, lambda_l1, lambda_l2)
    norm = float(np.linalg.norm(theirs))
    assert norm > 0.1
    l1, l2 = from_neurox(lambda_l1, lambda_l2, norm)
    ours = fit_elastic_net(X, y, n_classes, l1=l1, l2=l2, tol=TOL)
    assert objective(ours.coef, ours.intercept) == pytest.approx(objective(theirs, bias), rel=1e-5)
    same_weights(ours.coef, theirs)
    # Back from our own norm: the number they were given.
    back = to_neurox(l1, l2, float(np.linalg.norm(ours.coef)))
    assert back == pytest.approx((lambda_l1, lambda_l2), rel=0.01)


def test_neuroxs_second_number_is_not_our_l2():
    X, y = planted(3)
    theirs, _, _ = neurox(X, y, 3, 0.005, 0.05)
    same_number = fit_elastic_net(X, y, 3, l1=0.005, l2=0.05, tol=TOL)
    assert np.abs(same_number.coef - theirs).max() > 0.02


PENALTY = st.floats(1e-6, 10)


@given(PENALTY, PENALTY, st.integers(1, 10**6), st.integers(2, 5))
def test_there_and_back(l1, l2, n, n_classes):
    C, ratio = to_sklearn(l1, l2, n, n_classes=n_classes)
    assert from_sklearn(C, ratio, n, n_classes=n_classes) == pytest.approx((l1, l2))
    strength, alpha = to_glmnet(l1, l2, n_classes=n_classes)
    assert from_glmnet(strength, alpha, n_classes=n_classes) == pytest.approx((l1, l2))
    assert from_neurox(*to_neurox(l1, l2, 3.0), 3.0) == pytest.approx((l1, l2))


def test_without_penalty():
    assert to_sklearn(0.0, 0.0, 10, n_classes=3) == (np.inf, 0.0)
    assert from_sklearn(np.inf, 0.0, 10, n_classes=3) == (0.0, 0.0)
    assert to_glmnet(0.0, 0.0, n_classes=2) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: from_sklearn(0.0, 0.5, 10, n_classes=3), "C must be above 0"),
        (lambda: from_sklearn(1.0, 1.5, 10, n_classes=3), r"l1_ratio must lie in \[0, 1\]"),
        (lambda: to_sklearn(1e-3, 1e-3, 0, n_classes=3), "n must be above 0"),
        (lambda: to_glmnet(-1.0, 0.0, n_classes=3), "l1 must be 0 or more"),
        (lambda: from_glmnet(1.0, -0.1, n_classes=3), "alpha must lie"),
        (lambda: from_glmnet(1.0, 0.5, n_classes=1), "n_classes must be 2 or more"),
        (lambda: from_neurox(0.1, 0.1, 0.0), "norm must be above 0"),
    ],
)
def test_impossible_values_are_refused(call, words):
    with pytest.raises(SettingError, match=words):
        call()
