"""Fixed expressions of two words."""

from __future__ import annotations

from edit import move, nominal, substitute
from tree import Sentence

FIXED = {
    ("because", "of"): "case",
    ("according", "to"): "case",
    ("instead", "of"): "case",
    ("due", "to"): "case",
    ("such", "as"): "case",
    ("prior", "to"): "case",
    ("as", "to"): "case",
    ("up", "to"): "advmod",
    ("of", "course"): "advmod",
    ("in", "order"): "mark",
    ("so", "that"): "mark",
    ("as", "well"): "advmod",
    ("more", "than"): "advmod",
    ("less", "than"): "advmod",
    ("fewer", "than"): "advmod",
}
PRONOUN_PAIRS = (("each", "other"), ("one", "another"), ("no", "one"))
BEFORE_NUMBERS = (("more", "than"), ("less", "than"), ("fewer", "than"), ("up", "to"))


def multiword(s: Sentence) -> None:
    """Fixed expressions: the first word is the head."""
    for i in s.ids():
        if i == len(s.tokens):
            break
        pair = (s[i].form.lower(), s[i + 1].form.lower())
        if pair in PRONOUN_PAIRS:
            _pronoun_pair(s, i)
        elif pair in FIXED and _is_fixed(s, i, pair):
            _fix(s, i, FIXED[pair])


def _is_fixed(s: Sentence, i: int, pair: tuple[str, str]) -> bool:
    """Say whether the pair is the expression here and not two free words."""
    if pair in BEFORE_NUMBERS:
        return _before_number(s, i + 2)
    if pair == ("so", "that"):
        return s[i + 1].xpos == "IN" and s[s[i + 1].head].deprel == "advcl"
    if pair == ("as", "well"):
        return i + 2 > len(s.tokens) or s[i + 2].form.lower() != "as"
    return True


def _before_number(s: Sentence, i: int) -> bool:
    return i <= len(s.tokens) and s[i].xpos in ("CD", "$")


def _pronoun_pair(s: Sentence, i: int) -> None:
    if s[i].head == i + 1:
        substitute(s, i + 1, i)
        for child in s.children(i + 1):
            s[child].head = i
    move(s, i + 1, i, "fixed")


def _fix(s: Sentence, i: int, deprel: str) -> None:
    pair = (i, i + 1)
    top = [s[p].head for p in pair if s[p].head not in pair]
    target = top[-1] if deprel in ("case", "mark") and top else (top or [0])[0]
    if deprel == "mark" and i + 2 <= len(s.tokens) and s[i + 2].xpos == "TO":
        target = s[i + 2].head
    if deprel == "advmod" and s[i].form.lower() in ("more", "less", "fewer", "up"):
        target = i + 2
        if s[target].form == "$":
            target = i + 3
    if target in pair or not target:
        return
    for child in [c for p in pair for c in s.children(p) if c not in pair]:
        if child != target:
            s[child].head = target
    if s[target].head in pair:
        outer = [s[p] for p in pair if s[p].head not in (*pair, target)]
        s[target].head = outer[0].head if outer else 0
    move(s, i, target, deprel)
    move(s, i + 1, i, "fixed")


def at_least(s: Sentence) -> None:
    """``at least`` and ``at most`` are obliques of what they limit."""
    for i in s.ids():
        if s[i].form.lower() in ("least", "most") and i > 1 and s[i - 1].form.lower() == "at":
            target = s[i].head
            while target in (i, i - 1) and target:
                target = s[target].head
            if target and i < len(s.tokens) and s[i + 1].upos == "NUM":
                target = i + 1
            move(s, i, target, "nmod" if nominal(s, target) else "obl")
            move(s, i - 1, i, "case")
