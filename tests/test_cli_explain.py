"""nissl explain: the folder it writes, the page, early ends, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from explain_planted import EXACT, NOISY, planted_store

from nissl.cli import main
from nissl.methods import Explanation, _explain_run, concepts_from_masks, explain, explained_versus
from nissl.methods.explain_examples import explanation_examples
from nissl.report.explain import write_explain
from nissl.results import load_result

QUIET = ["--quiet", "--threads", "1"]
HOW = ["--mask", "zero", "--sides", "high", "--permutations", "100", "--label", "upos"]
HOW += ["--label", "feats.Number", "--family", "label", "--family", "position"]
NASTY = "<script>alert('x')</script>&amp;"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cli-explain") / "acts"
    planted_store(made)
    return made


@pytest.fixture(scope="module")
def out(store: Path) -> Path:
    """A whole run, with numbers to compare with."""
    values = pl.DataFrame(
        {"neuron": [f"hidden.0:{i}" for i in range(8)], "change": np.arange(8) / 3 - 1}
    )
    values.write_csv(store.parent / "scan.csv")
    target = store.parent / "out"
    versus = f"{store.parent / 'scan.csv'}:change"
    argv = ["explain", store, "--out", target, *HOW, "--versus", versus, "--stability", "2"]
    assert main([str(a) for a in argv] + QUIET) == 0
    return target


class Page(HTMLParser):
    """Ids, links, tags and text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src"):
                self.links.append(str(value))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def fails(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    assert main([str(a) for a in argv] + QUIET) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "nissl: error:" in line]
    assert len(lines) == 1
    return lines[0]


def test_a_run_writes_page_tables_figures_and_results(out: Path) -> None:
    found = load_result(out / "results" / "explanation")
    assert isinstance(found, Explanation)
    table = pl.read_csv(out / "tables" / "explanation.csv")
    assert table.height == found.frame().height == 12
    exact = table.filter(pl.col("neuron") == f"hidden.0:{EXACT}")
    assert exact["formula"].item() == "feats.Number=Sing"
    assert exact["iou"].item() == 1.0
    for name in ("layers", "top", "concepts", "noise", "examples", "versus"):
        assert pl.read_csv(out / "tables" / f"{name}.csv").height > 0, name
    for name in ("layers", "overlap"):
        assert (out / "figures" / f"{name}.svg").read_bytes().startswith(b"<?xml")
    assert load_result(out / "results" / "stability").frame().height == 2
    assert load_result(out / "results" / "versus").frame()["count"][0] == 6


def test_the_page_loads_nothing_and_its_links_lead_somewhere(out: Path) -> None:
    source = (out / "explain.html").read_text(encoding="utf-8")
    page = Page(source)
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith(("#", "data:")), link
        if link.startswith("#"):
            assert link[1:] in page.ids, link
    assert page.tags.count("script") == 1
    policy = unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', source)[0])
    for block in (
        re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.S)[0] for tag in ("style", "script")
    ):
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    text = " ".join(page.text)
    found = load_result(out / "results" / "explanation")
    for line in found.summary():
        assert line in text
    assert "change of scan" in text
    assert "feats.Number: tokens without a value" in text


def test_each_top_neuron_has_its_part_with_words(out: Path) -> None:
    source = (out / "explain.html").read_text(encoding="utf-8")
    examples = pl.read_csv(out / "tables" / "examples.csv")
    parts = re.findall(r'<section id="neuron-\d+" class="detail">(.*?)</section>', source, re.S)
    assert len(parts) == examples["neuron"].n_unique() == 12
    for part in parts:
        name = re.findall(r'class="neuron">([^<]*)<', part)[0]
        here = examples.filter(pl.col("neuron") == name)
        shown = re.findall(r"<b>([^<]*)</b>", part)
        assert [unescape(word) for word in shown] == here["word"].to_list()
        assert (
            part.count("✗")
            == here.filter((pl.col("group") == "most on") & ~pl.col("covered")).height
        )


def test_words_formulas_and_titles_are_nobodys_markup(store: Path, tmp_path: Path) -> None:
    acts = planted_store(tmp_path / "acts")
    tokens = acts.tokens.with_columns(form=pl.lit(NASTY))
    masks = np.stack([(acts.tokens["upos"] == tag).to_numpy() for tag in ("NOUN", "DET")])
    concepts = concepts_from_masks([NASTY, "b"], masks)
    evil = acts.with_labels("x", [None] * acts.n_tokens)
    object.__setattr__(evil, "relabelled", tokens)
    found = explain(evil, concepts, neurons=[f"hidden.0:{NOISY}"], mask="zero", noise=2)
    examples = explanation_examples(evil, concepts, found, [f"hidden.0:{NOISY}"])
    path = write_explain(found, tmp_path / "a" / "p.html", title=NASTY, examples=examples)
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    assert page.tags.count("script") == 1
    assert source.count("alert(") == source.count("alert(&#39;x&#39;)") > 8
    assert NASTY in page.text


def test_a_page_without_examples_has_no_neuron_parts(store: Path, tmp_path: Path) -> None:
    acts = planted_store(tmp_path / "acts")
    masks = (acts.tokens["upos"] == "NOUN").to_numpy()[None]
    found = explain(acts, concepts_from_masks(["N"], masks), mask="zero", noise=0)
    page = Page(write_explain(found, tmp_path / "p.html", title="t").read_text(encoding="utf-8"))
    assert not [name for name in page.ids if re.fullmatch(r"neuron-\d+", name)]
    assert "pages" not in page.ids
    values = dict.fromkeys(found.best()["neuron"].to_list(), 1.0)
    odd = explained_versus(found, values, n_boot=10)
    again = write_explain(found, tmp_path / "q.html", title="t", versus=[odd])
    said = " ".join(Page(again.read_text(encoding="utf-8")).text)
    assert "does not vary" in said
    assert "nan" not in said.split("Explained and value")[-1].split("Every neuron")[0]


def test_a_second_run_reads_the_first_ones_pieces(
    store: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (out / "tables" / "explanation.csv").read_bytes()
    monkeypatch.setattr(_explain_run, "explain_block", lambda *a, **k: pytest.fail("searched"))
    assert main(["explain", str(store), "--out", str(out), *HOW, *QUIET]) == 0
    assert (out / "tables" / "explanation.csv").read_bytes() == before


def test_ctrl_c_keeps_what_is_finished(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_explain_run, "BLOCK", 8)
    real, calls = _explain_run.explain_block, []

    def interrupted(*args: object, **rest: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(_explain_run, "explain_block", interrupted)
    argv = ["explain", str(store), "--out", str(tmp_path / "o"), *HOW, *QUIET]
    assert main(argv) == 130
    said = capsys.readouterr()
    assert "stopped early" in said.out
    assert "8 neurons that the stopped search did not reach" in said.err
    assert (tmp_path / "o" / "explain.html").exists()
    assert main(argv) == 0
    assert len(calls) == 3
    assert pl.read_csv(tmp_path / "o" / "tables" / "explanation.csv").height == 12


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--help"]) == 0
    said = capsys.readouterr().out
    assert "nissl explain acts --out explained" in said
    assert "--held-out" in said


def test_errors_are_one_sentence(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go = ("explain", store)
    assert 'no site "hiden.0"' in fails(capsys, *go, "--site", "hiden.0")
    assert 'Did you mean "lemma"' in fails(capsys, *go, "--family", "lema")
    assert 'Did you mean "upos"' in fails(capsys, *go, "--label", "upo")
    assert 'Did you mean "quantile"' in fails(capsys, *go, "--mask", "quantil")
    assert 'Did you mean "test"' in fails(capsys, *go, "--held-out", "tests")
    assert "names no column" in fails(capsys, *go, "--versus", "scan.csv")
    assert "nothere.csv" in fails(capsys, *go, "--versus", "nothere.csv:change")
    (tmp_path / "bad.csv").write_bytes(b"")
    assert "not a CSV table" in fails(capsys, *go, "--versus", f"{tmp_path}/bad.csv:change")
    (tmp_path / "odd.csv").write_text("neuron,chance\na,1\n")
    assert 'Did you mean "chance"' in fails(capsys, *go, "--versus", f"{tmp_path}/odd.csv:change")
    assert "Unknown option" in fails(capsys, *go, "--lenght", "3")
    assert "redrawn texts, not -1" in fails(capsys, *go, "--stability", "-1")
