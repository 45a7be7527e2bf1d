"""Sums of money, dates and percentages."""

from __future__ import annotations

from edit import move
from tree import Sentence, word_set

MONTHS = word_set(
    "January February March April May June July August September October November December"
)


def quantities(s: Sentence) -> None:
    """Sums of money, the day in a date, and percentages."""
    for i in s.ids():
        t = s[i]
        if t.form == "$" and i < len(s.tokens) and s[i + 1].xpos == "CD":
            _money(s, i)
        elif t.xpos == "CD" and t.head and s[t.head].form in MONTHS and not s.has(i, "case"):
            # "9 March", but "March 9" is headed by the day.
            t.deprel = "nummod" if i < t.head else "nmod:unmarked"
        elif t.form == "%" and i > 1 and s[i - 1].xpos == "CD" and s[i - 1].head == i:
            s[i - 1].deprel = "nummod"


def _money(s: Sentence, sign: int) -> None:
    last = sign + 1
    while last < len(s.tokens) and s[last + 1].xpos == "CD":
        last += 1
    amount = range(sign + 1, last + 1)
    inside = (sign, *amount)
    top = next((i for i in inside if s[i].head not in inside), sign)
    head, deprel = s[top].head, s[top].deprel
    if head and deprel in ("nummod", "compound", "amod") and s[head].upos != "NOUN":
        deprel = "nmod"
    move(s, sign, head, "compound" if deprel == "nummod" else deprel)
    for child in [c for i in amount for c in s.children(i) if c not in inside]:
        s[child].head = sign
    move(s, last, sign, "nummod")
    for i in amount:
        if i != last:
            move(s, i, last, "compound")
    s[sign].upos = "SYM"
