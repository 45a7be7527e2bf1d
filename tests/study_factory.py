"""A small study of planted data: every method really runs, on words chosen to do harm.

Three layers of ten neurons. The first class neurons of a property shift with its classes, so that
rankings, minimal sets and layers have something true to find.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from nissl.methods import (
    NeuronView,
    Part,
    Task,
    ablate,
    baselines,
    fit_probe,
    layer_profile,
    localise,
    minimal_set,
    rank_lca,
    redundancy,
    search_lambda,
    selectivity,
    share_labels,
    share_properties,
)
from nissl.results import Provenance
from nissl.site import format_neuron
from nissl.study.outcome import PropertyFindings, StudyOutcome, TextView

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "R&D",
    '"double"',
    "'single'",
    "שלום",
    "🙂",
    "<!--",
    "a\u2028b",
    "{{ 7*7 }}",
    "$x$",
)
"""Words that break a page which forgets to escape."""

HOSTILE_CLASS = "</style><b>&\"'"
SPLITS = (("train", 0.6), ("dev", 0.2), ("test", 0.2))


def make_planted_task(
    name: str,
    classes: tuple[str, ...],
    *,
    tokens: int = 300,
    layers: int = 3,
    width: int = 10,
    words: int = 40,
    shift: int = 0,
    strength: float = 1.6,
    seed: int = 0,
) -> Task:
    """Return a task whose class c moves neurons ``shift + 2c`` and ``shift + 2c + 1``."""
    rng = np.random.default_rng([seed, shift])
    neurons = layers * width
    vocabulary = np.array([*HOSTILE, *(f"word{i}" for i in range(words))], dtype=object)
    word = rng.integers(0, len(vocabulary), tokens)
    # Each word has a usual class that it keeps in four of five places.
    usual = rng.integers(0, len(classes), len(vocabulary))
    y = np.where(rng.random(tokens) < 0.8, usual[word], rng.integers(0, len(classes), tokens))
    X = rng.standard_normal((tokens, neurons))
    for c in range(len(classes)):
        X[:, (shift + 2 * c) % neurons] += strength * (y == c)
        X[:, (shift + 2 * c + 1) % neurons] -= strength * (y == c)
    sentence = np.arange(tokens) // 10
    edges = np.cumsum([0, *(round(share * tokens) for _, share in SPLITS)])
    mean, sd = X[: edges[1]].mean(axis=0), X[: edges[1]].std(axis=0)
    Z = ((X - mean) / sd).astype(np.float32)
    parts = {
        split: Part(
            X=np.asfortranarray(Z[a:b]),
            y=y[a:b].astype(np.int32),
            rows=np.arange(a, b),
            sentence=sentence[a:b].astype(np.int32),
            form=vocabulary[word[a:b]],
        )
        for (split, _), a, b in zip(SPLITS, edges[:-1], edges[1:], strict=True)
    }
    sites = [f"hidden.{layer}" for layer in range(layers) for _ in range(width)]
    table = pl.DataFrame(
        {
            "neuron": [format_neuron(site, i % width) for i, site in enumerate(sites)],
            "site": sites,
            "kind": ["hidden"] * neurons,
            "layer": [i // width for i in range(neurons)],
            "index": [i % width for i in range(neurons)],
        }
    )
    return Task(
        name=name,
        classes=classes,
        neurons=table,
        mean=mean,
        sd=sd,
        left_out={"tokens of class RARE (fewer than 5 training tokens)": 17},
        inputs={"activations": "a" * 64, "corpus": "c" * 64, "model": "m" * 64},
        fingerprint=f"{name}-{seed}",
        **parts,
    )


def make_findings(task: Task, *, corpus: str = "planted", seed: int = 0) -> PropertyFindings:
    """Run every method on a task, with the fewest draws that make sense."""
    grid = ((1e-2, 1e-2), (3e-3, 3e-3))
    search, _ = search_lambda(task, grid=grid)
    probe = fit_probe(task, l1=search.l1, l2=search.l2, seed=seed)
    ranking = rank_lca(task, probe)
    minimal = minimal_set(task, ranking, draws=2, seed=seed)
    classes = pl.DataFrame(
        {"class": list(task.classes), **{s: task.class_counts(s) for s, _ in SPLITS}}
    )
    return PropertyFindings(
        name=task.name,
        corpus=corpus,
        classes=classes,
        left_out=task.left_out,
        search=search,
        probe=probe,
        # Labels dealt anew stand in for a model with random weights: other neurons, same tokens.
        baselines=baselines(task, probe, random_weights=_shuffled(task), seed=seed),
        ranking=ranking,
        ablation=ablate(task, ranking, probe, draws=2, seed=seed),
        minimal=minimal,
        selectivity=selectivity(task, probe, minimal, seed=seed),
        layers=layer_profile(task, minimal.members(1.0), seed=seed),
        localisation=localise(task, probe, resamples=2, seed=seed),
        sharing=share_labels(ranking, k=max(3, task.n_neurons // 20)),
        redundancy=redundancy(task, draws=2, seed=seed),
        seconds={"probe": 0.25, "ranking": 0.5},
    )


def _shuffled(task: Task) -> Task:
    import dataclasses

    rng = np.random.default_rng(7)
    parts = {
        split: dataclasses.replace(
            task.part(split), X=np.asfortranarray(rng.permutation(task.part(split).X))
        )
        for split, _ in SPLITS
    }
    return dataclasses.replace(task, **parts)


def make_view(task: Task, neuron: str, *, n: int = 8) -> NeuronView:
    """Return words and contexts of a neuron of a task."""
    column = task.neurons["neuron"].to_list().index(neuron)
    z = np.concatenate([task.part(s).X[:, column] for s, _ in SPLITS]).astype(np.float64)
    form = np.concatenate([task.part(s).form for s, _ in SPLITS])
    order = np.argsort(-z, kind="stable")
    rows, words = [], []
    for sign, picked in (("+", order[:n]), ("-", order[::-1][:n])):
        for i in picked.tolist():
            words.append({"sign": sign, "word": form[i], "mean_z": float(z[i]), "count": 2})
            rows.append(
                {
                    "sign": sign,
                    "z": float(z[i]),
                    "left": " ".join(form[max(0, i - 5) : i]),
                    "word": form[i],
                    "right": " ".join(form[i + 1 : i + 6]),
                    "sentence": i // 10,
                }
            )
    return NeuronView(
        provenance=Provenance(method="neuron", settings={"n": n}),
        neuron=neuron,
        mean=0.0,
        sd=1.0,
        words=pl.DataFrame(words),
        contexts=pl.DataFrame(rows),
    )


def make_text(task: Task, neurons: list[str], *, corpus: str = "planted") -> TextView:
    """Return the test sentences of a task to read."""
    part = task.test
    ids = task.neurons["neuron"].to_list()
    return TextView(
        provenance=Provenance(method="text"),
        corpus=corpus,
        words=pl.DataFrame(
            {
                "sentence": part.sentence,
                "position": np.arange(len(part)) % 10,
                "form": part.form.tolist(),
                task.name: [None if i % 7 == 0 else task.classes[c] for i, c in enumerate(part.y)],
            },
            schema_overrides={"sentence": pl.Int32, "form": pl.String, task.name: pl.String},
        ),
        neurons=tuple(neurons),
        z=part.X[:, [ids.index(neuron) for neuron in neurons]],
    )


def make_outcome(
    *,
    tokens: int = 300,
    layers: int = 3,
    width: int = 10,
    classes: int = 3,
    title: str = 'Planted <neurons> & "words"',
    properties: tuple[str, ...] = ("tag", "chunks/<b>"),
) -> StudyOutcome:
    """Return a whole study over planted data."""
    names = ("NOUN", HOSTILE_CLASS, "PRP$", *(f"C{i}" for i in range(3, classes)))[:classes]
    tasks = {
        name: make_planted_task(name, names, tokens=tokens, layers=layers, width=width, shift=4 * i)
        for i, name in enumerate(properties)
    }
    findings = {name: make_findings(task) for name, task in tasks.items()}
    first = next(iter(tasks.values()))
    rankings = {name: found.ranking for name, found in findings.items()}
    best = list(dict.fromkeys(n for ranking in rankings.values() for n in ranking.ids(4)))
    return StudyOutcome(
        title=title,
        config={"model": "planted", "labels": list(properties), "grid": ((0.01, 0.01),), "seed": 0},
        command="nissl study 'planted <model>' corpus.conllu --seed 0",
        model={
            "name": "planted-model",
            "class": "Planted",
            "revision": None,
            "fingerprint": "m" * 64,
            "dtype": "float32",
            "layers": layers,
            "neurons": layers * width,
        },
        corpora={
            "planted": {
                "name": "planted",
                "sentences": tokens // 10,
                "tokens": tokens,
                "fingerprint": "c" * 64,
                "splits": {split: len(first.part(split)) for split, _ in SPLITS},
                "left_out": {"words cut by the model's limit": 23},
            }
        },
        properties=findings,
        sharing=share_properties(rankings, k=6) if len(rankings) > 1 else None,
        views=tuple(make_view(first, neuron) for neuron in best[:5]),
        texts=(make_text(first, best),),
        versions={"python": "3.11", "numpy": "2"},
        seconds={"extract": 1.5, "total": 3.25},
    )
