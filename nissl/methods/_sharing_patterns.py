"""Which neurons each parallel input activates, in one bit each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from nissl.effects._encode import Encoded, Texts, texts_of
from nissl.effects.parallel_inputs import ParallelInputs
from nissl.errors import SettingError, did_you_mean
from nissl.kernels.sharing import null_thresholds, sharing_classes
from nissl.methods._text_values import Read, encode_texts, mlp_sites, read_sites, text_values
from nissl.model import LoadedModel
from nissl.site import Site

__all__ = ["Patterns", "Position", "Rule", "find_patterns", "pooled"]

Position = Literal["last", "any", "mean"]
"""Active at the input's last subword; at any of them; or by the mean over them."""


@dataclass(frozen=True)
class Rule:
    """When a neuron counts as activated by an input.

    Attributes
    ----------
    threshold
        Its value must be above this; not used with a null.
    position
        At which subwords of the input: see :data:`Position`.
    read
        ``activation``: the output of the non-linearity, of a gated MLP act(gate); ``unit``: what
        is mapped down, of a gated MLP act(gate) × up. The same where nothing is gated.
    null_quantile
        Above this quantile of the neuron's own values at single subwords of unrelated text;
        None: above ``threshold``.
    """

    threshold: float = 0.0
    position: Position = "last"
    read: Read = "activation"
    null_quantile: float | None = None

    def said(self) -> str:
        """Return the rule in words."""
        where = {
            "last": "at the input's last subword",
            "any": "at any subword of the input",
            "mean": "on the mean over the input's subwords",
        }[self.position]
        what = "the non-linearity's output" if self.read == "activation" else "the unit's value"
        above = f"above {self.threshold:g}"
        if self.null_quantile is not None:
            percent = f"{100 * self.null_quantile:.10g}%"
            above = f"above the {percent} quantile of its values on unrelated text"
        return f"A neuron counts as activated if {what} is {above} {where}."


@dataclass(frozen=True, eq=False)
class Patterns:
    """Patterns of all inputs, a bit a neuron; neurons of all sites side by side.

    Attributes
    ----------
    sites, reads
        The MLP units, and where they were read.
    bounds
        (sites + 1,): neurons of site s are ``bounds[s]`` up to ``bounds[s + 1]``.
    bits
        (inputs, ⌈d / 8⌉), in the order of the inputs.
    languages
        How many; inputs of one group follow each other.
    """

    sites: tuple[Site, ...]
    reads: tuple[Site, ...]
    bounds: np.ndarray
    bits: np.ndarray
    languages: int

    @property
    def groups(self) -> int:
        """Number of groups of parallel inputs."""
        return len(self.bits) // self.languages

    def active(self, group: int) -> np.ndarray:
        """Return which neurons each language's input activates, (languages, d)."""
        rows = self.bits[group * self.languages : (group + 1) * self.languages]
        return np.unpackbits(rows, axis=1, count=int(self.bounds[-1])).astype(bool)

    def classes(self, group: int) -> np.ndarray:
        """Return the class of every neuron over a group, (d,); see ``sharing_classes``."""
        return sharing_classes(self.active(group))


def find_patterns(
    model: LoadedModel,
    parallel: ParallelInputs,
    sites: str | Site | Sequence[str | Site],
    rule: Rule,
    null: Texts | None,
    *,
    null_tokens: int = 1024,
    seed: int = 0,
) -> tuple[Patterns, list[Encoded]]:
    """Run every input once and note which neurons it activates; return the inputs' subwords too.

    Raises
    ------
    SettingError
        An unknown position, a null without text or text without a null.
    """
    if rule.position not in get_args(Position):
        raise SettingError(
            f'position is "last", "any" or "mean", not "{rule.position}".'
            f"{did_you_mean(rule.position, get_args(Position))}"
        )
    if (rule.null_quantile is None) != (null is None):
        raise SettingError("a threshold relative to a null needs null_quantile and null texts")
    found = mlp_sites(model, sites)
    reads = read_sites(model, found, rule.read)
    bounds = np.concatenate([[0], np.cumsum([site.width for site in found])])
    limits = np.full(int(bounds[-1]), rule.threshold, dtype=np.float32)
    if null is not None and rule.null_quantile is not None:
        limits = _null(model, null, reads, rule.null_quantile, null_tokens, seed)
    encoded = encode_texts(model, parallel.input, parallel.place)
    bits = np.zeros((len(encoded), (int(bounds[-1]) + 7) // 8), dtype=np.uint8)
    for batch in text_values(model, encoded, reads, parallel.place):
        rows = [pooled(batch.sites[site.name], batch, rule.position) for site in reads]
        flat = np.concatenate([row.cpu().numpy() for row in rows], axis=1)
        bits[batch.text] = np.packbits(flat > limits, axis=1)
    return Patterns(found, reads, bounds, bits, len(parallel.languages)), encoded


def pooled(values: Any, batch: Any, position: str) -> Any:
    """Return one value a row and neuron, (rows, width), by a position rule."""
    import torch

    if position == "last":
        return values[torch.arange(len(values), device=values.device), batch.last]
    keep = batch.keep[..., None]
    if position == "any":
        return values.masked_fill(~keep, -torch.inf).amax(dim=1)
    return (values * keep).sum(dim=1) / keep.sum(dim=1)


def _null(
    model: LoadedModel,
    null: Texts,
    reads: Sequence[Site],
    quantile: float,
    most: int,
    seed: int,
) -> np.ndarray:
    """Return each neuron's threshold, (d,), from at most so many subwords drawn by the seed."""
    texts, places = texts_of(null, "null")
    encoded = encode_texts(model, texts, places, cut=True)
    counts = np.array([text.last - text.first for text in encoded])
    chosen = np.zeros(int(counts.sum()), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(len(chosen))[:most]] = True
    starts = np.concatenate([[0], np.cumsum(counts)])
    parts: list[list[np.ndarray]] = [[] for _ in reads]
    for batch in text_values(model, encoded, reads, places):
        # Subwords of a batch in its own order; the draw is by text, so that batches do not matter.
        drawn = np.concatenate([chosen[starts[i] : starts[i + 1]] for i in batch.text])
        for s, site in enumerate(reads):
            parts[s].append(batch.sites[site.name][batch.keep].cpu().numpy()[drawn])
    return np.concatenate([null_thresholds(np.concatenate(each), quantile) for each in parts])
