"""Coordination: conjuncts hang from the first one, conjunctions from the next."""

from __future__ import annotations

from tree import Sentence


def flatten(s: Sentence) -> None:
    """Attach every conjunct to the first one."""
    for i in s.ids():
        while s[i].deprel == "conj" and s[i].head and s[s[i].head].deprel == "conj":
            s[i].head = s[s[i].head].head


def coordination(s: Sentence) -> None:
    """Attach a conjunction to the conjunct that follows it."""
    for i in s.ids():
        if s[i].deprel != "cc" or not s[i].head:
            continue
        head = s[i].head
        first = s[head].head if s[head].deprel == "conj" else head
        later = [c for c in s.children(first) if s[c].deprel == "conj" and c > i]
        if later:
            s[i].head = later[0]
        elif head < i:
            rest = [c for c in s.children(head) if c > i and s[c].upos != "PUNCT"]
            if rest:
                s[i].head = rest[0]
