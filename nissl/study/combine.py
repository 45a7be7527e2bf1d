"""Bring finished studies of several models into the tables of one comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from nissl.errors import SettingError, StoreError
from nissl.kernels.concentration import gini, pair_mean
from nissl.methods import Sharing
from nissl.results import Provenance
from nissl.study.outcome import PropertyFindings, StudyOutcome
from nissl.study.portrait import CrossFindings

__all__ = ["combine"]

ALPHA = 0.05
N_BOOT = 1000


def combine(
    studies: Mapping[str, StudyOutcome],
    levels: Mapping[str, str | None] | None = None,
    *,
    seed: int = 0,
) -> CrossFindings:
    """Compare models by what an ordinary study found of each; no model or store is read.

    Parameters
    ----------
    studies
        Model's name in tables → its finished study. All are over the same corpora and properties.
    levels
        Property → linguistic level (morphology, lexical, syntax, semantics, …).
    seed
        Seed of the bootstrap over labels.

    Raises
    ------
    StoreError
        The studies are not over the same corpora and properties.
    """
    _check_alike(studies)
    levels = levels or {}
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("overview", "sets", "layers", "labels", "overlaps")
    }
    for model, study in studies.items():
        for name, found in study.properties.items():
            key = {"model": model, "property": name}
            rows["overview"].append(
                {**key, "level": levels.get(name), **_overview(found, study, seed)}
            )
            rows["sets"] += [{**key, **row} for row in found.minimal.sets.to_dicts()]
            rows["layers"] += [{**key, **row} for row in _layers(found)]
            rows["labels"] += [{**key, **row} for row in _labels(found)]
        if study.sharing is not None:
            rows["overlaps"] += [
                {"model": model, **row, "expected_share": _by_chance(row)}
                for row in study.sharing.table.to_dicts()
            ]
    first = next(iter(studies.values()))
    frames = {name: pl.DataFrame(found, infer_schema_length=None) for name, found in rows.items()}
    return CrossFindings(
        provenance=Provenance(
            method="cross study",
            settings={"models": list(studies), "properties": list(first.properties)},
            inputs={
                **{f"model {name}": str(s.model["fingerprint"]) for name, s in studies.items()},
                **{f"corpus {name}": str(c["fingerprint"]) for name, c in first.corpora.items()},
            },
            seed=seed,
        ),
        models=tuple(studies),
        properties=tuple(first.properties),
        mass=next(iter(first.properties.values())).localisation.mass,
        **frames,
    )


def _check_alike(studies: Mapping[str, StudyOutcome]) -> None:
    if not studies:
        raise SettingError("there is no study to compare; name at least one model")
    names = list(studies)
    first = studies[names[0]]
    for name in names[1:]:
        study = studies[name]
        for what, a, b in (
            ("properties", list(first.properties), list(study.properties)),
            (
                "corpora",
                {n: c["fingerprint"] for n, c in first.corpora.items()},
                {n: c["fingerprint"] for n, c in study.corpora.items()},
            ),
        ):
            if a != b:
                raise StoreError(
                    f'the studies of "{names[0]}" and "{name}" have other {what}; run the study '
                    "of all models again"
                )


def _overview(found: PropertyFindings, study: StudyOutcome, seed: int) -> dict[str, Any]:
    probe, local = found.probe, found.localisation.table
    d = probe.neurons.height
    base = {row["name"]: row for row in found.baselines.table.iter_rows(named=True)}
    blank = base.get("random-weights model", {})
    widest = found.minimal.sets.sort("delta").row(-1, named=True)
    # A class without any weight has no neurons to count.
    used = local.filter(pl.col("used") > 0)
    middle, low, high = _median(used, seed)
    sites = len(found.layers.table)
    entropy = float(np.mean(used["layer_entropy"].to_numpy())) if used.height else float("nan")
    return {
        "neurons": d,
        "layers": int(study.model["layers"]),
        "classes": len(probe.classes),
        "train_tokens": int(found.classes["train"].sum()),
        "accuracy": probe.accuracy,
        "low": probe.low,
        "high": probe.high,
        "majority": probe.majority,
        "random_weights": blank.get("accuracy"),
        "random_weights_low": blank.get("low"),
        "random_weights_high": blank.get("high"),
        "delta": widest["delta"],
        "k": widest["k"],
        "k_low": widest["k_low"],
        "k_high": widest["k_high"],
        "percent": widest["percent"],
        "percent_low": 100 * widest["k_low"] / d,
        "percent_high": 100 * widest["k_high"] / d,
        "set_accuracy": widest["accuracy"],
        "set_low": widest["low"],
        "set_high": widest["high"],
        "random_set": widest["random_accuracy"],
        "random_set_low": widest["random_low"],
        "random_set_high": widest["random_high"],
        "selectivity": _selectivity(found),
        "label_neurons": middle,
        "label_neurons_low": low,
        "label_neurons_high": high,
        "label_percent": 100 * middle / d,
        "label_percent_low": 100 * low / d,
        "label_percent_high": 100 * high / d,
        "gini": gini(np.abs(probe.coef).sum(axis=0).astype(np.float64)),
        "layer_entropy": entropy / np.log2(sites) if sites > 1 else None,
        **_pairs(found.sharing, seed),
    }


def _median(table: pl.DataFrame, seed: int) -> tuple[float, float, float]:
    """Median neurons of a label, with a 95 % interval over labels and over their own intervals.

    A replicate draws labels anew, and takes for each its count or an end of its interval.
    """
    if not table.height:
        nan = float("nan")
        return nan, nan, nan
    values = table.select("low", "neurons", "high").to_numpy().astype(np.float64)
    rng = np.random.default_rng(seed)
    n = len(values)
    drawn = values[rng.integers(0, n, (N_BOOT, n)), rng.integers(0, 3, (N_BOOT, n))]
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    middle = float(np.median(values[:, 1]))
    # Refits on fewer sentences have fewer neurons: the interval still holds the value.
    return middle, min(float(low), middle), max(float(high), middle)


def _selectivity(found: PropertyFindings) -> float | None:
    if found.selectivity is None:
        return None
    rows = {row["neurons"]: row["selectivity"] for row in found.selectivity.table.to_dicts()}
    return rows.get("all neurons")


def _by_chance(row: Mapping[str, Any]) -> float:
    return row["expected"] / max(1, min(row["size_a"], row["size_b"]))


def _pairs(sharing: Sharing | None, seed: int) -> dict[str, Any]:
    """How much pairs of labels share: counts, and the mean share beside that of random sets."""
    if sharing is None:
        names = ("pairs", "pairs_shared", "pair_share", "pair_share_low", "pair_share_high")
        return dict.fromkeys((*names, "pair_expected"))
    mean, low, high = pair_mean(sharing.matrix().astype(np.float64), seed=seed)
    rows = sharing.table.to_dicts()
    return {
        "pairs": len(rows),
        "pairs_shared": sum(row["p_holm"] < ALPHA for row in rows),
        "pair_share": mean,
        "pair_share_low": low,
        "pair_share_high": high,
        "pair_expected": float(np.mean([_by_chance(row) for row in rows])),
    }


def _layers(found: PropertyFindings) -> list[dict[str, Any]]:
    table = found.layers.table
    last = max(1, int(table["layer"].to_numpy().max()))
    names = ("site", "layer", "neurons", "accuracy", "low", "high", "selected", "expected")
    return [
        {"depth": row["layer"] / last, **{n: row[n] for n in names}, "p_holm": row["p_holm"]}
        for row in table.to_dicts()
    ]


def _labels(found: PropertyFindings) -> list[dict[str, Any]]:
    d = found.probe.neurons.height
    return [
        {
            "label": row["class"],
            "train_tokens": row["train_tokens"],
            "neurons": row["neurons"],
            "low": row["low"],
            "high": row["high"],
            "percent": 100 * row["neurons"] / d,
        }
        for row in found.localisation.table.to_dicts()
    ]
