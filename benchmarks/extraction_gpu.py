"""Extraction on a GPU: words a second, against the model's bare forward pass on the same batches.

The model has the shape of BERT base (12 blocks of 768) and random weights: time does not depend on
them, and none need be there. Seconds are wall seconds; runs on the processor, with a small model,
when there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import extraction

from nissl.parallel import set_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer words; under a minute")
    parser.add_argument("--words", type=int, default=200_000)
    args = parser.parse_args()
    set_threads(1)
    import torch

    from nissl import extract, load_corpus, load_model
    from nissl.progress import set_quiet

    set_quiet(True)
    cuda = torch.cuda.is_available()
    corpus = extraction.repeated(load_corpus("nissl:treebank"), 2_000 if args.quick else args.words)
    with tempfile.TemporaryDirectory() as work:
        folder = make(Path(work) / "model", corpus, large=cuda)
        model = load_model(folder, device="cuda" if cuda else "cpu")
        padded = [
            (ids.to(model.device), mask.to(model.device))
            for ids, mask in extraction.token_batches(corpus, model, 16_384 if cuda else 512)
        ]

        def bare() -> None:
            with torch.inference_mode():
                for ids, mask in padded:
                    model.model(input_ids=ids, attention_mask=mask)
            if cuda:
                torch.cuda.synchronize()

        rounds = 1 if args.quick else 3
        bare()
        base = min(wall(bare) for _ in range(rounds))
        ours = []
        for i in range(rounds + 1):
            out = Path(work) / f"acts{i}"
            ours.append(wall(lambda out=out: extract(corpus, model, out)))
        ours = ours[1:]
    name = torch.cuda.get_device_name() if cuda else "cpu"
    figures = {
        "device": name,
        "words": corpus.n_tokens,
        "forward_words_per_s": round(corpus.n_tokens / base),
        "words_per_s": round(corpus.n_tokens / min(ours)),
        "wall_over_forward": round(min(ours) / base, 2),
    }
    for key, value in figures.items():
        print(f"{key:24s} {value:,}" if not isinstance(value, str) else f"{key:24s} {value}")
    print(json.dumps(figures))


def make(folder: Path, corpus: Any, *, large: bool) -> Path:
    """Save a random BERT with a tokenizer trained on the corpus."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=8000, special_tokens=special)
    words.train_from_iterator(corpus.sentences["text"].unique().to_list(), trainer)
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )
    small: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
    shape = {} if large else small
    heads = 12 if large else 2
    torch.manual_seed(0)
    config = BertConfig(vocab_size=words.get_vocab_size(), num_attention_heads=heads, **shape)
    BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def wall(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
