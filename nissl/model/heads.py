"""Heads on top of a model: what it predicts, and that nothing about it is left to chance."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from nissl.errors import ModelError, SettingError, did_you_mean

__all__ = ["HEADS", "auto_class", "check_head", "head_fingerprint", "refuse_missing", "set_padding"]

HEADS = {
    "none": "AutoModel",
    "causal-lm": "AutoModelForCausalLM",
    "masked-lm": "AutoModelForMaskedLM",
    "classification": "AutoModelForSequenceClassification",
}
"""Each head and the class of the transformers library that builds it."""


def check_head(head: str) -> None:
    """Refuse an unknown head.

    Raises
    ------
    SettingError
    """
    if head not in HEADS:
        raise SettingError(
            f'head "{head}" is none of {", ".join(HEADS)}.{did_you_mean(head, HEADS)}'
        )


def auto_class(head: str) -> Any:
    """Return the class that builds a model with a head."""
    import transformers

    return getattr(transformers, HEADS[head])


def refuse_missing(label: str, head: str, missing: Sequence[str]) -> None:
    """Refuse a model whose head, or anything below it, would be random.

    Raises
    ------
    ModelError
        The checkpoint lacks weights that the head's answer depends on.
    """
    if not missing:
        return
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    raise ModelError(
        f'the weights of model "{label}" lack {", ".join(missing[:3])}{more}, on which its {head} '
        'head depends and which would be random; give a checkpoint with that head, or head="none"'
    )


def head_fingerprint(identity: str, head: str) -> str:
    """Return the identity of a model with its head; without one it stays what it was."""
    if head == "none":
        return identity
    return hashlib.sha256(f"{identity} {head}".encode()).hexdigest()


def set_padding(model: Any, head: str) -> None:
    """Have a classifier of a decoder take batches even where its configuration has no padding.

    The library reads the answer at the last token that is not padding, and without a padding
    token takes one text at a time only. With -1, which no token is, it reads the last position:
    right for batches of one length, which is how :mod:`nissl.effects` runs classifiers.
    """
    config = getattr(model, "config", None)
    if head == "classification" and getattr(config, "pad_token_id", -1) is None:
        config.pad_token_id = -1  # type: ignore[union-attr]
