"""Tiny decoders on whole words, with random weights, and parallel inputs whose answers they know.

What such a model says is made its answer: so it is always right, and every edit that matters to
the model costs accuracy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from nissl.effects import ParallelInputs, make_parallel
from nissl.model import LoadedModel, wrap_model

LANGUAGES = ("xx", "yy", "zz")
WORDS = 30


def words_of(language: str) -> list[str]:
    return [f"{language}{i}" for i in range(WORDS)]


def make(
    kind: str = "gpt2", *, languages: tuple[str, ...] = LANGUAGES, scale: float = 6.0, seed: int = 0
) -> LoadedModel:
    """A decoder of two blocks; ``scale`` is what its MLPs' maps down are multiplied by."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1}
    for word in [w for each in languages for w in words_of(each)]:
        vocabulary[word] = len(vocabulary)
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]"
    )
    common: dict[str, Any] = {"vocab_size": len(vocabulary), "initializer_range": 0.3}
    if kind == "gpt2":
        config: Any = transformers.GPT2Config(
            n_embd=16,
            n_layer=2,
            n_head=2,
            n_inner=24,
            n_positions=32,
            activation_function="relu",
            tie_word_embeddings=False,
            **common,
        )
    else:
        config = transformers.LlamaConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=32,
            **common,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
    for name, value in model.named_parameters():
        if name.endswith(("mlp.c_proj.weight", "down_proj.weight")):
            value.data *= scale
    return wrap_model(model, tokenizer, name=f"{kind} words", max_length=32, head="causal-lm")


def inputs(count: int = 12, languages: tuple[str, ...] = LANGUAGES, seed: int = 0) -> list[Any]:
    """Rows (group, language, input): word i of one language is word i of the others."""
    rng = np.random.default_rng(seed)
    rows = []
    for group in range(count):
        # Lengths differ, so that batches and last positions do.
        numbers = rng.integers(0, WORDS, size=2 + group % 3)
        for language in languages:
            rows.append((str(group), language, " ".join(f"{language}{i}" for i in numbers)))
    return rows


def ids(model: LoadedModel, text: str) -> torch.Tensor:
    return torch.tensor([model.tokenizer(text)["input_ids"]])


def goes_on(model: LoadedModel, text: str, words: int = 1) -> str:
    """The model's likeliest next words, one at a time."""
    said = []
    for _ in range(words):
        with torch.inference_mode():
            best = int(model.model(input_ids=ids(model, text)).logits[0, -1].argmax())
        said.append(model.tokenizer.convert_ids_to_tokens(best))
        text = f"{text} {said[-1]}"
    return " ".join(said)


def known(model: LoadedModel, words: int = 1, **options: Any) -> ParallelInputs:
    """Parallel inputs with what the model says as answers."""
    rows = inputs(**options)
    return make_parallel(
        "known",
        [row[2] for row in rows],
        [row[1] for row in rows],
        group=[row[0] for row in rows],
        answer=[goes_on(model, row[2], words) for row in rows],
    )
