"""Punctuation: attached by udapi's block, which keeps the tree projective."""

from __future__ import annotations

from typing import Any

from tree import Sentence


def attach(sentence: Sentence) -> None:
    """Attach every punctuation mark as high as projectivity and its pair allow."""
    from udapi.block.ud.fixpunct import FixPunct
    from udapi.core.root import Root

    root: Any = Root()
    nodes: list[Any] = [
        root.create_child(form=t.form, lemma=t.lemma, upos=t.upos) for t in sentence.tokens
    ]
    for node, token in zip(nodes, sentence.tokens, strict=True):
        node.xpos, node.deprel = token.xpos, token.deprel
    _free(sentence)
    for node, token in zip(nodes, sentence.tokens, strict=True):
        node.parent = nodes[token.head - 1] if token.head else root
    FixPunct().process_tree(root)
    for node, token in zip(nodes, sentence.tokens, strict=True):
        token.head, token.deprel = node.parent.ord, node.deprel


def end(sentence: Sentence) -> None:
    """Attach the mark that ends a sentence to its root.

    The block leaves it where the parser had it, often on the last conjunct.
    """
    last = sentence.tokens[-1]
    if last.upos == "PUNCT" and last.xpos == "." and last.head:
        last.head = next(i for i in sentence.ids() if sentence[i].head == 0)


def _free(sentence: Sentence) -> None:
    """Let nothing hang under a punctuation mark and label each mark ``punct``."""
    for i in sentence.ids():
        token = sentence[i]
        while token.head and sentence[token.head].upos == "PUNCT":
            token.head = sentence[token.head].head
            if token.head == 0:
                token.deprel = "root"
        if token.upos == "PUNCT" and token.head:
            token.deprel = "punct"
