"""Extraction: corpus × model → activation store."""

from nissl.extraction.extract import extract
from nissl.extraction.relabel import relabel
from nissl.extraction.repair import Repair, repair
from nissl.extraction.settings import POOLINGS

__all__ = ["POOLINGS", "Repair", "extract", "relabel", "repair"]
