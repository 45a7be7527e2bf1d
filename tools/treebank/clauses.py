"""Clauses: their subordinator, their subject, and how they hang together."""

from __future__ import annotations

from edit import infinitive, move, substitute
from tree import Sentence
from verbs import CATENATIVE, OBJECT_CONTROL, SPEECH


def subordinators(s: Sentence) -> None:
    """Hang a subordinator that spaCy takes for a preposition under its clause."""
    for i in s.ids():
        t = s[i]
        if t.deprel == "prep" and t.form.lower() in ("because", "if", "although", "while"):
            clause = next((c for c in s.children(i) if s[c].deprel == "pcomp"), 0)
            if clause:
                substitute(s, i, clause)
                move(s, i, clause, "mark")
                s[clause].deprel = "advcl"


def small_clauses(s: Sentence) -> None:
    """``let [me know]``: the subject of a non-finite complement is the object of the matrix."""
    for i in s.ids():
        if s[i].deprel not in ("ccomp", "xcomp") or not s[i].head:
            continue
        verb = s[i].head
        subject = s.child(i, "nsubj", "nsubjpass")
        helpers = [c for c in s.children(i) if s[c].deprel in ("aux", "auxpass")]
        finite = any(s[c].xpos in ("MD", "VBZ", "VBP", "VBD") for c in (i, *helpers))
        introduced = s.has(i, "mark") or any(s[c].form.lower() == "for" for c in s.children(i))
        if s[verb].xpos.startswith("VB") and subject and subject > verb and subject < i:
            participle = s[i].xpos == "VBN" and helpers
            if not finite and not introduced and not participle:
                move(s, subject, verb, "dobj")
                s[i].deprel = "xcomp"


def purpose(s: Sentence, i: int) -> bool:
    """Say whether an infinitive tells what for and is no complement of its verb."""
    verb = s[i].head
    if s[verb].upos != "VERB" or not infinitive(s, i):
        return False
    has_object = any(s[c].deprel == "obj" and verb < c < i for c in s.children(verb))
    if s[verb].lemma == "use" and s.has(verb, "aux:pass"):
        return True
    return s[verb].lemma not in (OBJECT_CONTROL if has_object else CATENATIVE)


def run_on(s: Sentence, i: int) -> bool:
    """``we did not plan it, it happened``: spaCy subordinates the first clause."""
    head = s[i].head
    if not head or i > head or s.has(i, "mark") or s[head].lemma in SPEECH:
        return False
    bare = s[i].xpos == "VB" and not s.has(i, "aux", "nsubj")
    if s[i].deprel == "advcl" and not bare:
        return False
    subject = s.has(head, "nsubj", "nsubj:pass", "expl") or s[head].xpos == "VB"
    return subject and any(s[k].xpos in (",", ":") for k in range(i, head))


def side_by_side(s: Sentence, first: int) -> None:
    """Make the first of two clauses the head; a third after "and" makes a coordination."""
    second = s[first].head
    third = [c for c in s.children(second) if s[c].deprel == "conj" and c > second]
    comma = any(s[k].xpos == "," for k in range(first, second))
    joined = [
        c for c in third if comma and s[c].xpos[:2] == s[second].xpos[:2] and s.has(second, "cc")
    ]
    substitute(s, second, first)
    s[second].deprel = "conj" if joined else "parataxis"
    for c in joined:
        s[c].head = first
