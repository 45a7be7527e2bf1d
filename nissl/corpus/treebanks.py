"""Treebanks in a folder, by the file names of Universal Dependencies: ``en_pud-ud-test.conllu``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nissl.corpus.conllu import read_conllu
from nissl.corpus.corpus import SPLITS, Corpus
from nissl.corpus.genera import Language, language_of
from nissl.errors import InputError, SettingError, did_you_mean

__all__ = ["Treebank", "choose_treebanks", "find_treebanks", "read_treebank"]

NAME = re.compile(r"(?P<code>[a-z]{2,3})_(?P<name>[a-z0-9]+)-ud-(?P<split>train|dev|test)\.conllu")


@dataclass(frozen=True)
class Treebank:
    """A treebank on disk.

    Attributes
    ----------
    language
        Its language, with genus and family where they are known.
    name
        Such as ``pud``.
    files
        Split → file.
    """

    language: Language
    name: str
    files: Mapping[str, Path]

    @property
    def code(self) -> str:
        """Code of the language, such as ``en``."""
        return self.language.code

    @property
    def id(self) -> str:
        """Such as ``en_pud``."""
        return f"{self.code}_{self.name}"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are files for."""
        return tuple(self.files)


def find_treebanks(folder: str | os.PathLike[str]) -> list[Treebank]:
    """Return the treebanks below a folder, sorted by language and name.

    A file is one if its name is ``language_treebank-ud-split.conllu``; others are ignored.

    Raises
    ------
    InputError
        No such folder, no such file in it, or one split of a treebank twice.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError("no such folder of treebanks", where=str(folder))
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for path in sorted(root.rglob("*.conllu")):
        match = NAME.fullmatch(path.name)
        if match is None:
            continue
        files = found.setdefault((match["code"], match["name"]), {})
        if match["split"] in files:
            raise InputError(
                f"{files[match['split']]} and this are the same split of one treebank; remove one",
                where=str(path),
            )
        files[match["split"]] = path
    if not found:
        raise InputError(
            "no treebank: files are called language_treebank-ud-split.conllu, such as "
            "en_pud-ud-test.conllu",
            where=str(folder),
        )
    return [
        Treebank(language_of(code), name, {s: files[s] for s in SPLITS if s in files})
        for (code, name), files in sorted(found.items())
    ]


def choose_treebanks(
    treebanks: Iterable[Treebank], languages: Iterable[str] | None = None
) -> dict[str, Treebank]:
    """Return key → treebank for the languages named (all by default).

    A language with one treebank is called by its code; treebanks of a language that has several by
    their ids (``tr_pud``, ``tr_web``). Languages can be named by code, name or id.

    Raises
    ------
    SettingError
        A language that no treebank is of, or a treebank that is there twice.
    """
    have = list(treebanks)
    seen: dict[str, Treebank] = {}
    for each in have:
        if each.id in seen:
            one, two = (next(iter(t.files.values())).parent for t in (seen[each.id], each))
            raise SettingError(
                f"treebank {each.id} is there twice, in {one} and in {two}; name one folder only, "
                "or put the files of its splits into one"
            )
        seen[each.id] = each
    if languages is not None:
        wanted = list(dict.fromkeys(languages))
        known = [w for t in have for w in (t.code, t.language.name, t.id)]
        for each in wanted:
            if each not in known:
                raise SettingError(
                    f'no treebank of "{each}"; there are {", ".join(t.id for t in have)}.'
                    f"{did_you_mean(each, known)}"
                )
        have = [t for t in have if {t.code, t.language.name, t.id} & set(wanted)]
    several = {t.code for t in have if sum(u.code == t.code for u in have) > 1}
    return {(t.id if t.code in several else t.code): t for t in have}


def read_treebank(treebank: Treebank) -> Corpus:
    """Read all splits of a treebank as one corpus called by its id."""
    parts = [read_conllu(path, split=split) for split, path in treebank.files.items()]
    return Corpus.concat(parts, name=treebank.id)
