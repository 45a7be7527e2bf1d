"""Free relative clauses."""

from __future__ import annotations

from edit import move
from tree import Sentence, word_set
from verbs import INTERROGATIVE

PREPOSITIONS = word_set("of for in on with by about to from at against than")


def free_relatives(s: Sentence) -> None:
    """``what I liked was …``: the wh-word heads the phrase and the clause modifies it."""
    for i in s.ids():
        wh = s[i]
        if wh.xpos != "WP" or wh.form.lower() not in ("what", "whatever", "whoever"):
            continue
        clause = wh.head
        if not clause or s[clause].upos == "PUNCT" or wh.deprel == "det":
            continue
        deprel, governor = s[clause].deprel, s[clause].head
        nested = s.has(clause, "case") or (deprel == "advcl" and _preposition(s, clause))
        subject = deprel in ("csubj", "csubj:pass", "csubj:outer")
        verb_object = (
            deprel == "ccomp"
            and governor
            and s[governor].lemma not in INTERROGATIVE
            and s[governor].upos in ("VERB", "AUX")
        )
        if not (nested or subject or verb_object) or (i > clause and not s.has(clause, "cop")):
            continue
        relation = "obj" if verb_object else "obl" if nested else deprel.replace("csubj", "nsubj")
        if relation == "nsubj:outer":
            relation = "nsubj" if not s.has(governor, "nsubj") else relation
        move(s, i, governor, relation)
        move(s, clause, i, "acl:relcl")
        for child in s.children(clause):
            if s[child].deprel in ("mark", "case") and child < i:
                move(s, child, i, "case")


def _preposition(s: Sentence, clause: int) -> bool:
    return any(
        s[c].deprel == "mark" and s[c].xpos == "IN" and s[c].form.lower() in PREPOSITIONS
        for c in s.children(clause)
    )
