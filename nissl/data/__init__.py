"""The treebank that comes with Nissl (CC0): small, English, varied; see docs/treebank.md."""

from __future__ import annotations

from pathlib import Path

__all__ = ["TREEBANK", "demo_config", "treebank_folder"]

TREEBANK = "nissl:treebank"
"""Name of the treebank wherever a corpus's source is asked for."""


def treebank_folder() -> Path:
    """Return the folder that holds the treebank's CoNLL-U files."""
    return Path(__file__).parent / "treebank"


def demo_config() -> Path:
    """Return the configuration file of the study that ``nissl demo`` runs."""
    return Path(__file__).parent / "demo.yaml"
