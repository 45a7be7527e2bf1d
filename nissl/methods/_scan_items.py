"""Whether what tests the neurons that a scan chose is what chose them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nissl.effects import LogProbEffect
from nissl.model import LoadedModel

__all__ = ["same_items"]

MOST_SHARED = 0.1
"""Share of a test's texts that may be among those that chose: some files repeat a sentence."""


def same_items(model: LoadedModel, effect: LogProbEffect, tests: Sequence[Any]) -> bool:
    """Whether the sets are tested on the items that chose them.

    So it is where the effect itself is among the tests, or where more than ``MOST_SHARED`` of the
    first test's texts are the effect's.
    """
    if any(test is effect for test in tests):
        return True
    if not isinstance(tests[0], LogProbEffect):
        return False
    mine, other = (_texts_of(model, each) for each in (effect, tests[0]))
    return len(mine & other) > MOST_SHARED * len(other)


def _texts_of(model: LoadedModel, effect: LogProbEffect) -> set[tuple[int, ...]]:
    """Return the subwords of the texts that an effect scores, each up to its last one scored."""
    plan = effect.prepared(model).plan
    left = model.head == "causal-lm"
    last = {}
    for i in np.argsort(plan.position, kind="stable").tolist():
        last[int(plan.slot[i])] = i
    found = set()
    for i in last.values():
        row, at = plan.rows[int(plan.row[i])], int(plan.position[i])
        # A causal model reads a token after its position; a masked one had it hidden there.
        lead = row[: at + 1] if left else row[:at]
        found.add((*lead, int(plan.token[i]), *(() if left else row[at + 1 :])))
    return found
