"""Targets of numbers: made from a store, ranked by every method, compared by R²; the command."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from scipy import stats
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.metrics import r2_score

from nissl.cli import main
from nissl.corpus.targets import TARGETS
from nissl.errors import LabelError, SettingError
from nissl.methods import (
    RANKINGS,
    TARGET_RANKINGS,
    TargetComparison,
    compare_targets,
    make_target,
    make_task,
    method_table,
    rank,
    rank_scores,
    register_ranking,
)
from nissl.methods.evaluate import random_sets
from nissl.results import load_result
from nissl.site import Site
from nissl.store import write_store

N, D = 3000, 40
PLANTED = (3, 11, 19, 27, 35)
LOUD, CONSTANT = 8, 14


def planted_store(folder, scale=None):
    """Numbers made of five neurons of any scale, in sentences of ten words."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((N, D))
    weight = np.array([1.0, -1.0, 0.9, -0.9, 0.8])
    y = Z[:, PLANTED] @ weight + 0.7 * rng.standard_normal(N) + 5
    Z[:, LOUD] *= 100
    Z[:, CONSTANT] = 1.5
    if scale is not None:
        Z = Z * scale
    sentence = np.arange(N) // 10
    split = np.array(["train", "dev", "train", "test", "train"], dtype=object)[sentence % 5]
    text = [f"{value:.12g}" for value in y]
    gaps = [None if i % 10 == 4 else value for i, value in enumerate(text)]
    broken = ["deep" if i == 7 else value for i, value in enumerate(text)]
    tokens = pl.DataFrame(
        {
            "sentence": pl.Series(sentence, dtype=pl.Int32),
            "position": pl.Series(np.arange(N) % 10, dtype=pl.Int32),
            "form": [f"w{i % 50}" for i in range(N)],
            "split": split.tolist(),
            "value": text,
            "gaps": gaps,
            "broken": broken,
            "endless": ["1e999" if i == 12 else "1" for i in range(N)],
            "named": ["nan" if i == 2 else "1" for i in range(N)],
            "same": ["3"] * N,
            "none": pl.Series([None] * N, dtype=pl.String),
            "head": pl.Series(np.arange(N) % 10, dtype=pl.Int32),
            "tag": ["a" if v > 5 else "b" for v in y],
        }
    )
    labels = ["value", "gaps", "broken", "endless", "named", "same", "none", "tag"]
    sites = [Site("hidden", i, f"blocks.{i}", "output", D // 2) for i in range(2)]
    values = Z.astype(np.float32)
    return write_store(
        folder,
        model="m",
        corpus="c",
        sites=sites,
        tokens=tokens,
        sentences=pl.DataFrame({"id": [f"s{i}" for i in range(N // 10)]}),
        labels=labels,
        blocks=[{"hidden.0": values[:, : D // 2], "hidden.1": values[:, D // 2 :]}],
        dtype="float32",
    )


@pytest.fixture(scope="module")
def acts(tmp_path_factory):
    return planted_store(tmp_path_factory.mktemp("targets") / "store")


@pytest.fixture(scope="module")
def target(acts):
    return make_target(acts, "value")


# Making one --------------------------------------------------------------------------------------


def test_a_target_is_the_column_in_three_parts(acts, target):
    task = make_task(acts, "tag")
    y = acts.tokens["value"].cast(pl.Float64).to_numpy()
    for split in ("train", "dev", "test"):
        part, other = target.part(split), task.part(split)
        assert part.y.dtype == np.float64
        assert np.array_equal(part.y, y[part.rows])
        assert np.array_equal(part.X, other.X)
        assert np.array_equal(part.sentence, other.sentence)
        assert part.X.flags.f_contiguous
    assert target.constant.tolist() == [j == CONSTANT for j in range(D)]
    assert target.layers.tolist() == [0] * 20 + [1] * 20
    assert target.left_out == {}
    assert repr(target) == "Target('value': 40 neurons, train 1,800, dev 600, test 600)"


def test_fingerprints_tell_targets_apart(acts, target):
    assert make_target(acts, "value").fingerprint == target.fingerprint
    y = acts.tokens["value"].cast(pl.Float64).to_numpy().copy()
    assert make_target(acts, y, name="value").fingerprint == target.fingerprint
    y[5] += 1e-9
    assert make_target(acts, y, name="value").fingerprint != target.fingerprint
    assert make_target(acts, y, name="other").fingerprint != target.fingerprint
    assert make_target(acts, "value", sites=["hidden.0"]).n_neurons == 20


def test_a_column_of_integers_and_derived_numbers_do(acts):
    position = make_target(acts, "position")
    assert np.array_equal(position.train.y, position.train.rows % 10)
    depth = make_target(acts, TARGETS["tree-depth"](acts.tokens), name="depth")
    # Head of word i is word i − 1, so depth is the place.
    assert np.array_equal(depth.train.y, position.train.y)
    assert depth.name == "depth"


def test_missing_values_are_named_or_left_out_and_counted(acts):
    with pytest.raises(
        LabelError, match=r'"gaps" has no value on 300 of 3,000 tokens, first on token 4 \("w4", s'
    ):
        make_target(acts, "gaps")
    less = make_target(acts, "gaps", absent="leave-out")
    assert less.left_out == {"tokens without a value": 300}
    assert [len(less.part(s)) for s in ("train", "dev", "test")] == [1620, 540, 540]
    assert not (less.train.rows % 10 == 4).any()
    y = np.ones(N)
    y[:5], y[9] = 2, np.nan
    with pytest.raises(LabelError, match=r"on 1 of 3,000 tokens, first on token 9"):
        make_target(acts, y)
    # Numbers are standardised by the tokens that are left.
    assert np.allclose(less.train.X.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("broken", r'"broken" is "deep" on token 7 \("w7", sentence 0\), which is not a finite'),
        ("endless", r'"endless" is "1e999" on token 12 \("w12", sentence 1\)'),
        ("named", r'"named" is "nan" on token 2'),
        ("same", r'"same" is 3 on all 1,800 training tokens'),
        ("none", r'"none" has no value on any token'),
        ("valu", r'no column "valu".*Did you mean "value"'),
        ("tag", r'"tag" is "[ab]" on token 0'),
    ],
)
def test_columns_that_are_no_numbers_are_said(acts, column, message):
    with pytest.raises(LabelError, match=message):
        make_target(acts, column)


def test_impossible_settings_are_said(acts):
    with pytest.raises(LabelError, match="has 3 values for the 3,000 tokens"):
        make_target(acts, [1.0, 2.0, 3.0])
    with pytest.raises(SettingError, match="absent must be"):
        make_target(acts, "value", absent="maybe")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r'no site "hidden.9"'):
        make_target(acts, "value", sites=["hidden.9"])
    other = dataclasses.replace(acts, relabelled=acts.tokens.with_columns(split=pl.lit("train")))
    with pytest.raises(LabelError, match='target "value" has no token in the dev split'):
        make_target(other, "value")


# Ranking -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TARGET_RANKINGS))
def test_each_method_is_a_total_order_that_finds_what_was_planted(name, target):
    found = rank(target, name)
    assert sorted(found.order.tolist()) == list(range(D))
    assert found.scores.shape == (1, D)
    assert found.classes == ("value",)
    assert found.provenance.inputs["task"] == target.fingerprint
    assert found.frame()["label"].unique().to_list() == ["value"]
    assert np.array_equal(rank(target, name).order, found.order)
    if name != "random":
        assert set(found.top(5).tolist()) == set(PLANTED)
        assert CONSTANT not in found.top(20).tolist()
        assert np.array_equal(rank(target, name, seed=5).order, found.order)
    else:
        assert not np.array_equal(rank(target, name, seed=5).order, found.order)


def test_no_ranking_depends_on_the_scale_of_neurons_or_of_the_number(target, tmp_path):
    factor = 2.0 ** np.random.default_rng(1).integers(-8, 9, D)
    other = make_target(planted_store(tmp_path / "scaled", factor), "value")
    larger = {
        s: dataclasses.replace(target.part(s), y=1000 * target.part(s).y - 77)
        for s in ("train", "dev", "test")
    }
    moved = dataclasses.replace(target, **larger)
    for name in TARGET_RANKINGS:
        first = rank(target, name).order.tolist()
        assert rank(other, name).order.tolist() == first, name
        # Where scores differ by rounding only, the last ones may change places.
        assert rank(moved, name).order.tolist()[:20] == first[:20], name


def test_correlations_are_those_of_scipy(target):
    X, y = target.train.X, target.train.y
    live = [j for j in range(D) if j != CONSTANT]
    for name, reference in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        want = [abs(reference(X[:, j].astype(np.float64), y).statistic) for j in live]
        assert rank(target, name).scores[0, live] == pytest.approx(want, abs=1e-6)
        assert rank(target, name).scores[0, CONSTANT] == 0


def test_weights_are_those_of_scikit_learn(target):
    X, y = target.train.X.astype(np.float64), target.train.y
    unit = (y - y.mean()) / y.std()
    mine = rank(target, "weights", l1=0.05, l2=0.02, tol=1e-8)
    want = ElasticNet(alpha=0.07, l1_ratio=0.05 / 0.07, tol=1e-10).fit(X, unit)
    assert mine.scores[0] == pytest.approx(np.abs(want.coef_), abs=1e-5)
    lasso = rank(target, "weights:penalty=lasso:l1=0.05:l2=9:tol=1e-8")
    want = ElasticNet(alpha=0.05, l1_ratio=1.0, tol=1e-10).fit(X, unit)
    assert lasso.scores[0] == pytest.approx(np.abs(want.coef_), abs=1e-5)
    ridge = rank(target, "weights:penalty=ridge:l1=9:l2=0.5")
    want = Ridge(alpha=0.5 * len(y)).fit(X, unit)
    assert ridge.scores[0] == pytest.approx(np.abs(want.coef_), abs=1e-5)
    # Neurons without a weight follow by their correlation.
    none = np.flatnonzero(mine.scores[0] == 0)
    size = rank(target, "pearson").scores[0]
    tail = mine.order[-len(none) :]
    assert len(none) > 10
    assert (np.diff(size[tail]) <= 0).all()


def test_information_sees_what_correlations_do_not(target):
    X = target.train.X
    bent = dataclasses.replace(target.train, y=X[:, 20].astype(np.float64) ** 2)
    other = dataclasses.replace(target, train=bent)
    assert rank(other, "mi").order[0] == 20
    assert rank(other, "pearson").scores[0, 20] < 0.1
    # Nearly all words have one number.
    rare = dataclasses.replace(target.train, y=(X[:, 21] > 2.0).astype(np.float64))
    assert rank(dataclasses.replace(target, train=rare), "mi").order[0] == 21


def test_methods_for_the_other_kind_are_refused_with_those_that_do(target, acts):
    for name in ("lca", "auc", "gaussian"):
        with pytest.raises(SettingError, match=f"{name} does not rank for a number; those that "):
            rank(target, name)
    with pytest.raises(SettingError) as error:
        rank(target, "lca")
    assert all(name in str(error.value) for name in TARGET_RANKINGS)
    with pytest.raises(SettingError, match=r"pearson does not rank for classes; .* lca"):
        rank(make_task(acts, "tag"), "pearson")
    with pytest.raises(SettingError, match=r'no ranking "person".*Did you mean "pearson"'):
        rank(target, "person")
    with pytest.raises(SettingError, match='weights has no setting "over"'):
        rank(target, "weights:over=max")
    with pytest.raises(SettingError, match=r'no penalty "laso".*Did you mean "lasso"'):
        rank(target, "weights:penalty=laso")
    assert rank(target).method == "weights"


def test_tables_say_which_rank_for_numbers(target):
    both = method_table().filter("numbers")["method"].to_list()
    assert set(both) == set(RANKINGS) & set(TARGET_RANKINGS) >= {"weights", "forward", "random"}
    assert method_table(targets=True)["method"].to_list() == list(TARGET_RANKINGS)

    @register_ranking("by-place", "nothing but the place", targets=True)
    def by_place(target, seed, *, last=False):
        value = np.arange(target.n_neurons, dtype=float) * (1 if last else -1)
        return rank_scores(target, "by-place", value[None])

    try:
        assert rank(target, "by-place:last=true").top(2).tolist() == [39, 38]
        assert "by-place" not in RANKINGS
        with pytest.raises(SettingError, match='"by-place" already'):
            register_ranking("by-place", "again", targets=True)
    finally:
        del TARGET_RANKINGS["by-place"]


# Comparing ---------------------------------------------------------------------------------------

METHODS = ("pearson", "weights", "forward:k_max=10", "random")


@pytest.fixture(scope="module")
def found(target):
    return compare_targets(target, METHODS, ks=(5, 2), seeds=2, splits=1)


def refit(target, neurons):
    """R² on test of scikit-learn's ridge on these neurons."""
    fit = Ridge(alpha=1e-3 * len(target.train)).fit(target.train.X[:, neurons], target.train.y)
    return r2_score(target.test.y, fit.predict(target.test.X[:, neurons]))


def test_rows_are_scikit_learns(found, target):
    for name in METHODS:
        order = rank(target, name).order
        for k in (2, 5):
            row = found.at("value", name, k)
            assert row["r2"] == pytest.approx(refit(target, np.sort(order[:k])), abs=1e-5)
            assert row["low"] <= row["r2"] <= row["high"]
            assert row["percent"] == 100 * k / D
    drawn = [refit(target, s) for s in random_sets(D, 5, 10, 0)]
    assert found.at("value", "(random sets)", 5)["r2"] == pytest.approx(np.mean(drawn), abs=1e-5)
    whole = found.at("value", "(all neurons)", D)["r2"]
    assert whole == pytest.approx(refit(target, np.arange(D)), abs=1e-5)
    # Signal 4.26 of 4.75.
    assert found.at("value", "forward:k_max=10", 5)["r2"] == pytest.approx(0.897, abs=0.03)


def test_planted_neurons_beat_random_sets_and_differences_are_paired(found):
    for k in (2, 5):
        rows = {name: found.at("value", name, k) for name in METHODS}
        best = max(row["r2"] for row in rows.values())
        chance = found.at("value", "(random sets)", k)
        for name, row in rows.items():
            assert row["behind"] == pytest.approx(best - row["r2"], abs=1e-9)
            assert row["gain"] == pytest.approx(row["r2"] - chance["r2"], abs=1e-9)
            assert row["behind_low"] <= row["behind"] + 1e-9 <= row["behind_high"] + 2e-9
            if name != "random":
                assert row["gain_low"] > 0.1
        assert rows["random"]["behind_low"] > 0.1
    assert set(found.agreement["method"].to_list()) == set(METHODS[:3])
    over = found.stability.filter((pl.col("over") == "halves") & (pl.col("k") == 5))
    assert dict(over.select("method", "overlap").iter_rows())["pearson"] == 1


def test_it_is_saved_drawn_and_read_back(found, tmp_path):
    back = load_result(found.save(tmp_path / "c"))
    assert isinstance(back, TargetComparison)
    for name, frame in found.frames().items():
        assert frame.equals(back.frames()[name]), name
    assert back.summary() == found.summary()
    (five,) = (line for line in found.summary() if line.startswith("Refitted on 5 neurons"))
    assert "explain 8" in five or "explain 9" in five
    assert "random " not in five.replace("random sets", "")
    assert isinstance(found.plot(), Axes)
    assert found.matrix().columns == ["method", "k=2", "k=5"]
    with pytest.raises(SettingError, match=r'no target "valu".*Did you mean "value"'):
        found.plot(target="valu")
    with pytest.raises(SettingError, match=r'no result for .*Did you mean "pearson"'):
        found.at("value", "person", 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ("lca",)}, "lca does not rank for a number"),
        ({"methods": ("pearson", "pearson")}, '"pearson" is named twice'),
        ({"methods": ()}, "at least one method"),
        ({"ks": (41,)}, "a set of 41 neurons is impossible"),
        ({"draws": 9}, "draws must be 10"),
        ({"seeds": -1}, "0 or more"),
    ],
)
def test_impossible_comparisons_are_said_before_any_work(target, settings, message):
    with pytest.raises(SettingError, match=message):
        compare_targets(target, **settings)


def test_targets_of_one_name_and_a_flat_test_part_are_refused(target):
    with pytest.raises(SettingError, match='two targets are called "value"'):
        compare_targets([target, target])
    with pytest.raises(SettingError, match="at least one target"):
        compare_targets([])
    flat = dataclasses.replace(target.test, y=np.full(len(target.test), 2.0))
    with pytest.raises(LabelError, match='"value" is 2 on all test tokens'):
        compare_targets(dataclasses.replace(target, test=flat))


# The command -------------------------------------------------------------------------------------


def test_rank_for_a_number(acts, tmp_path, capsys):
    out = tmp_path / "ranking.csv"
    argv = ["rank", str(acts.path), "--target", "value", "-q", "--threads", "1"]
    assert main([*argv, "--method", "spearman", "--out", str(out)]) == 0
    names = pl.read_csv(out)["neuron"].to_list()[:5]
    index = [20 * int(name[7]) + int(name.partition(":")[2]) for name in names]
    assert set(index) == set(PLANTED)
    assert names[0] in capsys.readouterr().out
    assert main(["rank", str(acts.path), "--target", "gaps", "--absent", "leave-out", "-q"]) == 0
    assert "300 tokens without a value" in capsys.readouterr().err


def test_compare_for_numbers(acts, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["compare", str(acts.path), "--target", "value", "--target", "tree-depth", "--k", "5"]
    argv += ["--methods", "pearson,random", "--splits", "0", "--seeds", "1", "--out", str(out)]
    assert main([*argv, "-q", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "value k=5" in printed
    assert "tree-depth k=5" in printed
    found = load_result(out)
    assert isinstance(found, TargetComparison)
    assert found.at("value", "pearson", 5)["r2"] > 0.8
    assert found.at("tree-depth", "pearson", 5)["r2"] < 0.05
    assert (out / "tables" / "r2.csv").is_file()
    assert (out / "r2-2.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["rank"], "give --label for classes or --target for a number"),
        (["rank", "--label", "tag", "--target", "value"], "one of them"),
        (["rank", "--target", "value", "--method", "lca"], "lca does not rank for a number"),
        (["rank", "--target", "value", "--of", "a"], "--of and --min-count"),
        (["rank", "--target", "broken"], 'is "deep" on token 7'),
        (["rank", "--target", "value", "--method", "weights", "--l1", "1"], "go with lca"),
        (["compare"], "give labels for classes or --target for numbers"),
        (["compare", "--target", "value", "--how", "mask"], "--how and --min-count"),
        (["compare", "--target", "value", "--draws", "2"], "draws must be 10"),
    ],
)
def test_the_command_says_what_is_wrong(acts, capsys, argv, message):
    assert main([argv[0], str(acts.path), *argv[1:], "-q", "--threads", "1"]) == 2
    assert message in capsys.readouterr().err


def test_whole_numbers_are_classes_too(acts):
    task = make_task(acts, "position")
    assert task.classes == tuple("0123456789")
    position = acts.tokens["position"].to_numpy()
    assert (task.train.y == position[task.train.rows]).all()


@pytest.mark.parametrize(
    ("splits", "advice"),
    # min_count is about classes that the training split has.
    [(("dev", "test"), r'"leave-out"\)$'), (("train",), r"or raise --min-count$")],
)
def test_advice_about_a_class_that_is_absent_from_a_split_can_be_followed(splits, advice):
    rows = [(split, tag) for split in ("train", "dev", "test") for tag in "bc"]
    rows += [(split, "a") for split in splits]
    tokens = pl.DataFrame(rows, schema=["split", "tag"], orient="row")
    with pytest.raises(LabelError, match=r'class "a" .*' + advice):
        make_task(SimpleNamespace(tokens=tokens, labels=("tag",)), "tag")  # type: ignore[arg-type]


def test_a_half_without_any_variation_is_said_before_any_work(acts):
    values = np.zeros(acts.tokens.height)
    rows = acts.tokens["sentence"].to_numpy()
    values[np.isin(rows, [0, 3])] = np.arange(20)
    target = make_target(acts, values)
    for method in ("pearson", "mi", "weights"):
        with pytest.raises(LabelError, match=r"target is 0 on all .* tokens of one half"):
            compare_targets(target, [method], ks=[3], splits=3)
        assert compare_targets(target, [method], ks=[3], splits=0).stability.height


def test_rankings_for_numbers_are_listed(capsys):
    assert main(["rankings"]) == 0
    text = capsys.readouterr().out.partition("For numbers (--target):")[2]
    for name, method in TARGET_RANKINGS.items():
        assert f"{name:18}{method.about}" in text
