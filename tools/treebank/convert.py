"""From spaCy's ClearNLP tree to a Universal Dependencies tree.

Each step rewrites heads and relations in place. Until :func:`labels.translate`, ``deprel`` holds
ClearNLP labels, mixed with UD labels already decided.
"""

from __future__ import annotations

import clauses
import coordination
import copulas
import expletives
import free_relatives
import labels
import multiword
import names
import prepositions
import quantities
import settle
from tree import Sentence

# The order matters: each step relies on the shapes and labels that the ones before it leave.
STEPS = (
    coordination.flatten,
    clauses.subordinators,
    prepositions.raise_objects,
    clauses.small_clauses,
    copulas.copulas,
    labels.translate,
    labels.neighbours,
    prepositions.stranded,
    quantities.quantities,
    names.names,
    expletives.expletives,
    free_relatives.free_relatives,
    coordination.coordination,
    multiword.multiword,
    multiword.at_least,
    settle.settle,
)


def convert(s: Sentence) -> None:
    """Turn the ClearNLP tree of ``s`` into a UD tree, in place."""
    for step in STEPS:
        step(s)
