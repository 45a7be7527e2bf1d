"""Tiny random models and their tokenizers, made on the spot; no download, no third-party weights.

Each is saved once a test session as a Hugging Face folder (config.json, model.safetensors,
tokenizer.json). Weights are drawn wide enough that a wrong layer, row or neuron shows.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from nissl.corpus import Corpus, Sentence, build_corpus
from nissl.corpus.corpus import joined
from nissl.model import LoadedModel, load_model

KINDS = ("bert", "roberta", "distilbert", "gpt2", "llama", "t5")
WIDTH, BLOCKS, HEADS, MLP, LENGTH = 16, 3, 2, 40, 64
BASE = Path(tempfile.mkdtemp(prefix="nissl-tiny-"))
atexit.register(shutil.rmtree, BASE, ignore_errors=True)

SENTENCES = (
    "The cat sat on the mat .",
    "Dogs bark loudly at night , and the cat listens .",
    "She reads old books about unbelievable journeys .",
    "Rain !",
    "He does n't know whether the trains are running again today .",
    "Unhappily , nobody understood the misunderstanding .",
    "Two birds were singing in the garden behind our house yesterday morning .",
    "Books , trains and journeys : that is all she talks about .",
)
TAGS = {".": "PUNCT", ",": "PUNCT", "!": "PUNCT", ":": "PUNCT", "the": "DET", "The": "DET"}


def corpus(sentences: tuple[str, ...] = SENTENCES, name: str = "tiny") -> Corpus:
    """A corpus of blank-separated sentences with a label ``tag``."""
    rows, tags = [], []
    for i, sentence in enumerate(sentences):
        words = sentence.split()
        text, spans = joined(words)
        rows.append(
            Sentence(f"{name}-{i}", text, tuple(words), tuple(spans), f"{name}.txt:{i + 1}")
        )
        tags += [TAGS.get(word, "WORD") for word in words]
    return build_corpus(name, rows, {"tag": tags}, labels=["tag"])


def tokenizer(kind: str) -> Any:
    """Train a tokenizer of the kind's family on a few sentences."""
    text = list(SENTENCES) * 3
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if kind in ("bert", "distilbert"):
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special)
    elif kind in ("roberta", "gpt2"):
        made = Tokenizer(models.BPE())
        # trim_offsets=False: a piece's span may include the blank before the word.
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "roberta")
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=360,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=150, special_tokens=special, unk_token="[UNK]", show_progress=False
        )
    trainer.show_progress = False
    made.train_from_iterator(text, trainer)
    ends = [(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    if kind in ("bert", "distilbert", "roberta"):
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=ends
        )
    elif kind == "t5":
        made.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=ends)
    elif kind == "llama":
        made.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=ends)
    else:
        made.post_processor = processors.ByteLevel(trim_offsets=False)
    names = (
        {"unk_token": "[UNK]"} if kind == "gpt2" else {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=LENGTH, **names
    )


def config(kind: str, vocabulary: int) -> Any:
    """Return a tiny configuration."""
    if kind in ("bert", "roberta"):
        cls = transformers.BertConfig if kind == "bert" else transformers.RobertaConfig
        # RoBERTa numbers positions from padding_idx + 1, so its table is that much longer.
        return cls(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            num_hidden_layers=BLOCKS,
            num_attention_heads=HEADS,
            intermediate_size=MLP,
            max_position_embeddings=LENGTH + (kind == "roberta"),
            pad_token_id=0,
            initializer_range=0.4,
        )
    if kind == "distilbert":
        return transformers.DistilBertConfig(
            vocab_size=vocabulary,
            dim=WIDTH,
            n_layers=BLOCKS,
            n_heads=HEADS,
            hidden_dim=MLP,
            max_position_embeddings=LENGTH,
            initializer_range=0.4,
        )
    if kind == "gpt2":
        return transformers.GPT2Config(
            vocab_size=vocabulary,
            n_embd=WIDTH,
            n_layer=BLOCKS,
            n_head=HEADS,
            n_inner=MLP,
            n_positions=LENGTH,
            initializer_range=0.4,
        )
    if kind == "llama":
        return transformers.LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            num_hidden_layers=BLOCKS,
            num_attention_heads=HEADS,
            num_key_value_heads=1,
            intermediate_size=MLP,
            max_position_embeddings=LENGTH,
            initializer_range=0.4,
        )
    return transformers.T5Config(
        vocab_size=vocabulary,
        d_model=WIDTH,
        num_layers=BLOCKS,
        num_decoder_layers=1,
        num_heads=HEADS,
        d_kv=WIDTH // HEADS,
        d_ff=MLP,
        feed_forward_proj="gated-gelu",
        initializer_factor=2.0,
    )


@functools.cache
def folder(kind: str) -> Path:
    """Save a tiny model of the kind and return its folder; made once."""
    out = BASE / kind
    words = tokenizer(kind)
    settings = config(kind, len(words))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(KINDS.index(kind))
        model = transformers.AutoModel.from_config(settings)
        # Trained models have no zero biases and no unit gains; ours shall not either.
        for value in model.parameters():
            value.data += 0.05 * torch.randn_like(value)
    model.save_pretrained(out)
    words.save_pretrained(out)
    return out


@functools.cache
def loaded(kind: str) -> LoadedModel:
    """Load the tiny model of a kind; made once, not to be changed."""
    return load_model(folder(kind))


def copy_folder(kind: str, target: Path) -> Path:
    """Copy a tiny model's folder, to be damaged."""
    shutil.copytree(folder(kind), target)
    return target


def alone(
    model: LoadedModel, text: str, **options: Any
) -> tuple[Any, list[tuple[int, int]], list[int]]:
    """Run one sentence by itself; return the output, and its subwords' spans and special mask."""
    given = model.tokenizer(
        text, return_offsets_mapping=True, return_special_tokens_mask=True, return_tensors="pt"
    )
    with torch.inference_mode():
        out = model.model(input_ids=given["input_ids"], **options)
    spans = [(int(a), int(b)) for a, b in given["offset_mapping"][0]]
    return out, spans, given["special_tokens_mask"][0].tolist()


def pieces_of(
    offsets: tuple[tuple[int, int], ...], spans: list[tuple[int, int]], special: list[int]
) -> list[list[int]]:
    """Subwords of each word, by the definition: they share a character."""
    return [
        [
            i
            for i, (start, end) in enumerate(spans)
            if not special[i] and set(range(a, b)) & set(range(start, end))
        ]
        for a, b in offsets
    ]


def pool(values: np.ndarray, pieces: list[list[int]], how: str) -> np.ndarray:
    """Pool (length, width) to (words, width) word by word."""
    pick = {"first": lambda p: values[p[0]], "last": lambda p: values[p[-1]]}
    pick["mean"] = lambda p: values[p].mean(axis=0)
    return np.stack([pick[how](p) for p in pieces])
