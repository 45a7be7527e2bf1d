"""Many problems on one matrix: each the same as alone, whatever it shares."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nissl.errors import InputError, LabelError, NotConverged, SettingError
from nissl.kernels import _loops_numpy, _search
from nissl.kernels._neurons import Neurons
from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.many import path_many, solve_many
from nissl.kernels.problem import Problem
from nissl.kernels.standardise import moments, standardise
from nissl.testing import planted_activations


def data(n=1200, d=120, C=5, seed=0):
    planted = planted_activations(n_tokens=n, n_neurons=d, n_classes=C, seed=seed, shift=1.0)
    mean, sd = moments(planted.X)
    return standardise(planted.X, mean, sd), planted.y.astype(np.int64), C


def several(y, C, n):
    rng = np.random.default_rng(1)
    return [
        Problem(y, C, 1e-2, 1e-3),
        Problem(y, C, 1e-3, 1e-3),
        Problem(rng.permutation(y), C, 3e-3, 1e-3),
        Problem(y, C, 3e-3, 1e-3, weight=rng.poisson(1.0, n).astype(float)),
        Problem(
            (y > 1).astype(np.int64), 2, 3e-3, 1e-3, weight=(np.arange(n) % 3 > 0).astype(float)
        ),
    ]


def test_stacked_is_single():
    X, y, C = data()
    problems = several(y, C, len(y))
    together = solve_many(X, problems, tol=1e-6)
    for p, fit in zip(problems, together, strict=True):
        alone = fit_elastic_net(
            X, p.y, p.n_classes, l1=p.l1, l2=p.l2, sample_weight=p.weight, tol=1e-6
        )
        assert fit.converged
        assert fit.objective == pytest.approx(alone.objective, rel=1e-5)
        assert np.abs(fit.coef - alone.coef).max() < 1e-3


def test_stacked_paths_are_single_fits_in_the_order_asked():
    X, y, C = data(n=600, d=60)
    problems = several(y, C, len(y))[:3]
    grid = [(1e-3, 1e-3), (3e-2, 1e-3), (1e-2, 1e-3)]
    for p, row in zip(problems, path_many(X, problems, grid, tol=1e-6), strict=True):
        for (l1, l2), fit in zip(grid, row, strict=True):
            alone = fit_elastic_net(X, p.y, p.n_classes, l1=l1, l2=l2, tol=1e-6)
            assert fit.objective == pytest.approx(alone.objective, rel=1e-5)


def test_samples_lead_to_the_same_optimum(monkeypatch):
    X, y, C = data(n=3000, d=150)
    want = fit_elastic_net(X, y, C, l1=3e-3, l2=1e-3, tol=1e-6)
    monkeypatch.setattr(_search, "SAMPLE", 400)
    got = fit_elastic_net(X, y, C, l1=3e-3, l2=1e-3, tol=1e-6)
    assert got.converged
    assert got.objective == pytest.approx(want.objective, rel=2e-6)


def test_a_class_that_the_sample_lacks(monkeypatch):
    X, y, C = data(n=3000, d=50)
    y = y.copy()
    y[y == 4] = 0
    rare = np.array([7, 1900, 2700])
    y[rare] = 4
    monkeypatch.setattr(_search, "SAMPLE", 200)
    assert not np.isin(rare, first_sample(3000, 200)).any()
    fit = fit_elastic_net(X, y, C, l1=1e-3, l2=1e-3, tol=1e-5)
    assert fit.converged
    assert fit.coef[4].any()


def first_sample(n, size):
    return np.random.default_rng(0).permutation(n)[:size]


def test_more_classes_than_one_stack_holds(monkeypatch):
    from nissl.kernels import many

    X, y, C = data(n=400, d=40)
    problems = [Problem(y, C, l1, 1e-3) for l1 in (1e-2, 5e-3, 3e-3)]
    want = solve_many(X, problems)
    monkeypatch.setattr(many, "STACK", 7)
    for one, other in zip(want, solve_many(X, problems), strict=True):
        assert one.objective == pytest.approx(other.objective, rel=2e-3)


def test_a_time_limit_warns_and_keeps_the_best_point():
    X, y, C = data()
    with pytest.warns(NotConverged, match="its time is over"):
        fit = fit_elastic_net(X, y, C, l1=1e-4, l2=1e-4, tol=1e-9, time_limit=0.0)
    assert not fit.converged
    assert np.isfinite(fit.gap)


def test_bad_problems_are_named():
    X, y, C = data(n=100, d=10)
    with pytest.raises(LabelError, match="length"):
        solve_many(X, [Problem(y, C, 1e-3, 1e-3), Problem(y[:7], C, 1e-3, 1e-3)])
    with pytest.raises(SettingError, match="l1"):
        solve_many(X, [Problem(y, C, -1e-3, 1e-3)])
    with pytest.raises(SettingError, match="empty"):
        path_many(X, [Problem(y, C, 0.0, 0.0)], [])
    X[3, 4] = np.inf
    with pytest.raises(InputError, match="neuron 4 is inf at token 3"):
        solve_many(X, [Problem(y, C, 1e-3, 1e-3)])


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64", "tokens first", "tensor"])
def test_any_layout_is_its_float32_copy(kind):
    X, y, C = data(n=700, d=550)
    half = X.astype(np.float16)
    if kind == "bfloat16":
        torch = pytest.importorskip("torch")
        given_X = torch.from_numpy(np.ascontiguousarray(X)).bfloat16()
        same = np.asfortranarray(given_X.float().numpy())
    elif kind == "tensor":
        torch = pytest.importorskip("torch")
        given_X, same = torch.from_numpy(np.ascontiguousarray(X)), X
    else:
        given_X = {
            "float16": half,
            "float64": X.astype(np.float64),
            "tokens first": np.ascontiguousarray(X),
        }[kind]
        same = np.asfortranarray(given_X.astype(np.float32))
    if kind in ("bfloat16", "tensor"):
        # The public names take NumPy arrays in the tests' shape checks; the seam below takes both.
        neurons = Neurons.of(given_X)
        assert neurons.XT.tobytes() == np.ascontiguousarray(same.T).tobytes()
        return
    one = fit_elastic_net(given_X, y, C, l1=1e-2, l2=1e-3)
    other = fit_elastic_net(same, y, C, l1=1e-2, l2=1e-3)
    assert one.coef.tobytes() == other.coef.tobytes()


LIMITED = """
    import resource, sys
    import numpy as np
    import nissl.kernels.elastic_net as en
    folder, order, limited = sys.argv[1:4]
    n, d, C = 6000, 4000, 3
    rng = np.random.default_rng(0)
    small = np.asfortranarray(rng.standard_normal((200, 9)), dtype=np.float32)
    en.fit_elastic_net(small, rng.integers(0, C, 200), C, l1=1e-2, l2=1e-2)  # compiles
    if order == "neurons":
        X = np.memmap(folder + "/neurons", dtype=np.float32, mode="r", shape=(d, n)).T
    else:
        X = np.memmap(folder + "/tokens", dtype=np.float16, mode="r", shape=(n, d))
    y = np.load(folder + "/y.npy")
    if limited == "yes":
        with open("/proc/self/status") as file:
            used = next(1024 * int(row.split()[1]) for row in file if row.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (used + 60 * 2**20, used + 60 * 2**20))
    fit = en.fit_elastic_net(X, y, C, l1=2e-2, l2=1e-2)
    print(fit.converged, repr(fit.objective), int((fit.coef != 0).sum()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's memory counts")
@pytest.mark.parametrize("order", ["neurons", "tokens"])
def test_memory_maps_larger_than_the_memory_allowed(tmp_path, order):
    """96 MB of float32 in 60 MB: mapped as it is, or turned into a temporary file."""
    n, d, C = 6000, 4000, 3
    rng = np.random.default_rng(0)
    y = rng.integers(0, C, n)
    X = rng.standard_normal((n, d)).astype(np.float32)
    X[:, :3] += 1.5 * np.eye(C)[y]
    np.save(tmp_path / "y.npy", y)
    X = X.astype(np.float16).astype(np.float32)
    np.ascontiguousarray(X.T).tofile(tmp_path / "neurons")
    X.astype(np.float16).tofile(tmp_path / "tokens")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    script = textwrap.dedent(LIMITED)
    out = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), order, limited],
            capture_output=True,
            text=True,
            env=env,
            check=False,
        )
        for limited in ("no", "yes")
    ]
    for done in out:
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("True")
    assert out[0].stdout == out[1].stdout


def test_the_numpy_loops_are_the_compiled_ones():
    from nissl.kernels import _loops

    rng = np.random.default_rng(0)
    d, n, k = 12, 50, 5
    XT = rng.standard_normal((d, n)).astype(np.float32)
    picked, tokens = np.array([0, 3, 4, 9, 11]), np.sort(rng.permutation(n)[:20])
    scale = rng.random(20).astype(np.float32)
    r = rng.standard_normal(n).astype(np.float32)

    def outputs(m):
        A, B = np.empty((k + 1, 20), np.float32), np.empty((k, 20), np.float32)
        sq, pr, mv = np.empty(d), np.empty(k + 1, np.float32), np.empty(n, np.float32)
        m.gather_scaled(XT, picked, tokens, scale, A)
        m.gather(XT, picked, tokens, B)
        m.squares(XT, sq)
        pr[-1] = 0
        m.products(XT, picked, r, pr)
        m.combine(XT, picked, r[:k], np.float32(0.3), mv)
        H = (A @ A.T + np.eye(k + 1)).astype(np.float32)
        w = np.array([0.5, 0, -0.4, 0, 0.1, 0], np.float32)
        v = m.descend(H, pr, w, np.float32(2.0), k, 200, np.float32(-1e-4))[0]
        E = np.stack([mv, 0.5 * mv, -mv]).astype(np.float32)
        lse = np.log(np.exp(E).sum(axis=0))
        p = np.exp(E[1] - lse)
        y = rng_y.integers(0, 3, n)
        change = m.step_change(p, r, y, 1, np.full(n, 1 / n), 0.7)
        m.apply_step(E, lse, 1, p, r, np.float32(0.7))
        return A, B, sq, pr, mv, v, np.array([change]), E, lse

    results = []
    for m in (_loops, _loops_numpy):
        rng_y = np.random.default_rng(5)
        results.append(outputs(m))
    for one, other in zip(*results, strict=True):
        assert np.abs(one - other).max() < 2e-5
    assert (results[0][5] == 0).any()


def test_without_numba_the_optimum_is_the_same():
    script = textwrap.dedent("""
        import numpy as np, sys
        from nissl.kernels import _loops, _loops_numpy
        from nissl.kernels.elastic_net import fit_elastic_net
        rng = np.random.default_rng(0)
        X = np.asfortranarray(rng.standard_normal((200, 12)).astype(np.float32))
        y = (X[:, :3] + rng.gumbel(size=(200, 3))).argmax(axis=1)
        print(_loops.descend is _loops_numpy.descend)
        print(repr(fit_elastic_net(X, y, 3, l1=1e-2, l2=1e-2, tol=1e-5).objective))
    """)
    answers = []
    for value in ("1", "0"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env={**os.environ, "NISSL_NO_NUMBA": value},
            check=True,
        )
        answers.append(done.stdout.split())
    assert [a[0] for a in answers] == ["True", "False"]
    assert float(answers[0][1]) == pytest.approx(float(answers[1][1]), rel=2e-5)


@pytest.mark.parametrize("l1", [1e-2, 1e-3, 1e-4])
def test_the_objective_never_rises(monkeypatch, l1):
    X, y, C = data(n=1500, d=200)
    seen = []
    gap = _search._gap

    def watched(state, *rest):
        seen.append(state.objective(l1, 1e-3))
        return gap(state, *rest)

    monkeypatch.setattr(_search, "_gap", watched)
    fit = fit_elastic_net(X, y, C, l1=l1, l2=1e-3, tol=1e-6)
    assert fit.converged
    assert len(seen) > 3
    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(seen))
    assert fit.objective <= seen[-1] * (1 + 1e-6)
