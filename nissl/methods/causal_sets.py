"""Sets of neurons to act on, the random sets that stand beside them, and the neurons' means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from nissl.effects._encode import Texts, encode, texts_of
from nissl.effects._plan import Plan
from nissl.effects._score import batches_of
from nissl.errors import SettingError
from nissl.methods.rank import Ranking
from nissl.model import LoadedModel, capture, offset, run
from nissl.model.edit import Edit, paused, site_of
from nissl.site import format_neuron, parse_neuron

__all__ = ["How", "ablation_edit", "neuron_means", "order_of", "random_like"]

How = Literal["mean", "zero"]


def order_of(ranking: Ranking | Sequence[str]) -> list[str]:
    """Return ids of neurons, best first, of a ranking or of a list of ids.

    Raises
    ------
    SettingError
        No neuron, one that is there twice, or something that is no id.
    """
    ids = ranking.ids(len(ranking.order)) if isinstance(ranking, Ranking) else list(ranking)
    if not ids:
        raise SettingError("there is no neuron to act on; give a ranking or ids like mlp.3:117")
    for name, count in Counter(ids).items():
        parse_neuron(name)
        if count > 1:
            raise SettingError(f"neuron {name} is named twice")
    return ids


def random_like(
    model: LoadedModel, neurons: Sequence[str], draws: int, *, seed: int = 0
) -> Iterator[list[str]]:
    """Yield random sets with as many neurons of each site as ``neurons`` has.

    They are drawn from the site's other neurons; where too few are left, from all of them.
    """
    chosen: dict[str, list[int]] = {}
    for name in neurons:
        site, unit = parse_neuron(name)
        chosen.setdefault(site, []).append(unit)
    pools: dict[str, np.ndarray] = {}
    for site, units in chosen.items():
        every = np.arange(site_of(model, site).width)
        others = np.setdiff1d(every, units)
        pools[site] = others if len(others) >= len(units) else every
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw, len(neurons)])
        yield [
            format_neuron(site, int(unit))
            for site, units in chosen.items()
            for unit in np.sort(rng.permutation(pools[site])[: len(units)])
        ]


def neuron_means(
    model: LoadedModel, sites: Sequence[str], reference: Texts
) -> dict[str, np.ndarray]:
    """Return the mean of every neuron of sites over the subwords of texts, (width,) each.

    Special tokens are left out: their values are often far from those of words. The texts go
    through the model batch by batch, and nothing but sums is kept.

    Raises
    ------
    InputError
        There is no text.
    """
    import torch

    texts, places = texts_of(reference)
    found = [site_of(model, name) for name in sites]
    encoded = encode(model, texts, places, causal=model.head == "causal-lm")
    limit = model.max_length
    rows = tuple(e.ids[: min(len(e.ids), limit or len(e.ids))] for e in encoded)
    every = np.arange(len(rows))
    plan = Plan(rows, every, every * 0, every * 0, every, len(rows))
    sums = {site.name: np.zeros(site.width) for site in found}
    count = 0
    with torch.inference_mode(), paused(), capture(model, found, stop=True) as seen:
        for batch in batches_of(model, plan, equal=True):
            run(model, batch.ids, batch.mask)
            keep = torch.zeros(batch.ids.shape, dtype=torch.bool)
            for target, row in zip(batch.target, batch.row, strict=True):
                text = encoded[int(target)]
                keep[int(row), text.first : min(text.last, len(rows[int(target)]))] = True
            count += int(keep.sum())
            for site in found:
                values = seen[site.name]
                shift = offset(site)
                here = values[:, shift : shift + keep.shape[1]][keep.to(values.device)]
                sums[site.name] += here.double().sum(dim=0).cpu().numpy()
    return {name: total / max(count, 1) for name, total in sums.items()}


def ablation_edit(neurons: Sequence[str], means: Mapping[str, np.ndarray] | None) -> Edit:
    """Return the edit that sets neurons to 0, or to their means."""
    if means is None:
        return Edit.zero(list(neurons))
    parsed: list[tuple[str, int]] = [parse_neuron(name) for name in neurons]
    values: Any = np.array([means[site][unit] for site, unit in parsed], dtype=np.float64)
    return Edit.mean(list(neurons), values)
