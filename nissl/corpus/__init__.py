"""Corpora: annotated text in many formats, as words with named labels."""

from nissl.corpus.align import align, align_many
from nissl.corpus.corpus import SPLITS, Corpus, Sentence, build_corpus
from nissl.corpus.read import FORMATS, read_corpus
from nissl.kernels.control import control_labels

__all__ = [
    "FORMATS",
    "SPLITS",
    "Corpus",
    "Sentence",
    "align",
    "align_many",
    "build_corpus",
    "control_labels",
    "read_corpus",
]
