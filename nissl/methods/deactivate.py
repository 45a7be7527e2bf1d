"""Switch off each class of neurons that parallel inputs share, and count the right answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from nissl.effects._encode import Texts
from nissl.effects.answer_effects import AnswerAccuracy, answer_accuracy
from nissl.effects.parallel_inputs import ParallelInputs
from nissl.errors import SettingError, did_you_mean
from nissl.kernels.sharing import CLASSES
from nissl.methods._paired import paired_change
from nissl.methods._sharing_patterns import Patterns, Position, Rule, find_patterns
from nissl.methods._sharing_tables import tally
from nissl.methods._text_values import Read
from nissl.methods.deactivation import EVERY, Deactivation
from nissl.model import LoadedModel
from nissl.model.silence import Silencer, silenced
from nissl.progress import bar
from nissl.results import Provenance
from nissl.site import Site

__all__ = ["deactivate"]

Scope = Literal["input", "corpus"]
Tokens = Literal["all", "answer"]
Pool = Literal["layer", "active"]
Masks = Callable[[int], np.ndarray]
"""Group of parallel inputs → which neurons are off, (d,) booleans."""

SCOPES = {
    "input": "each input's own classes",
    "corpus": "classes that hold over the corpus",
}
POOLS = {
    "layer": "from all neurons",
    "active": "from neurons that some language activates",
}


def deactivate(
    model: LoadedModel,
    parallel: ParallelInputs,
    *,
    sites: str | Site | Sequence[str | Site] = "mlp",
    threshold: float = 0.0,
    position: Position = "last",
    read: Read = "activation",
    null: Texts | None = None,
    null_quantile: float | None = None,
    null_tokens: int = 1024,
    scope: Scope = "input",
    at_least: float = 0.5,
    tokens: Tokens = "all",
    pool: Pool = "layer",
    draws: int = 20,
    joint: str = " ",
    n_boot: int = 1000,
    seed: int = 0,
) -> Deactivation:
    """Set the neurons of each class to 0 and measure accuracy, beside random sets of equal size.

    Wang et al. (2024), "Sharing Matters", section 5, with the controls that it lacks: for every
    input, as many random neurons of every layer; and every neuron off, without which a task that
    needs no neuron at all looks like one whose classes do not matter. No weight is touched.

    Parameters
    ----------
    model
        With a causal-lm head.
    parallel
        Inputs with answers.
    sites, threshold, position, read, null, null_quantile, null_tokens
        As in :func:`~nissl.methods.sharing.sharing`.
    scope
        ``input``: of every input, in all its languages, the neurons of the class over that input.
        ``corpus``: the neurons that are of the class over ``at_least`` of all inputs.
    tokens
        Where they are off: at all subwords, or from the one on that predicts the answer.
    pool
        Random sets come from all neurons of a layer, those of the class included; or ``active``:
        from those that some language's version of the input activates (all, where these are too
        few), which asks whether a shared neuron matters more than an active one.
    draws
        Random sets of each class.
    joint
        What stands between input and answer.
    n_boot, seed
        Replicates of the paired bootstrap over inputs, and the seed of everything.

    Raises
    ------
    SettingError
        No answers, fewer than 2 draws, an unknown way.
    ModelError
        No causal-lm head, a site that cannot be edited, or a value that is not finite.
    InputError
        An input or answer that cannot be read; with its place.
    """
    for name, value, known in (("scope", scope, Scope), ("tokens", tokens, Tokens)):
        _one_of(name, value, get_args(known))
    _one_of("pool", pool, get_args(Pool))
    if draws < 2:
        raise SettingError("at least 2 random draws are needed; 20 or more give a fair picture")
    if not 0 < at_least <= 1:
        raise SettingError(f"at_least must lie above 0 and not above 1, not {at_least:g}")
    effect = answer_accuracy(parallel, joint=joint)
    rule = Rule(threshold, position, read, null_quantile)
    base = effect.measure(model)
    patterns, _ = find_patterns(
        model, parallel, sites, rule, null, null_tokens=null_tokens, seed=seed
    )
    classes = _classes(patterns, scope, at_least)
    rows: list[dict[str, Any]] = []
    with (
        bar(1 + len(CLASSES) * (1 + draws), "deactivations", unit="sets") as advance,
        silenced(model, patterns.sites) as silencer,
    ):

        def change(masks: Masks) -> np.ndarray:
            before = _before(silencer, patterns, masks, tokens)
            found = effect.measure(model, before) - base
            advance(1)
            return found

        for c, cls in enumerate(CLASSES):
            own = _kept(lambda g, c=c: classes(g) == c)
            d = change(own)[None]
            control = np.stack(
                [change(_random(patterns, own, pool, (seed, draw, c))) for draw in range(draws)]
            )
            size = float(np.mean([own(g).sum() for g in range(patterns.groups)]))
            rows += _rows(effect, parallel, cls, size, base, d, control, n_boot, seed)
        whole = np.ones(int(patterns.bounds[-1]), dtype=bool)
        d = change(lambda g: whole)[None]
        rows += _rows(effect, parallel, EVERY, len(whole), base, d, None, n_boot, seed)
        silencer.off = {}
    return Deactivation(
        provenance=Provenance(
            "deactivation",
            {
                **asdict(rule),
                "scope": scope,
                "at_least": at_least,
                "tokens": tokens,
                "pool": pool,
                "draws": draws,
                "null_tokens": null_tokens,
                "joint": joint,
                "n_boot": n_boot,
                "read_at": [site.name for site in patterns.reads],
                "start": model.start,
            },
            {"model": model.fingerprint},
            seed,
        ),
        model=model.name,
        name=parallel.name,
        languages=parallel.languages,
        rule=rule.said(),
        scope=SCOPES[scope],
        where="at all subwords" if tokens == "all" else "from the answer's prediction on",
        pool=POOLS[pool],
        inputs=patterns.groups,
        sites=tuple(site.name for site in patterns.sites),
        total=int(patterns.bounds[-1]),
        chance=100 * parallel.chance(),
        table=pl.DataFrame(rows, infer_schema_length=None),
    )


def _one_of(name: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        raise SettingError(
            f'{name} is {" or ".join(options)}, not "{value}".{did_you_mean(value, options)}'
        )


def _classes(patterns: Patterns, scope: str, at_least: float) -> Callable[[int], np.ndarray]:
    """Return group → class of each neuron, (d,); -1 where it is of none over the corpus."""
    if scope == "input":
        return patterns.classes
    times = tally(patterns)[2]
    often = times >= at_least * patterns.groups
    fixed = np.where(often.any(axis=1), times.argmax(axis=1), -1)
    return lambda g: fixed


def _kept(make: Masks) -> Masks:
    """Keep masks, in a bit a neuron: a group's versions may be in several batches."""
    kept: dict[int, tuple[np.ndarray, int]] = {}

    def masks(group: int) -> np.ndarray:
        if group not in kept:
            found = make(group)
            kept[group] = (np.packbits(found), len(found))
        bits, size = kept[group]
        return np.unpackbits(bits, count=size).astype(bool)

    return masks


def _random(patterns: Patterns, own: Masks, pool: str, seed: tuple[int, ...]) -> Masks:
    """Return random masks with as many neurons of each site as each group's own."""

    def make(group: int) -> np.ndarray:
        like = own(group)
        chosen = np.zeros_like(like)
        free = np.asarray(patterns.active(group).any(axis=0)) if pool == "active" else None
        drawn = np.random.default_rng([*seed, group]).random(len(like))
        for a, b in zip(patterns.bounds[:-1], patterns.bounds[1:], strict=True):
            count = int(like[a:b].sum())
            if not count:
                continue
            order = drawn[a:b].copy()
            if free is not None and free[a:b].sum() >= count:
                order[~free[a:b]] = 2.0
            chosen[a + np.argpartition(order, count - 1)[:count]] = True
        return chosen

    return _kept(make)


def _before(
    silencer: Silencer, patterns: Patterns, masks: Masks, tokens: str
) -> Callable[[np.ndarray, np.ndarray], None]:
    """Return what is called before each pass: it sets the masks of the rows that come."""
    import torch

    def before(items: np.ndarray, start: np.ndarray) -> None:
        groups = items // patterns.languages
        made = {int(g): masks(int(g)) for g in np.unique(groups)}
        flat = torch.as_tensor(np.stack([made[int(g)] for g in groups]))
        bounds = patterns.bounds
        silencer.off = {
            site.name: flat[:, bounds[s] : bounds[s + 1]] for s, site in enumerate(patterns.sites)
        }
        silencer.start = None if tokens == "all" else torch.as_tensor(start)

    return before


def _rows(
    effect: AnswerAccuracy,
    parallel: ParallelInputs,
    cls: str,
    size: float,
    base: np.ndarray,
    own: np.ndarray,
    control: np.ndarray | None,
    n_boot: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the table's rows of one class: all inputs, each language, each task."""
    language = np.array(parallel.language)
    groups = [("all", np.ones(len(effect), dtype=bool))]
    groups += [(name, language == name) for name in parallel.languages]
    tasks = np.array(parallel.task)[parallel.rows()]
    if len(set(parallel.task)) > 1:
        groups += [(f"task: {name}", tasks == name) for name in dict.fromkeys(parallel.task)]
    rows = []
    for group, here in groups:
        w, c = np.ones(int(here.sum())), effect.clusters[here]
        found = paired_change(100 * own[:, here], w, c, n_boot=n_boot, seed=seed)
        start = 100 * float(base[here].mean())
        row: dict[str, Any] = {
            "group": group,
            "class": cls,
            "neurons": float(size),
            "base": start,
            "value": start + found.change,
            "change": found.change,
            "low": found.low,
            "high": found.high,
        }
        names = ("random", "random_low", "random_high", "sd")
        more = ("beyond", "beyond_low", "beyond_high")
        row |= dict.fromkeys((*names, *more, "p"), math.nan) | {"draws": 0}
        if control is not None:
            others = 100 * control[:, here]
            by_chance = paired_change(others, w, c, n_boot=n_boot, seed=seed)
            beyond = paired_change(100 * own[:, here], w, c, minus=others, n_boot=n_boot, seed=seed)
            means = others.mean(axis=1)
            harm = int((means <= found.change + 1e-9).sum())
            values = (by_chance.change, by_chance.low, by_chance.high, by_chance.sd)
            row |= dict(zip(names, values, strict=True))
            row |= dict(zip(more, (beyond.change, beyond.low, beyond.high), strict=True))
            row |= {"p": (1 + harm) / (1 + len(means)), "draws": len(means)}
        rows.append(row)
    return rows
