"""Readers of minimal pairs and suites: what is read, and that whatever is wrong is named."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from nissl.effects import (
    Pairs,
    make_pairs,
    parse_formula,
    read_agreement,
    read_blimp,
    read_items,
    read_suite,
    read_texts,
)
from nissl.errors import InputError, SettingError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not here")


def blimp_line(good: str, bad: str, pair: int = 0) -> str:
    return json.dumps(
        {"sentence_good": good, "sentence_bad": bad, "UID": "toy_1", "pairID": str(pair)}
    )


# BLiMP -----------------------------------------------------------------------------------------


def test_blimp_from_a_file_and_from_an_archive(tmp_path):
    lines = [blimp_line("A b.", "A c.", 3), "", blimp_line("D e.", "D f.", 4)]
    path = tmp_path / "toy.jsonl"
    path.write_text("\n".join(lines))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as made:
        made.write(path, "data/toy.jsonl")
    for source in (path, f"{tmp_path}/all.zip!data/toy.jsonl", f"{tmp_path}/all.zip!toy.jsonl"):
        pairs = read_items(source)
        assert (pairs.good, pairs.bad) == (("A b.", "D e."), ("A c.", "D f."))
        assert pairs.condition == ("toy_1", "toy_1")
        assert pairs.place == (f"{source}:1", f"{source}:3")
        assert pairs.prefix == ("", "")
        assert len(set(pairs.group)) == 2
        assert pairs.name == "toy"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            [
                "{",
            ],
            r"toy\.jsonl:1: not JSON",
        ),
        ([blimp_line("A", "B"), '{"sentence_good": "x"}'], r":2: needs \"sentence_bad\""),
        ([blimp_line("A b", " ")], ":1: one text of the pair is empty"),
        (["", ""], "holds no minimal pair"),
        (["[1]"], r":1: needs \"sentence_good\""),
    ],
)
def test_blimp_says_what_is_wrong_and_where(tmp_path, lines, says):
    path = tmp_path / "toy.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=says):
        read_blimp(path)


# Number agreement ------------------------------------------------------------------------------


def test_agreement_pairs_rows_by_condition_and_id(tmp_path):
    path = tmp_path / "nounpp.txt"
    path.write_text(
        "The cat near the dogs sleeps\tsingular\tplural\tcorrect\tid1\n"
        "The cats near the dog sleep\tplural_singular\tcorrect\tid1\n"
        "The cat near the dogs sleep\tsingular\tplural\twrong\tid1\n"
        "\n"
        "The cats near the dog sleeps\tplural_singular\twrong\tid1\n"
    )
    pairs = read_items(path)
    assert pairs.prefix == ("The cat near the dogs", "The cats near the dog")
    assert (pairs.good, pairs.bad) == (("sleeps", "sleep"), ("sleep", "sleeps"))
    assert pairs.condition == ("singular_plural", "plural_singular")
    assert pairs.place == (f"{path}:1", f"{path}:2")


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["a b\tx\tcorrect"], ":1: 3 columns"),
        (["a b\tx\tright\tid1"], ':1: "right" is neither'),
        (["a b\tx\tcorrect\tid1"], ":1: id1 of x has no wrong"),
        (["a b\tx\tcorrect\tid1", "a c\tx\tcorrect\tid1"], ":2: id1 of x is correct already"),
        (["a b\tx\tcorrect\tid1", "d c\tx\twrong\tid1"], ":1: the sentences of id1 differ"),
        (["b\tx\tcorrect\tid1"], ":1: the sentence needs a prefix"),
        ([], "holds no minimal pair"),
    ],
)
def test_agreement_says_what_is_wrong_and_where(tmp_path, lines, says):
    path = tmp_path / "toy.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=says):
        read_agreement(path)


def test_unknown_formats_and_plain_text(tmp_path):
    with pytest.raises(InputError, match="no format of minimal pairs"):
        read_items(tmp_path / "x.csv")
    path = tmp_path / "text.txt"
    path.write_text("One.\n\n  Two. \n")
    assert read_texts(path) == ("One.", "Two.")
    path.write_text("\n\n")
    with pytest.raises(InputError, match="holds no text"):
        read_texts(path)


# Pairs -----------------------------------------------------------------------------------------


def some(name: str = "toy", n: int = 6) -> Pairs:
    words = [f"w{i}" for i in range(n)]
    return make_pairs(
        name, words, [w + "x" for w in words], condition=["a" if i % 3 else "b" for i in range(n)]
    )


def test_what_is_left_out_is_counted():
    pairs = some()
    one = pairs.where("b")
    assert (one.good, one.left_out) == (("w0", "w3"), {"items of other conditions": 4})
    few = pairs.take(1, seed=3)
    assert len(few) == 2
    assert set(few.condition) == {"a", "b"}
    assert few.left_out == {"items beyond 1 a condition": 4}
    assert pairs.take(99).good == pairs.good
    assert pairs.take(99).left_out == {}
    both = Pairs.concat([few, one, some("b", 3)], name="all")
    assert len(both) == 7
    assert sum(both.left_out.values()) == 8
    assert set(both.condition) == {"toy: a", "toy: b", "b", "b: a"}
    with pytest.raises(SettingError, match="no condition"):
        pairs.where("c")
    with pytest.raises(InputError, match="2 values of bad for 1 items"):
        make_pairs("x", ["a"], ["b", "c"])


# SyntaxGym -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("(1;%a%)", 1.0),
        ("(1;%a%) + (2;%a%) > 2", True),
        ("[(1;%a%) + (2;%a%)] < 3", False),
        ("10 - 2 - 3", 5.0),
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("8 / 2 / 2", 2.0),
        ("-(2;%a%) + 3", 1.0),
        ("1 > 2 & 1 > 2 | 2 > 1", True),
        ("1 > 2 & [1 > 2 | 2 > 1]", False),
        ("(*;%b-c_d%) = 99", True),
        ("1 = 1.0000001", True),
        ("1 = 1.001", False),
        ("[[(1;%a%)]-[(2;%a%)]]=-1", True),
        ("[1 < 2] = [2 < 3]", True),
    ],
)
def test_formulas(text, want):
    table = {("a", "1"): 1.0, ("a", "2"): 2.0, ("b-c_d", "*"): 99.0}
    formula = parse_formula(text)
    found = formula.value(lambda condition, number: table[condition, number])
    assert found == want
    assert isinstance(found, type(want))


@pytest.mark.parametrize(
    "text",
    ["", "(1;%a%", "[1 > 2", "1 >", "1 2", "1 > ]", "(x;%a%)", "1 $ 2", "1 < 2 < 3", "1 = 1 > 0"],
)
def test_broken_formulas(text):
    with pytest.raises(InputError, match="formula"):
        parse_formula(text)


def suite(tmp_path: Path, **changes: object) -> Path:
    regions = [{"region_number": 1, "content": "A"}, {"region_number": 2, "content": ""}]
    tree: dict[str, object] = {
        "meta": {"name": "toy", "metric": "sum"},
        "predictions": [{"type": "formula", "formula": "(1;%a%) < (1;%b%)"}],
        "items": [
            {
                "item_number": 4,
                "conditions": [
                    {"condition_name": "a", "regions": regions},
                    {"condition_name": "b", "regions": regions},
                ],
            }
        ],
    }
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(tree | changes))
    return path


def test_suites(tmp_path):
    found = read_suite(suite(tmp_path))
    assert (len(found), found.conditions, found.regions[0][0]) == (1, ("a", "b"), ("A", ""))
    for changes, says in (
        ({"items": []}, 'needs "items"'),
        ({"predictions": []}, "has no predictions"),
        ({"predictions": [{"formula": "(1;%c%) > 1"}]}, 'names condition "c"'),
        ({"predictions": [{"formula": "(3;%a%) > 1"}]}, "item 4: a has no region 3"),
        ({"predictions": [{"formula": "(1;%a%) - (1;%b%)"}]}, "neither true nor false"),
        ({"meta": {"metric": "mean"}}, 'metric "mean"'),
        ({"items": [{"item_number": 1, "conditions": [{}]}]}, "item 1: a condition needs"),
    ):
        with pytest.raises(InputError, match=says):
            read_suite(suite(tmp_path, **changes))


# Real data -------------------------------------------------------------------------------------


@needs_data
def test_every_real_file_is_read_whole():
    tables = [p for p in (DATA / "number-agreement").glob("*.txt") if "tree_depth" not in p.name]
    rows = sum(len(path.read_text().splitlines()) for path in tables)
    assert 2 * sum(len(read_agreement(path)) for path in tables) == rows == 24_000
    archive = DATA / "blimp" / "BLiMP.zip"
    with zipfile.ZipFile(archive) as opened:
        names = [n for n in opened.namelist() if n.startswith("data/") and n.endswith(".jsonl")]
    assert len(names) == 67
    same = []
    for name in names:
        pairs = read_blimp(f"{archive}!{name}")
        assert len(pairs) == 1000
        same += pairs.same()
    assert len(same) == 7
    assert all("principle_A_case_2.jsonl:" in place for place in same[:1])
    suites = [read_suite(path) for path in sorted((DATA / "syntaxgym").glob("*.json"))]
    assert (len(suites), sum(map(len, suites))) == (34, 842)
