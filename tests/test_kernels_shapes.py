"""Shapes in the kernels' signatures are really checked in tests, and cost users nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.lca import lca_order
from nissl.kernels.standardise import standardise
from nissl.kernels.univariate import f_statistic

X = np.zeros((10, 4), dtype=np.float32)


def test_two_arrays_that_disagree_are_caught():
    with pytest.raises(TypeCheckError):
        fit_elastic_net(X, np.zeros(9, dtype=np.int64), 2, l1=1e-3, l2=1e-3)
    with pytest.raises(TypeCheckError):
        standardise(X, np.zeros(4), np.ones(5))
    with pytest.raises(TypeCheckError):
        lca_order(np.zeros((2, 4)), tie_score=np.zeros(5))


def test_wrong_rank_and_wrong_kind_are_caught():
    with pytest.raises(TypeCheckError):
        lca_order(np.zeros(4))
    with pytest.raises(TypeCheckError):
        f_statistic(X, np.zeros(10), 2)


def test_a_wrong_result_is_caught(monkeypatch):
    from nissl.kernels import univariate

    monkeypatch.setattr(
        univariate, "_class_sums", lambda X, y, n: (np.zeros((n, 3)), np.full(n, 5.0))
    )
    with pytest.raises(TypeCheckError):
        univariate.class_means(X, np.zeros(10, dtype=np.int64), 2)


def test_users_do_not_pay_for_the_checks():
    code = (
        "import sys, nissl.kernels.univariate as u\n"
        "assert 'beartype' not in sys.modules\n"
        "assert not hasattr(u.f_statistic, '__wrapped__')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
