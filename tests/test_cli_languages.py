"""nissl languages: from CoNLL-U and a model to tables and a page, resumable."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import polars as pl
import pytest
import tiny_models
from languages_planted import write_treebank

from nissl.cli import main
from nissl.cli.languages import _layers
from nissl.errors import SettingError
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
    # What names a language that is not there yet is not refused.
    more = ["--page-only", "--k-of", "tr=3", "--data", "tr=1"]
    assert main(options(place, out, *BOTH, *more)) == 0
    assert "CPU" not in capsys.readouterr().out
    # Stores of other sentences are not what is asked for.
    assert main(options(place, out, *BOTH, "--page-only", "--sentences", "10")) == 2
    assert "en is left out" in (said := capsys.readouterr().err)
    assert "was made from another text than en_toy" in said


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--languages", "en,fr"], 'no treebank of "fr"'),
        (["--languages", "en"], "treebanks of two languages"),
        (["--categories", "Numbr"], 'no treebank has a word with "Numbr"'),
        (["--layers", "a"], "--layers"),
        (["--data", "en"], "is not LANGUAGE=NUMBER"),
        (["--data", "fr=3"], 'amount of data for "fr"'),
        (["--k-of", "fr=3"], 'k for "fr"'),
        (["--k-of", "en=3.5"], "--k-of en=3.5 must be a whole number"),
        (["--k-of", "en=inf"], "is not LANGUAGE=NUMBER"),
        (["--data", "en=3", "--data", "en=4"], "--data names en twice"),
        (["--site", "mlp"], "give --layers or --site"),
    ],
)
def test_what_is_refused(place, tmp_path, capsys, more, message):
    assert main(options(place, tmp_path / "o", *more)) == 2
    assert message in capsys.readouterr().err


def test_layers_that_end_before_they_begin():
    assert _layers("0,2-3") == [0, 2, 3]
    with pytest.raises(SettingError, match="3-2 ends before it begins"):
        _layers("0,3-2")


def test_two_treebanks_of_one_language_are_no_two_languages(place, tmp_path, capsys):
    more = tmp_path / "more"
    more.mkdir()
    text = (place / "ud/en_toy-ud-test.conllu").read_text(encoding="utf-8")
    (more / "en_other-ud-test.conllu").write_text(text, encoding="utf-8")
    both = ["--treebanks", str(more)]
    assert main(options(place, tmp_path / "a", *both, "--languages", "en")) == 2
    assert "treebanks of two languages, and there is" in capsys.readouterr().err
    # The amount of data is that of the language, whatever its treebanks are called.
    given = [*both, "--languages", "en,de", "--categories", "Number", "--data", "en=3"]
    assert main(options(place, tmp_path / "b", *given)) == 0
    page = (tmp_path / "b/languages.html").read_text(encoding="utf-8")
    assert "The same neurons in 2 languages" in page
    # A treebank that is found twice would count for two, or hide the other one's splits.
    assert main(options(place, tmp_path / "c", "--treebanks", str(place / "ud"))) == 2
    assert "treebank de_toy is there twice" in capsys.readouterr().err
