"""Names of persons and their titles."""

from __future__ import annotations

from edit import move, substitute
from tree import Sentence, word_set

TITLES = word_set(
    "Mr. Mrs. Ms. Dr. Prof. Professor Judge Uncle Aunt Captain President Doctor Grandpa "
    "Minister Sir Lady Old General Queen King Prince Princess Lord"
)


def names(s: Sentence) -> None:
    """Titles as ``nmod:desc`` and the later parts of a person's name as ``flat``."""
    for head in s.ids():
        parts = [c for c in s.children(head) if s[c].deprel == "compound" and c < head]
        person = s[head].feats == "PERSON"
        for c in parts:
            if s[c].form in TITLES and s[head].xpos == "NNP":
                s[c].deprel, person = "nmod:desc", True
        parts = [c for c in parts if s[c].xpos == "NNP" and s[c].deprel == "compound"]
        if parts and s[head].xpos == "NNP" and person:
            first = parts[0]
            substitute(s, head, first)
            s[head].deprel = "flat"
            for child in s.children(head):
                move(s, child, first, "flat" if child in parts else None)
    # No step below needs the entity types that FEATS carried so far.
    for token in s.tokens:
        token.feats = "_"
