"""nissl sharing and nissl lape: the folder they write, the page, and what they refuse."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import polars as pl
import pytest
import words_model as words

from nissl.cli import main
from nissl.methods.deactivation import Deactivation
from nissl.methods.language_set_result import LanguageNeurons
from nissl.methods.sharing_result import LanguageSharing
from nissl.results import load_result

QUIET = ["--quiet", "--threads", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, a file of parallel inputs with answers, and text in each language."""
    made = tmp_path_factory.mktemp("sharing")
    model = words.make()
    model.model.save_pretrained(made / "model")
    model.tokenizer.save_pretrained(made / "model")
    parallel = words.known(model)
    parallel.frame().with_columns(task=pl.lit("<i>facts</i>")).drop("candidates").write_csv(
        made / "facts.csv"
    )
    for language in words.LANGUAGES:
        texts = [row[2] for row in words.inputs(12) if row[1] == language]
        (made / f"{language}.txt").write_text("\n".join(texts))
    (made / "short.txt").write_text("xx1 xx2\n")
    return made


def run(*argv: object) -> None:
    assert main([str(a) for a in argv] + QUIET) == 0


def fails(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    assert main([str(a) for a in argv] + QUIET) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "nissl: error:" in line]
    assert len(lines) == 1
    return lines[0]


def check_page(page: Path) -> str:
    html = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in unescape(html)
    assert "<script" not in html
    assert 'src="http' not in html
    return html


def test_sharing_and_deactivation(place, tmp_path, capsys):
    out = tmp_path / "out"
    run(
        "sharing",
        place / "facts.csv",
        "--model",
        place / "model",
        "--deactivate",
        "--draws",
        2,
        "--null",
        place / "xx.txt",
        "--null-quantile",
        0.8,
        "--out",
        out,
    )
    said = capsys.readouterr().out
    assert "Over 12 inputs of facts in xx, yy, zz, of 48 MLP units a mean of" in said
    assert "Deactivating the " in said
    found = load_result(out / "results" / "language-sharing")
    off = load_result(out / "results" / "deactivation")
    assert isinstance(found, LanguageSharing)
    assert isinstance(off, Deactivation)
    assert off.base == 100.0
    table = pl.read_csv(out / "tables" / "language-sharing.csv")
    assert table.height == found.table.height == 4 * 3
    assert pl.read_csv(out / "tables" / "language-sharing-scores.csv").height == 12
    assert (out / "tables" / "language-sharing-by-language.csv").is_file()
    assert (out / "figures" / "deactivation.svg").stat().st_size > 1000
    html = check_page(out / "languages.html")
    for line in (*found.summary(), *off.summary()):
        assert line in unescape(html)
    assert "<i>facts" not in html


def test_plain_text_is_enough(place, tmp_path, capsys):
    texts = [f"--text={each}={place / each}.txt" for each in ("xx", "yy")]
    run("sharing", *texts, "-m", place / "model", "--take", 5, "--site", "mlp.2", "--head=none")
    said = capsys.readouterr()
    assert "Over 5 inputs of texts in xx, yy, of 24 MLP units" in said.out
    assert "left out: 7 inputs beyond 5 a task" in said.err


def test_a_line_that_lacks_a_translation_is_not_skipped(place, tmp_path, capsys):
    # As many texts in both files, and yet all between the blank lines would be paired wrongly.
    (tmp_path / "xx.txt").write_text("xx1\n\nxx2 xx3\nxx4\n")
    (tmp_path / "yy.txt").write_text("yy1\nyy5\nyy2 yy3\n\n")
    texts = [f"--text={each}={tmp_path / each}.txt" for each in ("xx", "yy")]
    options = ["-m", place / "model", "--site", "mlp.2", "--head=none"]
    said = fails(capsys, "sharing", *texts, *options)
    assert f"{tmp_path / 'xx.txt'}:2: is blank, and that line of {tmp_path / 'yy.txt'}" in said
    # What cannot be read is named by its line.
    (tmp_path / "xx.txt").write_text("xx1\n\n" + "xx2 " * 40)
    (tmp_path / "yy.txt").write_text("yy1\n\nyy2\n\n")
    said = fails(capsys, "sharing", *texts, *options)
    assert f"{tmp_path / 'xx.txt'}:3: has 40 subwords" in said


def test_lape(place, tmp_path, capsys):
    texts = [f"--text={each}={place / each}.txt" for each in words.LANGUAGES]
    out = tmp_path / "lape"
    bars = ["--filter-quantile", 0.5, "--assign-quantile", 0.5]
    run("lape", "-m", place / "model", *texts, *bars, "--share", 0.2, "--draws", 2, "--out", out)
    assert "are picked for their low entropy over 3 languages" in capsys.readouterr().out
    found = load_result(out / "results" / "language-neurons")
    assert isinstance(found, LanguageNeurons)
    assert found.neurons.height == 10
    assert pl.read_csv(out / "tables" / "language-neurons.csv").height == 10
    assert pl.read_csv(out / "tables" / "language-neurons-loss.csv").height == found.matrix.height
    html = check_page(out / "languages.html")
    for line in found.summary():
        assert line in unescape(html)
    # Many units are always on here: no probability is above the default quantile.
    run("lape", "-m", place / "model", *texts, "--no-check", "--out", tmp_path / "none")
    assert "No neuron is picked" in capsys.readouterr().out
    assert not (tmp_path / "none" / "tables" / "language-neurons-loss.csv").exists()


def test_what_they_refuse(place, capsys):
    model = ["-m", place / "model"]
    assert "give a file of parallel inputs, or --text" in fails(capsys, "sharing", *model)
    text = ["--text", f"xx={place / 'xx.txt'}"]
    assert "all inputs are in xx" in fails(capsys, "sharing", *model, *text)
    assert "names xx twice" in fails(capsys, "sharing", *model, *text, *text)
    assert "is not LANGUAGE=FILE, such as en=en.txt" in fails(
        capsys, "sharing", *model, "--text", "xx.txt"
    )
    both = [*text, "--text", f"yy={place / 'short.txt'}"]
    assert "12 in xx, 1 in yy" in fails(capsys, "sharing", *model, *both)
    assert "1 texts in yy are too few" in fails(capsys, "lape", *model, *both)
    even = [*text, "--text", f"yy={place / 'yy.txt'}"]
    assert "add a column answer" in fails(capsys, "sharing", *model, *even, "--deactivate")
    assert "no such file" in fails(capsys, "sharing", place / "fact.csv", *model)
