"""An edit as the user writes it: which neurons, what is done to them, at which tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nissl.errors import SettingError
from nissl.model._edit_neurons import (
    Neurons,
    Target,
    read_captured,
    read_neurons,
    read_pool,
    read_values,
)
from nissl.model._edit_where import Where, read_where

__all__ = ["Edit"]


@dataclass(frozen=True, eq=False)
class Edit:
    """Some neurons, what is done to them, and at which tokens.

    Made by one of the constructors, which all take

    ``neurons``
        Ids such as ``mlp.3:117``, pairs (site, units) of a :class:`~nissl.site.Site` or its name
        and indices, or a sequence of both. Values belong to neurons in the order given.
    ``positions``
        Columns of the input, from 0; negative ones count back from each row's last real token
        where the pass is given an attention mask of the input's shape by name, else from its last
        column. Padding on the left counts, and so does a decoder's start token.
    ``mask``
        Booleans, batch × length of the input.
    ``sentences``
        Rows of the batch.

    A token is edited that all of those given allow. They speak of the prompt: tokens that
    ``generate`` adds, or that are added to a cache, are edited only where nothing is restricted,
    or by ``sentences`` alone.
    """

    how: str
    targets: tuple[Target, ...]
    where: Where
    values: Any = None
    high: Any = None
    seed: int = 0

    def __len__(self) -> int:
        return sum(target.units.size for target in self.targets)

    def __repr__(self) -> str:
        names = ", ".join(target.name for target in self.targets)
        return f"Edit({self.how}, {len(self)} neurons of {names or 'no site'})"

    @property
    def idle(self) -> bool:
        """Whether it changes nothing: no neuron, no token, a scale of 1, a vector of 0."""
        if not len(self) or self.where.nowhere:
            return True
        same = {"scale": 1.0, "translate": 0.0}
        return self.how in same and bool((self.values == same[self.how]).all())

    @classmethod
    def zero(
        cls, neurons: Neurons, *, positions: Any = None, mask: Any = None, sentences: Any = None
    ) -> Edit:
        """Set neurons to 0."""
        return cls.set(neurons, 0.0, positions=positions, mask=mask, sentences=sentences)

    @classmethod
    def set(
        cls,
        neurons: Neurons,
        values: Any,
        *,
        positions: Any = None,
        mask: Any = None,
        sentences: Any = None,
    ) -> Edit:
        """Set neurons to one value, to one each, or to one a position and neuron (length, n)."""
        targets = read_neurons(neurons)
        found = read_values(values, _count(targets), "values")
        return cls("set", targets, read_where(positions, mask, sentences), found)

    @classmethod
    def mean(
        cls,
        neurons: Neurons,
        means: Any,
        *,
        positions: Any = None,
        mask: Any = None,
        sentences: Any = None,
    ) -> Edit:
        """Set neurons to their means: of a corpus (n,), or of every position (length, n)."""
        return cls.set(neurons, means, positions=positions, mask=mask, sentences=sentences)

    @classmethod
    def clamp(
        cls,
        neurons: Neurons,
        *,
        low: Any = None,
        high: Any = None,
        positions: Any = None,
        mask: Any = None,
        sentences: Any = None,
    ) -> Edit:
        """Keep neurons at or above ``low`` and at or below ``high``, one bound or one each.

        Raises
        ------
        SettingError
            No bound is given, or a lower one is above the upper one.
        """
        import torch

        if low is None and high is None:
            raise SettingError("clamp wants low, high or both; set gives neurons a value")
        targets = read_neurons(neurons)
        count = _count(targets)
        ends = []
        for given, name, free in ((low, "low", -torch.inf), (high, "high", torch.inf)):
            if given is None:
                ends.append(torch.full((count,), free))
                continue
            found = read_values(given, count, name)
            if found.dim() != 1:
                raise SettingError(f"{name} is one number, or one a neuron")
            ends.append(found)
        if bool((ends[0] > ends[1]).any()):
            raise SettingError("a lower bound is above the upper one")
        return cls("clamp", targets, read_where(positions, mask, sentences), *ends)

    @classmethod
    def scale(
        cls,
        neurons: Neurons,
        alpha: Any,
        *,
        positions: Any = None,
        mask: Any = None,
        sentences: Any = None,
    ) -> Edit:
        """Multiply neurons by α, one number or one each."""
        targets = read_neurons(neurons)
        found = read_values(alpha, _count(targets), "alpha")
        if found.dim() != 1:
            raise SettingError("alpha is one number, or one a neuron")
        return cls("scale", targets, read_where(positions, mask, sentences), found)

    @classmethod
    def translate(
        cls,
        neurons: Neurons,
        vector: Any,
        beta: float = 1.0,
        *,
        positions: Any = None,
        mask: Any = None,
        sentences: Any = None,
    ) -> Edit:
        """Add β times a vector (n,), such as a difference of class means.

        Antverg and Belinkov (2022), "On the Pitfalls of Analyzing Individual Neurons in Language
        Models", section 5.
        """
        targets = read_neurons(neurons)
        found = read_values(vector, _count(targets), "the vector's values")
        if found.dim() != 1:
            raise SettingError("the vector has one value a neuron")
        step = found * float(read_values(beta, 1, "beta")[0])
        return cls("translate", targets, read_where(positions, mask, sentences), step)

    @classmethod
    def resample(
        cls,
        neurons: Neurons,
        pool: Any,
        *,
        seed: int = 0,
        positions: Any = None,
        mask: Any = None,
        sentences: Any = None,
    ) -> Edit:
        """Give every token the neurons of a row drawn from a pool (rows, n).

        All neurons of the edit come from one row. The draw depends on seed, row of the batch and
        column alone: passes repeat it, so give each batch a seed of its own.
        """
        targets = read_neurons(neurons)
        found = read_pool(pool, _count(targets))
        where = read_where(positions, mask, sentences)
        return cls("resample", targets, where, found, seed=int(seed))

    @classmethod
    def patch(
        cls,
        neurons: Neurons,
        captured: Mapping[str, Any],
        *,
        positions: Any = None,
        mask: Any = None,
        sentences: Any = None,
    ) -> Edit:
        """Give neurons the values that they had in another input, position by position.

        Parameters
        ----------
        captured
            Site name → (1 or batch, length, width), as :func:`~nissl.model.capture` gives it.
        """
        targets = read_neurons(neurons)
        found = read_captured(targets, captured)
        return cls("set", targets, read_where(positions, mask, sentences), found)


def _count(targets: tuple[Target, ...]) -> int:
    return sum(target.units.size for target in targets)
