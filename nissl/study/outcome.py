"""What a study found: the results of every property, and what is needed to show and repeat them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import polars as pl

from nissl.methods.ablate import Ablation
from nissl.methods.baselines import Baselines
from nissl.methods.contexts import NeuronView
from nissl.methods.control import Selectivity
from nissl.methods.layers import LayerProfile
from nissl.methods.localise import Localisation
from nissl.methods.minimal import MinimalSet
from nissl.methods.probe import ProbeResult
from nissl.methods.rank import Ranking
from nissl.methods.redundancy import Redundancy
from nissl.methods.regularise import LambdaSearch
from nissl.methods.share import Sharing
from nissl.results import Result

__all__ = ["PropertyFindings", "StudyOutcome", "TextView"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TextView(Result):
    """Sentences with the activations of a few neurons, for reading.

    Attributes
    ----------
    corpus
        Name of the corpus.
    words
        One row a word: ``sentence, position, form`` and the label columns.
    neurons
        Ids of the neurons.
    z
        Activations as z-scores over the whole corpus, float32 (words, neurons).
    """

    kind: ClassVar[str] = "text"
    corpus: str
    words: pl.DataFrame
    neurons: tuple[str, ...]
    z: np.ndarray

    def frame(self) -> pl.DataFrame:
        """The words with one column of z-scores a neuron."""
        columns = [pl.Series(name, self.z[:, i]) for i, name in enumerate(self.neurons)]
        return self.words.with_columns(columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class PropertyFindings:
    """All results of one property, in the order of the analysis.

    Attributes
    ----------
    name
        Name of the property, unique in the study (``xpos``, ``chunks/chunk``).
    corpus
        Name of its corpus in the study.
    classes
        One row a class: ``class, train, dev, test`` (tokens).
    left_out
        What is not in the task and how often.
    seconds
        CPU seconds of each step.

    A step that was skipped, or that the property is too small for, is None.
    """

    name: str
    corpus: str
    classes: pl.DataFrame
    left_out: Mapping[str, int]
    search: LambdaSearch
    probe: ProbeResult
    baselines: Baselines
    ranking: Ranking
    ablation: Ablation
    minimal: MinimalSet
    selectivity: Selectivity | None
    layers: LayerProfile
    localisation: Localisation
    sharing: Sharing | None
    redundancy: Redundancy | None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def results(self) -> dict[str, Result]:
        """Return the results by step name, in the order of the analysis."""
        found = {
            "search": self.search,
            "probe": self.probe,
            "baselines": self.baselines,
            "ranking": self.ranking,
            "ablation": self.ablation,
            "minimal": self.minimal,
            "selectivity": self.selectivity,
            "layers": self.layers,
            "localisation": self.localisation,
            "sharing": self.sharing,
            "redundancy": self.redundancy,
        }
        return {name: result for name, result in found.items() if result is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyOutcome:
    """Everything a report shows.

    Attributes
    ----------
    title
        Title of the study.
    config
        The resolved configuration (JSON-like); enough to run the study again.
    command
        The shell command that repeats it.
    model
        ``name, class, revision, fingerprint, dtype, layers, neurons`` of the model.
    corpora
        For each corpus: ``name, sentences, tokens, fingerprint, splits`` (tokens a split) and
        ``left_out`` (what and how often).
    properties
        Findings by property name.
    sharing
        Overlap of neurons between properties; None with one property.
    views
        Words and contexts of the best neurons.
    texts
        One a corpus: sentences to read with activations.
    versions
        Versions of Python and the libraries.
    seconds
        Wall seconds of each stage (``extract``, each property, …), and ``total``.
    """

    title: str
    config: Mapping[str, Any]
    command: str
    model: Mapping[str, Any]
    corpora: Mapping[str, Mapping[str, Any]]
    properties: Mapping[str, PropertyFindings]
    sharing: Sharing | None
    views: tuple[NeuronView, ...]
    texts: tuple[TextView, ...]
    versions: Mapping[str, str]
    seconds: Mapping[str, float]
