"""nissl languages: from CoNLL-U and a model to tables and a page, resumable."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import polars as pl
import pytest
import tiny_models
from languages_planted import write_treebank

from nissl.cli import main
from nissl.methods import LanguageOverlap
from nissl.results import load_result

QUIET = ["--threads", "1"]
BOTH = ["--categories", "Number,Case"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = tmp_path_factory.mktemp("languages")
    (made / "ud").mkdir()
    for i, code in enumerate(("de", "en", "tr")):
        write_treebank(made / "ud", code, sentences=30, seed=i)
    # Turkish marks no Case here.
    path = made / "ud/tr_toy-ud-test.conllu"
    text = path.read_text().replace("Case=Dat|", "").replace("Case=Nom|", "")
    path.write_text(text.replace("Number=Sing", "Number=Sing|<b>=Yes"))
    return made


def options(place: Path, out: Path, *more: str) -> list[str]:
    return [
        *("languages", "-m", str(tiny_models.folder("bert")), "--treebanks", str(place / "ud")),
        *("--out", str(out), "--layers", "0,2-3", "--k", "4", "--ranking", "f"),
        *("--min-count", "20", "3", "3", *more, *QUIET),
    ]


def test_from_treebanks_to_a_page(place, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(options(place, out, *BOTH, "--random-weights")) == 0
    said = capsys.readouterr()
    assert "15 cells (language, category, site, seed), 0 of them finished before" in said.err
    assert "about" in said.err
    assert "CPU minutes" in said.err
    assert "By f, k = 4. Two languages share" in said.out
    pairs = pl.read_csv(out / "tables/pairs.csv")
    # Number in three languages, Case in two; three sites.
    assert pairs.height == (3 + 1) * 3
    assert set(pairs["site"]) == {"hidden.0", "hidden.2", "hidden.3"}
    null = load_result(out / "results/null")
    assert isinstance(null, LanguageOverlap)
    assert null.random_weights
    assert null.rankings == ("f",)
    excluded = pl.read_csv(out / "tables/excluded.csv")
    assert ("tr", "Case", "all") in excluded.select("language", "category", "value").rows()
    assert (out / "figures/clusters.svg").is_file()
    assert (out / "figures/layers.svg").is_file()
    page = (out / "languages.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in unescape(page)
    assert "<script" not in page
    assert 'src="http' not in page
    assert "<b>=" not in page
    for part in ("random weights, %", "Turkic", "UD &lt;b&gt;=Yes", "exact p", "--page-only"):
        assert part in page

    before = {p: p.stat().st_mtime_ns for p in (out / "pieces").rglob("*.json")}
    assert main(options(place, out, *BOTH, "--random-weights")) == 0
    assert "all 15 cells were finished before" in capsys.readouterr().err
    assert before == {p: p.stat().st_mtime_ns for p in (out / "pieces").rglob("*.json")}
    assert (out / "languages.html").read_text(encoding="utf-8") == page

    next((out / "pieces/model/en").glob("*.f.json")).unlink()
    (out / "stores/model/tr/manifest.json").unlink()
    assert main(options(place, out, *BOTH, "--page-only")) == 0
    assert "Partial: 1 of 12 rankings are not finished" in capsys.readouterr().out
    page = (out / "languages.html").read_text(encoding="utf-8")
    assert "Rankings that are not finished" in page
    assert "words of tr (not extracted)" in page


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--languages", "en,fr"], 'no treebank of "fr"'),
        (["--languages", "en"], "treebanks of two languages"),
        (["--categories", "Numbr"], 'no treebank has a word with "Numbr"'),
        (["--layers", "a"], "--layers"),
        (["--data", "en"], "is not LANGUAGE=NUMBER"),
        (["--data", "fr=3"], 'amount of data for "fr"'),
        (["--site", "mlp"], "give --layers or --site"),
    ],
)
def test_what_is_refused(place, tmp_path, capsys, more, message):
    assert main(options(place, tmp_path / "o", *more)) == 2
    assert message in capsys.readouterr().err
