"""A comparison of rankings: right on planted neurons, honest about agreement, saved and shown."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes

from nissl.cli import main, probing
from nissl.errors import LabelError, SettingError
from nissl.kernels.intervals import bootstrap_accuracy
from nissl.kernels.overlap import average_overlap, neuron_vote
from nissl.methods import (
    NOT_TRUTH,
    RANKINGS,
    Comparison,
    compare,
    fit_probe,
    rank,
    rank_scores,
    redundancy,
)
from nissl.methods.agreement import stability_rows
from nissl.methods.comparison import close_to_best
from nissl.methods.evaluate import correct_masked, correct_retrained, random_sets
from nissl.methods.rankings import register_ranking
from nissl.methods.subsample import halves, resample, with_train_rows
from nissl.report.comparison import write_comparison
from nissl.results import load_result
from nissl.testing import planted_task

METHODS = ("lca", "f", "weights:over=max", "random")


@pytest.fixture(scope="module")
def planted():
    return planted_task(
        n_tokens=2500, n_neurons=100, n_classes=3, informative=6, shift=1.5, noisy=2, seed=3
    )


@pytest.fixture(scope="module")
def task(planted):
    return planted[0]


@pytest.fixture(scope="module")
def found(task):
    return compare(task, METHODS, ks=(6, 3), draws=3, seeds=3, splits=2)


def test_rows_are_those_of_each_method_alone(found, task):
    assert found.methods == METHODS
    probe = fit_probe(task)
    for name in METHODS:
        order = rank(task, name).order
        for k in (3, 6):
            want = correct_retrained(task, np.sort(order[:k])).mean()
            assert found.at("PLANTED", name, k)["accuracy"] == pytest.approx(want, abs=0.01)
            mask = correct_masked(task.test, probe.coef, probe.intercept, np.sort(order[:k]))
            row = found.at("PLANTED", name, k, how="mask")
            assert row["accuracy"] == mask.mean()
            assert row["low"] <= row["accuracy"] <= row["high"]
            worst = correct_retrained(task, np.sort(order[-k:])).mean()
            bottom = found.table.filter(
                (pl.col("method") == name)
                & (pl.col("k") == k)
                & (pl.col("how") == "retrain")
                & (pl.col("kind") == "bottom")
            )
            assert bottom["accuracy"][0] == pytest.approx(worst, abs=0.01)
    drawn = [correct_retrained(task, s).mean() for s in random_sets(100, 6, 3, 0)]
    assert found.at("PLANTED", "(random sets)", 6)["accuracy"] == pytest.approx(np.mean(drawn))
    whole = correct_retrained(task, np.arange(100)).mean()
    assert found.at("PLANTED", "(all neurons)", 100)["accuracy"] == whole


def test_planted_neurons_beat_random_sets_and_the_random_ranking(found):
    chance = found.at("PLANTED", "(random sets)", 6)
    for name in METHODS[:3]:
        row = found.at("PLANTED", name, 6)
        assert row["low"] > chance["high"]
        assert row["gain_low"] > 0.15
        assert row["gain"] == pytest.approx(row["accuracy"] - chance["accuracy"])
    assert found.at("PLANTED", "random", 6)["behind_low"] > 0.15


def test_behind_is_the_paired_distance_to_the_best(found):
    for k in (3, 6):
        rows = [found.at("PLANTED", name, k) for name in METHODS]
        best = max(row["accuracy"] for row in rows)
        for row in rows:
            assert row["behind"] == pytest.approx(best - row["accuracy"])
            assert row["behind_low"] <= row["behind"] + 1e-12
            assert row["behind"] <= row["behind_high"] + 1e-12
        assert min(row["behind"] for row in rows) == 0
        # Paired: narrower than the two accuracies' intervals taken apart.
        far = max(rows, key=lambda row: row["behind"])
        top = max(rows, key=lambda row: row["accuracy"])
        apart = (far["high"] - far["low"]) + (top["high"] - top["low"])
        assert far["behind_high"] - far["behind_low"] < apart


def test_agreement_leaves_out_the_random_order_and_is_labelled(found, task):
    voters = METHODS[:3]
    assert set(found.agreement["method"].to_list()) == set(voters)
    orders = np.stack([rank(task, name).order for name in voters])
    for k in (3, 6):
        rows = found.agreement.filter(pl.col("k") == k)
        assert rows["avg_overlap"].to_list() == average_overlap(orders, k).tolist()
        assert rows["neuron_vote"].to_list() == neuron_vote(orders, k).tolist()
    assert any(NOT_TRUTH in line for line in found.summary())
    assert found.pairs.height == 2 * 6


def test_agreement_is_not_truth():
    """Three methods that agree on noise have the best scores of agreement and the worst neurons."""
    task, truth = planted_task(
        n_tokens=1500, n_neurons=60, n_classes=2, informative=4, shift=2.0, noisy=6, seed=5
    )
    names = ["loud", "loud-too", "loud-three"]

    def loud(task, seed):
        scores = task.sd.copy()
        return rank_scores(task, "loud", np.repeat(scores[None], task.n_classes, axis=0))

    for name in names:
        register_ranking(name, "the scale of the raw neuron, which means nothing")(loud)
    try:
        found = compare(task, (*names, "lca"), ks=(4,), draws=2, seeds=1, splits=0)
    finally:
        for name in names:
            del RANKINGS[name]
    agree = {row["method"]: row for row in found.agreement.to_dicts()}
    assert agree["loud"]["avg_overlap"] > 2 * agree["lca"]["avg_overlap"]
    assert found.at("PLANTED", "lca", 4)["accuracy"] > 0.9
    assert found.at("PLANTED", "loud", 4)["accuracy"] < 0.6
    assert set(rank(task, "lca").top(4).tolist()) == set(truth.informative.tolist())


def test_stability_over_seeds_and_halves(found):
    rows = {(r["method"], r["over"], r["k"]): r for r in found.stability.iter_rows(named=True)}
    assert len(rows) == 4 * 2 * 2
    for name in METHODS[:3]:
        assert rows[name, "seeds", 6]["overlap"] == 1
        assert rows[name, "halves", 6]["overlap"] > 0.8
        assert rows[name, "halves", 6]["runs"] == 2
    assert rows["random", "seeds", 6]["runs"] == 3
    for over in ("seeds", "halves"):
        assert rows["random", over, 6]["overlap"] < 0.4
    assert rows["lca", "halves", 3]["expected"] == 0.03


def test_stability_of_a_ranking_by_place_and_of_one_by_sentences(task):
    """Overlaps counted by hand: one order for ever, and one that the text decides wholly."""

    def by_text(other, seed):
        return rank(task, "random", seed=int(other.train.sentence.sum()))

    rankers = {"same": lambda other, seed: rank(task, "f"), "text": by_text}
    rankings = {name: ranker(task, 0) for name, ranker in rankers.items()}
    rows = stability_rows(
        task,
        rankers,
        rankings,
        [10],
        seeded={"same": False, "text": False},
        seeds=1,
        splits=3,
        seed=0,
    )
    assert [row["over"] for row in rows] == ["halves", "halves"]
    assert [row["runs"] for row in rows] == [3, 3]
    assert rows[0]["overlap"] == 1
    want = []
    for i in range(3):
        ends = [by_text(with_train_rows(task, r), 0).order[:10] for r in halves(task, seed=i)]
        want.append(len(set(ends[0].tolist()) & set(ends[1].tolist())) / 10)
    assert rows[1]["overlap"] == pytest.approx(np.mean(want))
    assert (rows[1]["low"], rows[1]["high"]) == (min(want), max(want))


def test_halves_share_no_sentence_and_are_standardised_anew(task):
    a, b = halves(task, seed=1)
    assert not np.intersect1d(task.train.sentence[a], task.train.sentence[b]).size
    assert sorted([*a.tolist(), *b.tolist()]) == list(range(len(task.train)))
    assert not np.array_equal(a, halves(task, seed=2)[0])
    half = with_train_rows(task, a)
    assert np.allclose(half.train.X.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(half.train.X.std(axis=0), 1, atol=1e-4)
    # Raw neurons, carried back from either task, are the same.
    for split, rows in (("train", a), ("dev", slice(None)), ("test", slice(None))):
        one = task.part(split).X[rows] * task.sd + task.mean
        two = half.part(split).X * half.sd + half.mean
        assert np.allclose(one, two, rtol=1e-3, atol=1e-3), split
    assert np.array_equal(half.train.y, task.train.y[a])
    assert half.fingerprint != task.fingerprint != with_train_rows(task, b).fingerprint
    assert task.train.X.flags.f_contiguous
    assert half.train.X.flags.f_contiguous


def test_a_resample_draws_whole_sentences(task):
    rows = resample(task, seed=1)
    names, counts = np.unique(rows, return_counts=True)
    assert counts.max() > 1
    assert len(names) < len(task.train)
    times: dict[int, set[int]] = {}
    for row, n in zip(names.tolist(), counts.tolist(), strict=True):
        times.setdefault(int(task.train.sentence[row]), set()).add(n)
    assert all(len(n) == 1 for n in times.values())
    one = dataclasses.replace(task.train, sentence=np.zeros(len(task.train), dtype=np.int32))
    with pytest.raises(SettingError, match="two or more training sentences"):
        halves(dataclasses.replace(task, train=one))


def test_several_properties(task):
    other = task.with_labels(
        "SHUFFLED",
        {s: np.random.default_rng(0).permutation(task.part(s).y) for s in ("train", "dev", "test")},
    )
    found = compare([task, other], ("f",), ks=(5,), how=("retrain",), draws=2, splits=0)
    assert found.properties == ("PLANTED", "SHUFFLED")
    assert found.at("PLANTED", "f", 5)["accuracy"] > 0.7
    shuffled = found.at("SHUFFLED", "f", 5)
    assert shuffled["accuracy"] < 0.45
    assert shuffled["gain_low"] <= 0
    assert found.matrix().columns == ["method", "PLANTED k=5", "SHUFFLED k=5"]
    assert found.agreement.height == 0


def test_the_summary_says_what_is_not_told_apart(found):
    lines = found.summary()
    (six,) = (line for line in lines if line.startswith("Retrained on 6 neurons"))
    best = re.search(r"those of (\S+) do best", six)
    assert best
    close = [
        name
        for name in METHODS
        if name != best[1] and found.at("PLANTED", name, 6)["behind_low"] <= 0
    ]
    assert found.at("PLANTED", "random", 6)["behind_low"] > 0.15
    for name in close:
        assert name in six
    assert "random " not in six.replace("random sets", "")
    assert any(line.startswith("Between halves") for line in lines)
    assert any("CPU s" in line for line in lines)


def test_it_is_saved_drawn_and_read_back(found, tmp_path):
    back = load_result(found.save(tmp_path / "c"))
    assert isinstance(back, Comparison)
    for name, frame in found.frames().items():
        assert frame.equals(back.frames()[name]), name
    assert back.summary() == found.summary()
    assert isinstance(found.plot(), Axes)
    assert isinstance(found.plot(how="mask"), Axes)
    labels = found.plot().get_legend().get_texts()
    assert {"random sets", *METHODS} <= {text.get_text() for text in labels}
    with pytest.raises(SettingError, match=r'no property "PLANTD".*Did you mean "PLANTED"'):
        found.plot(property="PLANTD")
    with pytest.raises(SettingError, match=r'no result for .*Did you mean "lca"'):
        found.at("PLANTED", "lac", 6)


def test_equally_good_methods_are_told_apart_as_rarely_as_it_says():
    rng = np.random.default_rng(0)
    sentence = np.repeat(np.arange(80), 8)
    wrong, single = 0, 0
    for trial in range(80):
        right = (rng.random((7, 80, 8)) < 0.6 + 0.3 * rng.random((80, 1))).reshape(7, -1)
        right = right[np.argsort(-right.mean(axis=1), kind="stable")].astype(float)
        rows = [
            bootstrap_accuracy(right[0] - each, sentence, n_boot=300, seed=trial) for each in right
        ]
        table = pl.DataFrame(rows, schema=["behind", "behind_low", "behind_high"], orient="row")
        table = table.with_columns(pl.Series("method", list("abcdefg")))
        wrong += len(close_to_best(table)) < 6
        single += bool((table["behind_low"] > 0).any())
    assert single > 0.25 * 80
    assert wrong < 0.15 * 80
    far = pl.DataFrame(
        {
            "method": ["a", "b", "c"],
            "behind": [0.0, 0.1, 0.02],
            "behind_low": [0.0, 0.08, -0.001],
            "behind_high": [0.0, 0.12, 0.04],
        }
    )
    assert close_to_best(far) == ["c"]
    assert close_to_best(far.head(1)) == []


def test_a_half_of_one_class_is_said_before_any_work(task):
    train = task.train
    y = np.where(train.sentence == train.sentence[0], train.y, 0).astype(np.int32)
    y[0] = 1
    rare = dataclasses.replace(task, train=dataclasses.replace(train, y=y))
    with pytest.raises(LabelError, match=r'PLANTED is "C00" on all .* of one half of the training'):
        compare(rare, ("gaussian",), ks=(3,), draws=2, splits=1)


def test_redundancy_needs_random_sets(task):
    with pytest.raises(SettingError, match="draws and max_tokens must be 1 or more, not 0"):
        redundancy(task, draws=0)


def test_best_and_times_have_every_method(found, task):
    assert found.times["method"].to_list() == list(METHODS)
    assert (found.times["cpu_seconds"] > 0).all()
    lca = found.best.filter(pl.col("method") == "lca")
    assert lca["neuron"].to_list() == rank(task, "lca").ids(6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ("lac",)}, 'Did you mean "lca"'),
        ({"methods": ("f", "f")}, '"f" is named twice'),
        ({"methods": ()}, "at least one method"),
        ({"ks": (101,)}, "a set of 101 neurons is impossible"),
        ({"how": ("drop",)}, "how must be"),
        ({"how": ()}, "how must be"),
        ({"kinds": ("middle",)}, "kinds must be"),
        ({"draws": 1}, "draws must be 2"),
        ({"splits": -1}, "0 or more"),
    ],
)
def test_impossible_settings_are_said_before_any_work(task, settings, message):
    with pytest.raises(SettingError, match=message):
        compare(task, **settings)


def test_two_tasks_of_one_name_are_refused(task):
    with pytest.raises(SettingError, match='two tasks are called "PLANTED"'):
        compare([task, task], ("f",))
    with pytest.raises(SettingError, match="at least one task"):
        compare([], ("f",))


def test_the_page_is_whole_and_says_the_warning(found, tmp_path):
    hostile = dataclasses.replace(
        found,
        properties=("<b>P</b>",),
        n_neurons={"<b>P</b>": 100},
        **{
            name: getattr(found, name).with_columns(pl.lit("<b>P</b>").alias("property"))
            for name in ("table", "agreement", "pairs", "stability", "times", "best")
        },
    )
    page = write_comparison(hostile, tmp_path / "c.html").read_text(encoding="utf-8")
    assert "<b>P</b>" not in page
    assert "&lt;b&gt;P&lt;/b&gt;" in page
    assert NOT_TRUTH in page
    assert "<script" not in page
    assert page.count("<img") == 2
    for word in ("AvgOverlap", "NeuronVote", "over random sets", "come back", "CPU s", "(all neur"):
        assert word in page


def test_the_command(task, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(probing, "_task", lambda *_: task)
    out = tmp_path / "out"
    argv = ["compare", "acts", "PLANTED", "--methods", "f, lca:penalty=lasso", "--k", "5%,8"]
    argv += ["--draws", "2", "--splits", "1", "--seeds", "1", "--out", str(out), "-q"]
    assert main([*argv, "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "k=5" in printed
    assert "k=8" in printed
    assert "Agreement is not truth" in printed
    assert (out / "comparison.html").is_file()
    table = pl.read_csv(out / "tables" / "accuracy.csv")
    assert set(table["method"]) >= {"f", "lca:penalty=lasso"}
    assert isinstance(load_result(out), Comparison)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--methods", "lac"], 'no ranking "lac".*Did you mean "lca"'),
        (["--methods", ","], "--methods is empty"),
        (["--k", "many"], '"many" is neither a number nor a percentage'),
        (["--k=-5%"], "--k: -5% is no share of the neurons"),
        (["--k", "5,0%"], "--k: 0% is no share of the neurons"),
        (["--k", "inf%"], "--k: inf% is no share of the neurons"),
        (["--how", "drop"], "how must be"),
    ],
)
def test_the_command_says_what_is_wrong(task, monkeypatch, capsys, more, message):
    monkeypatch.setattr(probing, "_task", lambda *_: task)
    assert main(["compare", "acts", "PLANTED", "-q", "--threads", "1", *more]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("command", ["compare", "rankings"])
def test_help_has_examples(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Examples" in text
    assert f"nissl {command}" in text


def test_rankings_are_listed(capsys):
    assert main(["rankings"]) == 0
    text = capsys.readouterr().out
    for name, method in RANKINGS.items():
        assert re.search(rf"^{name} +{re.escape(method.about)}", text, re.MULTILINE), name
