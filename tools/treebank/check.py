"""Structural checks of a sentence, with messages that name the sentence and the token."""

from __future__ import annotations

from collections.abc import Iterator

from tree import UPOS, Sentence, TreebankError, word_set

DEPRELS = word_set(
    "acl advcl advmod amod appos aux case cc ccomp clf compound conj cop csubj dep det discourse "
    "dislocated expl fixed flat goeswith iobj list mark nmod nsubj nummod obj obl orphan parataxis "
    "punct reparandum root vocative xcomp"
)
SUBTYPES = word_set(
    "acl:relcl advcl:relcl aux:pass cc:preconj compound:prt csubj:outer csubj:pass det:predet "
    "flat:foreign nmod:desc nmod:poss nmod:unmarked nsubj:outer nsubj:pass obl:agent "
    "obl:unmarked"
)
XPOS_OF = {
    "ADJ": "JJ JJR JJS NNP",
    "ADP": "IN RP RB JJ VBG VBN",
    "ADV": "RB RBR RBS WRB",
    "AUX": "MD VB VBD VBG VBN VBP VBZ",
    "CCONJ": "CC RB IN",
    "DET": "DT PDT WDT CC",
    "INTJ": "UH",
    "NOUN": "NN NNS",
    "NUM": "CD LS",
    "PART": "POS RB TO",
    "PRON": "DT EX NN PRP PRP$ WDT WP WP$",
    "PROPN": "NNP NNPS",
    "PUNCT": ". , : `` '' -LRB- -RRB- HYPH NFP",
    "SCONJ": "IN RB VBG VBN",
    "SYM": "$ SYM NN",
    "VERB": "VB VBD VBG VBN VBP VBZ",
    "X": "FW LS AFX",
}
CHUNKS = word_set("NP VP PP ADVP ADJP SBAR PRT INTJ CONJP LST")


def tree(s: Sentence) -> None:
    """Raise unless the heads form one tree."""
    problems = list(_tree(s))
    if problems:
        raise TreebankError("; ".join(problems))


def problems(s: Sentence) -> Iterator[str]:
    """Yield one message for each thing that is wrong."""
    yield from _tree(s)
    if spelled(s) != s.text:
        yield f"{s.sent_id}: the forms spell {spelled(s)!r}, the text is {s.text!r}"
    previous = "O"
    for i in s.ids():
        t, place = s[i], f"{s.sent_id} token {i} ({s[i].form})"
        if t.upos not in UPOS:
            yield f"{place}: no UPOS {t.upos!r}"
        elif t.xpos not in XPOS_OF[t.upos].split():
            yield f"{place}: UPOS {t.upos} does not go with XPOS {t.xpos}"
        if t.deprel not in DEPRELS | SUBTYPES:
            yield f"{place}: no relation {t.deprel!r}"
        if (t.deprel == "punct") != (t.upos == "PUNCT"):
            yield f"{place}: relation {t.deprel} with UPOS {t.upos}"
        if (t.deprel == "root") != (t.head == 0):
            yield f"{place}: relation {t.deprel} with head {t.head}"
        if not t.lemma or t.lemma == "_":
            yield f"{place}: no lemma"
        yield from _chunk(place, previous, t.chunk)
        previous = t.chunk


def spelled(s: Sentence) -> str:
    """Return the text that the forms and their spaces give."""
    return "".join(t.form + (" " if t.space else "") for t in s.tokens).rstrip()


def _tree(s: Sentence) -> Iterator[str]:
    roots = [i for i in s.ids() if s[i].head == 0]
    if len(roots) != 1:
        yield f"{s.sent_id}: {len(roots)} roots {roots}, not 1"
    for i in s.ids():
        if s[i].head > len(s.tokens):
            yield f"{s.sent_id} token {i} ({s[i].form}): head {s[i].head} is outside the sentence"
            return
        if s[i].head == i:
            yield f"{s.sent_id} token {i} ({s[i].form}) is its own head"
            return
    for i in s.ids():
        node, path = i, [i]
        while s[node].head:
            node = s[node].head
            if node in path:
                yield f"{s.sent_id}: tokens {path[path.index(node) :]} form a cycle"
                return
            path.append(node)


def _chunk(place: str, previous: str, chunk: str) -> Iterator[str]:
    begins, _, kind = chunk.partition("-")
    if chunk != "O" and (begins not in ("B", "I") or kind not in CHUNKS):
        yield f"{place}: no chunk tag {chunk!r}"
    elif begins == "I" and previous[2:] != kind:
        yield f"{place}: {chunk} after {previous}"
