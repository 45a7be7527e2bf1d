"""Explanations of planted neurons: the formula, its scores, chance, resumption, early ends."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import polars as pl
import pytest
from explain_planted import (
    CONSTANT,
    EXACT,
    LOW,
    NEVER,
    NOISE,
    NOISY,
    SPREAD,
    THREE,
    WIDTH,
    N,
    planted_store,
    planted_tokens,
    planted_values,
)
from scipy.stats import spearmanr
from sklearn import metrics
from statsmodels.stats.proportion import proportion_confint

from nissl.errors import InputError, SettingError, StoreError
from nissl.kernels.multiple_tests import benjamini_hochberg
from nissl.methods import (
    Explanation,
    concepts_from_masks,
    explain,
    explained_versus,
    explanation_examples,
    explanation_stability,
    make_concepts,
)
from nissl.methods import _explain_block as block_module
from nissl.methods import _explain_run as run_module
from nissl.report.explain import _bounds
from nissl.results import load_result

SETTINGS = {"mask": "zero", "sides": "high", "n_boot": 50, "noise": 4, "permutations": 200}
ID = "hidden.0:{}".format


@pytest.fixture(scope="module")
def acts(tmp_path_factory):
    return planted_store(tmp_path_factory.mktemp("explain") / "acts")


@pytest.fixture(scope="module")
def concepts(acts):
    return make_concepts(acts, ["word", "label", "position"])


@pytest.fixture(scope="module")
def found(acts, concepts):
    return explain(acts, concepts, **SETTINGS)


def row(found, unit, site="hidden.0", **where):
    table = found.table.filter(pl.col("neuron") == f"{site}:{unit}")
    for name, value in where.items():
        table = table.filter(pl.col(name) == value)
    assert table.height == 1
    return table.row(0, named=True)


def test_the_planted_formula_is_found_exactly(found):
    best = row(found, EXACT)
    # It covers the tokens of NOUN AND NOT Plur, and is shorter.
    assert best["formula"] == "feats.Number=Sing"
    assert best["iou_train"] == best["iou"] == best["f1"] == best["matthews"] == 1.0
    assert best["low"] == best["high"] == 1.0
    assert best["beyond"]
    assert best["q"] < 0.05
    three = row(found, THREE)
    assert three["iou"] == 1.0
    assert three["length"] == 3
    assert "AND NOT position=first" in three["formula"]


def test_and_not_needs_concepts_that_never_meet_the_neuron(acts):
    concepts = make_concepts(acts, ["label"], labels=["upos", "feats.Number"])
    keep = [i for i, name in enumerate(concepts.names) if name != "feats.Number=Sing"]
    few = concepts_from_masks([concepts.names[i] for i in keep], concepts.masks()[keep])
    for exhaustive in ("always", "never"):
        found = explain(
            acts, few, neurons=[ID(EXACT), ID(NOISY)], exhaustive=exhaustive, **SETTINGS
        )
        assert row(found, EXACT)["formula"] == "upos=NOUN AND NOT feats.Number=Plur"
        assert row(found, EXACT)["iou_train"] == row(found, EXACT)["iou"] == 1.0
        noisy = row(found, NOISY)
        assert noisy["formula"] == "upos=NOUN AND NOT feats.Number=Plur"
        assert 0.7 < noisy["iou"] < 0.95
        assert noisy["low"] < noisy["iou"] < noisy["high"]
        assert row(found, EXACT)["optimal"]
        assert found.provenance.settings["tried_all"] == (exhaustive == "always")


def test_held_out_scores_are_those_of_scikit_learn(acts, concepts, found):
    X = planted_values(planted_tokens())
    sentence = acts.tokens["sentence"].to_numpy()
    order = np.random.default_rng(0).permutation(300)[:90]
    held = np.isin(sentence, order)
    assert found.held_out == held.sum() == 900
    whole = concepts.masks()
    for unit in (EXACT, NOISY, NOISE, SPREAD, THREE):
        on = X[:, unit] > 0
        covered = found.formula(ID(unit)).mask(whole)
        said = row(found, unit)
        for where, name in ((held, "iou"), (~held, "iou_train")):
            assert said[name] == pytest.approx(metrics.jaccard_score(on[where], covered[where]))
        on, covered = on[held], covered[held]
        for name, score in (
            ("precision", metrics.precision_score),
            ("recall", metrics.recall_score),
            ("f1", metrics.f1_score),
            ("matthews", metrics.matthews_corrcoef),
        ):
            assert said[name] == pytest.approx(score(on, covered)), name
        assert (said["hits"], said["support"], said["size"]) == (
            (on & covered).sum(), covered.sum(), on.sum()
        )  # fmt: skip


def test_noise_is_not_beyond_chance_and_planted_neurons_are(acts, concepts):
    found = explain(acts, concepts, **{**SETTINGS, "permutations": 1000})
    beyond = found.best().filter("beyond")["neuron"].to_list()
    for unit in (EXACT, NOISY, THREE):
        assert ID(unit) in beyond
    for unit in (NOISE, SPREAD):
        said = row(found, unit)
        # The search fits noise on training tokens; held-out ones do not follow.
        assert said["p"] > 0.01
        assert abs(said["iou"] - said["chance"]) < 0.1
    best = found.best()
    assert best["q"].to_list() == pytest.approx(benjamini_hochberg(best["p"].to_numpy()))
    assert (best["beyond"] == (best["q"] <= 0.05)).all()


def test_both_sides_are_searched_and_the_better_is_best(acts, concepts):
    found = explain(acts, concepts, sites=["hidden.0"], **{**SETTINGS, "sides": "both"})
    assert row(found, LOW, best=True)["side"] == "low"
    assert row(found, LOW, side="low")["formula"] == "upos=DET"
    assert row(found, LOW, side="low")["iou"] == 1.0
    assert found.formula(ID(LOW)) == found.formula(ID(LOW), "low")
    assert found.best()["neuron"].is_unique().all()
    for name in found.table["neuron"].unique():
        here = found.table.filter(pl.col("neuron") == name)
        assert here.filter("best")["score_train"].item() == here["score_train"].max()
    others = found.table.filter(~pl.col("best"))
    assert others["q"].to_list() == pytest.approx(benjamini_hochberg(others["p"].to_numpy()))
    assert not others["beyond"].any()
    with pytest.raises(SettingError, match="has no mask among"):
        found.formula(ID(CONSTANT))


def test_the_turned_site_is_explained_by_its_low_values(acts, concepts):
    low = explain(acts, concepts, sites=["hidden.1"], **{**SETTINGS, "sides": "low"})
    assert row(low, EXACT, "hidden.1")["iou"] == 1.0
    # Zero itself is not below zero.
    assert -1e-40 < row(low, EXACT, "hidden.1")["at_most"] < 0
    assert math.isinf(row(low, EXACT, "hidden.1")["above"])


def test_what_has_no_mask_is_counted(found):
    assert found.left_out == {
        "constant units": 2,
        # LOW and NEVER: hidden.0's NEVER is never on, hidden.1's always.
        "masks (high) of units never on": 1,
        "masks (high) of units always on": 1,
    }
    assert found.best().height == 2 * WIDTH - 4
    assert found.complete


def test_thresholds_come_from_training_tokens(acts, concepts):
    found = explain(
        acts, concepts, neurons=[ID(NOISE)], **{**SETTINGS, "mask": "quantile", "share": 0.1}
    )
    x = planted_values(planted_tokens())[:, NOISE]
    held = np.isin(np.arange(3000) // 10, np.random.default_rng(0).permutation(300)[:90])
    said = row(found, NOISE)
    assert said["size_train"] == round(0.1 * (~held).sum())
    ordered = np.sort(x[~held])
    assert ordered[-211] < said["above"] < ordered[-210]
    assert said["size"] == (x[held] > said["above"]).sum()


def test_ranges_are_masks_of_their_own(acts, concepts):
    found = explain(
        acts, concepts, neurons=[ID(EXACT)], **{**SETTINGS, "mask": "clusters", "ranges": 2}
    )
    assert found.table["side"].to_list() == ["range 1/2", "range 2/2"]
    assert row(found, EXACT, side="range 2/2")["iou"] == 1.0


def test_a_split_is_held_out_by_name(acts, concepts):
    found = explain(acts, concepts, neurons=[ID(EXACT)], held_out="test", **SETTINGS)
    assert found.held_out == (acts.tokens["split"] == "test").sum()
    with pytest.raises(SettingError, match=r'no split "tset".*Did you mean "test"'):
        explain(acts, concepts, held_out="tset", **SETTINGS)


def test_the_same_call_gives_the_same_table_whatever_the_blocks(acts, concepts, found, monkeypatch):
    monkeypatch.setattr(run_module, "BLOCK", 3)
    again = explain(acts, concepts, **SETTINGS)
    assert again.table.equals(found.table)
    assert again.noise.equals(found.noise)


def test_save_and_load_are_a_round_trip(found, tmp_path):
    found.save(tmp_path / "out")
    back = load_result(tmp_path / "out")
    assert isinstance(back, Explanation)
    assert back.table.equals(found.table)
    assert back.concepts.equals(found.concepts)
    assert back.summary() == found.summary()
    assert dict(back.left_out) == dict(found.left_out)
    assert back.formula(ID(EXACT)) == found.formula(ID(EXACT))
    assert back.layers().equals(found.layers())


def test_layers_top_summary_and_plots(found):
    layers = found.layers()
    best = found.best()
    assert layers["site"].to_list() == ["hidden.0", "hidden.1"]
    for line in layers.iter_rows(named=True):
        here = best.filter(pl.col("site") == line["site"])
        assert line["neurons"] == here.height
        assert line["share"] == here["beyond"].mean()
        low, high = proportion_confint(line["beyond"], line["neurons"], method="wilson")
        assert (line["low"], line["high"]) == pytest.approx((low, high))
        assert line["iou"] == here["iou"].median()
    top = found.top(2)
    assert top["site"].to_list() == ["hidden.0"] * 2 + ["hidden.1"] * 2
    assert top["rank"].to_list() == [1, 2, 1, 2]
    for site in ("hidden.0", "hidden.1"):
        scores = best.filter(pl.col("site") == site)["score_train"].sort(descending=True)
        assert top.filter(pl.col("site") == site)["score_train"].to_list() == scores[:2].to_list()
    lines = found.summary()
    assert lines[0].startswith(f"{best['beyond'].sum()} of 12 neurons")
    assert "shifted masks the search itself reaches" in lines[2]
    assert {t.get_text() for t in found.plot().get_yticklabels()} == {"hidden.0", "hidden.1"}
    assert len(found.plot_overlap().lines) == 3


def test_the_search_on_noise_reaches_less_than_planted_neurons(found):
    assert found.noise.height
    assert found.noise["score"].max() < 0.6
    assert set(found.noise["neuron"]) <= set(found.table["neuron"]) | {ID(NEVER)}


def test_finished_blocks_are_read_and_another_search_is_refused(
    acts, concepts, found, tmp_path, monkeypatch
):
    monkeypatch.setattr(run_module, "BLOCK", 5)
    first = explain(acts, concepts, folder=tmp_path / "p", **SETTINGS)
    assert first.table.equals(found.table)
    calls = []
    monkeypatch.setattr(
        run_module, "explain_block", lambda *a, **k: calls.append(a) or pytest.fail("searched")
    )
    again = explain(acts, concepts, folder=tmp_path / "p", **SETTINGS)
    assert again.table.equals(found.table)
    assert again.left_out == found.left_out
    assert not calls
    with pytest.raises(StoreError, match="another length"):
        explain(acts, concepts, folder=tmp_path / "p", **SETTINGS, length=2)
    (tmp_path / "p" / "block-00001.parquet").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"block-00001.parquet: is damaged"):
        explain(acts, concepts, folder=tmp_path / "p", **SETTINGS)


def test_an_interrupted_search_gives_what_it_has_and_goes_on(
    acts, concepts, found, tmp_path, monkeypatch
):
    monkeypatch.setattr(run_module, "BLOCK", 5)
    real, seen = run_module.explain_block, []

    def interrupted(X, neurons, material, **rest):
        seen.append(neurons["neuron"][0])
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(X, neurons, material, **rest)

    monkeypatch.setattr(run_module, "explain_block", interrupted)
    half = explain(acts, concepts, folder=tmp_path / "p", **SETTINGS)
    assert not half.complete
    assert half.left_out["neurons that the stopped search did not reach"] == 11
    assert "stopped early" in half.summary()[-1]
    assert not half.noise.height
    same = ["neuron", "formula", "iou", "p"]
    assert half.table.select(same).equals(found.table.head(half.table.height).select(same))
    seen.extend([""] * 5)
    whole = explain(acts, concepts, folder=tmp_path / "p", **SETTINGS)
    assert whole.complete
    assert whole.table.equals(found.table)
    assert seen.count(ID(0)) == 1  # the first block was read


def test_a_search_that_stops_inside_a_block_keeps_what_it_reached(
    acts, concepts, tmp_path, monkeypatch
):
    real = block_module.search_formulas

    def stopped(given, masks, **how):
        out = real(given, masks, **how)
        partial = np.arange(len(masks)) >= 2
        formulas = tuple(None if p else f for f, p in zip(out.formulas, partial, strict=True))
        return dataclasses.replace(out, formulas=formulas, partial=partial)

    monkeypatch.setattr(block_module, "search_formulas", stopped)
    how = {**SETTINGS, "exhaustive": "never"}
    half = explain(acts, concepts, sites=["hidden.0"], folder=tmp_path / "p", **how)
    assert half.table["neuron"].to_list() == [ID(EXACT), ID(NOISY)]
    assert not half.complete
    assert half.left_out["masks that the stopped search did not reach"] == 4
    assert not list((tmp_path / "p").glob("block-*"))


def stops_noise(monkeypatch, at):
    """Let the search in noise come to ``at`` masks; None: not even begin."""
    real = run_module.shuffled_search

    def stopped(concepts, masks, groups, **how):
        if at is None:
            raise KeyboardInterrupt
        assert how["interruptible"]
        out = real(concepts, masks, groups, **how)
        return dataclasses.replace(out, partial=np.arange(len(masks)) >= at)

    monkeypatch.setattr(run_module, "shuffled_search", stopped)


@pytest.mark.parametrize("at", [None, 1])
def test_ctrl_c_during_the_search_in_noise_loses_no_formula(acts, concepts, found, monkeypatch, at):
    stops_noise(monkeypatch, at)
    out = explain(acts, concepts, **SETTINGS)
    assert out.table.equals(found.table)
    assert not out.complete
    missed = 4 if at is None else found.noise.height - at
    assert out.left_out["neurons whose shifted masks the stopped search did not reach"] == missed
    assert out.noise.equals(found.noise.head(at or 0))


def test_the_time_limit_is_for_the_search_in_noise_too(acts, concepts, found, monkeypatch):
    real = run_module.explain_block
    now = run_module.time.monotonic

    def slow(*args, **rest):
        out = real(*args, **rest)
        monkeypatch.setattr(run_module.time, "monotonic", lambda: now() + 1e6)
        return out

    monkeypatch.setattr(run_module, "explain_block", slow)
    out = explain(acts, concepts, time_limit=1e5, **SETTINGS)
    assert out.table.equals(found.table)
    assert not out.noise.height
    assert not out.complete


def test_ctrl_c_before_anything_is_found_is_ctrl_c(acts, concepts, monkeypatch):
    def interrupted(*args, **rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "explain_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        explain(acts, concepts, **SETTINGS)


def test_too_few_held_out_sentences_for_the_shifts_are_said(acts, concepts, found):
    out = explain(acts, concepts, neurons=[ID(EXACT)], **{**SETTINGS, "held_out": 0.02})
    assert out.permutations == 5  # 6 sentences are held out
    assert row(out, EXACT)["p"] == 1 / 6
    assert "only 5 shifts" in out.summary()[1]
    assert "no neuron can be beyond chance" in out.summary()[1]
    assert found.permutations == 89
    assert not any("only" in line for line in found.summary())


def test_candidates_that_are_no_concepts_are_counted(acts, found):
    assert found.no_concepts["feats.Number: tokens without a value"] == 1781
    few = make_concepts(acts, ["word", "label"], min_count=300)
    out = explain(acts, few, neurons=[ID(EXACT)], **SETTINGS)
    assert (
        out.no_concepts["word: fewer than 300 tokens"]
        == few.left_out["word: fewer than 300 tokens"]
    )


def test_of_shifted_masks_the_best_of_each_neuron_is_what_the_search_reaches(found):
    noise = pl.DataFrame(
        {"neuron": ["a", "a", "b", "b"], "side": ["high", "low"] * 2, "score": [0.1, 0.5, 0.3, 0.2]}
    )
    said = dataclasses.replace(found, noise=noise).summary()[2]
    assert "of 0.400 (median over 2 neurons" in said


def test_automatic_trying_of_everything_counts_each_range(acts, concepts, monkeypatch):
    seen = []
    real = run_module.exhaustive_cost
    monkeypatch.setattr(
        run_module, "exhaustive_cost", lambda *a, **k: seen.append(a[2]) or real(*a, **k)
    )
    for how in ({"mask": "ranges", "ranges": 4}, {"sides": "both"}, {"sides": "low"}):
        explain(acts, concepts, neurons=[ID(NOISE)], **{**SETTINGS, **how})
    assert seen == [4, 2, 1]


def test_settings_of_numpy_are_kept_with_the_pieces(acts, concepts, tmp_path):
    first = explain(
        acts,
        concepts,
        neurons=[ID(EXACT)],
        folder=tmp_path / "p",
        **SETTINGS,
        held_out=np.float32(0.25),
    )
    again = explain(
        acts, concepts, neurons=[ID(EXACT)], folder=tmp_path / "p", **SETTINGS, held_out=0.25
    )
    assert again.table.equals(first.table)


def test_one_name_is_no_list_of_names(acts, concepts):
    with pytest.raises(SettingError, match=r'not the one name "hidden.0:0"'):
        explain(acts, concepts, neurons=ID(0), **SETTINGS)
    with pytest.raises(SettingError, match='no neuron ""'):
        explain(acts, concepts, neurons=[""], **SETTINGS)


def test_no_time_at_all_is_said(acts, concepts):
    with pytest.raises(InputError, match=r"no neuron has a mask to explain .16 neurons that the"):
        explain(acts, concepts, time_limit=-1.0, **SETTINGS)


def test_stability_of_planted_and_of_noise(acts, concepts, found):
    again = explanation_stability(acts, concepts, found, [ID(EXACT)], draws=3, seed=1)
    (planted,) = again.frame().iter_rows(named=True)
    assert planted["same"] == planted["jaccard"] == 1.0
    assert planted["formula"] == row(found, EXACT)["formula"]
    assert "3 texts" in again.summary()[0]
    assert len(again.plot().patches) == 1
    thin = explain(
        acts, concepts, neurons=[ID(NOISE)], **{**SETTINGS, "mask": "quantile", "share": 0.05}
    )
    noise = explanation_stability(acts, concepts, thin, [ID(NOISE)], draws=3).frame()
    assert noise["formula"].item() == row(thin, NOISE)["formula"]
    assert noise["jaccard"].item() < 0.9
    assert noise["same"].item() < 1
    with pytest.raises(InputError, match="not the concepts"):
        explanation_stability(acts, make_concepts(acts, ["word"]), found, [ID(EXACT)])
    with pytest.raises(InputError, match="none of these neurons has a mask"):
        explanation_stability(acts, concepts, found, [ID(CONSTANT)])


def test_examples_are_the_tokens_they_say(acts, concepts, found):
    shown = explanation_examples(acts, concepts, found, [ID(NOISY), ID(CONSTANT)], n=4, width=2)
    assert set(shown["neuron"]) == {ID(NOISY)}
    x = planted_values(planted_tokens())[:, NOISY]
    z = (x - x.mean(dtype=np.float64)) / x.std(dtype=np.float64)
    covered = found.formula(ID(NOISY)).mask(concepts.masks())
    forms = acts.tokens["form"].to_list()
    for group, which, order in (
        ("most on", x > 0, -z),
        ("on without the formula", (x > 0) & ~covered, -z),
        ("formula without the neuron", covered & ~(x > 0), z),
    ):
        here = shown.filter(pl.col("group") == group)
        at = np.flatnonzero(which)
        at = at[np.argsort(order[at])][:4]
        assert here["z"].to_list() == pytest.approx(z[at].tolist(), abs=1e-4)
        assert here["word"].to_list() == [forms[i] for i in at]
        assert here["covered"].to_list() == covered[at].tolist()
        for i, line in zip(at, here.iter_rows(named=True), strict=True):
            start = i // 10 * 10
            assert line["left"] == " ".join(forms[max(i - 2, start) : i])
            assert line["right"] == " ".join(forms[i + 1 : min(i + 3, start + 10)])
    with pytest.raises(InputError, match="not the concepts"):
        explanation_examples(acts, make_concepts(acts, ["word"]), found, [ID(NOISY)])
    inputs = {**found.provenance.inputs, "activations": "other"}
    other = dataclasses.replace(
        found, provenance=dataclasses.replace(found.provenance, inputs=inputs)
    )
    with pytest.raises(InputError, match="not the store"):
        explanation_examples(acts, concepts, other, [ID(NOISY)])


def test_examples_of_below_zero_leave_zero_out(acts, concepts, monkeypatch):
    X = planted_values(planted_tokens())[:, [NOISE]]
    X[np.abs(X) < 0.5] = 0
    monkeypatch.setattr(
        type(acts), "matrix", lambda *a, rows=None, **k: X if rows is None else X[rows]
    )
    low = explain(acts, concepts, neurons=[ID(NOISE)], **{**SETTINGS, "sides": "low", "noise": 0})
    shown = explanation_examples(acts, concepts, low, [ID(NOISE)], n=N)
    on = shown.filter(pl.col("group") == "most on")
    assert on.height == (X < 0).sum() == row(low, NOISE)["size"] + row(low, NOISE)["size_train"]
    assert _bounds(row(low, NOISE)) == "below 0"


def test_explained_versus_is_spearman_with_an_interval(found):
    best = found.best()
    rng = np.random.default_rng(2)
    value = best["iou"].to_numpy() ** 3 * 5 + 0.05 * rng.standard_normal(best.height)
    values = dict(zip(best["neuron"], value.tolist(), strict=True))
    out = explained_versus(found, {**values, "other": 1.0}, name="effect", n_boot=200)
    total = out.table.row(0, named=True)
    assert total["spearman"] == pytest.approx(spearmanr(best["iou"], value)[0])
    assert total["low"] < total["spearman"] <= total["high"] <= 1
    assert out.left_out == {"values of neurons that are not explained": 1}
    assert out.table["neurons"].to_list() == ["all", "within sites", "hidden.0", "hidden.1"]
    here = (best["site"] == "hidden.1").to_numpy()
    assert out.table.row(3, named=True)["spearman"] == pytest.approx(
        spearmanr(best["iou"].to_numpy()[here], value[here])[0]
    )
    # A difference between sites alone is a correlation over all neurons, not within sites.
    shift = best.select(
        "neuron", change=pl.when(pl.col("site") == "hidden.0").then(1.0).otherwise(-1.0)
    )
    between = explained_versus(found, shift, column="change", n_boot=50)
    assert math.isnan(between.table.row(1, named=True)["spearman"])
    turned = {name: -x for name, x in values.items()}
    assert explained_versus(found, turned, n_boot=50).table["spearman"][0] == pytest.approx(
        -total["spearman"]
    )
    sized = explained_versus(
        found, {n: x * (-1) ** i for i, (n, x) in enumerate(values.items())}, size=True, n_boot=50
    )
    assert sized.table["spearman"][0] == pytest.approx(spearmanr(best["iou"], abs(value))[0])
    assert sized.name == "|value|"
    assert "rank correlation" in sized.summary()[0]
    assert len(out.plot().lines) == 1


def test_explained_versus_says_what_is_wrong(found):
    with pytest.raises(SettingError, match=r'no score "ious".*Did you mean "iou"'):
        explained_versus(found, {}, score="ious")
    with pytest.raises(SettingError, match="0 neurons have both"):
        explained_versus(found, {"a": 1.0})
    table = pl.DataFrame({"neuron": ["a", "a"], "change": ["x", "y"], "n": [1, 2]})
    with pytest.raises(SettingError, match=r'no column "chance".*Did you mean "change"'):
        explained_versus(found, table, column="chance")
    with pytest.raises(SettingError, match='"change" is not one of numbers'):
        explained_versus(found, table, column="change")
    with pytest.raises(SettingError, match="more than once"):
        explained_versus(found, table, column="n")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sites": ["hidden.7"]}, 'no site "hidden.7"'),
        ({"neurons": ["hidden.0:99"]}, 'no neuron "hidden.0:99"'),
        ({"neurons": []}, "no neuron to explain"),
        ({"sites": ["hidden.0"], "neurons": ["hidden.0:1"]}, "not both"),
        ({"mask": "zeros"}, 'Did you mean "zero"'),
        ({"exhaustive": "allways"}, 'Did you mean "always"'),
        ({"exhaustive": "always", "length": 4}, "up to length 3, not 4"),
        ({"held_out": 1.5}, "between 0 and 1, not 1.5"),
        ({"held_out": 0.001}, "fewer than 2 sentences to hold out"),
        ({"permutations": 0}, "permutations must be 1 or more"),
        ({"n_boot": 1}, "n_boot must be 2 or more"),
        ({"fdr": 0}, "false discovery rate is between"),
        ({"noise": -1}, "number of neurons, not -1"),
        ({"score": "ioux"}, 'Did you mean "iou"'),
        ({"neurons": [ID(CONSTANT)]}, "no neuron has a mask to explain .1 constant units"),
    ],
)
def test_settings_that_cannot_be(acts, concepts, wrong, message):
    with pytest.raises((SettingError, InputError), match=message):
        explain(acts, concepts, **{**SETTINGS, **wrong})


def test_concepts_of_another_text_are_refused(acts):
    other = concepts_from_masks(["a"], np.array([[True, False]]))
    with pytest.raises(InputError, match="concepts are of 2 tokens, the store has 3,000"):
        explain(acts, other, **SETTINGS)
