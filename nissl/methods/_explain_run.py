"""All blocks of an explanation: what they share, their order, and how they end early."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from nissl.errors import InputError, SettingError, did_you_mean
from nissl.kernels.exhaustive import exhaustive_cost
from nissl.kernels.formula_tests import shuffled_search
from nissl.kernels.formulas import pack
from nissl.kernels.unit_masks import unit_masks
from nissl.methods._explain_block import Material, explain_block, search_of, thresholds_of
from nissl.methods._explain_pieces import Pieces
from nissl.methods._explain_settings import ExplainSettings, divide
from nissl.methods.concepts import Concepts
from nissl.progress import bar, say

if TYPE_CHECKING:
    from nissl.store import Activations

__all__ = ["BLOCK", "Run", "chosen", "no_noise", "prepare"]

BLOCK = 64
"""Neurons whose activations are held at a time."""
AUTO_WORK = 10_000_000_000
"""An exhaustive search of so many steps (some ten seconds) is made without being asked for. Steps
are counted rather than timed, so that the choice is the same on every machine."""
UNREACHED = "neurons that the stopped search did not reach"
UNSEARCHED = "neurons whose shifted masks the stopped search did not reach"


def prepare(
    acts: Activations, concepts: Concepts, settings: ExplainSettings, units: int
) -> Material:
    """Divide the sentences and pack the concepts of both sides; say what the search will cost.

    Raises
    ------
    InputError
        The concepts are of other tokens.
    """
    if concepts.n_tokens != acts.n_tokens:
        raise InputError(
            f"the concepts are of {concepts.n_tokens:,} tokens, the store has {acts.n_tokens:,}"
        )
    train, held = divide(acts.tokens, settings.held_out, settings.seed)
    on_train = pack(concepts.masks(train))
    exhaustive = settings.exhaustive == "always"
    if settings.length <= 3 and settings.exhaustive != "never":
        masks = units * settings.masks_of_a_unit()
        cost = exhaustive_cost(len(concepts), len(train), masks, settings.length, concepts=on_train)
        exhaustive = exhaustive or cost.word_operations + cost.formulas <= AUTO_WORK
        if exhaustive:
            say(f"every formula is tried: {cost}")
    elif exhaustive:
        raise SettingError(
            f"every formula is tried up to length 3, not {settings.length}; use the beam search "
            '(exhaustive="never")'
        )
    return Material(
        settings=settings,
        exhaustive=exhaustive,
        train=train,
        held=held,
        concepts_train=on_train,
        concepts_held=pack(concepts.masks(held)),
        sentence_held=acts.tokens["sentence"].to_numpy()[held],
        names=list(concepts.names),
    )


class Run:
    """Blocks of neurons, one after the other, until the end, the time limit, or Ctrl-C."""

    def __init__(
        self,
        acts: Activations,
        table: pl.DataFrame,
        material: Material,
        pieces: Pieces,
        time_limit: float | None,
    ) -> None:
        self.acts, self.table, self.material, self.pieces = acts, table, material, pieces
        self.stop = None if time_limit is None else time.monotonic() + time_limit
        self.done: list[pl.DataFrame] = []
        self.left_out: dict[str, int] = {}
        self.complete = False

    def blocks(self) -> None:
        starts = range(0, self.table.height, BLOCK)
        reached = 0
        with bar(self.table.height, "explaining", unit="neurons") as advance:
            try:
                for number, start in enumerate(starts):
                    stopped = self._one(number, start)
                    size = min(BLOCK, self.table.height - start)
                    reached += size
                    advance(size)
                    if stopped:
                        break
                else:
                    self.complete = True
            except KeyboardInterrupt:
                pass
        if reached < self.table.height:
            self._leave({UNREACHED: self.table.height - reached})

    def _one(self, number: int, start: int) -> bool:
        """Explain a block, or read it where an earlier run has; return whether to stop."""
        kept = self.pieces.read(number)
        if kept is not None:
            rows, left_out = kept
            self.done.append(rows)
            self._leave(left_out)
            return False
        left = None if self.stop is None else self.stop - time.monotonic()
        if left is not None and left <= 0:
            raise KeyboardInterrupt
        neurons = self.table.slice(start, BLOCK)
        X = self.acts.matrix(neurons=neurons["neuron"].to_list())
        block = explain_block(X, neurons, self.material, time_limit=left)
        self.done.append(block.rows)
        self._leave(block.left_out)
        if not block.stopped:
            self.pieces.add(number, block.rows, block.left_out)
        return block.stopped

    def _leave(self, more: dict[str, int]) -> None:
        for why, count in more.items():
            self.left_out[why] = self.left_out.get(why, 0) + count

    def noise(self, units: int) -> pl.DataFrame:
        """Search masks of some neurons, drawn by the seed, moved round by whole sentences.

        Time limit and Ctrl-C end this search too: neurons that it did not come to are counted.
        """
        try:
            found, missed = self._noise(units)
        except KeyboardInterrupt:
            found, missed = no_noise(), min(units, self.table.height)
        if missed:
            self.complete = False
            self._leave({UNSEARCHED: missed})
        return found

    def _noise(self, units: int) -> tuple[pl.DataFrame, int]:
        """Return what the search in noise found, and how many neurons it did not come to."""
        material = self.material
        seed = material.settings.seed
        some = np.sort(np.random.default_rng(seed).permutation(self.table.height)[:units])
        if not len(some):
            return no_noise(), 0
        names = self.table["neuron"].gather(some).to_list()
        X = self.acts.matrix(neurons=names, rows=material.train)
        bounds = thresholds_of(X, material.settings)
        if not len(bounds):
            return no_noise(), 0
        left = None if self.stop is None else self.stop - time.monotonic()
        if left is not None and left <= 0:
            return no_noise(), len(np.unique(bounds.unit))
        search, how = search_of(material)
        sentence = self.acts.tokens["sentence"].to_numpy()[material.train]
        found = shuffled_search(
            material.concepts_train,
            unit_masks(X, bounds),
            sentence,
            seed=seed,
            search=search,
            time_limit=left,
            interruptible=True,
            **how,
        )
        table = pl.DataFrame(
            {
                "neuron": [names[u] for u in bounds.unit.tolist()],
                "side": list(bounds.side),
                "score": np.nan_to_num(found.scores),
            }
        )
        # What a stopped search reached in noise is less than the search reaches.
        reached = ~np.isin(bounds.unit, bounds.unit[found.partial])
        return table.filter(reached), len(np.unique(bounds.unit[~reached]))


def no_noise() -> pl.DataFrame:
    return pl.DataFrame(schema={"neuron": pl.String, "side": pl.String, "score": pl.Float64})


def chosen(
    acts: Activations, sites: Sequence[str] | None, neurons: Sequence[str] | None
) -> pl.DataFrame:
    """Return the rows of the neurons asked for, in the store's order."""
    table = acts.neurons
    if sites is not None and neurons is not None:
        raise SettingError("give sites or neurons to explain, not both")
    for what, asked, column in (("site", sites, "site"), ("neuron", neurons, "neuron")):
        if asked is None:
            continue
        if isinstance(asked, str):
            raise SettingError(
                f'{what}s are a list of names, not the one name "{asked}"; put it in []'
            )
        known = table[column].unique(maintain_order=True).to_list()
        there = set(known)
        strange = next((name for name in asked if name not in there), None)
        if strange is not None:
            raise SettingError(
                f'no {what} "{strange}" in this store; {what}s run from {known[0]} to '
                f"{known[-1]}.{did_you_mean(strange, known[:5000])}"
            )
        table = table.filter(pl.col(column).is_in(list(asked)))
    if not table.height:
        raise SettingError("there is no neuron to explain; name one or more")
    return table
