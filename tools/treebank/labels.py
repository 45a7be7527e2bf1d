"""From ClearNLP labels to UD relations."""

from __future__ import annotations

from clauses import purpose, run_on, side_by_side
from edit import infinitive, nominal
from tree import Sentence
from verbs import TELLING

SUBJECTS = ("nsubj", "nsubj:pass")


def translate(s: Sentence) -> None:
    """Translate every label by itself."""
    labels = [_conversion(s, i) for i in s.ids()]
    for token, label in zip(s.tokens, labels, strict=True):
        token.deprel = label


def _conversion(s: Sentence, i: int) -> str:
    """Return the UD relation for a ClearNLP label."""
    t = s[i]
    head_xpos = s[t.head].xpos if t.head else ""
    simple = {
        "ROOT": "root",
        "dobj": "obj",
        "nsubjpass": "nsubj:pass",
        "csubjpass": "csubj:pass",
        "auxpass": "aux:pass",
        "relcl": "acl:relcl",
        "poss": "nmod:poss",
        "predet": "det:predet",
        "preconj": "cc:preconj",
        "prt": "compound:prt",
        "neg": "advmod",
        "intj": "discourse",
        "acomp": "xcomp",
        "oprd": "xcomp",
        "pobj": "obl",
        "pcomp": "advcl",
        "meta": "discourse",
    }
    if t.deprel in simple:
        return simple[t.deprel]
    by_word = {"JJ": "amod", "RB": "advmod", "IN": "case", "DT": "det", "UH": "discourse"}
    match t.deprel:
        case "attr":
            return "xcomp" if not s.has(t.head, "cop") else "obl"
        case "dative":
            return "iobj"
        case "npadvmod":
            return "nmod:unmarked" if t.head and nominal(s, t.head) else "obl:unmarked"
        case "quantmod":
            return "compound" if t.xpos in ("CD", "$") else "advmod"
        case "nmod":
            return "nmod" if s.has(i, "case") or i > t.head else "compound"
        case "prep" | "agent":
            return "advmod" if t.xpos in ("RB", "RBR", "WRB") else "obl"
        case "aux" if t.xpos == "TO":
            return "mark"
        case "advmod" if t.xpos in ("JJ", "JJR") and head_xpos.startswith("NN"):
            return "amod"
        case "dep":
            return by_word.get(t.xpos, "parataxis" if t.xpos.startswith("VB") else "dep")
    return t.deprel


def neighbours(s: Sentence) -> None:
    """Repair the labels that depend on a neighbour."""
    for i in s.ids():
        t = s[i]
        if t.deprel == "obj" and t.head and s[t.head].lemma in TELLING and _told(s, i):
            t.deprel = "iobj"
        elif t.deprel == "advmod" and t.upos in ("NOUN", "PROPN") and t.head:
            t.deprel = "nmod:unmarked" if nominal(s, t.head) else "obl:unmarked"
        elif t.deprel == "nummod" and t.upos not in ("NUM", "SYM"):
            t.deprel = "amod" if t.upos == "ADJ" else "compound"
        elif t.deprel == "case" and t.upos not in ("ADP", "PART") and t.xpos.startswith("NN"):
            t.deprel = "nmod"
        elif t.deprel == "obl" and t.xpos == "IN" and t.form.lower() in ("as", "than"):
            t.deprel = "mark"
        elif t.deprel == "amod" and t.upos == "ADV":
            t.deprel = "advmod"
        elif t.deprel in ("ccomp", "acl") and t.head and nominal(s, t.head) and i > t.head:
            t.deprel = "acl" if not s.has(t.head, "cop") else t.deprel
        elif t.deprel == "xcomp" and any(s[c].xpos in ("WRB", "WP") for c in s.children(i)):
            t.deprel = "ccomp"
        elif t.deprel == "xcomp" and purpose(s, i):
            t.deprel = "advcl"
        elif t.deprel == "advcl" and any(
            s[c].form.lower() == "which" and c < i and s[c].deprel in SUBJECTS
            for c in s.children(i)
        ):
            t.deprel = "advcl:relcl"
        elif t.deprel == "acl:relcl" and t.xpos == "VB" and infinitive(s, i):
            t.deprel = "acl"
        elif t.deprel == "obl:unmarked" and _called(s, i):
            t.deprel = "vocative"
        elif t.deprel in ("ccomp", "advcl") and run_on(s, i):
            side_by_side(s, i)
        # A relative clause that modifies a clause, not a noun.
        elif t.deprel == "acl:relcl" and t.head and s[t.head].upos in ("VERB", "AUX", "ADJ"):
            t.deprel = "advcl:relcl"


def _told(s: Sentence, i: int) -> bool:
    """Say whether an object has a clause or a second object as its rival."""
    person = s[i].upos in ("NOUN", "PRON", "PROPN") and not s[i].xpos.startswith("W")
    if not person or s.has(s[i].head, "nsubj:pass"):
        return False
    siblings = [c for c in s.children(s[i].head) if c != i]
    rival = any(s[c].deprel in ("ccomp", "xcomp", "obj") for c in siblings if c > i)
    before = any(s[c].deprel == "obj" and s[c].xpos in ("WP", "WDT") for c in siblings)
    return rival or before


def _called(s: Sentence, i: int) -> bool:
    """Say whether a bare noun between commas addresses somebody."""
    last = max(s.subtree(i))
    first = min(s.subtree(i))
    commas = (first == 1 or s[first - 1].xpos in (",", "``")) and (
        last == len(s.tokens) or s[last + 1].xpos in (",", ".")
    )
    people = s[i].form.lower() in ("ladies", "gentlemen", "madam", "sir", "friends", "children")
    name = s[i].xpos == "NNP" and s[i].feats not in ("DATE", "TIME")
    return commas and (people or name)
