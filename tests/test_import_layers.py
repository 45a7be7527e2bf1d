"""Imports point down only: which room may import which, lazy imports included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "nissl"
BASE = {"errors", "site", "progress"}
MAY = {
    "errors": set(),
    "site": {"errors"},
    "progress": set(),
    "parallel": {"errors", "progress"},
    "results": {"errors"},
    "plotting": {"errors"},
    "kernels": {"errors"},
    "estimators": {"errors", "kernels", "plotting"},
    "regressor": {"errors", "kernels", "estimators"},
    "mlp": {"errors", "kernels", "estimators"},
    "corpus": {"errors", "kernels"},
    "data": set(),
    "model": BASE,
    "store": BASE,
    "inputs": BASE | {"corpus", "model"},
    "extraction": BASE | {"corpus", "inputs", "model", "store", "parallel"},
    "effects": BASE | {"corpus", "inputs", "model", "results", "parallel"},
    "methods": BASE | {"effects", "kernels", "model", "store", "results", "parallel", "plotting"},
    "testing": BASE | {"kernels", "store", "results", "methods"},
    "testing_bench": {"errors", "kernels"},
    "study": BASE
    | {"methods", "extraction", "corpus", "model", "store", "results", "data"}
    | {"kernels", "plotting"},
    "report": BASE | {"study", "methods", "results", "plotting", "parallel"},
}


def imports_of(path: Path) -> set[str]:
    """Rooms of nissl that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [node.module or ""]
            if node.module == "nissl":
                names = [f"nissl.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("nissl.")}
    return found - {"__version__"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if room_of(p) not in ("__init__", "cli")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    assert room in MAY, f"say in this test what the new room {room} may import"
    up = imports_of(path) - MAY[room] - {room}
    assert not up, f"{path.name} imports {sorted(up)}; {room} may import {sorted(MAY[room])}"


def test_the_table_itself_has_no_cycle() -> None:
    left = {room: set(may) for room, may in MAY.items()}
    while left:
        free = [room for room, may in left.items() if not may & set(left)]
        assert free, f"cycle among {sorted(left)}"
        for room in free:
            del left[room]


def test_kernels_do_not_see_models_files_or_tables() -> None:
    for path in (PACKAGE / "kernels").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for word in ("import torch", "import polars", "pathlib", "transformers"):
            if word == "import torch" and "fista" in path.name:
                # The torch engine, on purpose: torch is imported inside functions, when it runs.
                assert "\nimport torch" not in text, f"{path.name} imports torch at once"
                continue
            assert word not in text, f"{path.name} has {word}"
