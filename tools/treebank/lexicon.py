"""Word-level rules: tokenisation cases, XPOS repairs, UPOS and lemmas."""

from __future__ import annotations

from tree import Sentence, Token, word_set

SPLIT_CASES = [("I", "."), ("70", "°", "C"), ("it", "'d"), ("It", "'d")]

UPOS_OF = {
    "CC": "CCONJ",
    "CD": "NUM",
    "DT": "DET",
    "EX": "PRON",
    "FW": "X",
    "IN": "ADP",
    "JJ": "ADJ",
    "JJR": "ADJ",
    "JJS": "ADJ",
    "LS": "NUM",
    "MD": "AUX",
    "NN": "NOUN",
    "NNS": "NOUN",
    "NNP": "PROPN",
    "NNPS": "PROPN",
    "PDT": "DET",
    "POS": "PART",
    "PRP": "PRON",
    "PRP$": "PRON",
    "RB": "ADV",
    "RBR": "ADV",
    "RBS": "ADV",
    "RP": "ADP",
    "SYM": "SYM",
    "TO": "PART",
    "UH": "INTJ",
    "WDT": "PRON",
    "WP": "PRON",
    "WP$": "PRON",
    "WRB": "ADV",
    "$": "SYM",
}
PUNCTUATION = word_set(". , : `` '' -LRB- -RRB- HYPH NFP")
PRONOUN_NOUNS = word_set(
    "something anything nothing everything somebody anybody nobody everybody someone anyone "
    "everyone"
)
LEMMAS = {
    "an": "a",
    "n't": "not",
    "these": "this",
    "those": "that",
    "me": "I",
    "him": "he",
    "us": "we",
    "them": "they",
    "mine": "my",
    "ours": "our",
    "yours": "your",
    "hers": "her",
    "theirs": "their",
}
AUXILIARIES = {
    "'m": "be",
    "'re": "be",
    "am": "be",
    "are": "be",
    "is": "be",
    "was": "be",
    "were": "be",
    "been": "be",
    "being": "be",
    "be": "be",
    "'ve": "have",
    "'ll": "will",
    "wo": "will",
    "ca": "can",
    "does": "do",
    "did": "do",
    "done": "do",
    "has": "have",
    "had": "have",
    "having": "have",
}
COMPARATIVES = {
    "better": ("good", "well"),
    "best": ("good", "well"),
    "worse": ("bad", "badly"),
    "worst": ("bad", "badly"),
    "more": ("more", "more"),
    "most": ("most", "most"),
    "less": ("less", "less"),
    "fewer": ("few", "few"),
    "further": ("far", "far"),
    "later": ("late", "late"),
    "earlier": ("early", "early"),
    "closer": ("close", "close"),
    "sooner": ("soon", "soon"),
    "longer": ("long", "long"),
    "higher": ("high", "high"),
    "faster": ("fast", "fast"),
    "harder": ("hard", "hard"),
}


def tags(s: Sentence) -> None:
    """Repair XPOS where spaCy departs from English-EWT and give every token its UPOS."""
    for i in s.ids():
        _repair(s, i)
        s[i].upos = upos(s, i)


def _repair(s: Sentence, i: int) -> None:
    t, form = s[i], s[i].form.lower()
    if t.xpos in ("NNP", "NNPS") and t.form.islower():
        t.xpos = "JJ" if t.deprel == "amod" else "NN" if t.xpos == "NNP" else "NNS"
    if form in PRONOUN_NOUNS or form == "none" or (form == "one" and _no_one(s, i)):
        t.xpos = "NN"
    elif form.endswith(("self", "selves")) and form[:2] in (
        "my",
        "yo",
        "hi",
        "he",
        "it",
        "ou",
        "th",
    ):
        t.xpos = "PRP"
    elif form == "than":
        t.xpos = "IN"
    elif form == "please" and t.xpos != "VB":
        t.xpos = "UH"
    elif form in ("n't", "not"):
        t.xpos = "RB"
    elif form == "that" and t.xpos == "IN" and t.deprel in ("nsubj", "dobj", "nsubjpass", "pobj"):
        t.xpos = "WDT"
    elif form == "that" and t.xpos in ("WDT", "DT") and t.deprel == "mark":
        t.xpos = "IN"
    elif form in ("mine", "ours", "yours", "hers", "theirs") and t.xpos != "NNP":
        t.xpos = "PRP"
    elif form == "do" and t.xpos == "VBP" and t.deprel == "aux" and not _subject(s, t.head):
        t.xpos = "VB"
    elif t.xpos in ("VBP", "VBD", "VBN") and t.deprel not in ("aux", "auxpass"):
        t.xpos = _verb_tag(s, i)
    elif form == "whose":
        t.xpos = "WP$"
    elif form == "%" or form == "°":
        t.xpos = "NN"
    elif form == "to" and t.xpos == "IN" and t.deprel == "aux":
        t.xpos = "TO"
    elif t.xpos in ("''", "``") or t.form == '"':
        # Which side a straight quotation mark is on shows in its spacing.
        opening = i == 1 or (s[i - 1].space and (i < len(s.tokens) and not t.space))
        t.xpos = "``" if opening else "''"
    elif t.form in (";", "--", "–", ":"):
        t.xpos = ":"
    elif t.form in ("(", ")"):
        t.xpos = "-LRB-" if t.form == "(" else "-RRB-"


def _verb_tag(s: Sentence, i: int) -> str:
    """Return the tag that agrees with the auxiliaries of the verb."""
    helpers = [s[c] for c in s.children(i) if s[c].deprel in ("aux", "auxpass") and c < i]
    lemmas = {h.lemma for h in helpers if h.xpos != "TO"}
    if not helpers:
        if s[i].xpos == "VBP" and s[i].deprel == "ROOT" and not _subject(s, i):
            return "VB"
        root = s[i].xpos == "VBN" and s[i].deprel == "ROOT" and s.has(i, "nsubj")
        return "VBD" if root else s[i].xpos
    if lemmas & {"have", "be"}:
        return "VBN" if s[i].xpos in ("VBD", "VBN") else s[i].xpos
    return "VB" if lemmas and s[i].xpos == "VBP" else s[i].xpos


def _subject(s: Sentence, verb: int) -> bool:
    return s.has(verb, "nsubj", "nsubjpass", "expl", "csubj", "csubjpass")


def _no_one(s: Sentence, i: int) -> bool:
    return i > 1 and s[i - 1].form.lower() == "no"


def upos(s: Sentence, i: int) -> str:
    """Return UPOS from XPOS, the word and, once converted, the relation."""
    t, form = s[i], s[i].form.lower()
    deprel = t.deprel
    if t.xpos in PUNCTUATION:
        return "PUNCT"
    if t.xpos.startswith("VB"):
        helper = deprel.split(":")[0] in ("aux", "cop") or deprel == "auxpass"
        return "AUX" if helper else "VERB"
    if t.xpos == "RB" and t.form.lower() in ("n't", "not"):
        return "PART"
    if t.xpos == "NN" and (
        form in PRONOUN_NOUNS or form == "none" or (form == "one" and _no_one(s, i))
    ):
        return "PRON"
    if t.xpos == "IN":
        return _adposition(s, i)
    if t.xpos in ("DT", "WDT"):
        return "DET" if deprel in ("det", "predet", "det:predet") else "PRON"
    return UPOS_OF.get(t.xpos, "X")


def _adposition(s: Sentence, i: int) -> str:
    t = s[i]
    if t.deprel == "mark":
        return "SCONJ"
    if t.deprel == "advmod" and not s.has(i, "fixed"):
        return "ADV"
    return "ADP"


def words(s: Sentence) -> None:
    """Give every token its final UPOS and its lemma."""
    for i in s.ids():
        t, form = s[i], s[i].form.lower()
        if t.xpos == "IN" and t.deprel == "advmod" and not s.has(i, "fixed"):
            t.xpos = "RB"
        if t.xpos in ("DT", "PDT", "WDT", "CC") and t.deprel == "cc:preconj":
            t.xpos = "CC"
        if t.xpos == "RP" and t.deprel != "compound:prt":
            t.xpos = "IN" if t.deprel == "case" else "RB"
        if t.deprel == "compound:prt" and t.xpos in ("IN", "RB"):
            t.xpos = "RP"
        if t.xpos == "PDT" and t.deprel != "det:predet":
            t.xpos = "DT"
        t.upos = upos(s, i)
        t.lemma = lemma(s, i)
        if form == "'d" and t.lemma == "have":
            t.xpos = "VBD"


def lemma(s: Sentence, i: int) -> str:
    """Return the lemma in the manner of English-EWT."""
    t, form = s[i], s[i].form.lower()
    if t.upos == "PROPN":
        return t.form if t.xpos == "NNP" else t.lemma.capitalize()
    if t.upos == "PUNCT" or t.upos == "SYM" or t.upos == "NUM":
        return form if t.upos == "NUM" else t.form
    if t.xpos == "PRP" and form == "her":
        return "she"
    if t.xpos == "POS":
        return "'s"
    if t.xpos == "PRP" and form == "'s":
        return "we"
    if t.upos in ("VERB", "AUX"):
        return _verb_lemma(s, i, form)
    if form in COMPARATIVES and t.xpos in ("JJR", "JJS", "RBR", "RBS"):
        return COMPARATIVES[form][t.xpos.startswith("RB")]
    if t.xpos in ("PRP", "DT", "RB") and form in LEMMAS:
        return LEMMAS[form]
    if form == "i":
        return "I"
    if t.xpos in (
        "NN",
        "JJ",
        "RB",
        "PRP",
        "PRP$",
        "DT",
        "WDT",
        "WP",
        "WRB",
        "IN",
        "CC",
        "UH",
        "RP",
    ):
        return form
    return _unabbreviated(t)


def _unabbreviated(t: Token) -> str:
    return t.lemma if t.xpos in ("FW", "NNS", "JJR", "JJS", "RBR", "RBS") else t.form.lower()


def _verb_lemma(s: Sentence, i: int, form: str) -> str:
    if form in AUXILIARIES:
        return AUXILIARIES[form]
    if form == "'s":
        follower = s[s[i].head] if s[i].head else s[i]
        been = any(s[c].form.lower() == "been" for c in s.children(s[i].head))
        been = been or follower.form.lower() == "been"
        perfect = s[i].deprel in ("aux", "aux:pass") and (
            been or (s[i].deprel == "aux" and follower.xpos == "VBN")
        )
        return "have" if perfect else "be"
    if form == "'d":
        follower = s[s[i].head] if s[i].head else s[i]
        return "have" if follower.xpos == "VBN" and not _modal(s, i) else "would"
    return form if s[i].xpos in ("VB", "VBP", "MD") else s[i].lemma.lower()


def _modal(s: Sentence, i: int) -> bool:
    return any(s[c].xpos == "VB" for c in (s[i].head, *s.children(s[i].head)) if c > i)
