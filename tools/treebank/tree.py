"""Tokens and sentences of the treebank, and their CoNLL-U form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


def word_set(text: str) -> frozenset[str]:
    """Return the words of a string as a set; long lists read best that way."""
    return frozenset(text.split())


UPOS = word_set("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X")
NOMINAL = word_set("NOUN PROPN PRON NUM SYM")


class TreebankError(ValueError):
    """A file of the treebank that cannot be used as it is."""


@dataclass
class Token:
    """One syntactic word. ``head`` counts from 1; 0 is the root."""

    form: str
    lemma: str = "_"
    upos: str = "X"
    xpos: str = "_"
    feats: str = "_"
    head: int = 0
    deprel: str = "_"
    chunk: str = "O"
    space: bool = True


@dataclass
class Sentence:
    """A sentence; ``tokens[0]`` has the id 1."""

    sent_id: str
    text: str
    genre: str
    tokens: list[Token] = field(default_factory=list)

    def ids(self) -> range:
        """Return the token ids, from 1."""
        return range(1, len(self.tokens) + 1)

    def __getitem__(self, number: int) -> Token:
        return self.tokens[number - 1]

    def children(self, number: int) -> list[int]:
        """Return the ids of the dependents, in order."""
        return [i for i in self.ids() if self[i].head == number]

    def child(self, number: int, *deprels: str) -> int:
        """Return the first dependent with one of the relations, or 0."""
        return next((i for i in self.children(number) if self[i].deprel in deprels), 0)

    def has(self, number: int, *deprels: str) -> bool:
        """Say whether the token has a dependent with one of the relations."""
        return self.child(number, *deprels) > 0

    def subtree(self, number: int) -> list[int]:
        """Return the ids of the token and everything below it, in order."""
        found, queue = {number}, [number]
        while queue:
            for child in self.children(queue.pop()):
                if child not in found:
                    found.add(child)
                    queue.append(child)
        return sorted(found)


def conllu(sentence: Sentence) -> str:
    """Return one sentence as a CoNLL-U block with its closing empty line."""
    lines = [
        f"# sent_id = {sentence.sent_id}",
        f"# text = {sentence.text}",
        f"# genre = {sentence.genre}",
    ]
    for i in sentence.ids():
        t = sentence[i]
        misc = f"Chunk={t.chunk}" + ("" if t.space else "|SpaceAfter=No")
        row = [str(i), t.form, t.lemma, t.upos, t.xpos, t.feats, str(t.head), t.deprel, "_", misc]
        lines.append("\t".join(row))
    return "\n".join(lines) + "\n\n"


def write(path: Path, sentences: Iterable[Sentence]) -> None:
    """Write a CoNLL-U file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(conllu(s) for s in sentences), encoding="utf-8", newline="\n")


def read(path: Path) -> Iterator[Sentence]:
    """Read a CoNLL-U file; ranges and empty nodes are left out."""
    sentence = Sentence("", "", "")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip() in ("sent_id", "text", "genre"):
                setattr(sentence, key.strip(), value.strip())
        elif not line:
            if sentence.tokens:
                yield sentence
            sentence = Sentence("", "", "")
        else:
            cells = line.split("\t")
            if len(cells) != 10:
                raise TreebankError(f"{path}:{number}: {len(cells)} columns, not 10")
            if cells[0].isdigit():
                sentence.tokens.append(_token(cells))
    if sentence.tokens:
        yield sentence


def _token(cells: list[str]) -> Token:
    _, form, lemma, upos, xpos, feats, head, deprel, _, misc = cells
    chunk = next((m[6:] for m in misc.split("|") if m.startswith("Chunk=")), "O")
    space = "SpaceAfter=No" not in misc.split("|")
    number = int(head) if head.isdigit() else 0
    return Token(form, lemma, upos, xpos, feats, number, deprel, chunk, space)
