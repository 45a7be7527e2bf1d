"""The registry of rankings: names, settings, orders that are right on planted neurons."""

from __future__ import annotations

import numpy as np
import pytest

from nissl.errors import SettingError
from nissl.kernels.dense import fit_dense
from nissl.kernels.lca import lca_order
from nissl.methods import (
    RANKINGS,
    fit_probe,
    method_table,
    parse_method,
    rank,
    rank_lca,
    rank_order,
    rank_scores,
    rank_weights,
    register_ranking,
)
from nissl.testing import planted_task
from nissl.testing_bench import planted_bench

SPREAD_BLIND = {"random"}


@pytest.fixture(scope="module")
def planted():
    return planted_task(
        n_tokens=2000,
        n_neurons=90,
        n_classes=3,
        informative=6,
        shift=1.8,
        noisy=3,
        constant=2,
        uneven=True,
        seed=4,
    )


@pytest.fixture(scope="module")
def task(planted):
    return planted[0]


@pytest.fixture(scope="module")
def orders(task):
    return {name: rank(task, name) for name in RANKINGS}


@pytest.mark.parametrize("name", sorted(RANKINGS))
def test_each_ranking_is_a_total_order_with_finite_scores(name, orders, task):
    found = orders[name]
    assert found.method == name
    assert sorted(found.order.tolist()) == list(range(90))
    assert found.scores.shape == (3, 90)
    assert np.isfinite(found.scores).all()
    for row in found.class_order:
        assert sorted(row.tolist()) == list(range(90))
    assert found.provenance.inputs["task"] == task.fingerprint


@pytest.mark.parametrize("name", sorted(set(RANKINGS) - SPREAD_BLIND))
def test_each_ranking_finds_planted_shifts_and_not_loud_or_constant_neurons(name, orders, planted):
    truth = planted[1]
    found = orders[name]
    assert set(found.top(6).tolist()) == set(truth.informative.tolist())
    assert not set(truth.constant.tolist()) & set(found.top(20).tolist())


@pytest.mark.parametrize("name", sorted(RANKINGS))
def test_a_second_run_gives_the_same_order(name, orders, task):
    assert np.array_equal(rank(task, name).order, orders[name].order)


def test_only_methods_that_say_so_depend_on_the_seed(orders, task):
    for name, method in RANKINGS.items():
        same = np.array_equal(rank(task, name, seed=9).order, orders[name].order)
        if not method.seeded:
            assert same, name
    assert not np.array_equal(rank(task, "random", seed=9).order, orders["random"].order)


def test_rankings_that_see_spreads_find_them():
    bench = planted_bench(0)
    task, _ = planted_task(n_tokens=4000, n_neurons=96, n_classes=2, seed=0)
    task = _with(task, bench.Z, bench.y)
    for name in ("ap", "gaussian"):
        top = set(rank(task, name).top(18).tolist())
        planted = {*bench.raised.tolist(), *bench.lowered.tolist(), *bench.spread.tolist()}
        assert top == planted, name
    linear = set(rank(task, "lca").top(12).tolist())
    assert linear == {*bench.raised.tolist(), *bench.lowered.tolist()}


def _with(task, X, y):
    """The task with the bench's first tokens as its training part."""
    import dataclasses

    n = len(task.train)
    train = dataclasses.replace(
        task.train, X=np.asfortranarray(X[:n]), y=np.asarray(y[:n], dtype=np.int32)
    )
    return dataclasses.replace(task, train=train)


def test_lca_is_what_the_probe_gives(task):
    probe = fit_probe(task, l1=2e-3, l2=1e-3)
    by_name = rank(task, "lca", l1=2e-3, l2=1e-3)
    assert np.array_equal(by_name.order, rank_lca(task, probe).order)
    assert np.array_equal(by_name.order[:5], lca_order(probe.coef).order[:5])
    assert by_name.provenance.settings["l1"] == 2e-3


def test_weights_by_sum_and_by_maximum(task):
    probe = fit_probe(task)
    size = np.abs(probe.coef)
    for over, value in (("sum", size.sum(axis=0)), ("max", size.max(axis=0))):
        found = rank(task, f"weights:over={over}")
        want = np.argsort(-value, kind="stable")
        k = int((value > 0).sum())
        assert np.array_equal(found.order[:k], want[:k]), over
    assert not np.array_equal(
        rank(task, "weights", over="sum").order, rank(task, "weights", over="max").order
    )


def test_penalties_differ_and_each_is_what_it_says(task):
    used = {}
    for penalty in ("elastic-net", "lasso", "ridge", "none"):
        scores = rank(task, "lca", penalty=penalty, l1=5e-3, l2=1e-2).scores
        used[penalty] = int((scores > 0).any(axis=0).sum())
    assert used["lasso"] <= used["elastic-net"] < 88
    # The two constant neurons have no weight under any penalty.
    assert used["ridge"] == used["none"] == 88
    ridge = rank(task, "lca", penalty="ridge", l2=1e-2).scores
    none = rank(task, "lca", penalty="none").scores
    assert np.abs(none).sum() > 1.2 * np.abs(ridge).sum()
    with pytest.raises(SettingError, match=r'no penalty "laso".*Did you mean "lasso"'):
        rank(task, "lca", penalty="laso")


def test_names_carry_settings():
    method, settings = parse_method(" forward:k_max=20:swap_at=5+10:score=gradient ")
    assert method.name == "forward"
    assert settings == {"k_max": 20, "swap_at": (5, 10), "score": "gradient"}
    assert parse_method("weights:l1=1e-4")[1] == {"l1": 1e-4}
    assert parse_method("k-sparse:k=none")[1] == {"k": None}
    # A setting of words or numbers takes either.
    assert parse_method("iou:share=0.1")[1] == {"share": 0.1}
    assert parse_method("iou:share=prevalence")[1] == {"share": "prevalence"}
    assert parse_method("lca:penalty=none")[1] == {"penalty": "none"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lac", 'no ranking "lac".*Did you mean "lca"'),
        ("", 'no ranking ""'),
        ("lca:l3=1", 'lca has no setting "l3"; it has penalty, l1'),
        ("f:over=max", 'f has no setting "over"; it has none'),
        ("lca:l1", "write settings as lca:setting=value"),
        ("lca:l1=", "write settings as lca:setting=value"),
        ("lca:l1=high", "lca: l1 must be a number, not high"),
        ("lca:l1=true", "lca: l1 must be a number, not true"),
        ("mi:bins=8.5", "mi: bins must be a whole number, not 8.5"),
        ("forward:k_max=none", "forward: k_max must be a whole number, not none"),
        ("k-sparse:k=few", "k-sparse: k must be a whole number or none, not few"),
    ],
)
def test_wrong_names_are_said(text, message):
    with pytest.raises(SettingError, match=message):
        parse_method(text)


def test_settings_of_the_call_are_checked_and_win(task):
    with pytest.raises(SettingError, match=r'"penalti".*Did you mean "penalty"'):
        rank(task, "lca", penalti="ridge")
    with pytest.raises(SettingError, match=r"k_max must be a whole number, not 3\.0"):
        rank(task, "forward", k_max=3.0)
    with pytest.raises(SettingError, match="swap_at=8 neurons is made with k_max=5"):
        rank(task, "forward:k_max=5:swap_at=4+8")
    with pytest.raises(SettingError, match="max_tokens must be 1 or more, not -1"):
        rank(task, "attribution:max_tokens=-1")
    one = rank(task, "weights:over=max", over="sum")
    assert one.provenance.settings["over"] == "sum"


def test_a_plug_in_registers_its_ranking(task):
    @register_ranking("by-index", "nothing but the place")
    def by_index(task, seed, *, last=False):
        scores = np.arange(task.n_neurons, dtype=float) * (1 if last else -1)
        return rank_scores(task, "by-index", np.repeat(scores[None], task.n_classes, axis=0))

    try:
        assert rank(task, "by-index").top(2).tolist() == [0, 1]
        assert rank(task, "by-index:last=true").top(2).tolist() == [89, 88]
        row = method_table().row(-1, named=True)
        assert (row["method"], row["settings"]) == ("by-index", "last=false")
        with pytest.raises(SettingError, match='a ranking "by-index" already'):
            register_ranking("by-index", "again")
    finally:
        del RANKINGS["by-index"]
    with pytest.raises(SettingError, match="no colon"):
        register_ranking("a:b", "separators")


def test_a_plug_in_may_have_a_whole_number_for_a_default():
    @register_ranking("scaled", "nothing but the place")
    def scaled(task, seed, *, factor: float = 1, last: bool = False):
        scores = factor * np.arange(task.n_neurons, dtype=float)
        return rank_scores(task, "scaled", np.repeat(scores[None], task.n_classes, axis=0))

    try:
        assert parse_method("scaled:factor=0.5")[1] == {"factor": 0.5}
        with pytest.raises(SettingError, match="last must be true or false, not 2"):
            parse_method("scaled:last=2")
    finally:
        del RANKINGS["scaled"]


def test_a_class_is_named_only_where_one_is_best(task, orders):
    # F and selections score the property: the first class of the alphabet is not their best.
    for name in ("f", "forward", "gaussian", "random"):
        assert set(orders[name].frame()["label"]) == {""}, name
    means = orders["mean-difference"]
    best = means.scores[:, means.order].argmax(axis=0)
    assert means.frame()["label"].to_list() == [task.classes[c] for c in best[:-2]] + ["", ""]
    assert set(means.order[-2:]) == set(np.flatnonzero(task.constant))
    two = planted_task(n_tokens=400, n_neurons=6, n_classes=2, informative=2, seed=0)[0]
    assert set(rank(two, "mean-difference").frame()["label"]) == {""}


def test_weights_have_a_row_for_each_class(task):
    with pytest.raises(SettingError, match=r"shape \(1, 90\), expected \(3, 90\), one row a class"):
        rank_weights(task, np.ones((1, 90)))


@pytest.mark.parametrize("name", ["lca", "weights"])
def test_a_tolerance_is_kept_and_written_down(name, task):
    probe = [rank(task, name, penalty="ridge", tol=tol) for tol in (1e-1, 1e-5)]
    close = fit_dense(task.train.X, task.train.y, 3, l2=1e-3, tol=1e-6, certificate=False).coef
    off = [np.abs(found.scores - np.abs(close)).max() for found in probe]
    assert off[1] < 0.1 * off[0]
    assert [found.provenance.settings["tol"] for found in probe] == [1e-1, 1e-5]


def test_every_method_is_described():
    table = method_table()
    assert table["method"].to_list() == list(RANKINGS)
    assert (table["about"].str.len_chars() > 10).all()
    assert (table["about"].str.len_chars() < 80).all()


def test_an_order_of_some_is_completed_by_f(task):
    f = rank(task, "f").order.tolist()
    found = rank_order(task, "mine", np.array([7, 3]))
    assert found.order.tolist() == [7, 3, *(j for j in f if j not in (7, 3))]
    assert found.scores[0, 7] == 1
    assert found.scores[0, 3] == 0.5
    assert (np.delete(found.scores[0], [7, 3]) == 0).all()
    with pytest.raises(SettingError, match="each neuron once"):
        rank_order(task, "mine", np.array([7, 7]))
    with pytest.raises(SettingError, match="each neuron once"):
        rank_order(task, "mine", np.array([-1]))
    with pytest.raises(SettingError, match="neuron 90 of 90"):
        rank_order(task, "mine", np.array([90]))


def test_scores_with_ties_and_an_overall_score(task):
    scores = np.zeros((3, 90))
    scores[0, 4] = 1
    ties = np.zeros(90)
    ties[60] = 1
    assert rank_scores(task, "x", scores, ties=ties).order[:3].tolist() == [4, 60, 0]
    overall = np.zeros(90)
    overall[8] = 1
    assert rank_scores(task, "x", scores, overall=overall).order[0] == 8
    scores[1:, 5] = 0.7
    assert rank_scores(task, "x", scores, over="max").order[0] == 4
    assert rank_scores(task, "x", scores, over="sum").order[0] == 5
    with pytest.raises(SettingError, match="over must be"):
        rank_scores(task, "x", scores, over="mean")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="90 finite numbers"):
        rank_scores(task, "x", scores, overall=np.full(90, np.nan))
