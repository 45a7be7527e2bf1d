"""What the README and the demo promise, run for real. Minutes long: `make test-all`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nissl.cli import main
from nissl.study import load_study

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_python_of_the_readme_runs(tmp_path, monkeypatch, capsys) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert "xpos" in capsys.readouterr().out


@pytest.mark.slow
def test_demo_shows_what_it_should(tmp_path: Path) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), "--quiet"]) == 0
    outcome = load_study(tmp_path / "demo")
    assert (tmp_path / "demo" / "report.html").is_file()
    for found in outcome.properties.values():
        assert found.probe.low > found.probe.majority
        assert found.selectivity.table["selectivity"][0] > 0
    xpos = outcome.properties["xpos"]
    k = round(0.01 * outcome.model["neurons"])
    top, rand, bottom = (xpos.ablation.at("retrain", s, k) for s in ("top", "random", "bottom"))
    assert top["low"] > rand["high"]
    assert bottom["accuracy"] < rand["accuracy"]
    assert xpos.minimal.size(1.0) < 0.25 * outcome.model["neurons"]
