"""Changes of a tree, and questions about it, that several steps share."""

from __future__ import annotations

from tree import NOMINAL, Sentence


def move(s: Sentence, child: int, head: int, deprel: str | None = None) -> None:
    """Reattach a token."""
    s[child].head = head
    if deprel is not None:
        s[child].deprel = deprel


def depth(s: Sentence, i: int) -> int:
    """Count the steps to the root."""
    steps = 0
    while s[i].head and steps <= len(s.tokens):
        i, steps = s[i].head, steps + 1
    return steps


def substitute(s: Sentence, old: int, new: int) -> None:
    """Put ``new``, a dependent of ``old``, in the place of ``old`` and hang ``old`` under it."""
    s[new].head, s[new].deprel = s[old].head, s[old].deprel
    s[old].head = new


def nominal(s: Sentence, i: int) -> bool:
    """Say whether the token is the head of a noun phrase."""
    determiner = s[i].xpos in ("DT", "PDT") and s[i].deprel not in ("det", "predet", "preconj")
    return s[i].upos in NOMINAL or determiner


def infinitive(s: Sentence, i: int) -> bool:
    """Say whether ``to`` comes before the verb."""
    return any(s[c].xpos == "TO" and c < i for c in s.children(i))
