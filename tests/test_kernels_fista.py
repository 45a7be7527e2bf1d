"""The torch engine against the CPU engine, the certificate, and planted truth; on CPU tensors."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from nissl.errors import InputError, LabelError, NotConverged, SettingError
from nissl.kernels import _fista_rows
from nissl.kernels._fista_certify import Point, certify_rows
from nissl.kernels._fista_rows import Rows
from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.fista import solve_many_torch
from nissl.kernels.fit import Fit, certify
from nissl.kernels.problem import Problem
from nissl.kernels.standardise import moments, standardise
from nissl.testing import planted_activations

CPU = torch.device("cpu")


def data(n=300, d=40, n_classes=4, seed=0, shift=1.0):
    planted = planted_activations(
        n_tokens=n, n_neurons=d, n_classes=n_classes, seed=seed, shift=shift
    )
    X = standardise(planted.X, *moments(planted.X))
    return X, planted.y.astype(np.int64)


def same_objective(ours: Fit, other: Fit, rel: float) -> bool:
    return abs(ours.objective - other.objective) <= rel * max(other.objective, 1e-6)


def centred(b: np.ndarray) -> np.ndarray:
    """A constant in all intercepts changes nothing."""
    return b - b.mean()


def cases():
    rng = np.random.default_rng(5)
    X, y = data()
    yield "tall", X, y, Problem(y, 4, 5e-3, 1e-3)
    Z, z = data(n=60, d=150, seed=1)
    yield "wide", Z, z, Problem(z, 4, 1e-2, 1e-3)
    yield "small penalties", X, y, Problem(y, 4, 3e-4, 3e-4)
    yield "ridge", X, y, Problem(y, 4, 0.0, 1e-2)
    yield "lasso", X, y, Problem(y, 4, 5e-3, 0.0)
    twice = np.asfortranarray(np.hstack([X, X[:, :10]]))
    yield "duplicated", twice, y, Problem(y, 4, 5e-3, 1e-3)
    still = X.copy(order="F")
    still[:, [3, 7]] = 0
    yield "constant", still, y, Problem(y, 4, 5e-3, 1e-3)
    yield "weighted", X, y, Problem(y, 4, 5e-3, 1e-3, weight=rng.exponential(size=300))
    masked = np.where(y == 2, 0.0, rng.integers(0, 3, 300))
    yield "a class without weight", X, y, Problem(y, 4, 5e-3, 1e-3, weight=masked)
    S, s = data(n=200, d=30, seed=2, shift=6.0)
    yield "separable", S, s, Problem(s, 4, 1e-3, 1e-3)
    rare = np.where(np.arange(300) < 3, 1, 2 * (rng.random(300) < 0.1)).astype(np.int64)
    yield "rare", X, rare, Problem(rare, 3, 2e-3, 1e-3)


CASES = list(cases())


@pytest.mark.parametrize(("X", "y", "p"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_agrees_with_the_other_engine(X, y, p):
    (fit,) = solve_many_torch(X, [p], tol=5e-5, max_iter=5000)
    other = fit_elastic_net(
        X, y, p.n_classes, l1=p.l1, l2=p.l2, sample_weight=p.weight, tol=5e-5, max_iter=300
    )
    assert fit.converged
    assert other.gap <= 1e-4
    assert same_objective(fit, other, 1e-4)
    # What it says of itself is what the other certificate says of its point.
    theta = np.full(len(y), 1.0) if p.weight is None else p.weight
    primal, dual, kkt, b = certify(
        X.T, y, fit.coef, fit.intercept, l1=p.l1, l2=p.l2, weight=theta / theta.sum()
    )
    assert fit.objective == pytest.approx(primal, rel=1e-9)
    assert fit.gap == pytest.approx((primal - dual) / primal, abs=1e-8)
    assert fit.kkt == pytest.approx(kkt, abs=1e-8)
    if (np.bincount(y, weights=theta, minlength=p.n_classes) > 0).all():
        assert centred(fit.intercept) == pytest.approx(centred(b), abs=1e-7)


@pytest.mark.parametrize("block", [37, 1000])
@pytest.mark.parametrize(("l1", "l2"), [(1e-2, 1e-3), (0.0, 1e-3), (1e-2, 0.0), (0.0, 0.0)])
def test_certificate_by_blocks_is_the_certificate(l1, l2, block):
    X, y = data(seed=7)
    rng = np.random.default_rng(0)
    points = []
    for size in (0.0, 0.05, 1.0):
        theta = rng.exponential(size=len(y))
        coef = size * rng.standard_normal((4, 40)) * (rng.random((4, 40)) < 0.5)
        points.append(Point(y, theta / theta.sum(), coef, rng.standard_normal(4), l1, l2))
    rows = Rows(torch.from_numpy(X), CPU, torch.float32, rows=12, block=block)
    for p, found in zip(points, certify_rows(rows, points), strict=True):
        primal, dual, kkt, b = certify(X.T, y, p.coef, p.intercept, l1=l1, l2=l2, weight=p.theta)
        assert found.primal == pytest.approx(primal, rel=1e-10)
        assert found.dual == pytest.approx(dual, rel=1e-7)
        assert found.kkt == pytest.approx(kkt, rel=1e-7)
        assert centred(found.intercept) == pytest.approx(centred(b), abs=1e-8)


def many(y, n):
    """Problems of different sizes, penalties, weights and labels on one matrix."""
    rng = np.random.default_rng(11)
    return [
        Problem(y, 4, 1e-2, 1e-3),
        Problem(rng.integers(0, 7, n), 7, 4e-3, 1e-3),
        Problem(y, 4, 1e-3, 1e-2, weight=rng.integers(0, 4, n).astype(float)),
        Problem((y > 1).astype(np.int64), 2, 3e-3, 0.0),
        Problem(y, 4, 10.0, 1e-3),
        Problem(rng.permutation(y), 4, 0.0, 1e-1),
    ]


def test_a_stack_gives_what_single_problems_give():
    X, y = data(seed=3)
    problems = many(y, 300)
    stacked = solve_many_torch(X, problems, tol=1e-5, max_iter=5000)
    for p, fit in zip(problems, stacked, strict=True):
        (alone,) = solve_many_torch(X, [p], tol=1e-5, max_iter=5000)
        assert fit.converged
        assert alone.converged
        assert same_objective(fit, alone, 1e-5)
        assert fit.coef.shape == (p.n_classes, 40)
    assert len({fit.iterations for fit in stacked}) > 3  # they leave the stack one by one
    assert not stacked[4].coef.any()
    assert stacked[4].iterations == 1


def test_blocks_of_rows_streamed_or_not_give_what_the_whole_gives(monkeypatch, tmp_path):
    X, y = data(seed=4)
    problems = many(y, 300)[:4]
    whole = solve_many_torch(X, problems, tol=1e-4)
    blocks = solve_many_torch(X, problems, tol=1e-4, block=64)
    np.save(tmp_path / "X.npy", X.astype(np.float16))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    half = solve_many_torch(np.array(mapped).astype(np.float32), problems, tol=1e-4)
    monkeypatch.setattr(_fista_rows, "device_budget", lambda device: 0)
    streamed = solve_many_torch(mapped, problems, tol=1e-4, block=50)
    for a, b, c, e in zip(whole, blocks, half, streamed, strict=True):
        assert same_objective(a, b, 1e-4)
        assert same_objective(c, e, 1e-4)
        assert b.converged
        assert e.converged


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_their_float32_selves(kind):
    X, y = data(n=150, seed=6)
    T = torch.from_numpy(X).to(kind)
    problems = [Problem(y, 4, 5e-3, 1e-3), Problem(y, 4, 2e-3, 1e-2)]
    ours = solve_many_torch(T, problems, device=CPU)
    same = solve_many_torch(T.float(), problems, device=CPU)
    array = solve_many_torch(T.float().numpy(), problems, device=CPU)
    for a, b, c in zip(ours, same, array, strict=True):
        assert b.coef.tobytes() == c.coef.tobytes()
        assert a.iterations == b.iterations
        assert a.coef == pytest.approx(b.coef, abs=1e-6)
        # The certificate of a float64 matrix is not that of its float32 self.
        assert a.objective == pytest.approx(b.objective, rel=1e-6)


def test_float64_steps_reach_tight_tolerances():
    X, y = data(n=150, seed=8)
    (fit,) = solve_many_torch(X, [Problem(y, 4, 5e-3, 1e-3)], tol=1e-7, dtype="float64")
    assert fit.converged
    other = fit_elastic_net(X, y, 4, l1=5e-3, l2=1e-3, tol=1e-7)
    assert same_objective(fit, other, 1e-6)


def test_zeros_are_exact_and_the_planted_neurons_are_found():
    planted = planted_activations(n_tokens=1500, n_neurons=80, n_classes=4, seed=9, shift=1.0)
    X = standardise(planted.X, *moments(planted.X))
    y = planted.y.astype(np.int64)
    (fit,) = solve_many_torch(X, [Problem(y, 4, 2e-2, 1e-3)])
    assert (fit.coef == 0).mean() > 0.7
    assert not np.signbit(fit.coef[fit.coef == 0]).any()
    mass = np.abs(fit.coef).sum(axis=0)
    stands_for = {int(j): {int(j)} for j in planted.informative}
    for copy, original in np.atleast_2d(planted.copies):
        stands_for[int(original)].add(int(copy))
    assert stands_for
    for neurons in stands_for.values():
        assert mass[sorted(neurons)].max() > 0
    truth = sorted(set().union(*stands_for.values()))
    assert mass[truth].sum() > 0.9 * mass.sum()


def test_a_start_helps_and_the_result_is_never_worse():
    X, y = data(seed=10)
    p = Problem(y, 4, 1e-3, 1e-3)
    (cold,) = solve_many_torch(X, [p], tol=1e-4)
    (warm,) = solve_many_torch(X, [dataclasses.replace(p, start=cold)], tol=1e-4)
    assert warm.gradients <= 3 < cold.gradients
    with pytest.warns(NotConverged):
        (short,) = solve_many_torch(X, [dataclasses.replace(p, start=cold)], tol=1e-12, max_iter=1)
    assert short.objective <= cold.objective * (1 + 1e-9)


@pytest.mark.parametrize("most", [1, 2, 5, 20])
def test_best_point_seen_is_returned(most):
    X, y = data(n=100, d=120, seed=12, shift=4.0)
    p = Problem(y, 4, 1e-4, 1e-4)
    with pytest.warns(NotConverged, match="1 of 1 probes"):
        (fit,) = solve_many_torch(X, [p], tol=1e-8, max_iter=most)
    b = np.log(np.bincount(y) / len(y))
    nothing = -float((np.bincount(y) / len(y)) @ b)
    assert fit.objective <= nothing * (1 + 1e-9)
    assert not fit.converged
    assert fit.gap > 0
    assert fit.iterations == most


def test_time_limit_returns_a_certified_point():
    X, y = data(n=400, d=100, seed=13)
    problems = [Problem(y, 4, 1e-4, 0.0), Problem(y, 4, 5.0, 0.0)]
    with pytest.warns(NotConverged, match="1 of 2 probes"):
        fit, zero = solve_many_torch(X, problems, tol=1e-7, time_limit=0.0)
    assert zero.converged
    theta = np.full(400, 1 / 400)
    primal, dual, *_ = certify(X.T, y, fit.coef, fit.intercept, l1=1e-4, l2=0.0, weight=theta)
    assert fit.gap == pytest.approx((primal - dual) / primal, rel=1e-6)


def test_no_penalty_has_no_certificate():
    X, y = data(n=60, d=100, seed=14)
    with pytest.warns(NotConverged):
        (fit,) = solve_many_torch(X, [Problem(y, 4, 0.0, 0.0)], max_iter=50)
    assert fit.gap == np.inf
    assert fit.objective < 0.1


def test_one_class_with_weight_and_no_problems():
    X, y = data(n=60)
    (fit,) = solve_many_torch(X, [Problem(y, 4, 1e-2, 0.0, weight=(y == 1).astype(float))])
    assert fit.converged
    assert not fit.coef.any()
    assert fit.objective == pytest.approx(0, abs=1e-12)
    assert int(fit.intercept.argmax()) == 1
    assert solve_many_torch(X, []) == []


def test_a_problem_that_overflows_leaves_the_others_alone():
    X, y = data(n=80, seed=15)
    wild = Fit(np.full((4, 40), 1e30), np.zeros(4), 0.0, 0.0, 0.0, 0, 0.0, 0.0, False)
    p = Problem(y, 4, 5e-3, 1e-3)
    (alone,) = solve_many_torch(X, [p])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        fit, _ = solve_many_torch(X, [p, dataclasses.replace(p, start=wild)], max_iter=60)
    assert fit.converged
    assert same_objective(fit, alone, 1e-3)


def bad_value(kind, value):
    X, y = data(n=50)
    X = X.astype(kind)
    X[4, 7] = value
    return X, y


def test_bad_input_is_named():
    X, y = data(n=50)
    p = Problem(y, 4, 1e-2, 1e-3)
    for kind in (np.float16, np.float32, np.float64):
        bad, _ = bad_value(kind, np.nan)
        with pytest.raises(InputError, match="neuron 7 is nan at token 4"):
            solve_many_torch(bad, [p])
    with pytest.raises(InputError, match="neuron 7 is inf at token 4"):
        solve_many_torch(torch.from_numpy(bad_value(np.float32, np.inf)[0]).bfloat16(), [p])
    with pytest.raises(InputError, match="no neurons"):
        solve_many_torch(torch.empty(50, 0), [p])
    with pytest.raises(InputError, match="no tokens"):
        solve_many_torch(np.empty((0, 3), dtype=np.float32), [p])
    with pytest.raises(InputError, match="not int64"):
        solve_many_torch(np.ones((50, 3), dtype=np.int64), [p])
    with pytest.raises(InputError, match="floating-point numbers"):
        solve_many_torch(torch.ones(50, 3, dtype=torch.int64), [p])
    with pytest.raises(LabelError):
        solve_many_torch(X, [Problem(y[:-1], 4, 1e-2, 1e-3)])
    with pytest.raises(LabelError):
        solve_many_torch(X, [p, Problem(y, 3, 1e-2, 1e-3)])
    with pytest.raises(SettingError, match="l1"):
        solve_many_torch(X, [Problem(y, 4, -1.0, 1e-3)])
    with pytest.raises(InputError, match="sample weights"):
        solve_many_torch(X, [Problem(y, 4, 1.0, 1e-3, weight=np.zeros(50))])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"device": "cuad"}, 'Did you mean "cuda"'),
        ({"device": "meta"}, "cannot certify"),
        ({"device": "cuda:99"}, 'no device "cuda:99"'),
        ({"dtype": "float23"}, 'Did you mean "float32"'),
        ({"tol": 0.0}, "tol must be greater than 0"),
        ({"block": 0}, "block must be greater than 0"),
        ({"max_iter": 0}, "max_iter must be greater than 0"),
        ({"time_limit": -1.0}, "time_limit must be 0 or more"),
    ],
)
def test_impossible_settings_are_refused(option, message):
    X, y = data(n=50)
    with pytest.raises(SettingError, match=message):
        solve_many_torch(X, [Problem(y, 4, 1e-2, 1e-3)], **option)
