"""Run a study: corpora × model × properties → a folder with results, figures and a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nissl.corpus import Corpus
from nissl.extraction import extract
from nissl.methods import Sharing, Task, make_task, share_properties, show_neuron
from nissl.model import LoadedModel, load_model
from nissl.progress import say
from nissl.results import versions
from nissl.store import Activations
from nissl.store.files import lock
from nissl.study.analyse import analyse_property
from nissl.study.config import PropertyConfig, StudyConfig, save_config
from nissl.study.corpora import describe_corpus, prepare_corpus
from nissl.study.outcome import PropertyFindings, StudyOutcome
from nissl.study.saved import save_outcome, slug
from nissl.study.steps import Steps
from nissl.study.texts import text_view

__all__ = ["run_study"]


def run_study(config: StudyConfig, out: str | Path, *, command: str | None = None) -> StudyOutcome:
    """Extract, analyse every property and save everything below ``out``.

    A second run with the same folder goes on where the first stopped: finished shards and steps
    are read back. The resolved configuration is ``study.yaml``, the page ``report.html``.

    Parameters
    ----------
    command
        What the report names as the way to run it again; the saved configuration by default.

    Raises
    ------
    NisslError
        Bad input: the message names the place and what to do.
    """
    began = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder):
        save_config(config, folder / "study.yaml")
        outcome = _run(config, folder, command, began)
        save_outcome(outcome, folder)
    return outcome


def _run(config: StudyConfig, folder: Path, command: str | None, began: float) -> StudyOutcome:
    seconds: dict[str, float] = {}

    def timed(stage: str, fn: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = fn()
        seconds[stage] = time.perf_counter() - start
        return value

    corpora: dict[str, Corpus] = {
        name: timed(f"read {name}", lambda n=name, c=spec: prepare_corpus(n, c, seed=config.seed))
        for name, spec in config.corpora.items()
    }
    for item in config.properties:
        # A label that does not exist is found before an hour of extraction, not after.
        corpora[config.corpus_of(item)].label(item.label)
    for corpus in corpora.values():
        say(f"corpus {corpus!r}")
        for reason, count in corpus.left_out.items():
            say(f"  left out: {count:,} {reason}")
    spec = config.model
    model = timed(
        "load model",
        lambda: load_model(spec.name, revision=spec.revision, dtype=spec.dtype, device=spec.device),
    )
    stores: dict[str, Activations] = {}
    blank: dict[str, Activations] = {}
    for name, corpus in corpora.items():
        stores[name] = timed(f"extract {name}", lambda c=corpus: _extract(c, model, config, folder))
    if config.analysis.random_weights:
        fresh = load_model(
            spec.name,
            revision=spec.revision,
            device=spec.device,
            random_init=True,
            seed=config.seed,
        )
        for name, corpus in corpora.items():
            blank[name] = timed(
                f"extract {name}, random weights",
                lambda c=corpus: _extract(c, fresh, config, folder),
            )
        del fresh
    findings: dict[str, PropertyFindings] = {}
    for item in config.properties:
        name = config.name_of(item)
        say(f"property {name}")
        findings[name] = timed(
            name, lambda i=item, n=name: _property(config, i, n, corpora, stores, blank, folder)
        )
        for line in findings[name].probe.summary()[:1] + findings[name].minimal.summary():
            say(f"  {line}")
    sharing: Sharing | None = None
    if len(findings) > 1:
        sharing = share_properties({name: found.ranking for name, found in findings.items()})
        sharing.save(folder / "results" / "sharing")
    views, texts = timed("views", lambda: _views(config, findings, stores))
    for view in views:
        view.save(folder / "results" / "neurons" / slug(view.neuron))
    for text in texts:
        text.save(folder / "results" / "texts" / slug(text.corpus))
    seconds["total"] = time.perf_counter() - began
    store = next(iter(stores.values()))
    return StudyOutcome(
        title=config.title or f"{', '.join(findings)} in {model.name}",
        config=config.model_dump(mode="json"),
        command=command or f"nissl run {folder / 'study.yaml'} --out {folder}",
        model={
            "name": model.name,
            "class": type(model.model).__name__,
            "revision": model.revision,
            "fingerprint": model.fingerprint,
            "dtype": model.dtype,
            "layers": len(store.sites),
            "neurons": store.n_neurons,
        },
        corpora={name: describe_corpus(corpus) for name, corpus in corpora.items()},
        properties=findings,
        sharing=sharing,
        views=tuple(views),
        texts=tuple(texts),
        versions=versions(),
        seconds=seconds,
    )


def _extract(corpus: Corpus, model: LoadedModel, config: StudyConfig, folder: Path) -> Activations:
    kind = "random-weights" if model.random_init else "model"
    settings = config.extraction
    return extract(
        corpus,
        model,
        folder / "activations" / slug(corpus.name) / kind,
        sites=settings.sites,
        pooling=settings.pooling,
        batch_tokens=settings.batch_tokens,
        on_long=settings.on_long,
    )


def _property(
    config: StudyConfig,
    item: PropertyConfig,
    name: str,
    corpora: Mapping[str, Corpus],
    stores: Mapping[str, Activations],
    blank: Mapping[str, Activations],
    folder: Path,
) -> PropertyFindings:
    corpus = config.corpus_of(item)
    task = _task(config, item, corpora[corpus], stores[corpus])
    for reason, count in task.left_out.items():
        say(f"  left out: {count:,} {reason}")
    steps = Steps(
        folder / "results" / "properties" / slug(name),
        {
            "task": task.fingerprint,
            "seed": config.seed,
            "random weights": blank[corpus].fingerprint if blank else None,
        },
    )
    return analyse_property(
        task,
        config.analysis,
        steps,
        name=name,
        corpus=corpus,
        seed=config.seed,
        random_weights=(
            (lambda: _task(config, item, corpora[corpus], blank[corpus])) if blank else None
        ),
    )


def _task(config: StudyConfig, item: PropertyConfig, corpus: Corpus, store: Activations) -> Task:
    """Make the task of a property; tags that its pattern refuses have no value."""
    extra: dict[str, int] = {}
    if item.tags is not None:
        before = dict(corpus.left_out)
        corpus = corpus.where_label(item.label, item.tags)
        store = store.with_labels(item.label, corpus.label(item.label).to_list())
        extra = {k: n for k, n in corpus.left_out.items() if n != before.get(k, 0)}
    task = make_task(
        store,
        item.label,
        min_count=item.min_count or config.analysis.min_count,
        absent=config.analysis.absent,
    )
    if extra:
        import dataclasses

        task = dataclasses.replace(task, left_out={**extra, **task.left_out})
    return task


def _views(
    config: StudyConfig,
    findings: Mapping[str, PropertyFindings],
    stores: Mapping[str, Activations],
) -> tuple[list[Any], list[Any]]:
    """Look at the best neurons of each property, on its corpus."""
    n_best = config.analysis.neurons
    views = {}
    for found in findings.values():
        for neuron in found.ranking.ids(n_best):
            if neuron not in views:
                views[neuron] = show_neuron(stores[found.corpus], neuron)
    neurons = list(
        dict.fromkeys(n for found in findings.values() for n in found.ranking.ids(n_best))
    )
    texts = [
        text_view(store, neurons, corpus=name, n=config.analysis.sentences, seed=config.seed)
        for name, store in stores.items()
    ]
    return list(views.values()), texts
