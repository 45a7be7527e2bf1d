"""What an effect is: something measured on a model, item by item, with or without edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from nissl.effects._encode import Encoded
from nissl.effects._plan import Plan
from nissl.effects._score import score
from nissl.model import LoadedModel

__all__ = ["Effect", "LogProbEffect", "Prepared"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Effect:
    """Something that a model does, measured item by item.

    ``measure`` is called inside ``with edited(model, …)`` for the edited model, and outside for
    the model as it is; values of one item belong together.

    Attributes
    ----------
    name
        What it is called in tables.
    unit
        Unit of the values, such as ``share right`` or ``nats per subword``.
    groups
        Condition of each item, (items,): what tables tell apart.
    clusters
        Which items are not independent, (items,): bootstraps resample whole clusters.
    scale
        What values are multiplied by in tables and sentences: 100 where a share is said in points.
    better
        1 where larger is better, -1 where smaller is, 0 where neither is.
    """

    name: str
    unit: str
    groups: np.ndarray
    clusters: np.ndarray
    scale: float = 1.0
    better: int = 1

    def __len__(self) -> int:
        return len(self.groups)

    def measure(self, model: LoadedModel) -> np.ndarray:
        """Return the value of each item, float64, (items,).

        An edit's positions are columns of the inputs as they are run: after the start token, and
        without what follows the last token that is predicted. Inputs that begin another one are
        run as a part of it, so count positions from the start.
        """
        raise TypeError(f"{type(self).__name__} must define measure()")

    def weights(self, model: LoadedModel) -> np.ndarray:
        """Return the weight of each item in a mean, (items,): such as its subwords; 1 by default.

        They depend on the model's tokenizer and never on edits.
        """
        return np.ones(len(self))


@dataclass(frozen=True, eq=False)
class Prepared:
    """What is kept of an effect for one model.

    Attributes
    ----------
    plan
        Inputs and targets.
    weights
        (items,).
    margins
        (items, slots) rows of a linear function of slots that the effect rests on, as arrays
        ``item, slot, factor``: what a first-order screen takes the gradient of. None where there
        is none.
    """

    plan: Plan
    weights: np.ndarray
    margins: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def margin(self, slots: np.ndarray) -> np.ndarray:
        """Return the linear function of slots (…, slots) for each item, (…, items)."""
        assert self.margins is not None
        item, slot, factor = self.margins
        flat = slots.reshape(-1, slots.shape[-1])
        n = len(self.weights)
        rows = [np.bincount(item, weights=each[slot] * factor, minlength=n) for each in flat]
        return np.stack(rows).reshape(*slots.shape[:-1], n)


@dataclass(frozen=True, eq=False, kw_only=True)
class LogProbEffect(Effect):
    """An effect that is a function of sums of log-probabilities.

    Attributes
    ----------
    build
        Makes the plan for a model; called once a model.
    values
        ``(slots (…, slots), prepared) -> (…, items)``.
    """

    build: Callable[[LoadedModel], Prepared]
    values: Callable[[np.ndarray, Prepared], np.ndarray]
    _kept: WeakKeyDictionary[Any, Prepared] = field(default_factory=WeakKeyDictionary, repr=False)

    def prepared(self, model: LoadedModel) -> Prepared:
        """Return the plan for a model; made once."""
        if model not in self._kept:
            self._kept[model] = self.build(model)
        return self._kept[model]

    def slots(self, model: LoadedModel) -> np.ndarray:
        """Return the sums of log-probabilities, nats, (slots,)."""
        plan = self.prepared(model).plan
        return plan.total(score(model, plan))

    def measure(self, model: LoadedModel) -> np.ndarray:
        """Return the value of each item, float64, (items,)."""
        return self.values(self.slots(model), self.prepared(model))

    def weights(self, model: LoadedModel) -> np.ndarray:
        """Return the weight of each item, (items,)."""
        return self.prepared(model).weights


def column(values: Sequence[str]) -> np.ndarray:
    """Return texts as an array of objects."""
    found = np.empty(len(values), dtype=object)
    found[:] = list(values)
    return found


def all_of(encoded: Encoded) -> tuple[int, ...]:
    """Return all subwords of a text."""
    return tuple(range(encoded.first, encoded.last))
