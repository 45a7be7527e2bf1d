"""Texts as subwords: what is scored, and what only stands before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nissl.corpus import Corpus
from nissl.errors import InputError, ModelError, SettingError
from nissl.model import LoadedModel

__all__ = ["Encoded", "Texts", "encode", "needs_head", "start_token", "texts_of"]

DOCUMENT = "<|endoftext|>"

Texts = Corpus | Sequence[str]
"""Running text: a corpus, or texts."""


def texts_of(source: Texts, name: str = "reference") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return texts and their places.

    Raises
    ------
    InputError
        There is none.
    """
    if isinstance(source, Corpus):
        pairs = [(sentence.text, sentence.where) for sentence in source]
    else:
        pairs = [(text, f"{name}:{i + 1}") for i, text in enumerate(source)]
    if not pairs:
        raise InputError("holds no text", where=name)
    return tuple(text for text, _ in pairs), tuple(place for _, place in pairs)


@dataclass(frozen=True)
class Encoded:
    """One text.

    Attributes
    ----------
    ids
        Subwords; for a causal model a start token, then those of the text.
    first
        How many stand before the text's own: special tokens, or a start token.
    last
        Where the text's own subwords end.
    spans
        Characters of each of ``ids``; (0, 0) for special tokens.
    words
        Which word of the tokenizer's each of ``ids`` is part of; -1 for special tokens.
    """

    ids: tuple[int, ...]
    first: int
    last: int
    spans: tuple[tuple[int, int], ...]
    words: tuple[int, ...]


def needs_head(model: LoadedModel, *heads: str) -> str:
    """Return the head of a model; refuse one that an effect cannot be measured on.

    Raises
    ------
    ModelError
        The model has another head, or none, or no tokenizer.
    """
    if model.head not in heads:
        raise ModelError(
            f'model "{model.name}" has head "{model.head}", and this effect is of '
            f'{" or ".join(heads)}; load it with head="{heads[0]}" (--head {heads[0]})'
        )
    if model.tokenizer is None:
        raise ModelError(f'model "{model.name}" has no tokenizer, and this effect is of text')
    return model.head


def start_token(model: LoadedModel) -> int | None:
    """Return the token that a causal model reads before a text, or None.

    It matters: after a token that the model never saw before plain text, such as the
    ``<|im_start|>`` that chat models call their beginning, agreement can fall by 20 points. So
    ``auto`` is what the tokenizer itself puts there; else ``<|endoftext|>`` where it is a token,
    which stood between the documents of pre-training; else the tokenizer's ``bos_token``, else its
    ``eos_token``, else none.

    Raises
    ------
    SettingError
        The token asked for is none of the tokenizer's.
    """
    words = model.tokenizer
    if model.start == "none":
        return None
    known = words.get_vocab()
    if model.start != "auto":
        if model.start not in known:
            raise SettingError(f'start token "{model.start}" is no token of model "{model.name}"')
        return int(known[model.start])
    for token in (DOCUMENT, words.bos_token, words.eos_token):
        if token is not None and token in known:
            return int(known[token])
    return None


def encode(
    model: LoadedModel, texts: Sequence[str], places: Sequence[str], *, causal: bool
) -> list[Encoded]:
    """Tokenize texts, each by itself.

    A causal model reads a start token first, so that the first subword has a probability too: see
    :func:`start_token`. What the tokenizer adds at the end is left off.

    Raises
    ------
    InputError
        A text without any subword.
    """
    if not texts:
        return []
    words = model.tokenizer
    given: Any = words(
        list(texts),
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        padding=False,
        truncation=False,
        verbose=False,
    )
    start = start_token(model) if causal else None
    found = []
    for i, (text, place) in enumerate(zip(texts, places, strict=True)):
        ids = list(given["input_ids"][i])
        spans = [(int(a), int(b)) for a, b in given["offset_mapping"][i]]
        number = [-1 if word is None else int(word) for word in given.word_ids(i)]
        own = [j for j, special in enumerate(given["special_tokens_mask"][i]) if not special]
        if not own:
            raise InputError(f'"{text[:40]}" has no subword', where=place)
        first, last = own[0], own[-1] + 1
        if causal:
            ids, spans, number = ids[:last], spans[:last], number[:last]
            if first == 0 or model.start != "auto":
                # What was asked for stands instead of what the tokenizer puts there.
                lead = [] if start is None else [start]
                ids = [*lead, *ids[first:]]
                spans = [*((0, 0) for _ in lead), *spans[first:]]
                number = [*(-1 for _ in lead), *number[first:]]
                first, last = len(lead), last - first + len(lead)
        found.append(Encoded(tuple(ids), first, last, tuple(spans), tuple(number)))
    return found
