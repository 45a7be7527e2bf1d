"""Each method on a small planted task: right outcomes, right errors, same seed same result."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes

from nissl.errors import LabelError, SettingError
from nissl.methods import (
    ablate,
    baselines,
    control_task,
    default_sizes,
    fit_probe,
    layer_profile,
    localise,
    minimal_set,
    rank,
    rank_lca,
    rank_scores,
    redundancy,
    search_lambda,
    selectivity,
    share_labels,
    share_properties,
    share_sets,
)
from nissl.methods.evaluate import (
    Curve,
    correct_masked,
    correct_retrained,
    majority_accuracy,
    random_sets,
)
from nissl.methods.localise import mass_counts
from nissl.parallel import set_threads
from nissl.results import load_result

SETTINGS = {
    "n_tokens": 3000,
    "n_neurons": 120,
    "n_classes": 3,
    "informative": 6,
    "shift": 2.0,
    "noisy": 2,
    "constant": 2,
    "copies": 3,
    "layers": 3,
    "seed": 1,
}


@pytest.fixture(scope="module")
def planted():
    from nissl.testing import planted_task

    return planted_task(**SETTINGS)


@pytest.fixture(scope="module")
def task(planted):
    return planted[0]


@pytest.fixture(scope="module")
def truth(planted):
    return planted[1]


@pytest.fixture(scope="module")
def probe(task):
    return fit_probe(task)


@pytest.fixture(scope="module")
def ranking(task, probe):
    return rank_lca(task, probe)


@pytest.fixture(scope="module")
def carriers(truth):
    return set(truth.informative.tolist()) | set(truth.copies[:, 0].tolist())


@pytest.fixture(scope="module")
def minimal(task, ranking):
    return minimal_set(task, ranking)


@pytest.fixture(scope="module")
def everything(task, probe, ranking, minimal):
    """One result of every type."""
    search, _ = search_lambda(task, grid=((1e-2, 1e-2), (1e-3, 1e-3)))
    return {
        "probe": probe,
        "ranking": ranking,
        "lambda": search,
        "ablation": ablate(task, ranking, probe, draws=3),
        "minimal": minimal,
        "selectivity": selectivity(task, probe, minimal),
        "layers": layer_profile(task, minimal.members(1.0)),
        "localisation": localise(task, probe, resamples=4),
        "redundancy": redundancy(task),
        "sharing": share_labels(ranking, k=6),
        "baselines": baselines(task, probe),
    }


def test_probe_beats_majority_and_is_certified(task, probe):
    assert probe.converged
    assert probe.gap <= 1e-3
    assert probe.accuracy > 0.85
    assert probe.low <= probe.accuracy <= probe.high
    assert probe.majority == majority_accuracy(task)
    assert probe.majority < 0.45
    assert 0 < probe.n_used <= task.n_neurons
    table = probe.frame()
    assert table.height == 3
    assert table["tokens"].sum() == len(task.test)
    hits = (table["recall"] * table["tokens"]).sum()
    assert hits / len(task.test) == pytest.approx(probe.accuracy)


def test_best_neurons_are_the_carriers_and_constants_come_last(ranking, truth, carriers):
    assert set(ranking.top(6).tolist()) <= carriers
    assert set(truth.constant.tolist()) <= set(ranking.bottom(40).tolist())
    frame = ranking.frame()
    assert frame.height == 120
    assert frame["rank"].to_list() == list(range(1, 121))
    assert frame["neuron"].n_unique() == 120
    assert ranking.ids(3) == frame["neuron"][:3].to_list()


def test_masking_keeps_only_the_named_neurons(task, probe):
    keep = np.array([3, 50, 70])
    X = np.zeros_like(task.test.X)
    X[:, keep] = task.test.X[:, keep]
    want = (X @ probe.coef.T + probe.intercept).argmax(axis=1) == task.test.y
    assert np.array_equal(correct_masked(task.test, probe.coef, probe.intercept, keep), want)


def test_ablation_best_beats_random_beats_worst(everything, task):
    found = everything["ablation"]
    k = 6
    for how in ("mask", "retrain"):
        top, chance, worst = (found.at(how, kind, k) for kind in ("top", "random", "bottom"))
        assert top["low"] > chance["high"]
        assert chance["accuracy"] > worst["accuracy"] - 0.05
        assert worst["accuracy"] < 0.45
        whole = found.at(how, "all", task.n_neurons)
        assert top["accuracy"] > whole["accuracy"] - 0.1
    sizes = default_sizes(task.n_neurons)
    assert found.frame().height == 2 * (3 * len(sizes) + 1)
    assert "do not overlap" in found.summary()[0]
    with pytest.raises(SettingError, match="no result for mask, top, k = 5"):
        found.at("mask", "top", 5)


def test_nested_probes_do_as_well_as_separate_ones(task, ranking, everything, minimal):
    for order in (ranking.order, ranking.order[::-1]):
        curve = Curve(task, order)
        for k in (1, 6, 30, 119):
            for part in ("dev", "test"):
                alone = correct_retrained(task, np.sort(order[:k]), part)
                # The same optimum within the same gap: few tokens lie on an edge.
                assert (curve.correct(k, part) != alone).mean() <= 0.02
    whole = correct_retrained(task, np.arange(task.n_neurons))
    assert np.array_equal(Curve(task, ranking.order).correct(task.n_neurons), whole)
    found = everything["ablation"]
    for k in (6, 24):
        top = correct_retrained(task, np.sort(ranking.top(k)))
        bottom = correct_retrained(task, np.sort(ranking.bottom(k)))
        assert found.at("retrain", "top", k)["accuracy"] == pytest.approx(top.mean(), abs=0.01)
        assert found.at("retrain", "bottom", k)["accuracy"] == pytest.approx(
            bottom.mean(), abs=0.01
        )
        drawn = [correct_retrained(task, s).mean() for s in random_sets(task.n_neurons, k, 3, 0)]
        assert found.at("retrain", "random", k)["accuracy"] == pytest.approx(np.mean(drawn))
        assert found.at("retrain", "random", k)["draws"] == 3
    for row in minimal.points.iter_rows(named=True):
        dev = correct_retrained(task, np.sort(ranking.top(row["k"])), "dev")
        assert row["dev_accuracy"] == pytest.approx(dev.mean(), abs=0.01)


def test_sizes_side_by_side_start_from_the_same_set(task, ranking):
    one, two = Curve(task, ranking.order), Curve(task, ranking.order)
    one.correct(5)
    two.correct(5)
    set_threads(2)
    try:
        together = one.correct_each([10, 20])
    finally:
        set_threads(1)
    for right, k in zip(together, (10, 20), strict=True):
        other = Curve(task, ranking.order)
        other.correct(5)
        assert np.array_equal(right, other.correct(k))
    assert one.correct_each([]) == []


def test_certificate_of_the_probe_is_that_of_the_fit(task, probe):
    from nissl.kernels.elastic_net import fit_elastic_net

    fit = fit_elastic_net(task.train.X, task.train.y, task.n_classes, l1=1e-3, l2=1e-3)
    for name in ("objective", "gap", "kkt", "iterations", "gradients", "converged"):
        assert getattr(probe, name) == getattr(fit, name), name
    line = probe.certificate()
    for part in (
        f"relative gap {fit.gap:.1e}",
        f"optimality violation {fit.kkt:.1e}",
        f"objective {fit.objective:.6g};",
        f"{fit.iterations:,} iteration",
        f"{fit.gradients:,.1f} full gradients",
        f"{probe.seconds:.2f} CPU s; converged.",
    ):
        assert part in line
    assert "\n" not in line
    assert "NOT CONVERGED" in dataclasses.replace(probe, converged=False).certificate()


def test_default_sizes():
    assert default_sizes(2688) == (7, 13, 27, 54, 134, 269, 538)
    assert default_sizes(10) == (1, 2)


def test_minimal_set_is_about_the_planted_one(minimal, truth, carriers):
    assert 3 <= minimal.size(1.0) <= 15
    assert minimal.size(1.0) <= minimal.size(0.5)
    members = minimal.members(1.0)
    assert len(members) == minimal.size(1.0)
    share = np.mean([m in carriers for m in members])
    assert share >= 0.6
    for row in minimal.frame().iter_rows(named=True):
        assert row["dev_accuracy"] >= minimal.all_dev - row["delta"] / 100
        assert row["accuracy"] > row["random_high"]
    with pytest.raises(SettingError, match=r"no minimal set at δ = 2; there are 0.5, 1"):
        minimal.size(2.0)


def test_selectivity_is_high_where_the_word_says_nothing(everything):
    table = everything["selectivity"].frame()
    assert table["neurons"].to_list()[0] == "all neurons"
    assert table.height == 4
    assert (table["selectivity"][:3] > 0.35).all()
    assert table["control"][0] < 0.5  # three classes: chance, and nothing to memorise with
    assert 0 < everything["selectivity"].seen_share <= 1


def test_selectivity_is_low_where_neurons_are_the_word():
    from nissl.testing import planted_task

    task, _ = planted_task(n_tokens=2000, n_neurons=60, words=12, seed=2)
    words = sorted(set(task.train.form.tolist()))
    parts = {}
    for split in ("train", "dev", "test"):
        part = task.part(split)
        X = np.zeros((60, len(part)), dtype=np.float32)
        for j, word in enumerate(words):
            X[j] = np.where(part.form == word, 3.0, 0.0)
        parts[split] = dataclasses.replace(
            part, X=X.T, y=np.array([words.index(w) % 3 for w in part.form], dtype=np.int32)
        )
    task = dataclasses.replace(task, **parts)
    probe = fit_probe(task)
    assert probe.accuracy > 0.95
    minimal = minimal_set(task, rank_lca(task, probe), draws=2)
    table = selectivity(task, probe, minimal).frame()
    assert table["control"][0] > 0.9
    assert abs(table["selectivity"][0]) < 0.1


def test_control_task_differs_only_in_labels(task):
    other = control_task(task, seed=3)
    assert other.train.X is task.train.X
    assert other.fingerprint != task.fingerprint
    of_word: dict[str, int] = {}
    for split in ("train", "dev", "test"):
        part = other.part(split)
        for word, label in zip(part.form, part.y, strict=True):
            assert of_word.setdefault(word, label) == label


def test_fingerprint_follows_the_labels(task):
    labels = {s: task.part(s).y for s in ("train", "dev", "test")}
    one = task.with_labels("x", labels)
    assert one.fingerprint == task.with_labels("x", labels).fingerprint
    changed = labels | {"dev": labels["dev"][::-1].copy()}
    assert one.fingerprint != task.with_labels("x", changed).fingerprint
    assert one.fingerprint != task.with_labels("y", labels).fingerprint


def test_layer_profile_counts_the_selected(everything, task, minimal):
    found = everything["layers"].frame()
    assert found.height == 3
    assert found["neurons"].sum() == task.n_neurons
    assert found["selected"].sum() == minimal.size(1.0)
    assert found["expected"].sum() == pytest.approx(minimal.size(1.0))
    first = np.flatnonzero(task.layers == 0)
    one_sided = layer_profile(task, first[:12]).frame()
    assert one_sided["selected"].to_list() == [12, 0, 0]
    assert one_sided["p_holm"][0] < 0.01
    assert one_sided["accuracy"].max() > majority_accuracy(task) + 0.1


def test_mass_counts_by_hand():
    coef = np.array([[4.0, -3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 5.0, 0.0, 5.0]])
    assert mass_counts(coef, 0.4).tolist() == [1, 0, 1]
    assert mass_counts(coef, 0.5).tolist() == [2, 0, 1]
    assert mass_counts(coef, 0.71).tolist() == [3, 0, 2]
    assert mass_counts(coef, 1.0).tolist() == [4, 0, 2]


def test_localisation_counts_with_intervals(everything, probe, task):
    found = everything["localisation"]
    table = found.frame()
    by_class = dict(zip(table["class"], table["neurons"], strict=True))
    want = mass_counts(probe.coef, 0.5)
    assert [by_class[c] for c in task.classes] == want.tolist()
    assert (table["neurons"] <= 6).all()
    assert (table["low"] <= table["high"]).all()
    assert ((table["layer_entropy"] >= 0) & (table["layer_entropy"] <= np.log2(3) + 1e-9)).all()
    with pytest.raises(SettingError, match="mass must lie"):
        localise(task, probe, mass=0.0)


def test_localisation_survives_resamples_without_a_rare_class(task):
    """One sentence holds the whole class: a resample misses it with probability 1/e."""
    y = task.train.y.copy()
    y[y == 2] = 1
    y[task.train.sentence == task.train.sentence[0]] = 2
    rare = dataclasses.replace(task, train=dataclasses.replace(task.train, y=y))
    probe = fit_probe(rare)
    table = localise(rare, probe, resamples=8).frame()
    row = table.filter(pl.col("class") == "C02").row(0, named=True)
    assert row["train_tokens"] == 10
    assert row["low"] < row["neurons"] / 2
    assert row["high"] > row["neurons"] / 2


def test_redundancy_groups_planted_copies(everything, truth, task):
    found = everything["redundancy"]
    for copy, original in truth.copies:
        assert found.labels[copy] == found.labels[original]
    assert len(found.representatives) == task.n_neurons - len(truth.copies)
    rows = {row["neurons"]: row for row in found.frame().iter_rows(named=True)}
    assert rows["representatives"]["accuracy"] > rows["all"]["accuracy"] - 0.03
    assert found.layers["neurons"].sum() == task.n_neurons
    with pytest.raises(SettingError, match="threshold"):
        redundancy(task, threshold=0.0)


def test_sharing_p_values(ranking, task):
    d = task.n_neurons
    sets = {"a": np.arange(10), "b": np.arange(5, 15), "c": np.arange(60, 70)}
    found = share_sets(sets, d)
    rows = {(r["a"], r["b"]): r for r in found.frame().iter_rows(named=True)}
    assert rows["a", "b"]["overlap"] == 5
    assert rows["a", "b"]["share"] == 0.5
    assert rows["a", "b"]["expected"] == pytest.approx(100 / d)
    assert rows["a", "b"]["p_holm"] < 0.01
    assert rows["a", "c"]["p"] == 1.0
    matrix = found.matrix()
    assert np.array_equal(matrix, matrix.T)
    assert matrix[0, 1] == 0.5
    with pytest.raises(SettingError, match="two or more"):
        share_sets({"a": np.arange(3)}, d)


def test_sharing_between_properties(task, ranking):
    chance = rank(task, "random", seed=4)
    found = share_properties({"x": ranking, "y": ranking, "z": chance}, k=10)
    rows = {(r["a"], r["b"]): r for r in found.frame().iter_rows(named=True)}
    assert rows["x", "y"]["overlap"] == 10
    assert rows["x", "y"]["p_holm"] < 1e-6
    assert rows["x", "z"]["p_holm"] > 0.01
    other = dataclasses.replace(chance, neurons=chance.neurons.reverse())
    with pytest.raises(SettingError, match="different neurons"):
        share_properties({"x": ranking, "y": other})


def test_baselines_by_hand(everything, task, probe):
    rows = {r["name"]: r for r in everything["baselines"].frame().iter_rows(named=True)}
    assert rows["probe"]["accuracy"] == probe.accuracy
    assert rows["majority"]["accuracy"] == pytest.approx(majority_accuracy(task))
    memory: dict[str, list[int]] = {}
    for word, label in zip(task.train.form, task.train.y, strict=True):
        memory.setdefault(word, [0] * 3)[label] += 1
    common = int(np.bincount(task.train.y).argmax())
    right = [
        int(np.argmax(memory[w])) == label if w in memory else common == label
        for w, label in zip(task.test.form, task.test.y, strict=True)
    ]
    assert rows["word memory"]["accuracy"] == pytest.approx(np.mean(right))


def test_baseline_of_a_random_weights_model(task, probe):
    rng = np.random.default_rng(0)
    parts = {
        s: dataclasses.replace(
            task.part(s), X=np.asfortranarray(rng.standard_normal(task.part(s).X.shape), np.float32)
        )
        for s in ("train", "dev", "test")
    }
    found = baselines(task, probe, random_weights=dataclasses.replace(task, **parts))
    rows = {r["name"]: r for r in found.frame().iter_rows(named=True)}
    assert rows["random-weights model"]["accuracy"] < rows["probe"]["low"]
    short = dataclasses.replace(task, test=dataclasses.replace(task.test, y=task.test.y[:-1]))
    with pytest.raises(SettingError, match="other tokens"):
        baselines(task, probe, random_weights=short)


def test_lambda_search_scores_its_grid(task):
    grid = ((1e-1, 1e-1), (1e-2, 1e-2), (1e-3, 1e-3))
    search, fit = search_lambda(task, grid=grid)
    table = search.frame()
    assert table.height == 3
    score = 0.5 * (table["top"] - table["bottom"]) - 0.5 * (
        search.unregularised - table["accuracy"]
    )
    assert table["score"].to_numpy() == pytest.approx(score.to_numpy())
    best = table.row(int(score.arg_max()), named=True)
    assert (search.l1, search.l2) == (best["l1"], best["l2"])
    assert table["converged"].all()
    assert table["neurons"].is_sorted()
    assert (table["gap"] <= 1e-3).all()
    assert (table["iterations"] >= 0).all()
    assert table["gradients"].sum() > 0
    assert (table["cpu_seconds"] > 0).all()
    alone = fit_probe(task, l1=search.l1, l2=search.l2)
    assert np.abs(fit.coef - alone.coef).max() < 0.05
    for bad, words in (
        ({"grid": ()}, "empty"),
        ({"grid": ((-1.0, 1.0),)}, "negative"),
        ({"fraction": 0.7}, "fraction"),
    ):
        with pytest.raises(SettingError, match=words):
            search_lambda(task, **bad)


def test_errors_name_what_is_wrong(task, ranking, probe):
    with pytest.raises(SettingError, match=r'no ranking "lda"; .* Did you mean "lca"'):
        rank(task, "lda")
    with pytest.raises(LabelError, match=r'has no class "C0"\. Did you mean "C0'):
        ranking.top_of("C0", 3)
    with pytest.raises(SettingError, match=r"expected \(3, 120\)"):
        rank_scores(task, "mine", np.zeros((3, 5)))
    bad = np.zeros((3, 120))
    bad[1, 7] = np.nan
    with pytest.raises(SettingError, match=r"score of neuron hidden\.0:7 is not finite"):
        rank_scores(task, "mine", bad)
    with pytest.raises(SettingError, match="draws must be 2"):
        ablate(task, ranking, probe, draws=1)
    with pytest.raises(SettingError, match='not "zap"'):
        ablate(task, ranking, probe, how=("zap",))  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="a set of 121 neurons is impossible"):
        ablate(task, ranking, probe, sizes=(121,))
    with pytest.raises(SettingError, match="growth must be above 1"):
        minimal_set(task, ranking, growth=1.0)
    with pytest.raises(SettingError, match="deltas"):
        minimal_set(task, ranking, deltas=())
    with pytest.raises(SettingError, match="no part"):
        task.part("validation")


NAMES = (
    "probe", "ranking", "lambda", "ablation", "minimal", "selectivity", "layers",
    "localisation", "redundancy", "sharing", "baselines",
)  # fmt: skip


def same(one, two):
    assert type(one) is type(two)
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if field.name == "seconds":
            continue
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            assert a.tobytes() == b.tobytes(), field.name
        elif isinstance(a, pl.DataFrame):
            drop = [c for c in a.columns if c == "cpu_seconds"]
            assert a.drop(drop).equals(b.drop(drop)), field.name
        elif isinstance(a, float):
            assert a == b or (np.isnan(a) and np.isnan(b)), field.name
        elif field.name == "provenance":
            assert (a.method, a.seed, dict(a.inputs)) == (b.method, b.seed, dict(b.inputs))
            assert {str(k) for k in a.settings} == {str(k) for k in b.settings}
        else:
            assert a == b, field.name


@pytest.mark.parametrize("name", NAMES)
def test_every_result_saves_loads_and_speaks(everything, name, tmp_path):
    result = everything[name]
    folder = result.save(tmp_path / name)
    same(result, load_result(folder))
    same(result, type(result).load(folder))
    assert result.frame().height > 0
    assert result.kind == name
    for sentence in result.summary():
        assert sentence.endswith(".")
        assert "nan" not in sentence
    assert len(result.summary()) >= 1


@pytest.mark.parametrize("name", NAMES)
def test_every_result_draws_itself(everything, name):
    axes = everything[name].plot()
    assert isinstance(axes, Axes)
    assert axes.has_data()


def run_all(task):
    probe = fit_probe(task, seed=2)
    ranking = rank_lca(task, probe)
    minimal = minimal_set(task, ranking, draws=2, seed=2)
    return [
        probe,
        ranking,
        search_lambda(task, grid=((1e-2, 1e-2), (1e-3, 1e-3)))[0],
        ablate(task, ranking, probe, draws=2, seed=2),
        minimal,
        selectivity(task, probe, minimal, seed=2),
        layer_profile(task, minimal.members(1.0), seed=2),
        localise(task, probe, resamples=3, seed=2),
        redundancy(task, seed=2),
    ]


def test_same_seed_same_bits_with_one_and_with_two_workers(task):
    try:
        set_threads(1)
        one, again = run_all(task), run_all(task)
        set_threads(2)
        two = run_all(task)
    finally:
        set_threads(1)
    for a, b in zip(one, again, strict=True):
        same(a, b)
    for a, b in zip(one[3:], two[3:], strict=True):
        same(a, b)


def test_seeds_draw_other_sets(task, ranking, probe):
    one, two = (
        ablate(task, ranking, probe, sizes=(20,), draws=3, how=("mask",), seed=s) for s in (0, 1)
    )
    assert one.at("mask", "top", 20)["accuracy"] == two.at("mask", "top", 20)["accuracy"]
    assert one.at("mask", "random", 20)["accuracy"] != two.at("mask", "random", 20)["accuracy"]
