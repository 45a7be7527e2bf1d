"""Inner loops without numba give what compiled ones do: plain Python on small sizes."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from nissl.kernels import _compiled

SCRIPT = """
import sys
hidden, out = sys.argv[1] == "hidden", sys.argv[2]
if hidden:
    sys.modules["numba"] = None  # importing it raises ImportError
import numpy as np
from nissl.kernels import _compiled
assert (_compiled.njit is None) == hidden
from nissl.kernels.all_univariate import univariate_scores
from nissl.kernels.correlation import spearman
from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.forward_squares import forward_squares
from nissl.kernels.gaussian import gaussian_selection
from nissl.kernels.least_squares import fit_least_squares
from nissl.kernels.subset_distributions import ConditionalPoisson

rng = np.random.default_rng(0)
n, d, C = 90, 6, 3
y = np.arange(n) % C
X = rng.standard_normal((n, d))
X[:, 0] += y
X[:, 1] *= 1 + y
X[:, 2] = np.round(X[:, 2])  # ties
X = np.asfortranarray(X.astype(np.float32))
found = {}
selected = gaussian_selection(X, y, C, steps=4)
found["gaussian order"] = selected.order
found["gaussian likelihood"] = selected.log_likelihood
methods = ("auc", "ap", "iou", "mi", "knn-mi", "f", "probeless")
for name, scores in univariate_scores(X, y, C, methods=methods).items():
    found[name] = scores.by_class
target = X[:, 0] - 0.5 * X[:, 3] + 0.1 * rng.standard_normal(n)
found["spearman"] = spearman(X, target)
found["forward"] = forward_squares(X, target, k_max=4).objective
found["lasso"] = fit_least_squares(X, target[:, None], l1=0.05, l2=0.01, tol=1e-8).coef
found["probe"] = fit_elastic_net(X, y, C, l1=0.02, l2=0.01, tol=1e-6).objective
subset = ConditionalPoisson(rng.standard_normal(9), 4)
found["inclusion"] = subset.inclusion
found["normaliser"] = subset.log_normaliser
found["sample"] = subset.sample(np.random.default_rng(1), 40)
np.savez(out, **found)
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Results with and without numba, each from a process of its own."""
    folder = tmp_path_factory.mktemp("compiled")
    env = {k: v for k, v in os.environ.items() if k != "NISSL_NO_NUMBA"}
    found = []
    for how in ("hidden", "there"):
        out = folder / f"{how}.npz"
        done = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", "-c", SCRIPT, how, str(out)],
            capture_output=True,
            text=True,
            env=env,
        )
        assert done.returncode == 0, done.stderr
        found.append(dict(np.load(out)))
    return found


EXACT = {"gaussian order", "sample"}
LOOSE = {"probe": 1e-5, "lasso": 1e-5, "gaussian likelihood": 1e-5}


def test_every_result_is_the_same(both):
    plain, fast = both
    assert list(plain) == list(fast)
    assert len(plain) == 16
    for name, value in fast.items():
        if name in EXACT:
            assert np.array_equal(plain[name], value), name
        else:
            near = LOOSE.get(name, 1e-9)
            assert plain[name] == pytest.approx(value, rel=near, abs=near), name
        assert np.ptp(value.astype(float)) > 0 or value.ndim == 0, name


def test_the_helper_compiles_or_takes_what_is_plain(monkeypatch):
    def double(x):
        return 2 * x

    def other(x):
        return x + x

    made = _compiled.compiled(fast=_compiled.FAST, plain=other)(double)
    assert made(2.5) == 5.0
    assert made.py_func is double  # type: ignore[attr-defined]
    assert made.targetoptions["nogil"]  # type: ignore[attr-defined]
    assert set(made.targetoptions["fastmath"]) == set(_compiled.FAST)  # type: ignore[attr-defined]
    assert not _compiled.compiled()(double).targetoptions["fastmath"]  # type: ignore[attr-defined]
    monkeypatch.setattr(_compiled, "njit", None)
    assert _compiled.compiled()(double) is double
    assert _compiled.compiled(plain=other)(double) is other


def test_loops_are_compiled_in_one_place_only():
    from pathlib import Path

    for path in Path(_compiled.__file__).parents[1].rglob("*.py"):
        if path.name != "_compiled.py":
            text = path.read_text(encoding="utf-8")
            assert "import numba" not in text, path.name
            assert "from numba" not in text, path.name
