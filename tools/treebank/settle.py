"""The last repairs: a well-formed tree, and relations that agree with the tags."""

from __future__ import annotations

from edit import move, nominal
from tree import Sentence, word_set

FUNCTION = word_set("aux cop mark case cc")
OWN = word_set("conj cc fixed obl:unmarked")


def settle(s: Sentence) -> None:
    """Leave one root, no cycle and no label that UD lacks."""
    for i in s.ids():
        seen = {i}
        node = s[i].head
        while node and node not in seen:
            seen.add(node)
            node = s[node].head
        if node:
            s[i].head = 0
    for i in s.ids():
        # Function words have no dependents of their own.
        while (
            s[i].head
            and s[i].deprel not in OWN
            and s[s[i].head].deprel.split(":")[0] in FUNCTION
            and s[s[i].head].head
        ):
            s[i].head = s[s[i].head].head
    roots = [i for i in s.ids() if s[i].head == 0]
    main = next((i for i in roots if s[i].upos != "PUNCT"), roots[0])
    for i in roots:
        if i != main:
            move(s, i, main, "punct" if s[i].upos == "PUNCT" else "parataxis")
    s[main].deprel = "root"
    for i in s.ids():
        if s[i].deprel == "root" and i != main:
            s[i].deprel = "parataxis"


def after_tags(s: Sentence) -> None:
    """Repairs that need the final UPOS."""
    for i in s.ids():
        t = s[i]
        if t.form.lower() == "the" and i < len(s.tokens) and s[i + 1].xpos in ("RBR", "JJR"):
            if t.deprel != "det":
                move(s, i, i + 1, "det")
        elif t.deprel == "det" and t.upos not in ("DET", "PRON"):
            t.deprel = "amod" if t.upos == "ADJ" else "advmod" if t.upos == "ADV" else "compound"
        elif t.deprel == "compound" and t.upos == "ADJ":
            t.deprel = "amod"
        elif t.xpos == "VBN" and s.has(i, "cop"):
            t.xpos, t.upos, t.lemma = "JJ", "ADJ", t.form.lower()
        elif t.deprel == "nmod:poss" and not s.has(i, "case") and t.upos in ("NOUN", "PROPN"):
            t.deprel = "compound"
        elif t.deprel == "mark" and t.upos == "ADP" and t.xpos == "RP":
            t.deprel = "advmod"
        elif t.deprel == "advmod" and t.upos == "ADJ" and t.head and nominal(s, t.head):
            t.deprel = "amod"
        elif t.deprel == "advmod" and t.upos in ("NOUN", "PROPN", "NUM", "PRON"):
            t.deprel = "nmod:unmarked" if t.head and nominal(s, t.head) else "obl:unmarked"
        elif t.deprel == "advmod" and t.upos == "DET":
            t.xpos, t.upos = "RB", "ADV"
        elif t.deprel == "cc" and t.form.lower() == "so":
            t.deprel, t.xpos, t.upos = "advmod", "RB", "ADV"
        elif t.deprel == "obl" and t.upos == "ADV" and not s.has(i, "case"):
            t.deprel = "advmod"
        elif t.deprel == "aux:pass" and t.head and s[t.head].xpos == "VBG":
            # "has been teaching" is no passive.
            t.deprel = "aux"
            for child in s.children(t.head):
                if s[child].deprel == "nsubj:pass":
                    s[child].deprel = "nsubj"
        elif t.deprel == "cop" and t.lemma != "be":
            t.deprel = "aux"
