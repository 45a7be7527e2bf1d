"""Planted activations and checks, for the tests of Nissl and of plug-ins to it.

A planted task has neurons whose role is known, so that a method can be asked whether it finds them:

>>> task, planted = planted_task(n_neurons=60, informative=4, seed=1)
>>> task.n_neurons, len(planted.informative)
(60, 4)

A plug-in author who writes a ranking as a plain function of ``(X, y)`` checks it with
:func:`check_scorer`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from nissl.kernels.standardise import moments, standardise
from nissl.methods.task import SPLITS, Part, Task

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["Planted", "check_scorer", "planted_activations", "planted_task", "problems"]


@dataclass(frozen=True, eq=False)
class Planted:
    """Raw activations and what was planted in them.

    Attributes
    ----------
    X
        Raw activations, float32, (n, d), Fortran order.
    y
        Class of each token, int32, (n,).
    sentence
        Sentence number of each token, int32, (n,).
    form
        Word of each token, objects, (n,).
    informative
        Neurons whose mean differs between classes.
    noisy
        Neurons with a large scale and no relation to the classes.
    constant
        Neurons that never change.
    copies
        Pairs (copy, original) of neurons: each copy is an informative neuron plus a little noise.
    """

    X: np.ndarray
    y: np.ndarray
    sentence: np.ndarray
    form: np.ndarray
    informative: np.ndarray
    noisy: np.ndarray
    constant: np.ndarray
    copies: np.ndarray


def planted_activations(
    *,
    n_tokens: int = 1500,
    n_neurons: int = 60,
    n_classes: int = 3,
    informative: int = 4,
    shift: float = 2.0,
    scales: Sequence[float] = (),
    noisy: int = 0,
    noise_scale: float = 100.0,
    constant: int = 0,
    copies: int = 0,
    factors: int = 0,
    words: int = 0,
    word_decides: bool = False,
    uneven: bool = False,
    sentence_length: int = 10,
    seed: int = 0,
) -> Planted:
    """Draw Gaussian neurons, some of which tell the classes apart; all positions are random.

    Informative neuron i has mean ``shift`` (in its own standard deviations) on the tokens of class
    ``i mod n_classes`` and 0 on all others.

    Parameters
    ----------
    n_tokens, n_neurons, n_classes
        Sizes. Each class has at least one token in any hundred.
    informative, shift
        Number of informative neurons and their shift.
    scales
        Factors for the first informative neurons; the others keep 1.
    noisy, noise_scale
        Number of uninformative neurons with a large scale, and that scale.
    constant
        Number of neurons that never change.
    copies
        Number of copies of informative neurons (r ≈ .99), taken in turn.
    factors
        Number of hidden factors shared by the uninformative neurons, which correlates them as in a
        trained model; 0 leaves them independent.
    words
        Number of word types; by default one for every ten tokens. Words are Zipf-distributed.
    word_decides
        Whether the class depends on the word alone; otherwise it is independent of the word.
    uneven
        Whether class frequencies fall like 1/rank; otherwise they are equal.
    sentence_length
        Tokens a sentence.
    seed
        Seed of everything.
    """
    special = informative + noisy + constant + copies
    if special > n_neurons:
        raise ValueError(f"{special} planted neurons do not fit in {n_neurons}")
    if copies and not informative:
        raise ValueError("copies need informative neurons to copy")
    rng = np.random.default_rng(seed)
    words = words or max(2, n_tokens // 10)
    zipf = 1 / np.arange(1, words + 1)
    word = rng.choice(words, n_tokens, p=zipf / zipf.sum())
    share = 1 / np.arange(1, n_classes + 1) if uneven else np.ones(n_classes)
    share = share / share.sum()
    if word_decides:
        # Frequent words go round the classes in turn, so that no class is left empty.
        label_of = np.arange(words) % n_classes
        y = label_of[word]
    else:
        # The first tokens of every hundred go round the classes: every split has every class.
        y = rng.choice(n_classes, n_tokens, p=share)
        place = np.arange(n_tokens) % max(100, n_classes)
        y = np.where(place < n_classes, place, y)
    X = rng.standard_normal((n_neurons, n_tokens), dtype=np.float32)
    if factors:
        loads = rng.standard_normal((n_neurons, factors), dtype=np.float32) / np.sqrt(factors)
        X += loads @ rng.standard_normal((factors, n_tokens), dtype=np.float32)
    positions = rng.permutation(n_neurons)[:special]
    good, loud, still, twin = np.split(positions, np.cumsum([informative, noisy, constant]))
    for i, j in enumerate(good):
        X[j] = rng.standard_normal(n_tokens, dtype=np.float32) + shift * (y == i % n_classes)
    originals = good[np.arange(copies) % informative] if copies else good[:0]
    for j, original in zip(twin, originals, strict=True):
        X[j] = X[original] + 0.1 * rng.standard_normal(n_tokens, dtype=np.float32)
    for scale, j in zip(scales, good, strict=False):
        X[j] *= scale
    X[loud] = noise_scale * rng.standard_normal((noisy, n_tokens), dtype=np.float32)
    X[still] = rng.standard_normal((constant, 1), dtype=np.float32)
    return Planted(
        X=X.T,
        y=y.astype(np.int32),
        sentence=(np.arange(n_tokens) // sentence_length).astype(np.int32),
        form=np.array([f"w{i}" for i in word], dtype=object),
        informative=np.sort(good),
        noisy=np.sort(loud),
        constant=np.sort(still),
        copies=np.stack([twin, originals], axis=1),
    )


def planted_task(
    *,
    layers: int = 2,
    name: str = "PLANTED",
    order: Sequence[int] | None = None,
    **settings: object,
) -> tuple[Task, Planted]:
    """Return a :class:`~nissl.methods.Task` over planted activations, and what was planted.

    Whole sentences go to the splits: of every five, three to train, one to dev, one to test.

    Parameters
    ----------
    layers
        Number of sites that the neurons are divided over, in order.
    name
        Name of the property.
    order
        Order of the tokens inside the task's arrays, a permutation; the corpus's own by default.
    settings
        Passed to :func:`planted_activations`.
    """
    planted = planted_activations(**settings)  # type: ignore[arg-type]
    n, d = planted.X.shape
    place = np.asarray(order) if order is not None else np.arange(n)
    fold = np.array([0, 1, 2, 3, 4])[planted.sentence[place] % 5]
    rows = {
        "train": place[(fold == 0) | (fold == 2) | (fold == 4)],
        "dev": place[fold == 1],
        "test": place[fold == 3],
    }
    raw = {split: np.ascontiguousarray(planted.X.T[:, rows[split]]).T for split in SPLITS}
    mean, sd = moments(raw["train"])
    parts = {
        split: Part(
            X=standardise(raw[split], mean, sd, out=raw[split]),
            y=planted.y[rows[split]],
            rows=rows[split],
            sentence=planted.sentence[rows[split]],
            form=planted.form[rows[split]],
        )
        for split in SPLITS
    }
    layer = np.arange(d) * layers // d
    first = np.searchsorted(layer, layer)
    index = np.arange(d) - first
    digest = hashlib.sha256(planted.X.T.tobytes())
    for split in SPLITS:
        digest.update(rows[split].tobytes())
        digest.update(parts[split].y.tobytes())
    return (
        Task(
            name=name,
            classes=tuple(f"C{c:02}" for c in range(int(planted.y.max()) + 1)),
            neurons=pl.DataFrame(
                {
                    "neuron": [f"hidden.{a}:{b}" for a, b in zip(layer, index, strict=True)],
                    "site": [f"hidden.{a}" for a in layer],
                    "kind": ["hidden"] * d,
                    "layer": layer,
                    "index": index,
                }
            ),
            mean=mean,
            sd=sd,
            left_out={},
            inputs={"activations": "planted"},
            fingerprint=digest.hexdigest(),
            **parts,
        ),
        planted,
    )


def check_scorer(
    scorer: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    finds_mean_shift: bool = True,
    seed: int = 0,
) -> None:
    """Check that a scorer keeps the contract of :data:`nissl.methods.Scorer`.

    It must return finite scores (C, d), the same ones on every call; leave its input alone; give
    a neuron the same score wherever it stands among the others; and, if asked, score planted
    mean-shift neurons above all others.

    Raises
    ------
    AssertionError
        With a sentence that says which promise is broken.
    """
    planted = planted_activations(n_tokens=600, n_neurons=30, shift=2.5, noisy=2, seed=seed)
    mean, sd = moments(planted.X)
    X = standardise(planted.X, mean, sd)
    y = planted.y
    n_classes = int(y.max()) + 1
    before, labels = X.copy(order="F"), y.copy()
    scores = np.asarray(scorer(X, y))
    if not (np.array_equal(X, before) and np.array_equal(y, labels)):
        raise AssertionError("the scorer changes its input")
    if scores.shape != (n_classes, X.shape[1]):
        raise AssertionError(
            f"scores have shape {scores.shape}, not (classes, neurons) = {(n_classes, X.shape[1])}"
        )
    if not np.isfinite(scores).all():
        raise AssertionError("scores are not all finite")
    again = np.asarray(scorer(X, y))
    if not np.array_equal(scores, again):
        raise AssertionError("two calls with the same input give different scores")
    moved = np.random.default_rng(seed).permutation(X.shape[1])
    there = np.asarray(scorer(np.asfortranarray(X[:, moved]), y))
    if not np.allclose(there, scores[:, moved], rtol=1e-3, atol=1e-3 * np.abs(scores).max()):
        raise AssertionError("a neuron's score depends on its place among the others")
    if finds_mean_shift:
        best = np.argsort(-scores.max(axis=0), kind="stable")[: len(planted.informative)]
        if set(best.tolist()) != set(planted.informative.tolist()):
            raise AssertionError(
                f"the best neurons are {sorted(best.tolist())}, but {planted.informative.tolist()} "
                "carry the classes"
            )


def problems(
    *, max_tokens: int = 40, max_neurons: int = 6, max_classes: int = 4
) -> SearchStrategy[tuple[np.ndarray, np.ndarray, int]]:
    """Return a Hypothesis strategy of small problems (X standardised float32, y, classes).

    Some have constant neurons, repeated neurons, or a class without tokens.
    """
    from hypothesis import strategies as st

    def build(
        seed: int, n: int, d: int, n_classes: int, odd: str
    ) -> tuple[np.ndarray, np.ndarray, int]:
        rng = np.random.default_rng(seed)
        y = rng.integers(0, n_classes, n)
        X = rng.standard_normal((n, d)) + rng.standard_normal((n_classes, d))[y]
        if odd == "constant":
            X[:, 0] = 3.0
        elif odd == "repeated":
            X[:, -1] = X[:, 0]
        elif odd == "empty class":
            y = np.minimum(y, n_classes - 2)
        mean, sd = moments(X)
        return standardise(X, mean, sd), y, n_classes

    return st.builds(
        build,
        seed=st.integers(0, 2**32 - 1),
        n=st.integers(3, max_tokens),
        d=st.integers(1, max_neurons),
        n_classes=st.integers(2, max_classes),
        odd=st.sampled_from(["plain", "constant", "repeated", "empty class"]),
    )
