"""Sets of neurons to act on, the random sets that stand beside them, and the neurons' means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from nissl.effects._encode import Encoded, Texts, encode, texts_of
from nissl.effects._plan import Plan
from nissl.effects._score import batches_of
from nissl.errors import InputError, SettingError
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
    through the model batch by batch, and nothing but sums is kept. A text longer than the model
    takes goes in windows that overlap by half, each subword counted in the first that holds it.

    Raises
    ------
    InputError
        There is no text, or the model takes too few subwords for a window.
    """
    import torch

    texts, places = texts_of(reference)
    found = [site_of(model, name) for name in sites]
    encoded = encode(model, texts, places, causal=model.head == "causal-lm")
    windows = [w for text in encoded for w in _windows(text, model.max_length)]
    every = np.arange(len(windows))
    plan = Plan(
        tuple(ids for ids, _, _ in windows), every, every * 0, every * 0, every, len(windows)
    )
    sums = {site.name: np.zeros(site.width) for site in found}
    count = 0
    with torch.inference_mode(), paused(), capture(model, found, stop=True) as seen:
        for batch in batches_of(model, plan, equal=True):
            run(model, batch.ids, batch.mask)
            keep = torch.zeros(batch.ids.shape, dtype=torch.bool)
            for target, row in zip(batch.target, batch.row, strict=True):
                _, first, last = windows[int(target)]
                keep[int(row), first:last] = True
            count += int(keep.sum())
            for site in found:
                values = seen[site.name]
                shift = offset(site)
                here = values[:, shift : shift + keep.shape[1]][keep.to(values.device)]
                sums[site.name] += here.double().sum(dim=0).cpu().numpy()
    return {name: total / max(count, 1) for name, total in sums.items()}


def _windows(text: Encoded, limit: int | None) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Yield inputs that a text is cut into, and from where to where their subwords count.

    Raises
    ------
    InputError
        The model takes too few subwords for a window.
    """
    if limit is None or len(text.ids) <= limit:
        yield text.ids, text.first, text.last
        return
    lead, tail = text.ids[: text.first], text.ids[text.last :]
    room = limit - len(lead) - len(tail)
    if room < 1:
        raise InputError(f"the model takes {limit} subwords, too few for a window over a text")
    begin = done = text.first
    while done < text.last:
        end = min(begin + room, text.last)
        ids = (*lead, *text.ids[begin:end], *tail)
        yield ids, len(lead) + done - begin, len(lead) + end - begin
        done, begin = end, end - room // 2


def ablation_edit(neurons: Sequence[str], means: Mapping[str, np.ndarray] | None) -> Edit:
    """Return the edit that sets neurons to 0, or to their means."""
    if means is None:
        return Edit.zero(list(neurons))
    parsed: list[tuple[str, int]] = [parse_neuron(name) for name in neurons]
    values: Any = np.array([means[site][unit] for site, unit in parsed], dtype=np.float64)
    return Edit.mean(list(neurons), values)
