"""Copulas: the predicate of ``be`` is the head in UD."""

from __future__ import annotations

from edit import depth, substitute
from tree import Sentence, word_set

LOCATIVE = word_set(
    "here there where on off in out over away back home up down upstairs downstairs inside "
    "outside abroad nearby together how"
)


def copulas(s: Sentence) -> None:
    """Make the predicate of ``be`` the head, with ``be`` as its copula."""
    for verb in sorted(s.ids(), key=lambda i: -depth(s, i)):
        t = s[verb]
        if t.lemma != "be" or t.deprel in ("aux", "auxpass"):
            continue
        if any(s[c].deprel == "expl" and s[c].xpos == "EX" for c in s.children(verb)):
            _existential(s, verb)
        elif predicate := _predicate(s, verb) or _hidden(s, verb):
            _lift(s, verb, predicate)


def _existential(s: Sentence, verb: int) -> None:
    for child in s.children(verb):
        if s[child].deprel in ("attr", "dobj") and not s.has(verb, "nsubj"):
            s[child].deprel = "nsubj"


def _predicate(s: Sentence, verb: int) -> int:
    children = s.children(verb)
    for labels in (("acomp",), ("attr", "oprd")):
        found = [c for c in children if s[c].deprel in labels]
        if found:
            after = [c for c in found if c > verb]
            if labels[0] == "attr" and not s.has(verb, "nsubj", "csubj", "expl") and len(found) > 1:
                s[found[-1]].deprel = "nsubj"
                return found[0]
            return (after or found)[0]
    quoted = any(s[c].xpos == "``" for c in children)
    clause = [c for c in children if s[c].deprel in ("ccomp", "xcomp", "pcomp") and c > verb]
    if clause and not quoted:
        return clause[0]
    oblique = [c for c in children if s[c].deprel in ("obl", "advcl") and s.has(c, "case")]
    adverb = [
        c for c in children if s[c].deprel in ("advmod", "prt") and s[c].form.lower() in LOCATIVE
    ]
    stranded = [c for c in children if s[c].deprel == "prep"]
    # "Where were the keys?" and "the lights are still on" before "is in the house".
    for group in (
        [c for c in adverb if s[c].xpos == "WRB"],
        [c for c in adverb + oblique if c > verb],
        adverb,
        oblique,
        stranded,
        [c for c in children if s[c].deprel in ("advmod", "npadvmod", "advcl") and c > verb],
    ):
        if group:
            return min(group) if group[0] > verb else group[-1]
    return 0


def _hidden(s: Sentence, verb: int) -> int:
    """``Are the mountains visible?``: spaCy often puts the predicate inside the subject."""
    subject = s.child(verb, "nsubj")
    after = [c for c in s.children(subject) if c > subject > verb] if subject else []
    found = [c for c in after if s[c].xpos in ("JJ", "JJR", "RB", "IN", "RP")]
    predicate = found[0] if found and s[found[0]].deprel not in ("case", "mark") else 0
    if predicate:
        for child in after:
            if child != predicate and s[child].deprel in ("advmod", "obl", "advcl"):
                s[child].head = predicate
        s[predicate].head = verb
    return predicate


def _lift(s: Sentence, verb: int, predicate: int) -> None:
    clausal = s[predicate].deprel in ("ccomp", "xcomp", "pcomp", "advcl")
    wh = [c for c in s.children(predicate) if s[c].xpos in ("WRB", "WP") and verb < c < predicate]
    if clausal and wh and not any(s[c].xpos == "TO" for c in s.children(predicate)):
        # "That is why I left" has the wh-word as its predicate.
        clause, predicate, clausal = predicate, wh[0], False
        adverb = s[predicate].xpos == "WRB"
        substitute(s, clause, predicate)
        s[clause].deprel = "advcl:relcl" if adverb else "relcl"
    own_subject = s.has(predicate, "nsubj", "nsubjpass", "expl", "nsubj:outer")
    substitute(s, verb, predicate)
    s[verb].deprel = "cop"
    for child in s.children(verb):
        if s[child].deprel in ("nsubj", "csubj", "nsubjpass") and (clausal or own_subject):
            s[child].deprel = s[child].deprel[:5] + ":outer"
        s[child].head = predicate
