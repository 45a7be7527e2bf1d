"""Chunk tags by rule from XPOS and the tree, in the manner of CoNLL-2000."""

from __future__ import annotations

from tree import NOMINAL, Sentence, word_set

PRENOMINAL = word_set(
    "det det:predet amod nummod compound nmod:poss nmod:desc advmod cc:preconj case punct "
    "obl:unmarked nmod:unmarked fixed"
)
ARGUMENTS = word_set("nsubj obj iobj obl nmod")
NO_CHUNK = word_set(". , : `` '' -LRB- -RRB-")
SIMPLE = {
    "PRP": "NP",
    "EX": "NP",
    "WP": "NP",
    "WP$": "NP",
    "WDT": "NP",
    "DT": "NP",
    "CD": "NP",
    "$": "NP",
    "PRP$": "NP",
    "POS": "NP",
    "MD": "VP",
    "TO": "VP",
    "RP": "PRT",
    "UH": "INTJ",
    "LS": "LST",
    "WRB": "ADVP",
    "IN": "PP",
    "FW": "NP",
}
CONJUNCTIONS = (("as", "well", "as"), ("rather", "than"), ("not", "only"), ("but", "also"))


def derive(s: Sentence) -> None:
    """Fill ``chunk`` of every token."""
    kinds: list[tuple[str, int]] = [("O", 0)] * len(s.tokens)
    _verb_groups(s, kinds)
    _noun_groups(s, kinds)
    _conjunctions(s, kinds)
    for i in s.ids():
        if kinds[i - 1][0] == "O":
            kinds[i - 1] = _single(s, i)
    _modifiers(s, kinds)
    _write(s, kinds)


def _write(s: Sentence, kinds: list[tuple[str, int]]) -> None:
    previous = ("O", 0)
    for token, current in zip(s.tokens, kinds, strict=True):
        kind = current[0]
        inside = current == previous
        token.chunk = "O" if kind == "O" else f"{'I' if inside else 'B'}-{kind}"
        previous = current


def _is_verb(s: Sentence, i: int) -> bool:
    if s[i].xpos.startswith("VB") or s[i].xpos in ("MD", "TO"):
        return s[i].deprel not in ("amod", "compound", "case", "mark") or s[i].xpos == "TO"
    return False


def _verb_groups(s: Sentence, kinds: list[tuple[str, int]]) -> None:
    """One VP for a run of verbs of one predicate; ``want to go`` is one run."""
    i = 1
    while i <= len(s.tokens):
        if not _is_verb(s, i):
            i += 1
            continue
        last = i
        while following := _next_verb(s, last):
            last = following
        if not _inverted(s, i, last):
            negated = s[i].xpos == "TO" and i > 1 and s[i - 1].form.lower() == "not"
            for k in range(i - negated, last + 1):
                kinds[k - 1] = ("VP", i)
        i = last + 1


def _next_verb(s: Sentence, last: int) -> int:
    """Return the verb that continues the run after ``last``, or 0."""
    following = last + 1
    while following <= len(s.tokens) and s[following].xpos in ("RB", "RBR"):
        following += 1
    if following > len(s.tokens):
        return 0
    if _is_verb(s, following):
        return following if _joined(s, last, following) else 0
    # "peel and chop the carrots"
    after = last + 2
    paired = after <= len(s.tokens) and s[last + 1].xpos == "CC" and _is_verb(s, after)
    same = paired and s[after].deprel == "conj" and s[after].head == last
    return after if same and s[after].xpos == s[last].xpos else 0


def _inverted(s: Sentence, first: int, last: int) -> bool:
    """``did they come``: an auxiliary before its subject has no chunk."""
    return all(
        s[k].deprel in ("aux", "aux:pass", "advmod") and s[k].head > last
        for k in range(first, last + 1)
    ) and any(s[k].deprel.startswith("nsubj") for k in range(last + 1, s[first].head))


def _joined(s: Sentence, left: int, right: int) -> bool:
    helper = s[left].deprel.split(":")[0] in ("aux", "cop", "mark")
    if helper and s[left].head in (right, s[right].head):
        return s[left].head == right or s[right].deprel.split(":")[0] in ("aux", "cop")
    if s[right].head == left:
        return s[right].deprel == "xcomp"
    verb = s[right].head
    infinitive = s[right].xpos == "TO" and s[verb].deprel == "xcomp"
    return infinitive and s[verb].head == left


def _noun_groups(s: Sentence, kinds: list[tuple[str, int]]) -> None:
    for i in s.ids():
        if s[i].deprel in ("det", "det:predet", "nmod:poss") and not s.has(i, "case"):
            continue
        heads = s[i].upos in NOMINAL or (s[i].xpos in ("DT", "PDT", "JJS") and _stands_alone(s, i))
        heads = heads or (s[i].upos == "ADJ" and s[i].deprel.split(":")[0] in ARGUMENTS)
        heads = heads or (s[i].upos == "ADJ" and s.has(i, "det") and s[i].deprel != "amod")
        inner = s[i].deprel in ("compound", "nummod", "flat", "amod", "nmod:desc", "fixed")
        if not heads or (inner and s[i].head and abs(s[i].head - i) < 12 and _inside(s, i)):
            continue
        first = _left_edge(s, i)
        last = i
        while last < len(s.tokens) and s[last + 1].deprel in ("flat", "fixed"):
            if s[last + 1].head not in (i, last):
                break
            last += 1
        if s[i].form == "$":
            last = max([i, *(c for c in s.subtree(i) if s[c].xpos == "CD" and c - i < 4)])
        if first > 1 and s[first - 1].xpos == "POS":
            first -= 1
        for k in range(first, last + 1):
            kinds[k - 1] = ("NP", i)
    _join_coordinated(s, kinds)


def _inside(s: Sentence, i: int) -> bool:
    return s[s[i].head].upos in NOMINAL or s[s[i].head].upos == "ADJ"


def _stands_alone(s: Sentence, i: int) -> bool:
    return s[i].deprel not in ("det", "det:predet", "amod", "advmod", "cc:preconj", "nummod")


def _left_edge(s: Sentence, head: int) -> int:
    """Return where the base noun phrase of ``head`` starts."""
    first = head
    inside = set(s.subtree(head))
    while first > 1 and first - 1 in inside:
        k = first - 1
        if s[k].xpos != "POS" and _marker(s, k):
            break
        if s[k].xpos == "POS" or (s[k].deprel in ("cc",) and not _modifier_cc(s, k, head)):
            break
        if s[k].xpos in NO_CHUNK and not _between_modifiers(s, k, head):
            break
        if not _prenominal(s, k, head):
            break
        first = k
    return first


def _marker(s: Sentence, k: int) -> bool:
    top = s[k].head if s[k].deprel == "fixed" else k
    return s[top].deprel in ("case", "mark")


def _prenominal(s: Sentence, k: int, head: int) -> bool:
    """Say whether the path from ``k`` up to ``head`` has prenominal relations only."""
    node = k
    while node != head:
        relation = s[node].deprel
        allowed = relation in PRENOMINAL or relation in ("conj", "cc", "flat")
        if not allowed or not node or s[node].xpos == "MD":
            return False
        if relation == "advmod" and s[node].head == head and not _inside_noun_phrase(s, node):
            return False
        node = s[node].head
    return True


def _inside_noun_phrase(s: Sentence, adverb: int) -> bool:
    """``nearly a million`` is one base NP, ``also a parent`` is not."""
    form = s[adverb].form.lower()
    if s[adverb].upos == "PART" or s.has(s[adverb].head, "cop"):
        return False
    return form in DEGREE or s[adverb + 1].xpos not in ("DT", "PRP$", "PRP", "NNP")


DEGREE = word_set("about almost nearly only just roughly exactly quite around approximately")


def _modifier_cc(s: Sentence, k: int, head: int) -> bool:
    conjunct = s[k].head
    return s[conjunct].deprel == "conj" and s[s[conjunct].head].deprel in PRENOMINAL


def _between_modifiers(s: Sentence, k: int, head: int) -> bool:
    if s[k].xpos in ("``", "''"):
        return k > 1 and k + 1 <= head and s[k - 1].head == head
    return k > 1 and s[k - 1].deprel in PRENOMINAL and s[k - 1].upos in ("ADJ", "VERB", "NUM")


def _join_coordinated(s: Sentence, kinds: list[tuple[str, int]]) -> None:
    """``flour, sugar and salt``: bare coordinated nouns are one base NP."""
    for i in s.ids():
        items = [i, *(c for c in s.children(i) if s[c].deprel == "conj")]
        if len(items) < 2 or not all(kinds[c - 1] == ("NP", c) for c in items):
            continue
        if not all(s[c].xpos in ("NN", "NNS", "NNP", "NNPS", "CD") for c in items):
            continue
        # The first item may have modifiers, which then belong to all.
        bare = all(s[c].xpos != "POS" and _left_edge(s, c) == c for c in items[1:])
        span = range(i, items[-1] + 1)
        solid = all(
            kinds[k - 1][0] == "NP" or s[k].deprel in ("cc", "punct") for k in span
        ) and not any(
            s[c].head == i and s[c].deprel in ("nmod", "acl", "acl:relcl") and c in span
            for c in s.ids()
        )
        if bare and solid:
            for k in span:
                kinds[k - 1] = ("NP", i)


def _conjunctions(s: Sentence, kinds: list[tuple[str, int]]) -> None:
    forms = [t.form.lower() for t in s.tokens]
    for phrase in CONJUNCTIONS:
        for k in range(len(forms) - len(phrase) + 1):
            if tuple(forms[k : k + len(phrase)]) == phrase:
                for j in range(k, k + len(phrase)):
                    kinds[j] = ("CONJP", k + 1)


def _single(s: Sentence, i: int) -> tuple[str, int]:
    t = s[i]
    if t.xpos in NO_CHUNK or t.xpos in ("CC", "HYPH", "SYM", "NFP"):
        return ("O", 0)
    if t.deprel == "fixed":
        return (_single(s, t.head)[0], t.head)
    if s.has(i, "fixed") and t.deprel == "case":
        return ("PP", i)
    if t.xpos == "POS":
        return ("NP", i)
    if t.upos == "SCONJ":
        return ("PP" if _preposition(s, i) else "SBAR", i)
    if t.deprel == "mark" and t.xpos != "TO":
        return ("SBAR", i)
    if t.deprel in ("aux", "aux:pass") or t.lemma == "not":
        # Inverted auxiliaries, and "not" outside a verb group.
        return ("O", 0)
    if t.xpos.startswith("VB"):
        return ("PP" if t.deprel == "case" else "VP", i)
    if t.upos == "ADJ":
        return ("ADJP", i)
    if t.upos in ("ADV", "PART") and t.xpos != "TO":
        return ("ADVP", i)
    return (SIMPLE.get(t.xpos, "NP" if t.upos in NOMINAL else "O"), i)


PREPOSITIONS = word_set(
    "about against at between by from in into of on through to toward towards under upon "
    "with without"
)
# These are prepositions before a gerund and conjunctions before a finite clause.
EITHER = word_set("after before for since until like than despite besides")


def _preposition(s: Sentence, mark: int) -> bool:
    form, clause = s[mark].form.lower(), s[mark].head
    if form in PREPOSITIONS:
        return form != "in" or not s.has(mark, "fixed")
    bare = not _finite(s, clause) and not any(s[c].xpos == "TO" for c in s.children(clause))
    return form in EITHER and bare and not s.has(clause, "nsubj", "nsubj:pass")


def _finite(s: Sentence, i: int) -> bool:
    helpers = [c for c in s.children(i) if s[c].deprel.split(":")[0] in ("aux", "cop")]
    return any(s[c].xpos in ("VBD", "VBZ", "VBP", "MD") for c in (i, *helpers))


def _modifiers(s: Sentence, kinds: list[tuple[str, int]]) -> None:
    """Join adverbs to the adjective or adverb they modify, and coordinated adjectives."""
    for i in s.ids():
        kind = kinds[i - 1][0]
        if kind not in ("ADJP", "ADVP"):
            continue
        k = i - 1
        while k >= 1 and s[k].head in range(k + 1, i + 1) and kinds[k - 1][0] == "ADVP":
            if s[k].deprel != "advmod" or (s[k].head == i and s.has(i, "cop") and _clausal(s, k)):
                break
            kinds[k - 1] = (kind, i)
            k -= 1
    for i in s.ids():
        conjuncts = [c for c in s.children(i) if s[c].deprel == "conj" and c == i + 2]
        adjectives = kinds[i - 1][0] == "ADJP" and conjuncts and kinds[i + 1][0] == "ADJP"
        if adjectives and s[i + 1].deprel == "cc":
            kinds[i] = kinds[i + 1] = kinds[i - 1]


def _clausal(s: Sentence, adverb: int) -> bool:
    """Say whether an adverb before a predicate adjective modifies the clause."""
    return s[adverb].upos == "PART" or s[adverb].form.lower() in CLAUSAL_ADVERBS


CLAUSAL_ADVERBS = word_set(
    "also always already ever never often once still then now seldom rarely usually perhaps "
    "here there merely"
)
