"""The expletive subject ``it`` of an extraposed clause."""

from __future__ import annotations

from edit import infinitive
from tree import Sentence


def expletives(s: Sentence) -> None:
    """``It is easy to …``: the pronoun is expletive and the clause is the subject."""
    for i in s.ids():
        it = s[i]
        if it.form.lower() != "it" or it.deprel not in ("nsubj", "nsubj:outer", "nsubj:pass"):
            continue
        predicate = it.head
        if predicate and s[predicate].lemma == "take":
            time = [c for c in s.children(predicate) if c > predicate and infinitive(s, c)]
            if time and s[time[0]].deprel in ("xcomp", "advcl", "acl"):
                it.deprel, s[time[0]].deprel = "expl", "csubj"
        if not predicate or not s.has(predicate, "cop"):
            continue
        clause = [
            c
            for c in s.children(predicate)
            if c > predicate
            and s[c].deprel in ("xcomp", "ccomp", "acl", "advcl", "csubj")
            and (s.has(c, "mark") or s[c].xpos == "VBG")
            and _extraposed(s, c)
        ]
        if clause and s[predicate].xpos in ("JJ", "JJR", "JJS", "NN", "VBN", "RB"):
            it.deprel = "expl"
            s[clause[0]].deprel = "csubj"


def _extraposed(s: Sentence, clause: int) -> bool:
    mark = s.child(clause, "mark")
    form = s[mark].form.lower() if mark else ""
    return form in ("to", "that", "whether", "for") or (not mark and s[clause].deprel != "advcl")
