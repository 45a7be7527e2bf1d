"""FEATS by rule from form, lemma, UPOS, XPOS and the tree, in the manner of UD English-EWT."""

from __future__ import annotations

from tree import Sentence, Token, word_set

Feats = dict[str, str]

SUBJECTS = ("nsubj", "nsubj:pass", "nsubj:outer")
PLURALE_TANTUM = word_set(
    "scissors trousers goggles glasses clothes headphones thanks regards belongings earnings "
    "headquarters outskirts surroundings congratulations pyjamas pajamas jeans tongs pliers "
    "binoculars shorts remains"
)
GRADABLE_ADVERBS = word_set(
    "well long far late hard close soon little high fast early badly low deep"
)
ORDINAL_WORDS = word_set(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
)


def _table(text: str) -> dict[str, Feats]:
    table = {}
    for line in text.split("\n"):
        words, _, feats = line.strip().partition(" : ")
        for word in words.split():
            table[word] = dict(item.split("=") for item in feats.split("|"))
    return table


PERSONAL = _table(
    """i me my mine myself : Number=Sing|Person=1
    we us our ours ourselves 's : Number=Plur|Person=1
    you your yours : Person=2
    yourself : Number=Sing|Person=2
    yourselves : Number=Plur|Person=2
    he him his himself : Gender=Masc|Number=Sing|Person=3
    she her hers herself : Gender=Fem|Number=Sing|Person=3
    it its itself : Gender=Neut|Number=Sing|Person=3
    they them their theirs themselves : Number=Plur|Person=3
    one oneself : Number=Sing|Person=3"""
)
OBJECT_FORMS = word_set("me us him them 's")
INDEPENDENT_POSSESSIVES = word_set("mine ours yours hers theirs")
DETERMINERS = _table(
    """the : Definite=Def|PronType=Art
    a an : Definite=Ind|PronType=Art
    this that : Number=Sing|PronType=Dem
    these those : Number=Plur|PronType=Dem
    some any another either such quite : PronType=Ind
    all both each every : PronType=Tot
    no neither none : PronType=Neg
    half : NumForm=Word|NumType=Frac|PronType=Ind"""
)
INDEFINITE_PRONOUNS = _table(
    """something somebody someone anything anybody anyone : Number=Sing|PronType=Ind
    everything everybody everyone : Number=Sing|PronType=Tot
    nothing nobody : Number=Sing|PronType=Neg
    none : PronType=Neg"""
)
ADVERBS = _table(
    """now there here then : PronType=Dem
    somewhere ever anywhere sometimes sometime anytime either : PronType=Ind
    always everywhere : PronType=Tot
    never nowhere neither : PronType=Neg
    once twice thrice : NumForm=Word|NumType=Mult"""
)
INDEFINITE_RELATIVES = word_set("whoever whatever whichever whenever wherever whomever")


def derive(sentence: Sentence) -> None:
    """Fill FEATS of every token."""
    for i in sentence.ids():
        feats = _features(sentence, i)
        if _abbreviated(sentence[i]):
            feats["Abbr"] = "Yes"
        if fixed := sentence.child(i, "fixed"):
            feats["ExtPos"] = _external(sentence, i, fixed)
        ordered = sorted(feats.items(), key=lambda item: item[0].lower())
        sentence[i].feats = "|".join(f"{k}={v}" for k, v in ordered) or "_"


def _features(s: Sentence, i: int) -> Feats:
    token = s[i]
    form = token.form.lower()
    match token.upos:
        case "NOUN" | "PROPN":
            return _noun(token, form)
        case "VERB" | "AUX":
            return _verb(s, i)
        case "ADJ":
            return _adjective(token, form)
        case "ADV":
            return _adverb(s, i, form)
        case "PRON" | "DET":
            return _pronoun(s, i, form)
        case "NUM":
            return _number(token, form)
        case "PART":
            return {"Polarity": "Neg"} if token.lemma == "not" else {}
        case "INTJ":
            return {"Polarity": {"yes": "Pos", "no": "Neg"}[form]} if form in ("yes", "no") else {}
        case "CCONJ":
            return {"Polarity": "Neg"} if form == "nor" else {}
        case "X":
            return {"Foreign": "Yes"} if token.xpos == "FW" else {}
    return {}


def _noun(token: Token, form: str) -> Feats:
    if form == "%":
        return {"Number": "Sing"}
    if token.xpos in ("NNS", "NNPS"):
        ptan = token.xpos == "NNS" and form in PLURALE_TANTUM
        return {"Number": "Ptan" if ptan else "Plur"}
    return {"Number": "Sing"} if token.xpos in ("NN", "NNP") else {}


def _adjective(token: Token, form: str) -> Feats:
    degree = {"JJR": "Cmp", "JJS": "Sup"}.get(token.xpos, "Pos")
    feats = {"Degree": degree}
    if form in ORDINAL_WORDS:
        feats |= {"NumForm": "Word", "NumType": "Ord"}
    elif form[:1].isdigit() and form.endswith(("st", "nd", "rd", "th")):
        feats |= {"NumForm": "Combi", "NumType": "Ord"}
    return feats


def _adverb(s: Sentence, i: int, form: str) -> Feats:
    if s[i].xpos == "WRB":
        return {"PronType": _wh_type(s, i)}
    if s[i].xpos in ("RBR", "RBS"):
        return {"Degree": "Cmp" if s[i].xpos == "RBR" else "Sup"}
    if form in ADVERBS:
        return dict(ADVERBS[form])
    if form in ("first", "second", "third"):
        return {"NumForm": "Word", "NumType": "Ord"}
    return {"Degree": "Pos"} if form in GRADABLE_ADVERBS else {}


def _number(token: Token, form: str) -> Feats:
    if any(c.isdigit() for c in form):
        kind = "Frac" if "/" in form or "." in form else "Card"
        return {"NumForm": "Digit", "NumType": kind}
    return {"NumForm": "Word", "NumType": "Card"}


def _pronoun(s: Sentence, i: int, form: str) -> Feats:
    token = s[i]
    if token.xpos in ("WDT", "WP", "WP$"):
        feats = {"PronType": _wh_type(s, i)}
        return feats | ({"Poss": "Yes"} if token.xpos == "WP$" else {})
    if token.xpos in ("PRP", "PRP$"):
        return _personal(s, i, form)
    if form in ("each", "one") and s.has(i, "fixed"):
        return {"PronType": "Rcp"}
    if token.upos == "PRON" and form in INDEFINITE_PRONOUNS:
        return dict(INDEFINITE_PRONOUNS[form])
    if form == "no" and s.has(i, "fixed"):
        return {"Number": "Sing", "PronType": "Neg"}
    return dict(DETERMINERS.get(form, {}))


def _personal(s: Sentence, i: int, form: str) -> Feats:
    feats = dict(PERSONAL.get(form, {})) | {"PronType": "Prs"}
    if form.endswith(("self", "selves")):
        emphatic = s[i].deprel in ("obl:unmarked", "nmod:unmarked", "appos", "advmod")
        return feats | {"Case": "Acc", "Reflex": "Yes", "PronType": "Emp" if emphatic else "Prs"}
    if s[i].xpos == "PRP$":
        return feats | {"Case": "Gen", "Poss": "Yes"}
    if form in INDEPENDENT_POSSESSIVES or form == "his":
        return feats | {"Poss": "Yes"}
    if form == "one":
        return feats
    if form in ("you", "it", "her"):
        return feats | {"Case": "Acc" if form == "her" or _objective(s, i) else "Nom"}
    return feats | {"Case": "Acc" if form in OBJECT_FORMS else "Nom"}


def _objective(s: Sentence, i: int) -> bool:
    deprel = s[i].deprel
    if deprel == "conj":
        return _objective(s, s[i].head)
    return s.has(i, "case") or deprel.split(":")[0] in ("obj", "iobj", "obl", "nmod")


def _wh_type(s: Sentence, i: int) -> str:
    if s[i].form.lower() in INDEFINITE_RELATIVES or s.has(i, "acl:relcl", "advcl:relcl"):
        return "Rel"
    node, steps = i, 0
    while node and steps < len(s.tokens):
        deprel = s[node].deprel
        if deprel.endswith(":relcl"):
            return "Rel"
        if deprel in ("ccomp", "csubj", "csubj:pass", "advcl", "root", "parataxis"):
            return "Int"
        node, steps = s[node].head, steps + 1
    return "Int"


def _verb(s: Sentence, i: int) -> Feats:
    match s[i].xpos:
        case "MD":
            return {"VerbForm": "Fin"}
        case "VB":
            if _imperative(s, i):
                return {"Mood": "Imp", "VerbForm": "Fin"}
            return {"VerbForm": "Inf"}
        case "VBZ":
            return _finite("Pres", {"Number": "Sing", "Person": "3"})
        case "VBP":
            return _finite("Pres", _agreement(s, i))
        case "VBD":
            return _finite("Past", _agreement(s, i))
        case "VBG":
            gerund = _gerund(s, i)
            return {"VerbForm": "Ger"} if gerund else {"Tense": "Pres", "VerbForm": "Part"}
        case "VBN":
            feats = {"Tense": "Past", "VerbForm": "Part"}
            return feats | ({"Voice": "Pass"} if _passive(s, i) else {})
    return {}


def _finite(tense: str, agreement: Feats) -> Feats:
    return {"Mood": "Ind", "Tense": tense, "VerbForm": "Fin"} | agreement


def _clause(s: Sentence, i: int) -> int:
    """Return the predicate that an auxiliary or copula belongs to, else the verb itself."""
    return s[i].head if s[i].deprel.split(":")[0] in ("aux", "cop") and s[i].head else i


def _imperative(s: Sentence, i: int) -> bool:
    clause = _clause(s, i)
    helped = any(
        c < i and s[c].deprel in ("aux", "aux:pass", "mark") and s[c].lemma != "do"
        for c in s.children(clause)
    )
    if helped or s.has(clause, *SUBJECTS, "expl"):
        return False
    deprel = s[clause].deprel
    if deprel == "conj" and s[clause].head:
        first = s[clause].head
        helpers = [c for c in s.children(first) if s[c].deprel in ("aux", "cop")]
        verb = next((v for v in (first, *helpers) if s[v].xpos == "VB"), 0)
        return bool(verb) and _imperative(s, verb)
    return deprel in ("root", "parataxis") or (deprel == "ccomp" and not s.has(clause, "mark"))


def _passive(s: Sentence, i: int) -> bool:
    if s[i].upos == "AUX":
        return False
    if s.has(i, "aux:pass", "nsubj:pass"):
        return True
    perfect = any(s[c].deprel == "aux" for c in s.children(i))
    if s[i].deprel == "conj" and not perfect:
        return s[s[i].head].xpos == "VBN" and _passive(s, s[i].head)
    return not perfect and s[i].deprel in (
        "acl", "amod", "advcl", "xcomp", "acl:relcl", "case", "compound", "root"
    )  # fmt: skip


def _gerund(s: Sentence, i: int) -> bool:
    clause = _clause(s, i)
    if any(s[c].deprel == "aux" and s[c].lemma == "be" and c < i for c in s.children(clause)):
        return False
    marked = any(s[c].deprel in ("mark", "case") and c < i for c in s.children(clause))
    deprel = s[clause].deprel
    if deprel == "conj":
        return _gerund(s, s[clause].head)
    return marked or deprel in ("csubj", "csubj:pass", "ccomp", "csubj:outer", "xcomp", "compound")


def _agreement(s: Sentence, i: int) -> Feats:
    clause = _clause(s, i)
    subject, seen = 0, set()
    while clause and clause not in seen and not subject:
        seen.add(clause)
        outer = s[i].deprel == "cop" and s.child(clause, "nsubj:outer")
        # An outer subject belongs to the copula alone, not to the clause that is its predicate.
        subject = outer or s.child(clause, "nsubj", "nsubj:pass")
        if not subject and s[clause].deprel == "acl:relcl":
            subject = s[clause].head
        clause = s[clause].head if s[clause].deprel == "conj" else 0
    if subject and s[subject].xpos in ("WDT", "WP"):
        head = s[_clause(s, i)]
        subject = head.head if head.deprel == "acl:relcl" else subject
    found = _person_number(s, subject) if subject else {"Number": "Sing", "Person": "3"}
    form = s[i].form.lower()
    if form == "was":
        found["Number"] = "Sing"
    elif (form in ("were", "are", "'re") and found["Person"] != "2") or (
        s[i].xpos == "VBP" and found == {"Number": "Sing", "Person": "3"}
    ):
        found["Number"] = "Plur"
    return found


def _person_number(s: Sentence, subject: int) -> Feats:
    token = s[subject]
    feats = PERSONAL.get(token.form.lower(), {}) if token.xpos == "PRP" else {}
    person = feats.get("Person", "3")
    number = feats.get("Number", "Sing")
    if token.form.lower() in ("mine", "ours", "yours", "his", "hers", "theirs"):
        # "Ours looked new": the thing, not its owner, agrees with the verb.
        person, number = "3", "Sing"
    plural = token.xpos in ("NNS", "NNPS") or token.form.lower() in (
        "these", "those", "both", "many", "several", "few", "all", "most", "some"
    )  # fmt: skip
    coordinated = any(
        s[c].deprel == "conj" and any(s[g].form.lower() == "and" for g in s.children(c))
        for c in s.children(subject)
    )
    counted = token.upos == "NUM" and token.lemma not in ("1", "one")
    if plural or coordinated or counted:
        number = "Plur"
    return {"Number": number, "Person": person}


def _external(s: Sentence, i: int, fixed: int) -> str:
    words = f"{s[i].form} {s[fixed].form}".lower()
    if words in ("each other", "one another", "no one"):
        return "PRON"
    deprel = s[i].deprel
    by_relation = {"case": "ADP", "mark": "SCONJ", "cc": "CCONJ", "advmod": "ADV"}
    return by_relation.get(deprel, "ADV")


def _abbreviated(token: Token) -> bool:
    form = token.form.rstrip(".")
    dotted = token.form.endswith(".") and form.isalpha() and token.upos != "PUNCT"
    unit = token.upos in ("NOUN", "SYM") and token.form in ("g", "kg", "km", "cm", "mm", "ml", "TV")
    return dotted or unit or (token.upos in ("NOUN", "ADV") and token.form in ("a.m.", "p.m."))
