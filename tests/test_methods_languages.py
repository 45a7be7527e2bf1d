"""The same neurons in different languages: planted overlaps are found, random ones are not."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import polars as pl
import pytest
from languages_planted import GENUS, WIDTH, K, plant

from nissl.errors import LabelError, SettingError
from nissl.kernels.multiple_tests import holm
from nissl.kernels.overlap_tests import hypergeometric_overlap
from nissl.methods import LanguageOverlap, compare_languages
from nissl.methods._languages_assemble import excluded_table
from nissl.methods._languages_cell import Cell, Words, choose_words, read_piece, run_cell
from nissl.methods._languages_questions import ask
from nissl.methods.rankings import RANKINGS
from nissl.results import load_result

QUICK = {"rankings": ["f"], "k": K, "min_count": (20, 3, 3), "n_boot": 200, "draws": 499}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("stores"), GENUS)


@pytest.fixture(scope="module")
def found(planted):
    return compare_languages(planted[0], ["Number", "Tense"], genus=GENUS, **QUICK)


def rows(found, site, category="Number"):
    return found.pairs.filter((pl.col("site") == site) & (pl.col("category") == category))


def test_overlaps_are_those_planted(found, planted):
    here = rows(found, "hidden.0")
    assert here.height == 28
    right = 0
    for a, b, overlap in here.select("a", "b", "overlap").iter_rows():
        right += overlap == len(planted[1][a] & planted[1][b])
    assert right >= 26
    kin = here.filter(pl.col("same_genus"))
    assert kin["overlap"].min() >= 7
    assert (kin["p_holm"] < 1e-3).all()


def test_p_is_exact_and_holm_is_over_the_pairs_of_a_site_and_over_all(found):
    here = rows(found, "hidden.0")
    p = [hypergeometric_overlap(WIDTH, K, K, o) for o in here["overlap"]]
    assert here["p"].to_numpy() == pytest.approx(p)
    assert here["p_holm"].to_numpy() == pytest.approx(holm(np.array(p)))
    assert found.pairs["p_holm_all"].to_numpy() == pytest.approx(holm(found.pairs["p"].to_numpy()))
    assert here["share"].to_numpy() == pytest.approx(here["overlap"].to_numpy() / K)
    assert here["expected"].to_numpy() == pytest.approx(K * K / WIDTH)


def test_above_chance_and_genus_where_planted_and_nowhere_else(found):
    table = {(r["category"], r["site"]): r for r in found.by_site.iter_rows(named=True)}
    true = table["Number", "hidden.0"]
    assert true["p_holm"] <= 0.02
    assert true["above"] >= 12
    assert true["genus_difference"] > 0.3
    assert true["genus_p"] == pytest.approx(1 / 35)
    assert true["low"] <= true["share"] <= true["high"]
    for key, row in table.items():
        if key != ("Number", "hidden.0"):
            assert row["p_holm"] > 0.05
            assert row["above"] <= 1
            assert abs(row["share"] - row["chance"]) < 0.08


def test_no_genus_and_no_excess_where_all_is_random(planted):
    null = compare_languages(
        planted[0], ["Number"], genus=GENUS, sites=["hidden.1"], **QUICK
    ).questions
    answers = {r["question"]: r for r in null.iter_rows(named=True)}
    assert answers["larger within a genus"]["p"] > 0.05
    assert answers["above chance"]["p"] > 0.05
    assert "at 0 of 1" in answers["above chance"]["sentence"]


def test_answers_and_sentences(planted, found):
    answers = {r["question"]: r for r in found.questions.iter_rows(named=True)}
    genus = answers["larger within a genus"]
    assert genus["p"] == pytest.approx(1 / 35)
    assert genus["effect"] > 0.05
    assert genus["smallest_p"] == pytest.approx(1 / 35)
    assert "Languages of one genus share more" in genus["sentence"]
    assert "no amounts were given" in answers["larger with pre-training data"]["sentence"]
    last = answers["smaller for categories with more values"]["sentence"]
    assert "cannot be asked, categories: 2 (fewer than three)" in last
    assert found.summary()[0].startswith("By f, k = 10. Two languages share ")


def test_more_data_more_overlap(found, planted):
    # Give each language what it shares on average: a perfect correlation, unless it is reversed.
    pairs = rows(found, "hidden.0")
    own = {
        name: pairs.filter((pl.col("a") == name) | (pl.col("b") == name))["share"].mean()
        for name in GENUS
    }
    for sign, p in ((1, lambda p: p <= 0.05), (-1, lambda p: p >= 0.95)):
        data = {name: sign * value for name, value in own.items()}
        again = compare_languages(
            planted[0], ["Number"], genus=GENUS, sites=["hidden.0"], pretraining=data, **QUICK
        )
        row = again.questions.filter(pl.col("question") == "larger with pre-training data")
        assert row["effect"][0] == pytest.approx(sign, abs=0.05)
        assert p(row["p"][0])


def test_fewer_values_more_overlap(found):
    names = ["A", "B", "C", "D", "E"]
    one = found.pairs.filter((pl.col("site") == "hidden.0") & (pl.col("category") == "Number"))
    sites = found.by_site
    pairs = pl.concat(
        [one.with_columns(category=pl.lit(n), share=0.9 - 0.1 * i) for i, n in enumerate(names)]
    )
    for values, p in (([2, 3, 4, 5, 6], 1 / 120), ([6, 5, 4, 3, 2], 1.0)):
        cells = pl.DataFrame({"category": names, "values": values})
        said = ask(pairs, sites, cells, tuple(GENUS), GENUS, None, n_boot=50, seed=0)[3]
        assert said["p"] == pytest.approx(p)
        assert ("is smaller with more values" in said["sentence"]) == (p < 0.05)


def test_unequal_k(planted):
    found = compare_languages(
        planted[0], ["Number"], genus=GENUS, sites=["hidden.0"], k_of={"a": 4}, **QUICK
    )
    pair = found.pairs.filter((pl.col("a") == "a") & (pl.col("b") == "b")).row(0, named=True)
    assert (pair["k_a"], pair["k_b"]) == (4, K)
    assert pair["share"] == pair["overlap"] / 4
    assert pair["expected"] == pytest.approx(4 * K / WIDTH)
    assert pair["p"] == pytest.approx(hypergeometric_overlap(WIDTH, 4, K, pair["overlap"]))


def test_two_treebanks_of_one_language_are_in_no_test(planted, found):
    # h, again under the name of a second treebank: it overlaps with itself wholly.
    stores = {**planted[0], "h2": planted[0]["h"]}
    genus = {**GENUS, "h2": "south"}
    twice = compare_languages(
        stores, ["Number"], genus=genus, same={"h2": "h"}, sites=["hidden.0"], **QUICK
    )
    own = twice.pairs.filter(pl.col("same_language"))
    assert own.select("p_holm", "p_holm_all").rows() == [(None, None)]
    rest = twice.pairs.filter(~pl.col("same_language"))
    for name in ("p_holm", "p_holm_all"):
        assert rest[name].to_numpy() == pytest.approx(holm(rest["p"].to_numpy()))
    assert twice.by_site["languages"][0] == 8
    assert own.select("a", "b", "overlap").rows() == [("h", "h2", K)]
    assert "share 100.0%" in twice.questions["sentence"][0]
    assert twice.by_site["pairs"][0] == 35
    pairs = twice.pairs.filter(~pl.col("same_language"))
    assert twice.by_site["share"][0] == pytest.approx(pairs["share"].to_numpy().mean())


def test_seeds_give_spans_and_agreement(planted):
    two = {name: planted[0][name] for name in "abe"}
    found = compare_languages(two, ["Number"], genus=GENUS, seeds=3, **QUICK)
    pairs, sites = rows(found, "hidden.0"), found.by_site
    assert (pairs["low"] <= pairs["share"]).all()
    assert (pairs["share"] <= pairs["high"]).all()
    assert sites["agreement"].to_numpy().min() > 0.8
    assert set(found.cells["seed"]) == {0, 1, 2}


def test_pieces_are_kept_and_partial_results_are_named(planted, tmp_path, monkeypatch):
    two = {name: planted[0][name] for name in "ab"}
    options = {**QUICK, "folder": tmp_path, "genus": GENUS}
    whole = compare_languages(two, ["Number"], **options)
    calls = []
    old = RANKINGS["f"]
    counted = dataclasses.replace(
        old, run=lambda task, seed: calls.append(task.name) or old.run(task, seed)
    )
    monkeypatch.setitem(RANKINGS, "f", counted)
    again = compare_languages(two, ["Number"], **options)
    assert not calls
    assert again.pairs.equals(whole.pairs)
    piece = next((tmp_path / "b").glob("*hidden.1*.json"))
    piece.unlink()
    part = compare_languages(two, ["Number"], compute=False, **options)
    assert part.missing.rows() == [("b", "Number", "hidden.1", 0, "f")]
    assert "1 of 4 rankings are not finished" in part.summary()[-1]
    assert set(part.pairs["site"]) == {"hidden.0"}
    piece.write_text("{")
    third = compare_languages(two, ["Number"], **options)
    assert calls == ["um.Number"]
    assert third.pairs.equals(whole.pairs)
    # Other words or settings: nothing of it may be taken over.
    compare_languages(two, ["Number"], **{**options, "max_tokens": 200})
    assert len(calls) == 5


def test_a_cell_can_be_sent_and_gives_the_same(planted, tmp_path):
    store = planted[0]["a"]
    words = choose_words(store.tokens, "um.Number", min_count=(20, 3, 3), max_tokens=100, seed=0)
    assert (words.part == 0).sum() == 100
    lemma = store.tokens["lemma"].to_numpy()[words.rows]
    sides = [set(lemma[words.part == p]) for p in range(3)]
    assert not (sides[0] & sides[1])
    assert not (sides[0] & sides[2])
    assert not (sides[1] & sides[2])
    cell = Cell(
        *("a", "um.Number", "hidden.0", 0, ("f", "gaussian", "latent:max_steps=30"), K),
        *(str(store.path), store.fingerprint, str(tmp_path / "one"), words),
    )
    again = pickle.loads(pickle.dumps(cell))  # noqa: S301  # what a worker does
    sent = dataclasses.replace(again, folder=str(tmp_path / "two"))
    run_cell(cell)
    run_cell(sent)
    for name in cell.rankings:
        one, two = read_piece(cell, name), read_piece(sent, name)
        assert one is not None
        assert two is not None
        assert one["order"] == two["order"]
    assert (read_piece(cell, "latent:max_steps=30") or {})["early"]
    assert (read_piece(cell, "gaussian") or {})["accuracy"] > 0.9


def test_result_is_saved_drawn_and_listed(found, tmp_path):
    back = load_result(found.save(tmp_path / "r"))
    assert isinstance(back, LanguageOverlap)
    assert back.pairs.equals(found.pairs)
    assert back.questions.equals(found.questions)
    assert back.plot().get_ylabel() is not None
    names = [t.get_text() for t in found.plot().get_yticklabels()]
    genera = [name.split(" · ")[1] for name in names]
    # The tree puts kin side by side.
    assert genera in (["north"] * 4 + ["south"] * 4, ["south"] * 4 + ["north"] * 4)
    found.plot(what="layers", category="Number")
    with pytest.raises(SettingError, match='Did you mean "Number"'):
        found.chosen(category="Numbr")


def test_refusals(planted, tmp_path):
    stores = planted[0]
    with pytest.raises(SettingError, match="two or more languages"):
        compare_languages({"a": stores["a"]}, ["Number"])
    with pytest.raises(SettingError, match='no store has a category "Numbr"'):
        compare_languages(stores, ["Numbr"], **QUICK)
    with pytest.raises(SettingError, match="k must be 1 to 60"):
        compare_languages(stores, ["Number"], k=61)
    with pytest.raises(SettingError, match="narrowest site, not 0"):
        compare_languages(stores, ["Number"], k=[0, 50])
    with pytest.raises(SettingError, match=r'no site "hidden\.7"'):
        compare_languages(stores, ["Number"], sites=["hidden.7"], **QUICK)
    with pytest.raises(SettingError, match="no such language"):
        compare_languages(stores, ["Number"], k_of={"z": 3}, **QUICK)
    with pytest.raises(SettingError, match='no ranking "gausian"'):
        compare_languages(stores, ["Number"], rankings=["gausian"])
    with pytest.raises(LabelError, match="no category is left in two languages"):
        compare_languages(stores, ["Number"], rankings=["f"], k=K, min_count=(900, 1, 1))
    two = {name: stores[name] for name in "ab"}
    with pytest.raises(SettingError, match="two or more languages: a, b are of one"):
        compare_languages(two, ["Number"], same={"a": "x", "b": "x"}, **QUICK)
    given = {"same": {"a": "x", "b": "x"}, "pretraining": {"a": 2, "b": 3}}
    with pytest.raises(SettingError, match='for "b": 3, and 2 for another treebank of x'):
        compare_languages(stores, ["Number"], **given, **QUICK)
    manifest = {**stores["b"].manifest, "model_fingerprint": "another"}
    other = dataclasses.replace(stores["b"], manifest=manifest)
    with pytest.raises(SettingError, match="of other models or sites"):
        compare_languages({"a": stores["a"], "b": other}, ["Number"], **QUICK)


def test_every_treebank_twice_is_no_more_evidence(planted):
    few = {name: GENUS[name] for name in "abcefg"}
    stores = {name: planted[0][name] for name in few}
    data = dict(zip(few, range(6), strict=True))
    once = compare_languages(stores, ["Number"], genus=few, pretraining=data, **QUICK)
    again = {f"{name}2": store for name, store in stores.items()}
    twice = compare_languages(
        {**stores, **again},
        ["Number"],
        genus={**few, **{f"{name}2": genus for name, genus in few.items()}},
        same={f"{name}2": name for name in few},
        pretraining=data,
        **QUICK,
    )
    for name in ("languages", "share", "low", "high", "genus_difference", "genus_low"):
        assert twice.by_site[name].to_numpy() == pytest.approx(once.by_site[name].to_numpy())
    for name in ("genus_p", "genus_smallest_p"):
        assert twice.by_site[name].to_list() == once.by_site[name].to_list()
    # Another draw of the same null.
    assert twice.by_site["p"].to_numpy() == pytest.approx(once.by_site["p"].to_numpy(), abs=0.08)
    questions = twice.questions.filter(pl.col("question") != "the same language twice")
    for name in ("effect", "low", "high", "smallest_p"):
        ours, theirs = (frame[name].to_numpy() for frame in (questions, once.questions))
        assert ours == pytest.approx(theirs, nan_ok=True)
    assert questions["p"].to_list()[1:3] == once.questions["p"].to_list()[1:3]


def test_the_interval_is_of_the_mean_that_is_said():
    # Languages that mark many categories count more in the mean of all pairs, and so they must
    # in its interval.
    names = "abcdef"
    pairs = pl.DataFrame(
        [
            {
                **{"category": f"c{c}", "site": "s", "a": a, "b": b, "same_language": False},
                **{"share": 0.9 if c else 0.1, "chance": 0.0, "p_holm_all": 1.0},
            }
            for i, a in enumerate(names)
            for b in names[i + 1 :]
            for c in range(20 if a == "a" and b == "b" else 1)
        ]
    )
    sites = pl.DataFrame({"category": ["c0"], "site": ["s"], "p_holm": [1.0]})
    cells = pl.DataFrame({"category": ["c0"], "values": [2]})
    row = ask(pairs, sites, cells, tuple(names), dict.fromkeys(names, ""), None, n_boot=500, seed=0)
    mean = pairs["share"].to_numpy().mean()
    assert row[0]["effect"] == pytest.approx(mean)
    # Nearly half of all resamples lack a or b.
    assert row[0]["high"] > mean


def test_languages_whose_names_no_file_can_have_are_told_apart(planted, tmp_path):
    stores = {"中文": planted[0]["a"], "英文": planted[0]["b"], "..": planted[0]["e"]}
    found = compare_languages(stores, ["Number"], folder=tmp_path / "in", **QUICK)
    assert not found.missing.height
    assert len(list((tmp_path / "in").iterdir())) == 3
    assert len(list(tmp_path.iterdir())) == 1


def test_the_same_sets_everywhere_are_drawn(planted):
    stores = {name: planted[0][name] for name in "abc"}
    found = compare_languages(stores, ["Number"], **{**QUICK, "k": WIDTH})
    assert found.matrix()[0, 1] == 1
    assert found.plot() is not None


def test_a_category_named_twice_is_one(planted):
    stores = {name: planted[0][name] for name in "ab"}
    found = compare_languages(stores, ["Number", "um.Number"], **QUICK)
    assert found.cells.height == 4


def test_exclusions_say_in_how_many_seeds():
    empty = np.empty(0, dtype=np.int64)

    def words(reason, dropped):
        return Words(empty, empty, empty, (), dropped, 0, reason)

    table = excluded_table(
        {
            ("a", "um.Case", 0): words("", {"ACC": "few"}),
            ("a", "um.Case", 1): words("no value is left (…)", {"ACC": "few", "GEN": "fewer"}),
        }
    )
    assert table.select("value", "why").rows() == [
        ("ACC", "few"),
        ("GEN", "fewer (in 1 of 2 seeds)"),
        ("all", "no value is left (in 1 of 2 seeds)"),
    ]


def test_many_tests_can_still_be_told_from_chance(planted):
    # With 9 random sets no p would be below .1, and after Holm over four tests none below .4.
    found = compare_languages(
        planted[0], ["Number", "Tense"], genus=GENUS, **{**QUICK, "draws": 9, "n_boot": 50}
    )
    at = found.by_site.filter((pl.col("site") == "hidden.0") & (pl.col("category") == "Number"))
    assert at["p_holm"][0] == pytest.approx(4 / 160)
