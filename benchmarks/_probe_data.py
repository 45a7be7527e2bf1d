"""The problems of the probe benchmark, built once and kept as arrays.

Three kinds: real activations of MiniLM on English text with their parts of speech, coarse (UPOS)
and fine (XPOS); a planted set, whose labels are drawn from a sparse model on neurons that hang
together; and a control task on the real activations, a random class for each word type.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _probe_make import control, planted, sample, standardise

__all__ = ["VERSION", "Data", "Problem", "open_data", "planted_data"]

VERSION = 1
"""Of what is in the cache: raise it when a problem is built otherwise."""
SEED = 0
TOKENS = 20_000
CONTROL_CLASSES = 994


@dataclass(frozen=True, eq=False)
class Problem:
    """Neurons and labels.

    Attributes
    ----------
    XT
        Standardised neurons, neuron-major, float32 (d, n), C-contiguous.
    y
        Class of each token, int64 (n,), every class of 0…C−1 present.
    """

    name: str
    XT: np.ndarray
    y: np.ndarray

    @property
    def X(self) -> np.ndarray:
        """Tokens × neurons, the form that a probe takes (no copy)."""
        return self.XT.T

    @property
    def n_classes(self) -> int:
        """Number of classes C."""
        return int(self.y.max()) + 1

    def __str__(self) -> str:
        d, n = self.XT.shape
        return f"{self.name}: {n:,} tokens × {d:,} neurons × {self.n_classes} classes"


@dataclass(frozen=True, eq=False)
class Data:
    """What the sections ask for: labelled samples on one matrix, and the whole training set.

    Attributes
    ----------
    source
        Where the activations are from, in words.
    store
        The activation store.
    rows
        Sampled rows of the store, (n,).
    notes
        What was left out, and why.
    """

    source: str
    store: Any
    rows: np.ndarray
    XT: np.ndarray
    codes: dict[str, np.ndarray]
    folder: Path | None
    quick: bool
    notes: list[str] = field(default_factory=list)

    @property
    def forms(self) -> np.ndarray:
        """Word of each sampled token, (n,)."""
        return self.store.tokens["form"].to_numpy().astype(str)[self.rows]

    def problem(self, name: str) -> Problem:
        """Return ``upos``, ``xpos``, ``planted`` or ``control``."""
        if name == "planted":
            return self._planted()
        if name == "control":
            classes = 50 if self.quick else CONTROL_CLASSES
            return Problem(name, self.XT, control(self.forms, classes, seed=SEED))
        return Problem(name, self.XT, self.codes[name])

    def whole(self) -> Problem:
        """Return UPOS of all tokens of the store whose class is in the sample."""
        labels = self.codes["upos_all"]
        rows = np.flatnonzero(labels >= 0)
        picked = quick_neurons(self.store) if self.quick else None
        XT = standardise(self.store.matrix(neurons=picked, rows=rows).T)
        return Problem("upos, all rows", XT, labels[rows])

    def _planted(self) -> Problem:
        size = (1_500, 600, 6) if self.quick else (10_000, 9_984, 45)

        def build() -> dict[str, np.ndarray]:
            XT, y = planted(*size, seed=SEED)
            return {"XT": XT, "y": y}

        made = build() if self.quick else cached(self.folder, "planted", build)
        return Problem("planted", made["XT"], made["y"])


def open_data(shared: Path, build: Path, *, store: Path | None, quick: bool) -> Data:
    """Return the treebank's activations and labels: English EWT, or the embedded one.

    Parameters
    ----------
    shared
        Folder of ``en_ewt-ud-train.conllu``.
    build
        Folder of the cache, made when there is none.
    store
        Folder of an extraction of the same text made earlier; the cache's by default.
    quick
        The embedded treebank and 400 neurons, nothing kept.
    """
    from nissl import extract, load_corpus
    from nissl.store import Activations

    text = shared / "en_ewt-ud-train.conllu"
    if quick or (store is None and not text.exists()):
        why = "--quick" if quick else f"there is no {text.name} in the shared folder"
        corpus = load_corpus("nissl:treebank")
        if quick:
            corpus = corpus.sample_sentences(180, seed=SEED)
        acts = extract(corpus, "minilm", progress=False)
        source, folder = f"the embedded treebank ({why})", None
    else:
        folder = build
        folder.mkdir(parents=True, exist_ok=True)
        if store is not None:
            acts = Activations.open(store)
            # What was built from another store must not be taken for this one's.
            folder = folder / acts.fingerprint[:12]
            folder.mkdir(exist_ok=True)
        else:
            acts = extract(load_corpus(str(text)), "minilm", folder / "ewt_train")
        source = f"English EWT, {acts.n_tokens:,} training words"
    labels = {name: acts.tokens[name].to_numpy().astype(str) for name in ("upos", "xpos")}
    rows, frequent, notes = sample(labels, TOKENS, seed=SEED)
    codes = {}
    for name, values in labels.items():
        number = {c: i for i, c in enumerate(sorted(frequent[name]))}
        whole = np.array([number.get(value, -1) for value in values.tolist()], dtype=np.int64)
        codes[name], codes[f"{name}_all"] = whole[rows], whole

    def matrix() -> dict[str, np.ndarray]:
        picked = quick_neurons(acts) if quick else None
        return {"XT": standardise(acts.matrix(neurons=picked, rows=rows).T)}

    XT = cached(folder, "sample", matrix)["XT"]
    return Data(source, acts, rows, XT, codes, folder, quick, notes)


def planted_data(build: Path, *, quick: bool) -> Data:
    """Return data of which only the planted problem can be asked: no model, no text."""
    if not quick:
        build.mkdir(parents=True, exist_ok=True)
    none = np.empty((0, 0), dtype=np.float32)
    return Data("none", None, np.empty(0, dtype=np.int64), none, {}, build, quick)


def quick_neurons(acts: Any) -> np.ndarray:
    """Positions of 400 neurons, drawn with a seed."""
    return np.sort(np.random.default_rng(SEED).choice(acts.n_neurons, 400, replace=False))


def cached(
    folder: Path | None, name: str, build: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return arrays from the cache, mapped read-only, or build and keep them.

    The list of files is written last, so an interrupted run leaves nothing that is taken for whole.
    """
    if folder is None:
        return build()
    index = folder / f"{name}.json"
    if index.exists():
        entry = json.loads(index.read_text())
        if entry["version"] == VERSION:
            return {key: np.load(folder / f"{name}.{key}.npy") for key in entry["arrays"]}
    began = time.perf_counter()
    made = build()
    for key, value in made.items():
        np.save(folder / f"{name}.{key}.npy", value)
    index.write_text(json.dumps({"version": VERSION, "arrays": sorted(made)}))
    print(f"built {name} in {time.perf_counter() - began:.0f} s, kept in {folder.name}/")
    return made
