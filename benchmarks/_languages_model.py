"""A tiny decoder that learns made-up facts in four languages: one token a word, words by code."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["LANGUAGES", "Row", "facts", "parallel_facts", "trained"]

LANGUAGES = ("aa", "bb", "cc", "dd")
RELATIONS, OBJECTS = 8, 24
SIZES: dict[str, Any] = {
    "gpt2": {
        "n_embd": 48,
        "n_layer": 2,
        "n_head": 1,
        "n_inner": 128,
        "n_positions": 16,
        "activation_function": "relu",
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    },
    "llama": {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 128,
        "max_position_embeddings": 16,
    },
}
Row = tuple[str, str, str, str, str]
"""Group, language, subject, relation, object."""


def facts(count: int, seed: int = 0) -> list[Row]:
    """Return ``count`` facts in every language.

    Subjects are names that all languages write alike; relations and objects have a word of their
    own in each. What a fact is about is shared, and how it is said is not.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for f in range(count):
        subject, relation = f"name{f // RELATIONS}", f % RELATIONS
        thing = int(rng.integers(OBJECTS))
        for each in LANGUAGES:
            rows.append((str(f), each, subject, f"{each}rel{relation}", f"{each}thing{thing}"))
    return rows


def parallel_facts(rows: list[Row]) -> Any:
    """Return the facts as parallel inputs: the model reads subject and relation."""
    from nissl.effects import make_parallel

    return make_parallel(
        "made-up facts",
        [f"{row[2]} {row[3]}" for row in rows],
        [row[1] for row in rows],
        group=[row[0] for row in rows],
        answer=[row[4] for row in rows],
    )


def trained(rows: list[Row], *, steps: int, kind: str = "gpt2", seed: int = 0) -> Any:
    """Train a decoder on "subject relation object" until it knows the objects; return it.

    Parameters
    ----------
    rows
        Facts; all of them are learnt, for this is memory and not generalisation.
    steps
        At most. Training ends early at a loss of .1: a model that is trained until it is sure of
        everything has much to spare, and needs no neuron much.
    kind
        ``gpt2`` (ReLU units: what is not activated is 0) or ``llama`` (gated units).
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    from nissl.model import wrap_model

    words = list(dict.fromkeys(word for row in rows for word in row[2:]))
    index = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *words])}
    inner = Tokenizer(models.WordLevel(index, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    torch.manual_seed(seed)
    make: Any = {"gpt2": transformers.GPT2Config, "llama": transformers.LlamaConfig}[kind]
    config = make(vocab_size=len(index), bos_token_id=0, eos_token_id=0, **SIZES[kind])
    model: Any = transformers.AutoModelForCausalLM.from_config(config)
    ids = torch.tensor([[index[word] for word in row[2:]] for row in rows])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.3)
    model.train()
    for step in range(steps):
        logits = model(input_ids=ids[:, :2]).logits[:, 1]
        loss = torch.nn.functional.cross_entropy(logits, ids[:, 2])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 10 == 9 and float(loss.detach()) < 0.1:
            break
    name = f"tiny {kind} in 4 languages"
    return wrap_model(model, tokenizer, name=name, max_length=16, head="causal-lm")
