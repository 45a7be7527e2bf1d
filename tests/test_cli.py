"""The command line: what it prints, and that bad input gives one clear sentence and exit code 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nissl import __version__
from nissl.cli import main

WORDS = ["the", "cat", "sees", "a", "dog", "."]
TAGS = ["DET", "NOUN", "VERB", "DET", "NOUN", "PUNCT"]


def write_columns(path: Path, n: int = 12, split: str = "train") -> Path:
    """A column file of n sentences."""
    rows = ["\n".join(f"{w} {t}" for w, t in zip(WORDS, TAGS, strict=True)) for _ in range(n)]
    target = path / f"{split}.col"
    target.write_text("\n\n".join(rows) + "\n", encoding="utf-8")
    return target


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store made by the command itself."""
    folder = tmp_path_factory.mktemp("cli")
    source = folder / "small.jsonl"
    rng = np.random.default_rng(1)
    nouns, verbs = ["cat", "dog", "house", "tree", "river"], ["sees", "likes", "moves", "holds"]
    with source.open("w", encoding="utf-8") as file:
        for i in range(120):
            words = ["The", str(rng.choice(nouns)), str(rng.choice(verbs)), str(rng.choice(nouns))]
            split = "train" if i < 80 else "dev" if i < 100 else "test"
            item = {
                "id": f"s{i}",
                "tokens": [*words, "."],
                "labels": {"pos": ["DET", "NOUN", "VERB", "NOUN", "PUNCT"]},
                "split": split,
            }
            file.write(json.dumps(item) + "\n")
    out = folder / "acts"
    assert main(["extract", str(source), "--out", str(out), "--threads", "1", "--quiet"]) == 0
    return out


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run the command; check its exit code and that it prints one sentence; return it."""
    assert main(list(argv)) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("nissl: error:")]
    assert len(lines) == 1, printed.err
    assert "Traceback" not in printed.err + printed.out
    return lines[0].removeprefix("nissl: error: ")


def test_version_and_help_are_quick_and_do_not_load_torch() -> None:
    code = (
        "import sys; from nissl.cli import main; main(['--help']); "
        "bad = {'torch', 'transformers', 'numba', 'matplotlib', 'polars'} & set(sys.modules); "
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Commands" in done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    "command", ["demo", "run", "extract", "probe", "rank", "neuron", "report", "models"]
)
def test_every_command_has_help_and_all_but_models_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"nissl {command}" in text
    if command != "models":
        assert "Examples" in text


def test_models_lists_the_embedded_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert re.search(r"minilm\t.*2,688 neurons.*\tinstalled", capsys.readouterr().out)


def test_probe_prints_accuracy_beside_majority(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "probe"
    argv = ["probe", str(store), "--label", "pos", "--l1", "1e-2", "--out", str(out), "-q"]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "most frequent class is right on 40.0%" in text
    (line,) = (line for line in text.splitlines() if line.startswith("Certificate: "))
    assert re.search(
        r"relative gap \d\.\de-\d\d, .*objective \d.*iterations?, .*gradients, .*CPU s; converged",
        line,
    )
    assert "NOUN" in text
    assert (out / "result.json").is_file()


def test_rank_prints_and_saves_the_order(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ranking.csv"
    argv = ["rank", str(store), "--label", "pos", "--l1", "1e-2", "--out", str(out), "-q"]
    assert main(argv) == 0
    rows = out.read_text(encoding="utf-8").splitlines()
    assert len(rows) == 2688 + 1
    first = rows[1].split(",")[1]
    assert first in capsys.readouterr().out
    assert main(["rank", str(store), "-l", "pos", "--of", "VERB", "--method", "f", "-q"]) == 0


def test_neuron_shows_words_of_both_signs(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["neuron", "hidden.2:5", "--store", str(store), "--n", "3"]) == 0
    text = capsys.readouterr().out
    assert "hidden.2:5 is high on" in text
    assert re.search(r"^ *[+-]\d\.\d\d  ", text, re.MULTILINE)


def test_extract_again_reuses_what_is_there(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (store / "shard-00000.safetensors").stat().st_mtime_ns
    source = store.parent / "small.jsonl"
    assert main(["extract", str(source), "--out", str(store), "-q"]) == 0
    assert (store / "shard-00000.safetensors").stat().st_mtime_ns == before


def test_unknown_command_and_option_have_suggestions(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'Did you mean "run"' in fails(capsys, "rnu")
    assert "Did you mean --corpus" in fails(capsys, "run", "--corpu", "x")


def test_run_without_anything_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nissl demo" in fails(capsys, "run")
    assert "not both" in fails(capsys, "run", "x.yaml", "--label", "upos")


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_columns(tmp_path)
    text = fails(capsys, "extract", str(tmp_path / "trian.col"), "-o", str(tmp_path / "a"))
    assert 'trian.col: no such file. Did you mean "train.col"?' in text


def test_wrong_column_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.col"
    path.write_text("the DET\ncat NOUN extra\n", encoding="utf-8")
    text = fails(capsys, "extract", str(path), "--columns", "form,pos", "-o", str(tmp_path / "a"))
    assert text.startswith(f"{path}:2: 3 columns where 2")


def test_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.col"
    path.write_bytes(b"the DET\ncaf\xe9 NOUN\n")
    text = fails(capsys, "extract", str(path), "--columns", "form,pos", "-o", str(tmp_path / "a"))
    assert text.startswith(f"{path}:2:")
    assert "UTF-8" in text


def test_empty_corpus_and_duplicate_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.conllu"
    empty.write_text("", encoding="utf-8")
    assert "no sentence" in fails(capsys, "extract", str(empty), "-o", str(tmp_path / "a"))
    row = "1\ta\ta\tX\tX\t_\t0\troot\t_\t_\n"
    twice = tmp_path / "twice.conllu"
    twice.write_text(f"# sent_id = s\n{row}\n# sent_id = s\n{row}\n", encoding="utf-8")
    text = fails(capsys, "extract", str(twice), "-o", str(tmp_path / "a"))
    assert f"{twice}:4" in text
    assert f"{twice}:1" in text


def test_sentence_beyond_the_models_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"tokens": ["word"] * 600}) + "\n", encoding="utf-8")
    text = fails(capsys, "extract", str(path), "-o", str(tmp_path / "a"), "-q")
    assert f"{path}:1" in text
    assert "602 subwords" in text
    assert "--on-long window" in text
    argv = ["extract", str(path), "-o", str(tmp_path / "b"), "--on-long", "window", "-q"]
    assert main(argv) == 0


def test_word_without_subword(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"tokens": ["a", "\u200b", "b"]}) + "\n", encoding="utf-8")
    text = fails(capsys, "extract", str(path), "-o", str(tmp_path / "a"), "-q")
    assert f"{path}:1" in text
    assert "word 2" in text


def test_no_such_label_class_and_neuron(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 'no label "poss"' in fails(capsys, "probe", str(store), "--label", "poss", "-q")
    argv = ["rank", str(store), "-l", "pos", "--of", "VERBS", "--method", "f", "-q"]
    assert 'Did you mean "VERB"' in fails(capsys, *argv)
    assert "hidden.0:0" in fails(capsys, "neuron", "hidden.9:1", "--store", str(store))
    text = fails(capsys, "rank", str(store), "-l", "pos", "--method", "lac", "-q")
    assert 'Did you mean "lca"' in text


def test_one_class_and_class_absent_from_a_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("train", "A"), ("train", "A"), ("dev", "A"), ("test", "A"), ("test", "B")]
    path = tmp_path / "x.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i, (split, tag) in enumerate(rows):
            labels = {"one": ["Z", "Z"], "two": ["A", tag]}
            item = {"id": f"s{i}", "tokens": ["a", "b"], "labels": labels, "split": split}
            file.write(json.dumps(item) + "\n")
    acts = str(tmp_path / "acts")
    assert main(["extract", str(path), "-o", acts, "-q"]) == 0
    capsys.readouterr()
    assert "one class" in fails(capsys, "probe", acts, "-l", "one", "-q")
    text = fails(capsys, "probe", acts, "-l", "two", "-q")
    assert 'class "B"' in text
    assert "train" in text
    assert "--absent leave-out" in text


def test_model_folders_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_columns(tmp_path)
    base = ["extract", str(source), "--columns", "form,pos", "-o", str(tmp_path / "a"), "-q"]
    assert "no such model folder" in fails(capsys, *base, "--model", str(tmp_path / "nothing"))
    folder = tmp_path / "model"
    folder.mkdir()
    assert "no config.json" in fails(capsys, *base, "--model", str(folder))
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    assert "no weights" in fails(capsys, *base, "--model", str(folder))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    assert "pickled weights" in fails(capsys, *base, "--model", str(folder))
    assert 'Did you mean "minilm"' in fails(capsys, *base, "--model", "minilmm")


def test_store_that_is_none_or_unfinished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not an activation store" in fails(capsys, "probe", str(tmp_path), "-l", "pos", "-q")
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    assert "unfinished" in fails(capsys, "probe", str(tmp_path), "-l", "pos", "-q")
    assert "no study" in fails(capsys, "report", str(tmp_path / "x"))


def test_interrupt_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nissl.model.known_models", stop)
    assert main(["models"]) == 130
    assert "run again to go on" in capsys.readouterr().err


def test_run_from_options_writes_the_whole_folder(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one command of the README, on a small corpus, and the report again from its folder."""
    config = tmp_path / "quick.yaml"
    config.write_text(
        json.dumps(
            {
                "title": "A <small> study",
                "corpora": {"small": str(store.parent / "small.jsonl")},
                "properties": ["pos"],
                "analysis": {
                    "grid": [[1e-2, 1e-2]],
                    "percents": [1.0, 10.0],
                    "draws": 2,
                    "resamples": 2,
                    "control_seeds": [0],
                    "neurons": 2,
                    "sentences": 4,
                    "random_weights": False,
                },
            }
        ),
        encoding="utf-8",
    )
    out = tmp_path / "out"
    assert main(["run", str(config), "--out", str(out), "--threads", "1", "-q"]) == 0
    assert "report.html" in capsys.readouterr().out
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "A &lt;small&gt; study" in page
    assert "<small>" not in page
    assert list((out / "figures").rglob("*.svg"))
    assert (out / "tables" / "pos" / "ablation.csv").is_file()
    assert main(["report", str(out), "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").is_file()
