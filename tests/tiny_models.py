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
FAMILY = {
    # Which kind's tokenizer a model is given here; some have another in life.
    **dict.fromkeys(("albert", "electra", "deberta", "mpnet", "modernbert", "esm"), "bert"),
    **dict.fromkeys(("gpt-neox", "bloom", "opt", "falcon", "phi"), "gpt2"),
    **dict.fromkeys(("qwen2", "qwen3", "gemma", "gemma2", "mistral", "mixtral"), "llama"),
    "qwen2-moe": "llama",
    "gpt-oss": "llama",
    "xlnet": "t5",
    "bart": "roberta",
}
SPEECH = ("wav2vec2", "hubert", "whisper")
ENCODERS = (
    *("bert", "roberta", "distilbert"),
    *(kind for kind, words in FAMILY.items() if words == "bert"),
    "xlnet",
)
DECODERS = (
    *("gpt2", "llama"),
    *(kind for kind, words in FAMILY.items() if words in ("gpt2", "llama")),
)
BOTH = ("t5", "bart")
TEXT = (*ENCODERS, *DECODERS, *BOTH)
ALL = (*KINDS, *(kind for kind in (*TEXT, *SPEECH) if kind not in KINDS))
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
    # transformers cuts text for Qwen2 in its own way, byte by byte, whatever the file says.
    kind = "gpt2" if kind == "qwen2" else FAMILY.get(kind, kind)
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


def _speech(kind: str) -> Any:
    """Return a tiny configuration of a speech model."""
    if kind == "whisper":
        return transformers.WhisperConfig(
            vocab_size=60,
            d_model=WIDTH,
            encoder_layers=BLOCKS,
            decoder_layers=2,
            encoder_attention_heads=HEADS,
            decoder_attention_heads=HEADS,
            encoder_ffn_dim=MLP,
            decoder_ffn_dim=MLP,
            num_mel_bins=8,
            max_source_positions=30,
            max_target_positions=LENGTH,
            init_std=0.4,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            decoder_start_token_id=2,
        )
    cls = transformers.Wav2Vec2Config if kind == "wav2vec2" else transformers.HubertConfig
    return cls(
        vocab_size=60,
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        intermediate_size=MLP,
        conv_dim=(8, 8),
        conv_stride=(5, 2),
        conv_kernel=(10, 3),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        initializer_range=0.4,
    )


CLASSES = {
    "albert": "AlbertConfig",
    "electra": "ElectraConfig",
    "deberta": "DebertaV2Config",
    "mpnet": "MPNetConfig",
    "modernbert": "ModernBertConfig",
    "esm": "EsmConfig",
    "gpt-neox": "GPTNeoXConfig",
    "qwen2": "Qwen2Config",
    "qwen3": "Qwen3Config",
    "gemma": "GemmaConfig",
    "gemma2": "Gemma2Config",
    "mistral": "MistralConfig",
    "mixtral": "MixtralConfig",
    "qwen2-moe": "Qwen2MoeConfig",
    "gpt-oss": "GptOssConfig",
    "phi": "PhiConfig",
}
OWN: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 8},
    "electra": {"embedding_size": 8},
    "deberta": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "modernbert": {"local_attention": 8, "cls_token_id": 2, "sep_token_id": 3},
    "esm": {"position_embedding_type": "rotary", "mask_token_id": 1},
    "qwen3": {"head_dim": 8},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 8},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2-moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 12,
        "shared_expert_intermediate_size": 20,
    },
    "gpt-oss": {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
}


def _more(kind: str, vocabulary: int) -> Any:
    """Return a tiny configuration of a text model beyond the first six."""
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    if kind in CLASSES:
        more = dict(OWN.get(kind, {}))
        if kind in DECODERS:
            more |= ids
        if FAMILY[kind] == "llama":
            more["num_key_value_heads"] = 1
        return getattr(transformers, CLASSES[kind])(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            num_hidden_layers=BLOCKS,
            num_attention_heads=HEADS,
            intermediate_size=MLP,
            # MPNet numbers positions from 2.
            max_position_embeddings=LENGTH + 2 * (kind == "mpnet"),
            initializer_range=0.4,
            **{"pad_token_id": 0, **more},
        )
    if kind == "xlnet":
        return transformers.XLNetConfig(
            vocab_size=vocabulary,
            d_model=WIDTH,
            n_layer=BLOCKS,
            n_head=HEADS,
            d_inner=MLP,
            initializer_range=0.4,
            **ids,
        )
    if kind == "opt":
        return transformers.OPTConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            word_embed_proj_dim=WIDTH,
            num_hidden_layers=BLOCKS,
            num_attention_heads=HEADS,
            ffn_dim=MLP,
            max_position_embeddings=LENGTH,
            init_std=0.4,
            **ids,
        )
    if kind == "bart":
        return transformers.BartConfig(
            vocab_size=vocabulary,
            d_model=WIDTH,
            encoder_layers=BLOCKS,
            decoder_layers=2,
            encoder_attention_heads=HEADS,
            decoder_attention_heads=HEADS,
            encoder_ffn_dim=MLP,
            decoder_ffn_dim=MLP,
            max_position_embeddings=LENGTH,
            init_std=0.4,
            decoder_start_token_id=3,
            **ids,
        )
    cls = {"bloom": transformers.BloomConfig, "falcon": transformers.FalconConfig}[kind]
    return cls(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        initializer_range=0.4,
        **ids,
    )


def config(kind: str, vocabulary: int) -> Any:
    """Return a tiny configuration."""
    if kind in SPEECH:
        return _speech(kind)
    if kind not in KINDS:
        return _more(kind, vocabulary)
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
        initializer_factor=1.0,
    )


@functools.cache
def folder(kind: str) -> Path:
    """Save a tiny model of the kind and return its folder; made once."""
    out = BASE / kind
    words = None if kind in SPEECH else tokenizer(kind)
    settings = config(kind, 0 if words is None else len(words))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(ALL.index(kind))
        model = transformers.AutoModel.from_config(settings)
        # Trained models have no zero biases and no unit gains; ours shall not either.
        for value in model.parameters():
            value.data += 0.05 * torch.randn_like(value)
    model.save_pretrained(out)
    if words is not None:
        words.save_pretrained(out)
    return out


@functools.cache
def loaded(kind: str) -> LoadedModel:
    """Load the tiny model of a kind; made once, not to be changed."""
    return load_model(folder(kind))


def ids_of(rows: list[list[int]], extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and mask of rows, padded on the right, ``extra`` more than needed."""
    length = max(map(len, rows)) + extra
    ids = torch.zeros((len(rows), length), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


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
    ids = given["input_ids"]
    settings = getattr(model.model, "config", None)
    if getattr(settings, "is_encoder_decoder", False):
        # The decoder reads its start token, then the sentence.
        start = getattr(settings, "decoder_start_token_id", None)
        first = torch.full_like(ids[:, :1], settings.pad_token_id if start is None else start)
        options = {"decoder_input_ids": torch.cat([first, ids], dim=1), **options}
    with torch.inference_mode():
        out = model.model(input_ids=ids, **options)
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
