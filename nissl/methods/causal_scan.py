"""Every neuron of some sites removed, one at a time: what each does to an effect."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from nissl.effects import LogProbEffect
from nissl.effects._encode import Texts
from nissl.effects._score import PlanBatch, batches_of
from nissl.errors import SettingError
from nissl.methods._scan_chunks import ScanFolder
from nissl.methods._scan_items import same_items
from nissl.methods._scan_run import scan_batch, screen_neurons
from nissl.methods.causal_ablate import ablation_curves, check_effects, means_for
from nissl.methods.causal_sets import How
from nissl.methods.neuron_scan import NeuronScan, rank_correlation
from nissl.model import LoadedModel, Site, resolve_sites
from nissl.progress import bar
from nissl.results import Provenance

__all__ = ["scan_neurons"]

MOST_GROUPS = 8


def scan_neurons(
    model: LoadedModel,
    effect: LogProbEffect,
    sites: str | Site | Sequence[str | Site],
    *,
    how: How = "mean",
    reference: Texts | None = None,
    means: Mapping[str, np.ndarray] | None = None,
    folder: str | os.PathLike[str] | None = None,
    screened: bool = True,
    joint: Sequence[int] = (1, 5, 20),
    test_effects: Sequence[Any] | None = None,
    draws: int = 20,
    seed: int = 0,
) -> NeuronScan:
    """Remove every neuron of some sites, one at a time and exactly, and rank them by what it does.

    Parameters
    ----------
    model
        With the head that the effect is of.
    effect
        A function of log-probabilities, such as :func:`~nissl.effects.pair_effect`. Neurons are
        ranked by the change of its margin where it has one, for accuracies have many ties.
    sites
        As for :func:`~nissl.model.resolve_sites`.
    how, reference, means
        As in :func:`ablation_curves`.
    folder
        Where finished pieces are kept, so that an interrupted scan goes on when run again.
    screened
        Whether to estimate all neurons to first order too, and report how far that agrees.
    joint
        Sizes of sets of top neurons to remove together, beside same-site random sets; may be empty.
        Sizes beyond the number of neurons are left out.
    test_effects
        What the sets are tested on: the first should be of other items of the same kind. By
        default the effect itself, which flatters what was chosen on it. That its texts are those
        of the effect is noticed, and said.
    draws, seed
        Of the random sets.

    Raises
    ------
    SettingError, ModelError, StoreError
        Sites that are not there or cannot be edited, a folder of another scan, or sizes, draws or
        test effects that :func:`ablation_curves` could do nothing with.
    """
    tests = [effect] if test_effects is None else list(test_effects)
    wanted = sorted({int(k) for k in joint})
    if wanted:
        # All that can be wrong about the test is found before the scan, which may take hours.
        if wanted[0] < 1:
            raise SettingError(f"sets of top neurons have at least 1 neuron, not {wanted[0]}")
        check_effects(tests, draws)
        for test in tests:
            test.weights(model)
    places = resolve_sites(model, sites)
    names = [site.name for site in places]
    targets = means_for(model, names, how, reference, means)
    aims = {s.name: np.zeros(s.width) if targets is None else targets[s.name] for s in places}
    prepared = effect.prepared(model)
    # Nothing is padded: a scan looks at the same positions in every row.
    batches = list(batches_of(model, prepared.plan, equal=True))
    kept = ScanFolder(folder, _identity(model, effect, names, aims, batches))
    base_slots = effect.slots(model)
    base = effect.values(base_slots, prepared)
    w = prepared.weights / prepared.weights.sum()
    groups = _groups(effect)
    parts = []
    estimates = screen_neurons(model, effect, places, aims) if screened else {}
    with bar(sum(s.width for s in places) * len(batches), "scan", unit="neurons × batches") as on:
        for number, site in enumerate(places):
            shift = np.zeros((site.width, prepared.plan.slots), dtype=np.float32)
            for b, batch in enumerate(batches):
                scan_batch(model, site, aims[site.name], b, batch, kept, on)
                slot = prepared.plan.slot[batch.target]
                for units, values in kept.pieces(site.name, b):
                    for t, s in enumerate(slot):
                        shift[units, s] += values[:, t]
            parts.append(_site_rows(effect, prepared, base_slots, base, w, groups, site, shift))
            parts[-1] = parts[-1].with_columns(
                pl.lit(number).alias("site_order"),
                pl.Series("screen", estimates.get(site.name, np.full(site.width, math.nan))),
            )
    table = _ranked(pl.concat(parts), effect)
    rank_by = "margin" if prepared.margins is not None else "change"
    agreement = math.nan
    if estimates and prepared.margins is not None:
        agreement = rank_correlation(table["screen"].to_numpy(), table[rank_by].to_numpy())
    tested = None
    sizes = [k for k in wanted if k <= table.height]
    if sizes:
        tested = ablation_curves(
            model,
            table["neuron"].to_list(),
            tests,
            sizes,
            how=how,
            means=aims,
            draws=draws,
            seed=seed,
            name="the scan",
        )
    return NeuronScan(
        provenance=Provenance(
            "neuron scan",
            {"sites": names, "how": how, "joint": sizes, "draws": draws, "start": model.start},
            {"model": model.fingerprint},
            seed,
        ),
        model=model.name,
        effect=effect.name,
        unit=effect.unit,
        scale=effect.scale,
        better=effect.better,
        how=how,
        base=float(effect.scale * (base @ w)),
        table=table,
        screen_spearman=agreement,
        joint=tested,
        same_items=bool(tests) and same_items(model, effect, tests),
    )


def _groups(effect: LogProbEffect) -> list[tuple[str, np.ndarray]]:
    names = list(dict.fromkeys(effect.groups.tolist()))
    if not 1 < len(names) <= MOST_GROUPS:
        return []
    return [(str(name), effect.groups == name) for name in names]


def _site_rows(
    effect: LogProbEffect,
    prepared: Any,
    base_slots: np.ndarray,
    base: np.ndarray,
    w: np.ndarray,
    groups: list[tuple[str, np.ndarray]],
    site: Site,
    shift: np.ndarray,
) -> pl.DataFrame:
    """Return one row a neuron of a site, from its changes of slots (width, slots)."""
    change, margin = np.empty(site.width), np.full(site.width, math.nan)
    by_group = np.empty((len(groups), site.width))
    for start in range(0, site.width, 256):
        here = slice(start, start + 256)
        slots = base_slots + shift[here].astype(np.float64)
        moved = effect.values(slots, prepared) - base
        change[here] = moved @ w
        if prepared.margins is not None:
            margin[here] = (prepared.margin(slots) - prepared.margin(base_slots)) @ w
        for g, (_, items) in enumerate(groups):
            by_group[g, here] = moved[:, items] @ w[items] / w[items].sum()
    columns: dict[str, Any] = {
        "neuron": site.neurons(),
        "site": [site.name] * site.width,
        "change": effect.scale * change,
        "margin": margin,
    }
    for (name, _), values in zip(groups, by_group, strict=True):
        columns[f"change: {name}"] = effect.scale * values
    return pl.DataFrame(columns)


def _ranked(table: pl.DataFrame, effect: LogProbEffect) -> pl.DataFrame:
    """Return the table, the neuron whose removal harms most first; ties by order of sites."""
    by = table["margin"] if table["margin"].is_not_nan().any() else table["change"]
    harm = by.abs() if effect.better == 0 else -effect.better * by
    order = np.argsort(-harm.to_numpy(), kind="stable")
    table = table[order]
    rank = pl.Series("rank", np.arange(1, table.height + 1))
    first = ["neuron", "site", "change", "margin", "screen"]
    rest = [name for name in table.columns if name not in first]
    return table.select(rank, *first, *rest)


def _identity(
    model: LoadedModel,
    effect: LogProbEffect,
    sites: Sequence[str],
    aims: Mapping[str, np.ndarray],
    batches: Sequence[PlanBatch],
) -> dict[str, Any]:
    """Return what the pieces of a scan rest on."""
    plan = effect.prepared(model).plan
    digest = hashlib.sha256(repr(plan.rows).encode())
    for values in (plan.row, plan.position, plan.token):
        digest.update(np.ascontiguousarray(values).tobytes())
    aim = hashlib.sha256()
    cut = hashlib.sha256()
    for batch in batches:
        # A piece is of a batch, and another device or release may make other batches.
        cut.update(repr(tuple(batch.ids.shape)).encode() + batch.target.tobytes())
    for site in sites:
        aim.update(np.asarray(aims[site], dtype=np.float32).tobytes())
    return {
        "model": model.fingerprint,
        "items": digest.hexdigest(),
        "sites": list(sites),
        "values": aim.hexdigest(),
        "batches": cut.hexdigest(),
    }
