"""Corpora: annotated text in many formats, as words with named labels."""

from nissl.corpus.align import align, align_many
from nissl.corpus.corpus import SPLITS, Corpus, Sentence, build_corpus
from nissl.corpus.features import unimorph_columns
from nissl.corpus.lemma_split import LemmaSplit, lemma_split
from nissl.corpus.read import FORMATS, read_corpus
from nissl.corpus.treebanks import Treebank, find_treebanks
from nissl.kernels.control import control_labels

__all__ = [
    "FORMATS",
    "SPLITS",
    "Corpus",
    "LemmaSplit",
    "Sentence",
    "Treebank",
    "align",
    "align_many",
    "build_corpus",
    "control_labels",
    "find_treebanks",
    "lemma_split",
    "read_corpus",
    "unimorph_columns",
]
