"""Values of sites while a model reads texts, batch by batch: nothing is kept here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from nissl.effects._encode import Encoded, encode
from nissl.effects._plan import Plan
from nissl.effects._score import batches_of
from nissl.errors import InputError, ModelError, SettingError, did_you_mean
from nissl.model import LoadedModel, capture, offset, resolve_sites, run
from nissl.model.edit import paused
from nissl.model.values import activation_sites
from nissl.site import Site

__all__ = ["Read", "Values", "encode_texts", "mlp_sites", "read_sites", "text_values"]

Read = Literal["activation", "unit"]
"""What a neuron's value is: the output of the non-linearity, or the unit that is mapped down."""


@dataclass(frozen=True, eq=False)
class Values:
    """One batch.

    Attributes
    ----------
    text
        Which texts, (rows,).
    keep
        Boolean tensor (rows, length): the texts' own subwords, neither special nor padding.
    last
        (rows,) tensor: the column of each text's last own subword.
    sites
        Name of each site → its values (rows, length, width), float32 at least.
    """

    text: np.ndarray
    keep: Any
    last: Any
    sites: Mapping[str, Any]


def mlp_sites(model: LoadedModel, wanted: str | Site | Sequence[str | Site]) -> tuple[Site, ...]:
    """Return sites that are all of MLP units.

    Raises
    ------
    SettingError
        Another kind of site.
    """
    with paused():
        found = resolve_sites(model, wanted)
    for site in found:
        if site.kind != "mlp":
            raise SettingError(
                f"{site.name} is no mlp site; languages share and own MLP units here, such as "
                "mlp or mlp.3"
            )
    return found


def read_sites(model: LoadedModel, sites: Sequence[Site], read: str) -> tuple[Site, ...]:
    """Return where the value is read that says whether a neuron is activated.

    Raises
    ------
    SettingError
        An unknown way.
    """
    if read not in get_args(Read):
        raise SettingError(
            f'read is "activation" or "unit", not "{read}".{did_you_mean(read, get_args(Read))}'
        )
    if read == "unit":
        return tuple(sites)
    with paused():
        return activation_sites(model, sites)


def encode_texts(
    model: LoadedModel, texts: Sequence[str], places: Sequence[str], *, cut: bool = False
) -> list[Encoded]:
    """Tokenize texts as an effect of the model's head does; with ``cut`` long ones are cut.

    Raises
    ------
    InputError
        A text without subwords, or one that is too long.
    """
    found = encode(model, texts, places, causal=model.head == "causal-lm")
    limit = model.max_length
    for i, (text, place) in enumerate(zip(found, places, strict=True)):
        if limit is None or len(text.ids) <= limit:
            continue
        if not cut:
            raise InputError(
                f"has {len(text.ids)} subwords, the model takes {limit}; shorten it", where=place
            )
        stop = min(text.last, limit)
        found[i] = Encoded(text.ids[:limit], text.first, stop, text.spans[:limit], text.words)
    return found


def text_values(
    model: LoadedModel,
    encoded: Sequence[Encoded],
    sites: Sequence[Site],
    where: Sequence[str] | None = None,
) -> Iterator[Values]:
    """Run every text once, unedited, in batches of one length each, and yield what sites have.

    The same site may be wanted under two names, of what is read and of what is mapped down.
    ``where`` are the places of the texts, for errors.

    Raises
    ------
    ModelError
        A value that is not finite: by any threshold it would be that of a neuron that is off.
    """
    import torch

    every = np.arange(len(encoded))
    plan = Plan(tuple(e.ids for e in encoded), every, every * 0, every * 0, every, len(every))
    places = list(dict.fromkeys(sites))
    with torch.inference_mode(), paused(), capture(model, places, stop=True) as seen:
        for batch in batches_of(model, plan, equal=True):
            run(model, batch.ids, batch.mask)
            which = np.empty(len(batch.ids), dtype=np.int64)
            which[batch.row] = batch.target
            first = torch.tensor([encoded[int(i)].first for i in which])
            last = torch.tensor([encoded[int(i)].last for i in which]) - 1
            columns = torch.arange(batch.ids.shape[1])[None]
            keep = (columns >= first[:, None]) & (columns <= last[:, None])
            values: dict[str, Any] = {}
            for site in places:
                shift = offset(site)
                tensor = seen[site.name][:, shift : shift + keep.shape[1]]
                values[site.name] = tensor if tensor.dtype == torch.float64 else tensor.float()
                _check_finite(values[site.name], keep, site, which, where)
            place = next(iter(values.values())).device
            yield Values(which, keep.to(place), last.to(place), values)


def _check_finite(
    values: Any, keep: Any, site: Site, which: np.ndarray, where: Sequence[str] | None
) -> None:
    # A sum is finite unless a value is not, or it overflows: the slow look decides.
    if bool(values.sum().isfinite()):
        return
    bad = (~values.isfinite() & keep.to(values.device)[..., None]).nonzero()
    if not len(bad):
        return
    row, column, neuron = bad[0].tolist()
    raise ModelError(
        f"neuron {site.name}:{neuron} is {values[row, column, neuron].item()} at a subword of this "
        "text; the model's weights are damaged, or too large for its dtype: load it in float32",
        where=None if where is None else where[int(which[row])],
    )
