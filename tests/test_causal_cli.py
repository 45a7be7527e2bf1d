"""nissl ablate, scan and steer: the folder they write, the page, and what they refuse."""

from __future__ import annotations

import dataclasses
from html import unescape
from pathlib import Path

import polars as pl
import pytest
import tiny_models as tiny
from test_effects_scores import folder as model_folder

from nissl.cli import main
from nissl.effects import loss_effect, make_pairs, pair_effect
from nissl.extraction import extract
from nissl.methods.causal_ablation import CausalAblation
from nissl.methods.causal_steer import DoseResponse, steer
from nissl.methods.encoded_used import EncodedVsUsed
from nissl.methods.neuron_scan import NeuronScan
from nissl.model import load_model
from nissl.report.causal import write_causal
from nissl.results import load_result

ITEMS = [
    ("The cat", "sat", "sang"),
    ("The birds", "were", "was"),
    ("She reads old", "books", "book"),
    ("The trains", "are", "is"),
    ("Two birds", "were", "was"),
    ("The cat", "listens", "listen"),
]
QUIET = ["--quiet", "--threads", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items, other text and a ranking of a tiny model's neurons."""
    made = tmp_path_factory.mktemp("causal")
    rows = []
    for i, (prefix, good, bad) in enumerate(ITEMS):
        for word, side in ((good, "correct"), (bad, "wrong")):
            rows.append(f"{prefix} {word}\t{'ab'[i % 2]}\t{side}\tid{i}")
    (made / "agree.txt").write_text("\n".join(rows))
    (made / "other.txt").write_text("\n".join(tiny.SENTENCES[:3]))
    neurons = [f"mlp.{layer}:{unit}" for layer in (2, 3) for unit in range(12)]
    pl.DataFrame({"rank": range(24), "neuron": neurons}).write_csv(made / "ranking.csv")
    pl.DataFrame({"neuron": neurons[::-1]}).write_csv(made / "turned.csv")
    return made


def fails(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    assert main([str(a) for a in argv] + QUIET) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "nissl: error:" in line]
    assert len(lines) == 1
    return lines[0]


def run(*argv: object) -> None:
    assert main([str(a) for a in argv] + QUIET) == 0


def check_page(page: Path) -> str:
    html = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in unescape(html)
    assert "<script" not in html
    assert 'src="http' not in html
    return html


def test_ablate(place, tmp_path, capsys):
    model = model_folder("gpt2", "causal-lm")
    out = tmp_path / "ablation"
    run(
        "ablate",
        place / "ranking.csv",
        "--model",
        model,
        "--items",
        place / "agree.txt",
        "--text",
        place / "other.txt",
        "--k",
        "2,50%,999",
        "--draws",
        3,
        "--out",
        out,
    )
    printed = capsys.readouterr()
    assert "left out of --k: 999, for there are 24 neurons" in printed.err
    said = printed.out
    assert "Removing the top 2 neurons of ranking (set to their mean)" in said
    found = load_result(out / "results" / "causal-ablation")
    assert isinstance(found, CausalAblation)
    assert found.sizes == [2, 12]
    assert found.effects["effect"].to_list() == ["agree", "loss on other", "KL on other"]
    assert set(found.table["group"]) == {"all", "a", "b"}
    assert pl.read_csv(out / "tables" / "causal-ablation.csv").height == found.table.height
    assert (out / "figures" / "causal-ablation.svg").stat().st_size > 1000
    html = check_page(out / "causal.html")
    for line in found.summary():
        assert line in html


def test_scan_goes_on_and_compares(place, tmp_path, capsys):
    model = model_folder("gpt2", "causal-lm")
    argv = [
        "scan",
        "--model",
        model,
        "--items",
        place / "agree.txt",
        "--site",
        "mlp.2",
        "--site",
        "mlp.3",
        "--how",
        "zero",
        "--k",
        "1,3,100",
        "--draws",
        3,
        "--ranking",
        place / "ranking.csv",
        "--ranking",
        place / "turned.csv",
        "--out",
        tmp_path,
    ]
    run(*argv)
    printed = capsys.readouterr()
    assert "left out of the scan" in printed.err
    assert "left out of --k: 100, for there are 80 neurons" in printed.err
    found = load_result(tmp_path / "results" / "neuron-scan")
    assert isinstance(found, NeuronScan)
    assert found.table.height == 80
    assert not found.same_items
    assert isinstance(load_result(tmp_path / "results" / "encoded-or-used"), EncodedVsUsed)
    pieces = sorted((tmp_path / "pieces").glob("*.safetensors"))
    before = [path.stat().st_mtime_ns for path in pieces]
    run(*argv)
    assert [path.stat().st_mtime_ns for path in pieces] == before
    html = check_page(tmp_path / "causal.html")
    assert found.ids(1)[0] in html
    assert "Encoded or used" in html
    # What the scan wrote is a ranking.
    run(
        "ablate",
        tmp_path / "tables" / "neuron-scan.csv",
        "-m",
        model,
        "-i",
        place / "agree.txt",
        "--how",
        "zero",
        "--k",
        "1",
        "--draws",
        "2",
    )


def test_steer(place, tmp_path, capsys):
    loaded = load_model(model_folder("gpt2", "causal-lm"))
    words = dataclasses.replace(
        tiny.corpus(),
        tokens=tiny.corpus().tokens.with_columns(
            pl.Series("split", ["train", "dev", "test"])
            .gather(pl.int_range(tiny.corpus().n_tokens, eager=True) % 3)
            .alias("split")
        ),
    )
    store = tmp_path / "acts"
    extract(words, loaded, store, sites=["mlp"])
    out = tmp_path / "steering"
    run(
        "steer",
        place / "ranking.csv",
        "--store",
        store,
        "--label",
        "tag",
        "--positive",
        "DET",
        "--model",
        model_folder("gpt2", "causal-lm"),
        "--items",
        place / "agree.txt",
        "--text",
        place / "other.txt",
        "--k",
        5,
        "--dose=-3,3",
        "--prompt",
        "The cat",
        "--tokens",
        3,
        "--draws",
        2,
        "--out",
        out,
    )
    assert "Dose -3 on 5 neurons of ranking moves agree by" in capsys.readouterr().out
    found = load_result(out / "results" / "dose-response")
    assert isinstance(found, DoseResponse)
    assert found.texts["dose"].to_list() == [0, -3, 3]
    check_page(out / "causal.html")
    said = fails(
        capsys,
        "steer",
        place / "ranking.csv",
        "--store",
        store,
        "--label",
        "tag",
        "--positive",
        "DETS",
        "-m",
        model_folder("gpt2", "causal-lm"),
        "-i",
        place / "agree.txt",
        "--text",
        place / "other.txt",
    )
    assert 'no class "DETS"' in said
    assert 'Did you mean "DET"' in said


def test_what_is_refused(place, tmp_path, capsys):
    model = model_folder("gpt2", "causal-lm")
    base = ["--model", model, "--items", place / "agree.txt"]
    ranking = place / "ranking.csv"
    (tmp_path / "odd.csv").write_text("neurons\nmlp.1:1\n")
    more = ["--positive", "DET", "--text", place / "other.txt"]
    one = tmp_path / "one.txt"
    one.write_text("The cat sat\ta\tcorrect\t1\nThe cat sang\ta\twrong\t1\n")
    for argv, says in (
        (["ablate", tmp_path / "none.csv", *base], "no such file"),
        (["ablate", tmp_path / "odd.csv", *base], 'no column "neuron"'),
        (["ablate", ranking, *base], "--reference or --text"),
        (["ablate", ranking, *base, "--how", "zero", "--k", "x"], "neither a number"),
        (["ablate", ranking, *base, "--how", "zero", "--k", "99"], "sizes must lie"),
        (["ablate", ranking, "--model", tiny.folder("llama"), *base[2:], "--how", "zero"], "head"),
        (["scan", *base, "--site", "mpl.2", "--how", "zero"], 'Did you mean "mlp'),
        (["scan", *base, "--site", "mlp.2", "--k", "1.5"], "no list of whole numbers"),
        (["scan", *base, "--site", "mlp.2", "--how", "zero", "--draws", "1"], "2 random draws"),
        (["scan", *base, "-i", place / "agree.txt", "--site", "mlp.2", "--how", "zero"], "twice"),
        (["scan", "-m", model, "-i", tmp_path / "s.json", "--site", "mlp.2"], "is a suite"),
        (["scan", "-m", model, "-i", one, "--site", "mlp.2", "--how", "zero"], "--same-items"),
        (
            ["steer", ranking, *base, *base[2:], "--store", tmp_path, "--label", "tag", *more],
            "one file of items",
        ),
    ):
        assert says in fails(capsys, *argv)


def test_generated_text_is_text(tmp_path):
    model = load_model(model_folder("gpt2", "causal-lm"), head="causal-lm")
    pairs = make_pairs("<b>bold</b>", ["sat", "sat"], ["mat", "bark"], prefix=["The", "A"])
    found = steer(
        model,
        ["mlp.2:1"],
        {"mlp.2:1": 1.0},
        pair_effect(pairs),
        loss_effect(tiny.SENTENCES[:1]),
        k=1,
        doses=[1],
        draws=2,
    )
    wicked = "<script>alert(1)</script>"
    texts = pl.DataFrame({"prompt": ["<img src=x>"], "dose": [0.0], "text": [wicked]})
    page = write_causal(
        [dataclasses.replace(found, texts=texts)], tmp_path / "x.html", title="<i>t</i>"
    )
    html = check_page(page)
    for raw in ("<b>bold", "<img src=x", "<i>t"):
        assert raw not in html
    assert "&lt;script&gt;alert(1)" in html
