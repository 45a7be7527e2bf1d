"""Prepositions: their object is the head in UD."""

from __future__ import annotations

from edit import depth, move, nominal
from tree import Sentence, word_set

PREPOSITIONAL = ("prep", "agent", "dative")
OBJECTS = ("pobj", "pcomp")
QUANTITIES = word_set("many most few several more half each some much less fewer best")


def raise_objects(s: Sentence) -> None:
    """Make the object of a preposition the head and the preposition its case or mark."""
    for p in sorted(s.ids(), key=lambda i: -depth(s, i)):
        if s[p].deprel not in PREPOSITIONAL:
            continue
        complements = [c for c in s.children(p) if s[c].deprel in OBJECTS]
        second = [c for c in s.children(p) if s[c].deprel == "conj"]
        if not complements and second and s.has(second[0], *OBJECTS):
            complements = [c for c in s.children(second[0]) if s[c].deprel in OBJECTS]
        if complements:
            _raise(s, p, complements)


def _raise(s: Sentence, p: int, complements: list[int]) -> None:
    governor, old = s[p].head, s[p].deprel
    first, *others = complements
    verbal = s[first].deprel == "pcomp" and (
        s[first].xpos.startswith("VB") or s.has(first, "nsubj", "aux", "mark")
    )
    after_preposition = governor and s[governor].deprel in PREPOSITIONAL
    s[first].head = governor
    if after_preposition:
        s[first].deprel = "pcomp" if verbal else "pobj"
    elif verbal:
        s[first].deprel = "acl" if governor and nominal(s, governor) else "advcl"
    elif old == "agent" and s[first].feats not in ("DATE", "TIME"):
        s[first].deprel = "obl:agent"
    else:
        noun = governor and (
            nominal(s, governor)
            or (s[p].form.lower() == "of" and s[governor].form.lower() in QUANTITIES)
        )
        s[first].deprel = "nmod" if noun else "obl"
    move(s, p, first, "mark" if verbal else "case")
    for other in others:
        relation = "nmod" if governor and nominal(s, governor) else "obl"
        move(s, other, governor or first, relation)
    for child in s.children(p):
        # "from May to June": spaCy hangs the second phrase under the first preposition.
        if s[child].deprel in ("obl", "nmod", "obl:agent") and governor:
            move(s, child, governor)
        elif s[child].deprel not in ("cc", "conj") or s[child].xpos not in ("IN", "TO", "CC"):
            s[child].head = first


def stranded(s: Sentence) -> None:
    """``whom they talked to``: give a stranded preposition its relative pronoun back."""
    for i in s.ids():
        t = s[i]
        if t.deprel != "obl" or t.xpos != "IN" or not t.head or s.has(i, "case"):
            continue
        wh = [c for c in s.children(t.head) if s[c].xpos in ("WP", "WDT", "WP$") and c < t.head]
        wh = [c for c in wh if s[c].deprel in ("obj", "dep", "obl", "advmod", "xcomp")]
        if wh:
            s[wh[0]].deprel = "obl"
            move(s, i, wh[0], "case")
