"""Text that a model writes, before and after an edit, side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import polars as pl

from nissl.effects._encode import encode, needs_head
from nissl.effects._score import run_batch
from nissl.errors import SettingError
from nissl.model import LoadedModel
from nissl.model.edit import Edit, edited, one_text

__all__ = ["generate", "side_by_side"]


def generate(model: LoadedModel, prompts: Sequence[str], *, tokens: int = 20) -> tuple[str, ...]:
    """Return what a causal model writes after each prompt, always the likeliest next token.

    Each prompt is run by itself, so no padding plays a part. It ends early at the tokenizer's
    end-of-text token, or where the model takes no more. Edits of positions, of a mask or of values
    by position are of the prompt, as in a model's own ``generate``.

    Raises
    ------
    ModelError
        The model has no causal-lm head.
    SettingError
        No token is wanted.
    """
    import torch

    needs_head(model, "causal-lm")
    if tokens < 1:
        raise SettingError(f"at least one token must be generated, not {tokens}")
    places = [f"prompt {i + 1}" for i in range(len(prompts))]
    stop = model.tokenizer.eos_token_id
    written = []
    with torch.inference_mode():
        for text in encode(model, prompts, places, causal=True):
            row = list(text.ids)
            lead = len(row)
            with one_text():
                while len(row) - lead < tokens:
                    if model.max_length is not None and len(row) > model.max_length:
                        break
                    ids = torch.tensor([row])
                    logits = run_batch(model, ids, torch.ones_like(ids), np.array([len(row) - 1]))
                    following = int(logits[0, -1].argmax())
                    if following == stop:
                        break
                    row.append(following)
            written.append(
                model.tokenizer.decode(row[text.first :], skip_special_tokens=False)[
                    len(model.tokenizer.decode(row[text.first : lead])) :
                ]
            )
    return tuple(written)


def side_by_side(
    model: LoadedModel, prompts: Sequence[str], *edits: Edit, tokens: int = 20
) -> pl.DataFrame:
    """Return one row a prompt: ``prompt, before, after``."""
    before = generate(model, prompts, tokens=tokens)
    with edited(model, *edits) if edits else contextlib.nullcontext():
        after = generate(model, prompts, tokens=tokens)
    return pl.DataFrame({"prompt": list(prompts), "before": before, "after": after})
