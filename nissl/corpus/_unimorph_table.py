"""Universal Dependencies → UniMorph, as data; written from the two published tag sets.

Sources: the feature inventory of Universal Dependencies v2 (universaldependencies.org) and the
UniMorph schema (Sylak-Glassman 2016; dimensions and tags in capitals).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EXCLUDED", "FEATURES", "PARTICIPLES", "POSSESSOR", "UPOS"]

Pairs = tuple[tuple[str, str], ...]


def _one(dimension: str, **values: str) -> dict[str, Pairs | str]:
    return {ud: ((dimension, um),) for ud, um in values.items()}


FEATURES: Mapping[str, Mapping[str, Pairs | str]] = {
    "Animacy": _one("Animacy", Anim="ANIM", Inan="INAN", Hum="HUM", Nhum="NHUM"),
    "Aspect": {
        **_one("Aspect", Imp="IPFV", Perf="PFV", Prog="PROG", Hab="HAB", Prosp="PROSP"),
        **_one("Aspect", Iter="ITER"),
    },
    "Case": {
        **_one("Case", Nom="NOM", Acc="ACC", Dat="DAT", Gen="GEN", Voc="VOC", Ins="INS"),
        **_one("Case", Abs="ABS", Erg="ERG", Com="COM", Ben="BEN", Par="PRT"),
        **_one("Case", Abe="PRIV", Cmp="COMPV", Equ="EQTV", Cau="PRP", Tra="TRANS"),
        # Of UniMorph's local cases ESS is static location; Finnish grammar's essive ("as") is FRML.
        **_one("Case", Ess="FRML", Loc="ESS", Abl="ABL", All="ALL", Lat="ALL", Ter="TERM"),
        **_one("Case", Ade="AT+ESS", Ine="IN+ESS", Ill="IN+ALL", Ela="IN+ABL", Per="PROL"),
        **_one("Case", Sup="ON+ESS", Sub="ON+ALL", Del="ON+ABL"),
        "Add": "UniMorph has no such case",
        "Cns": "UniMorph has no such case",
        "Dis": "UniMorph has no such case",
        "Tem": "UniMorph has no such case",
    },
    "Definite": {
        **_one("Definiteness", Def="DEF", Ind="INDF", Spec="SPEC"),
        # The construct state: UniMorph has it among the marks of possession.
        **_one("Possession", Cons="PSSD"),
        "Com": "definite by another word (complex), which UniMorph does not have",
    },
    "Degree": {
        **_one("Comparison", Cmp="CMPR", Sup="SPRL", Abs="AB", Equ="EQT"),
        "Pos": "UniMorph does not mark the positive",
        "Dim": "derivation, not comparison",
        "Aug": "derivation, not comparison",
    },
    "Deixis": {
        **_one("Deixis", Prox="PROX", Med="MED", Remt="REMT", Nvis="NVIS", Abv="ABV"),
        **_one("Deixis", Bel="BEL", Even="EVEN"),
    },
    "Evident": _one("Evidentiality", Fh="FH", Nfh="NFH"),
    # Common gender is what became of masculine and feminine; "+" is UniMorph's own composition.
    "Gender": _one("Gender", Masc="MASC", Fem="FEM", Neut="NEUT", Com="MASC+FEM"),
    "Mood": {
        **_one("Mood", Ind="IND", Imp="IMP", Cnd="COND", Sub="SBJV", Pot="POT", Opt="OPT"),
        **_one("Mood", Nec="OBLIG", Adm="ADM", Irr="IRR", Prp="PURP"),
        **_one("Interrogativity", Int="INT"),
        **_one("Evidentiality", Qot="QUOT"),
        "Des": "UniMorph has no such mood",
        "Jus": "UniMorph has no such mood",
        "Gen": "generalised modality of Turkish, which UniMorph does not have",
        **dict.fromkeys(
            ("GenPot", "GenNec", "CndGen", "CndPot", "GenNecPot", "CndGenPot", "DesPot", "NecPot"),
            "several moods at once",
        ),
    },
    "NounClass": {f"Bantu{i}": (("Gender", f"BANTU{i}"),) for i in range(1, 24)},
    "Number": {
        **_one("Number", Sing="SG", Plur="PL", Dual="DU", Tri="TRI", Pauc="PAUC"),
        **_one("Number", Grpa="GPAUC", Grpl="GRPL", Inv="INVN"),
        # Trousers and scissors: plural in form and agreement.
        **_one("Number", Ptan="PL"),
        "Coll": "UniMorph has no collective",
        "Count": "UniMorph has no count form",
    },
    "Person": {str(i): (("Person", str(i)),) for i in range(5)},
    "Polarity": _one("Polarity", Pos="POS", Neg="NEG"),
    "Polite": _one("Politeness", Infm="INFM", Form="FORM", Elev="ELEV", Humb="HUMB"),
    "Subcat": {
        **_one("Valency", Intr="INTR", Tran="TR", Ditr="DITR"),
        "Indir": "UniMorph has no such valency",
    },
    "Tense": {
        **_one("Tense", Past="PST", Pres="PRS", Fut="FUT"),
        "Imp": (("Tense", "PST"), ("Aspect", "IPFV")),
        "Pqp": (("Tense", "PST"), ("Aspect", "PRF")),
        "Aor": "means a past in some languages and a general present in others",
        "Nar": "a past by hearsay in old treebanks",
    },
    "VerbForm": {
        **_one("Finiteness", Fin="FIN", Inf="NFIN", Part="NFIN", Ger="NFIN", Conv="NFIN"),
        **_one("Finiteness", Vnoun="NFIN", Sup="NFIN", Gdv="NFIN"),
    },
    "Voice": {
        **_one("Voice", Act="ACT", Pass="PASS", Mid="MID", Cau="CAUS", Rcp="RECP", Rfl="REFL"),
        **_one("Voice", Antip="ANTIP", Dir="DIR", Inv="INV", Appl="APPL", Bfoc="BFOC"),
        **_one("Voice", Lfoc="LFOC"),
        **dict.fromkeys(("CauPass", "CauRcp", "PassRfl", "PassRcp"), "several voices at once"),
    },
}
"""UD feature → value → pairs of a UniMorph dimension and tag, or the reason why there is none."""

EXCLUDED: Mapping[str, str] = {
    **dict.fromkeys(
        ("Abbr", "Foreign", "Typo", "Hyph", "ExtPos", "Style", "Variant", "CorrectForm"),
        "about spelling and style",
    ),
    **dict.fromkeys(("PunctType", "PunctSide"), "about punctuation"),
    **dict.fromkeys(
        ("PronType", "NumType", "NumForm", "NumValue", "AdpType", "AdvType", "NameType"),
        "a class of words, not an inflection",
    ),
    **dict.fromkeys(
        ("ConjType", "PartType", "VerbType", "NounType", "AdjType", "InflClass"),
        "a class of words, not an inflection",
    ),
    "Poss": "says that a pronoun is possessive; UniMorph marks the possessed",
    "Reflex": "says that a pronoun is reflexive; UniMorph marks verbs",
    "PrepCase": "a form after prepositions, without a dimension in UniMorph",
    "Clusivity": "would split the first person",
    "DeixisRef": "without a dimension in UniMorph",
    "Gender[psor]": "the possessor's gender",
}
"""UD features of which no value is mapped, and why."""

POSSESSOR: Mapping[str, str] = {"Sing": "S", "Plur": "P", "Dual": "D"}
"""``Number[psor]`` in a tag such as ``PSS3S``, where ``Person[psor]`` is the digit."""

UPOS: Mapping[str, str | None] = {
    "ADJ": "ADJ",
    "ADP": "ADP",
    "ADV": "ADV",
    "AUX": "AUX",
    "CCONJ": "CONJ",
    "DET": "DET",
    "INTJ": "INTJ",
    "NOUN": "N",
    "NUM": "NUM",
    "PART": "PART",
    "PRON": "PRO",
    "PROPN": "PROPN",
    "SCONJ": "COMP",
    "VERB": "V",
    # No classes of words.
    "PUNCT": None,
    "SYM": None,
    "X": None,
}

PARTICIPLES: Mapping[str, str] = {
    "Part": "V.PTCP",
    "Gdv": "V.PTCP",
    "Vnoun": "V.MSDR",
    "Conv": "V.CVB",
}
"""What a VERB is in UniMorph by its ``VerbForm``; ``Ger`` is a masdar here and a converb there."""
