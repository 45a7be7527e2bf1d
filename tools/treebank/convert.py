"""From spaCy's ClearNLP tree to a Universal Dependencies tree.

The steps run in a fixed order and each rewrites heads and relations in place. Until
:func:`relabel`, ``deprel`` holds ClearNLP labels, mixed with UD labels already decided.
"""

from __future__ import annotations

from collections.abc import Callable

from tree import NOMINAL, Sentence, word_set

PREPOSITIONAL = ("prep", "agent", "dative")
OBJECTS = ("pobj", "pcomp")
LOCATIVE = word_set(
    "here there where on off in out over away back home up down upstairs downstairs inside "
    "outside abroad nearby together how"
)
# Verbs whose wh-complement is an indirect question; after others "what" heads a free relative.
INTERROGATIVE = word_set(
    "ask wonder know tell explain decide remember understand see say show discover find guess "
    "learn discuss describe determine forget care notice reveal believe surprise sure"
)
SPEECH = word_set(
    "say tell ask reply answer whisper call cry shout mutter order think suppose believe guess "
    "know hope fear figure report announce add admit write note explain imagine"
)
# Verbs whose object is the subject of the infinitive; after others it is a purpose clause.
OBJECT_CONTROL = word_set(
    "ask tell want expect allow force help order teach invite encourage persuade remind urge "
    "advise warn enable require cause get need like love prefer permit train beg let make have "
    "see hear watch lead drive convince instruct press command trust consider find know"
)
# Other verbs with an infinitive have a purpose clause: "I am writing to complain".
CATENATIVE = OBJECT_CONTROL | word_set(
    "try begin start seem appear hate hope refuse decide agree forget remember learn manage fail "
    "plan continue tend use go cease happen offer wish threaten choose mean regret intend attempt "
    "prove afford dare be deserve claim pretend struggle demand swear vow long prepare turn come "
    "say suppose work believe think report rumor schedule set design oblige bind proceed hesitate "
    "bother care grow move promise"
)
# Verbs of telling keep their person as an indirect object even without a direct object.
TELLING = word_set("tell ask show teach promise assure remind inform warn advise")
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
    ("at", "last"): "",
    ("in", "order"): "mark",
    ("so", "that"): "mark",
    ("as", "well"): "advmod",
    ("each", "other"): "",
    ("one", "another"): "",
    ("no", "one"): "",
    ("more", "than"): "advmod",
    ("less", "than"): "advmod",
    ("fewer", "than"): "advmod",
    ("rather", "than"): "",
}
COMPARED = (("more", "than"), ("less", "than"), ("fewer", "than"))
SUBJECTS = ("nsubj", "nsubj:pass")
QUANTITIES = word_set("many most few several more half each some much less fewer best")


def convert(s: Sentence) -> None:
    """Turn the ClearNLP tree of ``s`` into a UD tree, in place."""
    steps: tuple[Callable[[Sentence], None], ...] = (
        fix_chains,
        raise_objects,
        small_clauses,
        copulas,
        relabel,
        numbers,
        names,
        expletives,
        free_relatives,
        coordination,
        multiword,
        settle,
    )
    for step in steps:
        step(s)


def move(s: Sentence, child: int, head: int, deprel: str | None = None) -> None:
    """Reattach a token."""
    s[child].head = head
    if deprel is not None:
        s[child].deprel = deprel


def depth(s: Sentence, i: int) -> int:
    """Count the steps to the root."""
    steps = 0
    while s[i].head and steps <= len(s.tokens):
        i, steps = s[i].head, steps + 1
    return steps


def substitute(s: Sentence, old: int, new: int) -> None:
    """Put ``new``, a dependent of ``old``, in the place of ``old`` and hang ``old`` under it."""
    s[new].head, s[new].deprel = s[old].head, s[old].deprel
    s[old].head = new


def nominal(s: Sentence, i: int) -> bool:
    """Say whether the token is the head of a noun phrase."""
    determiner = s[i].xpos in ("DT", "PDT") and s[i].deprel not in ("det", "predet", "preconj")
    return s[i].upos in NOMINAL or determiner


def fix_chains(s: Sentence) -> None:
    """Attach every conjunct to the first one and give subordinators their usual label."""
    for i in s.ids():
        while s[i].deprel == "conj" and s[i].head and s[s[i].head].deprel == "conj":
            s[i].head = s[s[i].head].head
    for i in s.ids():
        t = s[i]
        if t.deprel == "prep" and t.form.lower() in ("because", "if", "although", "while"):
            clause = next((c for c in s.children(i) if s[c].deprel == "pcomp"), 0)
            if clause:
                substitute(s, i, clause)
                move(s, i, clause, "mark")
                s[clause].deprel = "advcl"


def raise_objects(s: Sentence) -> None:
    """Make the object of a preposition the head and the preposition its case or mark."""
    for p in sorted(s.ids(), key=lambda i: -depth(s, i)):
        if s[p].deprel not in PREPOSITIONAL:
            continue
        complements = [c for c in s.children(p) if s[c].deprel in OBJECTS]
        second = [c for c in s.children(p) if s[c].deprel == "conj"]
        if not complements and second and s.has(second[0], *OBJECTS):
            complements = [c for c in s.children(second[0]) if s[c].deprel in OBJECTS]
        if complements:
            _raise(s, p, complements)


def _raise(s: Sentence, p: int, complements: list[int]) -> None:
    governor, old = s[p].head, s[p].deprel
    first, *others = complements
    verbal = s[first].deprel == "pcomp" and (
        s[first].xpos.startswith("VB") or s.has(first, "nsubj", "aux", "mark", "cop")
    )
    after_preposition = governor and s[governor].deprel in PREPOSITIONAL
    s[first].head = governor
    if after_preposition:
        s[first].deprel = "pcomp" if verbal else "pobj"
    elif verbal:
        s[first].deprel = "acl" if governor and nominal(s, governor) else "advcl"
    elif old == "agent" and s[first].feats not in ("DATE", "TIME"):
        s[first].deprel = "obl:agent"
    else:
        noun = governor and (
            nominal(s, governor)
            or (s[p].form.lower() == "of" and s[governor].form.lower() in QUANTITIES)
        )
        s[first].deprel = "nmod" if noun else "obl"
    move(s, p, first, "mark" if verbal else "case")
    for other in others:
        relation = "nmod" if governor and nominal(s, governor) else "obl"
        move(s, other, governor or first, relation)
    for child in s.children(p):
        # "from May to June": spaCy hangs the second phrase under the first preposition.
        if s[child].deprel in ("obl", "nmod", "obl:agent") and governor:
            move(s, child, governor)
        elif s[child].deprel not in ("cc", "conj") or s[child].xpos not in ("IN", "TO", "CC"):
            s[child].head = first


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


def copulas(s: Sentence) -> None:
    """Make the predicate of ``be`` the head, with ``be`` as its copula."""
    for verb in sorted(s.ids(), key=lambda i: -depth(s, i)):
        t = s[verb]
        if t.lemma != "be" or t.deprel in ("aux", "auxpass", "cop"):
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
    own_subject = s.has(predicate, "nsubj", "nsubjpass", "nsubj:pass", "expl", "nsubj:outer")
    substitute(s, verb, predicate)
    s[verb].deprel = "cop"
    for child in s.children(verb):
        if s[child].deprel in ("nsubj", "csubj", "nsubjpass") and (clausal or own_subject):
            s[child].deprel = s[child].deprel[:5].replace("pass", "") + ":outer"
        s[child].head = predicate


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


def relabel(s: Sentence) -> None:
    """Translate the labels, then repair the ones that depend on a neighbour."""
    labels = [_conversion(s, i) for i in s.ids()]
    for token, label in zip(s.tokens, labels, strict=True):
        token.deprel = label
    for i in s.ids():
        t = s[i]
        if t.deprel == "obj" and t.head and s[t.head].lemma in TELLING and _is_told(s, i):
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
            t.deprel = "acl" if not s.has(s[i].head, "cop") else t.deprel
        elif t.deprel == "xcomp" and any(s[c].xpos in ("WRB", "WP") for c in s.children(i)):
            t.deprel = "ccomp"
        elif t.deprel == "xcomp" and _purpose(s, i):
            t.deprel = "advcl"
        elif t.deprel == "advcl" and any(
            s[c].form.lower() == "which" and c < i and s[c].deprel in SUBJECTS
            for c in s.children(i)
        ):
            t.deprel = "advcl:relcl"
        elif t.deprel == "acl:relcl" and t.xpos == "VB" and _infinitive(s, i):
            t.deprel = "acl"
        elif t.deprel == "obl:unmarked" and _called(s, i):
            t.deprel = "vocative"
        elif t.deprel in ("ccomp", "advcl") and _run_on(s, i):
            _side_by_side(s, i)
        # A relative clause that modifies a clause, not a noun.
        elif t.deprel == "acl:relcl" and t.head and s[t.head].upos in ("VERB", "AUX", "ADJ"):
            t.deprel = "advcl:relcl"
    _strand(s)


def _purpose(s: Sentence, i: int) -> bool:
    verb = s[i].head
    if s[verb].upos != "VERB" or not _infinitive(s, i):
        return False
    has_object = any(s[c].deprel == "obj" and verb < c < i for c in s.children(verb))
    if s[verb].lemma == "use" and s.has(verb, "aux:pass", "auxpass"):
        return True
    return s[verb].lemma not in (OBJECT_CONTROL if has_object else CATENATIVE)


def _infinitive(s: Sentence, i: int) -> bool:
    return any(s[c].xpos == "TO" and c < i for c in s.children(i))


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


def _run_on(s: Sentence, i: int) -> bool:
    """``we did not plan it, it happened``: spaCy subordinates the first clause."""
    head = s[i].head
    if not head or i > head or s.has(i, "mark") or s[head].lemma in SPEECH:
        return False
    bare = s[i].xpos == "VB" and not s.has(i, "aux", "nsubj")
    if s[i].deprel == "advcl" and not bare:
        return False
    subject = s.has(head, "nsubj", "nsubj:pass", "expl") or s[head].xpos == "VB"
    return subject and any(s[k].xpos in (",", ":") for k in range(i, head))


def _side_by_side(s: Sentence, first: int) -> None:
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


def _is_told(s: Sentence, i: int) -> bool:
    """Say whether an object has a clause or a second object as its rival."""
    person = s[i].upos in ("NOUN", "PRON", "PROPN") and not s[i].xpos.startswith("W")
    if not person or s.has(s[i].head, "nsubj:pass"):
        return False
    siblings = [c for c in s.children(s[i].head) if c != i]
    rival = any(s[c].deprel in ("ccomp", "xcomp", "obj") for c in siblings if c > i)
    before = any(s[c].deprel == "obj" and s[c].xpos in ("WP", "WDT") for c in siblings)
    return rival or before


def _strand(s: Sentence) -> None:
    """``whom they talked to``: give a stranded preposition its relative pronoun back."""
    for i in s.ids():
        t = s[i]
        if t.deprel != "obl" or t.xpos != "IN" or not t.head or s.has(i, "case"):
            continue
        wh = [c for c in s.children(t.head) if s[c].xpos in ("WP", "WDT", "WP$") and c < t.head]
        wh = [c for c in wh if s[c].deprel in ("obj", "dep", "obl", "advmod", "xcomp")]
        if wh:
            s[wh[0]].deprel = "obl"
            move(s, i, wh[0], "case")


def numbers(s: Sentence) -> None:
    """Sums of money, dates, degrees and years."""
    for i in s.ids():
        t = s[i]
        if t.form == "$" and i < len(s.tokens) and s[i + 1].xpos == "CD":
            _money(s, i)
        elif t.xpos == "CD" and t.head and _month(s, t.head) and not s.has(i, "case"):
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


MONTHS = word_set(
    "January February March April May June July August September October November December"
)
TITLES = word_set(
    "Mr. Mrs. Ms. Dr. Prof. Professor Judge Uncle Aunt Captain President Doctor Grandpa "
    "Minister Sir Lady Old General Queen King Prince Princess Lord"
)


def _month(s: Sentence, i: int) -> bool:
    return s[i].form in MONTHS


def names(s: Sentence) -> None:
    """Titles as ``nmod:desc`` and the later parts of a person's name as ``flat``."""
    for head in s.ids():
        parts = [c for c in s.children(head) if s[c].deprel == "compound" and c < head]
        person = s[head].feats == "PERSON"
        for c in parts:
            if s[c].form in TITLES and s[head].xpos == "NNP":
                s[c].deprel, person = "nmod:desc", True
        parts = [c for c in parts if s[c].xpos == "NNP"]
        parts = [c for c in parts if s[c].deprel == "compound"]
        if parts and s[head].xpos == "NNP" and person:
            first = parts[0]
            substitute(s, head, first)
            s[head].deprel = "flat"
            for child in s.children(head):
                move(s, child, first, "flat" if child in parts else None)
    for token in s.tokens:
        token.feats = "_"


def expletives(s: Sentence) -> None:
    """``It is easy to …``: the pronoun is expletive and the clause is the subject."""
    for i in s.ids():
        it = s[i]
        if it.form.lower() != "it" or it.deprel not in ("nsubj", "nsubj:outer", "nsubj:pass"):
            continue
        predicate = it.head
        if predicate and s[predicate].lemma == "take":
            time = [c for c in s.children(predicate) if c > predicate and _infinitive(s, c)]
            if time and s[time[0]].deprel in ("xcomp", "advcl", "acl"):
                it.deprel, s[time[0]].deprel = "expl", "csubj"
        if not predicate or not s.has(predicate, "cop"):
            continue
        clause = [
            c
            for c in s.children(predicate)
            if c > predicate
            and s[c].deprel in ("xcomp", "ccomp", "acl", "advcl", "csubj")
            and (s.has(c, "mark") or s[c].xpos == "VBG")
            and _extraposed(s, c)
        ]
        if clause and s[predicate].xpos in ("JJ", "JJR", "JJS", "NN", "VBN", "RB"):
            it.deprel = "expl"
            s[clause[0]].deprel = "csubj"


def _extraposed(s: Sentence, clause: int) -> bool:
    mark = s.child(clause, "mark")
    form = s[mark].form.lower() if mark else ""
    return form in ("to", "that", "whether", "for") or (not mark and s[clause].deprel != "advcl")


def free_relatives(s: Sentence) -> None:
    """``what I liked was …``: the wh-word heads the phrase and the clause modifies it."""
    for i in s.ids():
        wh = s[i]
        if wh.xpos != "WP" or wh.form.lower() not in ("what", "whatever", "whoever"):
            continue
        clause = wh.head
        if not clause or s[clause].upos == "PUNCT" or wh.deprel == "det":
            continue
        deprel, governor = s[clause].deprel, s[clause].head
        nested = s.has(clause, "case") or (deprel == "advcl" and _preposition(s, clause))
        subject = deprel in ("csubj", "csubj:pass", "csubj:outer")
        verb_object = deprel == "ccomp" and governor and s[governor].lemma not in INTERROGATIVE
        if verb_object and s[governor].upos not in ("VERB", "AUX"):
            verb_object = False
        if not (nested or subject or verb_object) or (i > clause and not s.has(clause, "cop")):
            continue
        relation = "obj" if verb_object else "obl" if nested else deprel.replace("csubj", "nsubj")
        if relation == "nsubj:outer":
            relation = "nsubj" if not s.has(governor, "nsubj") else relation
        move(s, i, governor, relation)
        move(s, clause, i, "acl:relcl")
        for child in s.children(clause):
            if s[child].deprel in ("mark", "case") and child < i:
                move(s, child, i, "case")


def _preposition(s: Sentence, clause: int) -> bool:
    return any(
        s[c].deprel == "mark" and s[c].xpos == "IN" and s[c].form.lower() in PREPOSITIONS
        for c in s.children(clause)
    )


PREPOSITIONS = word_set("of for in on with by about to from at against than")


def coordination(s: Sentence) -> None:
    """Attach a conjunction to the conjunct that follows it."""
    for i in s.ids():
        if s[i].deprel != "cc" or not s[i].head:
            continue
        head = s[i].head
        first = s[head].head if s[head].deprel == "conj" else head
        later = [c for c in s.children(first) if s[c].deprel == "conj" and c > i]
        if later:
            s[i].head = later[0]
        elif head < i:
            rest = [c for c in s.children(head) if c > i and s[c].upos != "PUNCT"]
            if rest:
                s[i].head = rest[0]


def multiword(s: Sentence) -> None:
    """Fixed expressions: the first word is the head."""
    for i in s.ids():
        if i == len(s.tokens):
            break
        pair = (s[i].form.lower(), s[i + 1].form.lower())
        if pair not in FIXED:
            continue
        if pair in COMPARED and not _before_number(s, i + 2):
            continue
        if pair == ("so", "that") and s[i + 1].xpos != "IN":
            continue
        if pair == ("so", "that") and s[s[i + 1].head].deprel != "advcl":
            continue
        if pair == ("as", "well") and i + 2 <= len(s.tokens) and s[i + 2].form.lower() == "as":
            continue
        if pair == ("up", "to") and not _before_number(s, i + 2):
            continue
        if pair in (("no", "one"), ("one", "another"), ("each", "other")):
            _pronoun_pair(s, i)
        elif FIXED[pair]:
            _fix(s, i, FIXED[pair])
    for i in s.ids():
        # "at least" is an oblique nominal of what it limits.
        if s[i].form.lower() in ("least", "most") and i > 1 and s[i - 1].form.lower() == "at":
            target = s[i].head
            while target in (i, i - 1) and target:
                target = s[target].head
            if target and i < len(s.tokens) and s[i + 1].upos == "NUM":
                target = i + 1
            move(s, i, target, "nmod" if nominal(s, target) else "obl")
            move(s, i - 1, i, "case")


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
        elif t.deprel == "advmod" and t.upos in ("ADJ",) and t.head and nominal(s, t.head):
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
