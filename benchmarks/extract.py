"""Tokens a CPU second of extraction, against the bare forward pass and one sentence at a time.

All three run MiniLM on the same sentences in the same process, one thread. The bare pass runs the
very batches that extraction runs, and keeps nothing.
"""

from __future__ import annotations

import argparse
import json
import time

from nissl.parallel import set_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the sentences")
    args = parser.parse_args()
    set_threads(1)
    import numpy as np
    import torch

    from nissl import extract, load_corpus, load_model
    from nissl.progress import set_quiet

    set_quiet(True)
    corpus = load_corpus("nissl:treebank")
    if args.quick:
        corpus = corpus.sample_sentences(corpus.n_sentences // 3, seed=0)
    model = load_model("minilm")
    texts = [sentence.text for sentence in corpus]
    ids = model.tokenizer(texts)["input_ids"]
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))

    def bare() -> None:
        batch: list[list[int]] = []
        with torch.inference_mode():
            for i in order:
                if batch and (len(batch) + 1) * len(batch[0]) > 512:
                    forward(batch)
                    batch = []
                batch.append(ids[i])
            forward(batch)

    def forward(batch: list[list[int]]) -> None:
        longest = len(batch[0])
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in batch])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch])
        model.model(input_ids=padded, attention_mask=mask)

    def single() -> None:
        with torch.inference_mode():
            for i in range(len(ids)):
                out = model.model(
                    input_ids=torch.tensor([ids[i]]),
                    attention_mask=torch.ones(1, len(ids[i]), dtype=torch.long),
                    output_hidden_states=True,
                )
                np.stack([state[0].numpy() for state in out.hidden_states])

    def ours() -> None:
        extract(corpus, model)

    def cpu(run) -> float:
        began = time.process_time()
        run()
        return time.process_time() - began

    bare()  # warms up
    rounds = [(cpu(bare), cpu(ours), cpu(single)) for _ in range(3)]
    base, mine, one = (sorted(column)[1] for column in zip(*rounds, strict=True))
    n = corpus.n_tokens
    for name, seconds in (("bare forward pass", base), ("nissl", mine), ("one by one", one)):
        print(f"{name:18s} {n / seconds:8,.0f} tokens a CPU second")
    figures = {
        "tokens": n,
        "bare_tokens_per_cpu_s": round(n / base),
        "nissl_tokens_per_cpu_s": round(n / mine),
        "single_tokens_per_cpu_s": round(n / one),
        "nissl_over_bare": round(mine / base, 3),
        "single_over_nissl": round(one / mine, 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
