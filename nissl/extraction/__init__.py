"""Extraction: corpus × model → activation store."""

from nissl.extraction.extract import extract
from nissl.extraction.repair import repair
from nissl.extraction.settings import POOLINGS

__all__ = ["POOLINGS", "extract", "repair"]
