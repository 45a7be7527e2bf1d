"""Ablation in the running model: what removing top, bottom and random neurons does to effects.

Unlike :func:`~nissl.methods.ablate`, which asks a probe, this asks the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from nissl.effects import Effect
from nissl.effects._encode import Texts
from nissl.errors import SettingError
from nissl.methods._paired import paired_change
from nissl.methods.causal_ablation import KINDS, CausalAblation
from nissl.methods.causal_sets import (
    How,
    ablation_edit,
    neuron_means,
    order_of,
    random_like,
)
from nissl.methods.rank import Ranking
from nissl.model import LoadedModel
from nissl.model.edit import edited, site_of
from nissl.progress import bar
from nissl.results import Provenance
from nissl.site import parse_neuron

__all__ = ["ablation_curves", "check_effects", "means_for"]

MOST_GROUPS = 12


def ablation_curves(
    model: LoadedModel,
    ranking: Ranking | Sequence[str],
    effects: Sequence[Effect],
    ks: Sequence[int],
    *,
    how: How = "mean",
    reference: Texts | None = None,
    means: Mapping[str, np.ndarray] | None = None,
    draws: int = 20,
    seed: int = 0,
    n_boot: int = 1000,
    name: str | None = None,
) -> CausalAblation:
    """Remove the top, bottom and random neurons of an order, and measure effects item by item.

    Parameters
    ----------
    model
        With the head that the effects are of.
    ranking
        A ranking, or ids of neurons, best first.
    effects
        The first is what the neurons are about; the others show collateral damage.
    ks
        How many neurons to remove. The bottom is left out where it would meet the top.
    how
        ``mean``: set to the mean over ``reference`` (or ``means``, site → (width,)); ``zero``. A
        zero may be a value that the neuron never has.
    draws
        Random sets of each size, of as many neurons of each site as the top has: of its other
        neurons, or of all where too few others are left.
    seed, n_boot
        Seed of draws and bootstraps, and replicates.
    name
        What the order is called in sentences.

    Raises
    ------
    SettingError
        No effect, two of one name, a size outside the order, fewer than 2 draws, a mean without
        texts to take it over, or means that lack a site or do not fit it.
    ModelError
        The model has another head than an effect needs, or a site cannot be edited.
    """
    order = order_of(ranking)
    sizes = sorted({int(k) for k in ks})
    names = [effect.name for effect in effects]
    check_effects(effects, draws)
    if not sizes or sizes[0] < 1 or sizes[-1] > len(order):
        raise SettingError(f"sizes must lie between 1 and {len(order)}, the neurons of the order")
    sites = list(dict.fromkeys(parse_neuron(each)[0] for each in order))
    found = means_for(model, sites, how, reference, means)
    base = [effect.measure(model) for effect in effects]
    weights = [effect.weights(model) for effect in effects]
    rows: list[dict[str, Any]] = []
    total = sum(1 + draws + (2 * k <= len(order)) for k in sizes)
    with bar(total, "ablations", unit="sets") as advance:

        def measure(neurons: Sequence[str]) -> list[np.ndarray]:
            with edited(model, ablation_edit(neurons, found)):
                values = [effect.measure(model) for effect in effects]
            advance(1)
            return [v - b for v, b in zip(values, base, strict=True)]

        for k in sizes:
            each = {"top": [measure(order[:k])]}
            each["random"] = [measure(s) for s in random_like(model, order[:k], draws, seed=seed)]
            if 2 * k <= len(order):
                each["bottom"] = [measure(order[-k:])]
            for e, effect in enumerate(effects):
                by_kind = {kind: np.stack([d[e] for d in sets]) for kind, sets in each.items()}
                rows += _rows(effect, k, base[e], weights[e], by_kind, seed, n_boot)
    title = name or (ranking.method if isinstance(ranking, Ranking) else "the order")
    return CausalAblation(
        provenance=Provenance(
            "causal ablation",
            {
                "ks": sizes,
                "how": how,
                "draws": draws,
                "n_boot": n_boot,
                "ranking": title,
                "start": model.start,
            },
            {"model": model.fingerprint},
            seed,
        ),
        model=model.name,
        ranking=title,
        how=how,
        neurons=tuple(order[: sizes[-1]]),
        table=pl.DataFrame(rows, infer_schema_length=None),
        effects=pl.DataFrame(
            {
                "effect": names,
                "unit": [effect.unit for effect in effects],
                "scale": [effect.scale for effect in effects],
                "better": [effect.better for effect in effects],
                "items": [len(effect) for effect in effects],
            }
        ),
    )


def check_effects(effects: Sequence[Effect], draws: int) -> None:
    """See that curves can be made of effects, before hours go into anything else.

    Raises
    ------
    SettingError
        No effect, two of one name, or fewer than 2 draws.
    """
    names = [effect.name for effect in effects]
    if not names or len(set(names)) < len(names):
        twice = next((f": {name} is there twice" for name in names if names.count(name) > 1), "")
        raise SettingError(f"give at least one effect, each with a name of its own{twice}")
    if draws < 2:
        raise SettingError("at least 2 random draws are needed; 20 or more give a fair picture")


def means_for(
    model: LoadedModel,
    sites: Sequence[str],
    how: str,
    reference: Texts | None,
    means: Mapping[str, np.ndarray] | None,
) -> Mapping[str, np.ndarray] | None:
    """Return site → means, or None to set neurons to zero.

    Raises
    ------
    SettingError
        An unknown way, no texts to take means over, or means that do not fit the sites.
    """
    if how == "zero":
        return None
    if how != "mean":
        raise SettingError(f'how is "mean" or "zero", not "{how}"')
    if means is not None:
        for site in sites:
            if site not in means:
                raise SettingError(f"means lack site {site}; give means of every site")
            found, width = np.asarray(means[site]), site_of(model, site).width
            if found.shape != (width,) or not np.isfinite(found).all():
                raise SettingError(
                    f"means of site {site} have shape {found.shape}; give {width} finite numbers"
                )
        return means
    if reference is None:
        raise SettingError('give reference texts to take means over, or how="zero"')
    return neuron_means(model, sites, reference)


def _rows(
    effect: Effect,
    k: int,
    base: np.ndarray,
    weights: np.ndarray,
    differences: Mapping[str, np.ndarray],
    seed: int,
    n_boot: int,
) -> list[dict[str, Any]]:
    """Return the table's rows of one effect and size: for all items, and for each condition."""
    rows = []
    names = list(dict.fromkeys(effect.groups.tolist()))
    groups = [("all", np.ones(len(effect), dtype=bool))]
    if 1 < len(names) <= MOST_GROUPS:
        groups += [(str(name), effect.groups == name) for name in names]
    for group, here in groups:
        w, c, scale = weights[here], effect.clusters[here], effect.scale
        start = scale * float(np.average(base[here], weights=w))
        for kind in KINDS:
            if kind not in differences:
                continue
            d = scale * differences[kind][:, here]
            found = paired_change(d, w, c, n_boot=n_boot, seed=seed)
            row: dict[str, Any] = {
                "effect": effect.name,
                "group": group,
                "kind": kind,
                "k": k,
                "base": start,
                "value": start + found.change,
                "change": found.change,
                "low": found.low,
                "high": found.high,
                "sd": found.sd,
                "draws": len(d),
                "beyond": math.nan,
                "beyond_low": math.nan,
                "beyond_high": math.nan,
                "p": math.nan,
            }
            if kind == "top":
                control = scale * differences["random"][:, here]
                beyond = paired_change(d, w, c, minus=control, n_boot=n_boot, seed=seed)
                row |= {
                    "beyond": beyond.change,
                    "beyond_low": beyond.low,
                    "beyond_high": beyond.high,
                    "p": _share(found.change, control @ w / w.sum(), effect.better),
                }
            rows.append(row)
    return rows


def _share(top: float, random: np.ndarray, better: int) -> float:
    """Return (1 + random sets that do at least as much harm) / (1 + random sets).

    Where neither direction is harm, changes of that size in either count. NaN where a change is
    no number, such as of a model that an edit made overflow.
    """
    if math.isnan(top) or np.isnan(random).any():
        return math.nan
    harm, others = (-better * top, -better * random) if better else (abs(top), np.abs(random))
    return float((1 + (others >= harm - 1e-12).sum()) / (1 + len(random)))
