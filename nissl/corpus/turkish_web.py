"""The Turkish web and wiki treebank (package ``turkish-treebanks``) as Universal Dependencies.

Its files are CoNLL-U by form but have a tag set of their own, after the inflectional groups of
Oflazer. :func:`convert_turkish_web` writes what has an equal in Universal Dependencies and counts
the rest. Heads and relations are kept as they are; they are not Universal Dependencies'.
"""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from nissl.errors import InputError

__all__ = ["MEMBERS", "convert_turkish_web", "ud_features", "ud_pos"]

MEMBERS = ("data/web.conllu", "data/wiki.conllu")
COLUMNS = 10
NUMBER = {"sg": "Sing", "pl": "Plur"}

POS = {
    **{tag: tag for tag in ("NOUN", "VERB", "ADJ", "ADP", "ADV", "DET", "NUM", "PRON", "PUNCT")},
    "X": "X",
    "CONJ": "CCONJ",
    "PRT": "PART",
    "ONOM": "INTJ",
    "AFFIX": "X",
}
BY_XPOS = {"VJ": "VERB", "VN": "VERB", "CRB": "VERB", "NOMP": "NOUN", "NNP": "PROPN"}
"""Participles, verbal nouns and converbs are verbs there, nominal predicates are nouns."""

TAGS: Mapping[tuple[str, str], Mapping[str, str]] = {
    **{
        ("Case", case): {"Case": case} for case in ("Nom", "Acc", "Dat", "Loc", "Abl", "Gen", "Ins")
    },
    # Without an ending: the subject's form, also of indefinite objects and in compounds.
    ("Case", "Bare"): {"Case": "Nom"},
    ("Polarity", "Pos"): {"Polarity": "Pos"},
    ("Polarity", "Neg"): {"Polarity": "Neg"},
    ("DeterminerType", "Def"): {"Definite": "Def"},
    ("DeterminerType", "Ind"): {"Definite": "Ind"},
    ("NumberType", "Ord"): {"NumType": "Ord"},
    ("NumberType", "Dist"): {"NumType": "Dist"},
    ("TenseAspectMood", "Aor"): {"Aspect": "Hab", "Tense": "Pres", "Mood": "Ind"},
    ("TenseAspectMood", "Past"): {"Aspect": "Perf", "Tense": "Past", "Mood": "Ind"},
    ("TenseAspectMood", "Nar"): {"Tense": "Past", "Mood": "Ind", "Evident": "Nfh"},
    ("TenseAspectMood", "Prog1"): {"Aspect": "Prog", "Tense": "Pres", "Mood": "Ind"},
    ("TenseAspectMood", "Prog2"): {"Aspect": "Prog", "Tense": "Pres", "Mood": "Ind"},
    ("TenseAspectMood", "Fut"): {"Tense": "Fut", "Mood": "Ind"},
    ("TenseAspectMood", "Imp"): {"Mood": "Imp"},
    ("TenseAspectMood", "Opt"): {"Mood": "Opt"},
    ("TenseAspectMood", "Desr"): {"Mood": "Des"},
    ("TenseAspectMood", "Nec"): {"Mood": "Nec"},
    ("Copula", "PresCop"): {"Tense": "Pres"},
    ("Copula", "PastCop"): {"Tense": "Past"},
    ("Copula", "EvCop"): {"Tense": "Past", "Evident": "Nfh"},
    ("Copula", "CndCop"): {"Mood": "Cnd"},
    ("Copula", "GenCop"): {"Mood": "Gen"},
    ("Derivation", "Pass"): {"Voice": "Pass"},
    ("Derivation", "Cau"): {"Voice": "Cau"},
    ("Derivation", "Rcp"): {"Voice": "Rcp"},
    ("Derivation", "Rfx"): {"Voice": "Rfl"},
    ("Derivation", "Able"): {"Mood": "Pot"},
    **{
        ("Derivation", f"{tense}Part"): {"VerbForm": "Part"}
        for tense in ("Pres", "Past", "Fut", "Aor", "Per")
    },
    **{
        ("Derivation", f"{tense}Nom"): {"VerbForm": "Vnoun"}
        for tense in ("Pres", "Past", "Fut", "Aor", "Per", "Pro")
    },
    ("Derivation", "Inf"): {"VerbForm": "Vnoun"},
    ("Derivation", "Ger"): {"VerbForm": "Vnoun"},
    **{
        ("Derivation", name): {"VerbForm": "Conv"}
        for name in ("After", "While", "When", "By", "Since", "As")
    },
}
"""Feature and value there → features of Universal Dependencies."""

SILENT = {"PersonNumber", "Possessive", "Proper"}
"""Handled by rules, not by the table."""


def ud_pos(pos: str, xpos: str, proper: bool) -> str:
    """Return the UPOS of a word from its coarse and fine tag."""
    if proper and pos == "NOUN":
        return "PROPN"
    return BY_XPOS.get(xpos, POS.get(pos, "X"))


def ud_features(feats: str, pos: str, lost: Counter[str] | None = None) -> str:
    """Return a FEATS cell of Universal Dependencies.

    ``A3sg`` is the number of a noun and also the person of a pronoun, ``V3sg`` the person of a
    predicate, and its number where the noun has none. A later tag on a word overrules an earlier
    one, as outer suffixes do; two voices are joined (``CauPass``).

    Parameters
    ----------
    feats
        The cell, such as ``PersonNumber=A3sg|Case=Bare``.
    pos
        The word's UPOS.
    lost
        Counts what has no equal.
    """
    found: dict[str, str] = {}
    for item in feats.split("|") if feats != "_" else ():
        key, _, value = item.partition("=")
        if key == "PersonNumber" and len(value) == 4 and value[2:] in NUMBER:
            if value[0] == "A":
                found["Number"] = NUMBER[value[2:]]
            else:
                found.setdefault("Number", NUMBER[value[2:]])
            if value[0] == "V" or pos == "PRON":
                found["Person"] = value[1]
        elif key == "Possessive" and len(value) == 4 and value[2:] in NUMBER:
            found["Person[psor]"], found["Number[psor]"] = value[1], NUMBER[value[2:]]
        elif (key, value) in TAGS:
            for name, new in TAGS[key, value].items():
                joined = name == "Voice" and found.get(name, new) != new
                found[name] = found[name] + new if joined else new
        elif key not in SILENT and lost is not None:
            lost[item] += 1
    # Universal Dependencies sorts features without regard to case.
    return "|".join(f"{k}={found[k]}" for k in sorted(found, key=str.lower)) or "_"


def convert_turkish_web(
    source: str | os.PathLike[str], out: str | os.PathLike[str]
) -> Counter[str]:
    """Write ``tr_web-ud-test.conllu`` into a folder; return what has no equal, and how often.

    Parameters
    ----------
    source
        The package's wheel (from ``pip download``), or the folder that it was unpacked to.
    out
        Folder; it is made.

    Raises
    ------
    InputError
        The files are not there, or a line has not ten columns.
    """
    lost: Counter[str] = Counter()
    lines: list[str] = []
    for where, line in _lines(Path(source)):
        if not line or line.startswith("#"):
            lines.append(line)
            continue
        cells = line.split("\t")
        if len(cells) != COLUMNS:
            raise InputError(f"{len(cells)} columns where there must be {COLUMNS}", where=where)
        pos = ud_pos(cells[3], cells[4], "Proper=True" in cells[5].split("|"))
        cells[3], cells[5] = pos, ud_features(cells[5], pos, lost)
        lines.append("\t".join(cells))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "tr_web-ud-test.conllu"
    partial = target.with_name(f"{target.name}.part")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    partial.replace(target)
    return lost


def _lines(source: Path) -> Iterator[tuple[str, str]]:
    """Yield place and line of both files, with an empty line after each."""
    for member in MEMBERS:
        try:
            if source.is_dir():
                text = (source / member).read_text(encoding="utf-8")
            else:
                with zipfile.ZipFile(source) as archive:
                    text = archive.read(member).decode("utf-8")
        except (OSError, KeyError, zipfile.BadZipFile, UnicodeDecodeError) as error:
            raise InputError(
                f"is not the wheel of turkish-treebanks (no readable {member}: {error})",
                where=str(source),
            ) from None
        for number, line in enumerate(text.rstrip("\n").split("\n"), start=1):
            yield f"{member}:{number}", line.rstrip("\r")
        yield member, ""
