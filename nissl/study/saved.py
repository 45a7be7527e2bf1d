"""Save and read back what a study found."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import polars as pl

from nissl.errors import StoreError
from nissl.methods import NeuronView, Sharing
from nissl.results import load_result
from nissl.store.files import read_json, write_json
from nissl.study.outcome import PropertyFindings, StudyOutcome, TextView

__all__ = ["load_study", "save_outcome", "slug"]

FORMAT = 1


def slug(name: str) -> str:
    """Return a name that is safe as a folder's; different names give different ones."""
    safe = re.sub(r"[^A-Za-z0-9.=-]+", "-", name).strip(".-") or "x"
    if safe == name:
        return safe
    return f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def save_outcome(outcome: StudyOutcome, folder: Path) -> None:
    """Write ``outcome.json`` and a CSV of every table; the results lie in ``results/``."""
    for name, found in outcome.properties.items():
        target = folder / "tables" / slug(name)
        target.mkdir(parents=True, exist_ok=True)
        for step, result in found.results().items():
            _csv(result.frame(), target / f"{step}.csv")
    if outcome.sharing is not None:
        _csv(outcome.sharing.frame(), folder / "tables" / "sharing.csv")
    meta: dict[str, Any] = {
        "format": FORMAT,
        "title": outcome.title,
        "config": outcome.config,
        "command": outcome.command,
        "model": outcome.model,
        "corpora": outcome.corpora,
        "versions": outcome.versions,
        "seconds": outcome.seconds,
        "sharing": outcome.sharing is not None,
        "views": [view.neuron for view in outcome.views],
        "texts": [text.corpus for text in outcome.texts],
        "properties": [
            {
                "name": found.name,
                "corpus": found.corpus,
                "classes": found.classes.to_dict(as_series=False),
                "left_out": dict(found.left_out),
                "seconds": dict(found.seconds),
                "steps": list(found.results()),
            }
            for found in outcome.properties.values()
        ],
    }
    write_json(folder / "outcome.json", meta)


def _csv(frame: pl.DataFrame, path: Path) -> None:
    frame.write_csv(path)


def load_study(folder: str | Path) -> StudyOutcome:
    """Read a finished study back.

    Raises
    ------
    StoreError
        The folder holds no finished study, or a part of it is missing.
    """
    base = Path(folder)
    if not (base / "outcome.json").is_file():
        if (base / "study.yaml").is_file():
            raise StoreError(
                "the study is unfinished; go on with: nissl run "
                f"{base / 'study.yaml'} --out {base}",
                where=str(folder),
            )
        raise StoreError("holds no study (no outcome.json)", where=str(folder))
    meta = read_json(base / "outcome.json", cure="run the study again")
    if meta.get("format") != FORMAT:
        raise StoreError("the study has another format; run it again", where=str(folder))
    results = base / "results"
    properties: dict[str, PropertyFindings] = {}
    for item in meta["properties"]:
        steps: dict[str, Any] = {
            step: load_result(results / "properties" / slug(item["name"]) / step)
            for step in item["steps"]
        }
        for step in ("selectivity", "sharing", "redundancy"):
            steps.setdefault(step, None)
        properties[item["name"]] = PropertyFindings(
            name=item["name"],
            corpus=item["corpus"],
            classes=pl.DataFrame(item["classes"]),
            left_out=item["left_out"],
            seconds=item["seconds"],
            **steps,
        )
    return StudyOutcome(
        title=meta["title"],
        config=meta["config"],
        command=meta["command"],
        model=meta["model"],
        corpora=meta["corpora"],
        properties=properties,
        sharing=Sharing.load(results / "sharing") if meta["sharing"] else None,
        views=tuple(NeuronView.load(results / "neurons" / slug(n)) for n in meta["views"]),
        texts=tuple(TextView.load(results / "texts" / slug(n)) for n in meta["texts"]),
        versions=meta["versions"],
        seconds=meta["seconds"],
    )
