"""Cost of extraction: against the bare forward pass, and against NeuroX where it is installed.

All in one process with one thread. "Ours" is the whole way: text to a store on disk that is opened
again and verified byte by byte. The bare pass runs the very token batches that extraction runs,
already padded, and keeps nothing. NeuroX (1.0.9) is run as its documentation says; both load the
model themselves and write files. Peak memory is that of processes of their own, which extract
corpora of three sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nissl.parallel import set_threads

_Out = TypeVar("_Out")
SIZES = (10_000, 50_000, 200_000)
QUICK = "hidden.0"
"""Site of the quick memory runs: the pass ends before the first block."""
BARE = "nothing"
"""In place of sites: the model's passes alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sentences; under a minute")
    parser.add_argument("--model", default="minilm", help="alias or folder of a model")
    parser.add_argument("--corpus", default="nissl:treebank", help="any corpus, such as a CoNLL-U")
    parser.add_argument("--memory", nargs=2, metavar=("WORDS", "WHAT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    set_threads(1)
    if args.memory:
        print(json.dumps(memory_of(args.model, args.corpus, int(args.memory[0]), args.memory[1])))
        return
    from nissl import load_corpus, load_model
    from nissl.progress import set_quiet

    set_quiet(True)
    corpus = load_corpus(args.corpus)
    if args.quick:
        corpus = corpus.sample_sentences(min(150, corpus.n_sentences), seed=0)
    model = load_model(args.model)
    figures: dict[str, Any] = {"model": model.name, "words": corpus.n_tokens}
    # One-off costs (buffers, fingerprints) are those of a corpus of ordinary size.
    sized = corpus if args.quick else repeated(corpus, max(25_000, corpus.n_tokens))
    figures |= against_forward(sized, model, rounds=3 if args.quick else 5)
    figures |= against_neurox(corpus, args.model, hdf5=not args.quick)
    figures |= memory(args, "extra", QUICK if args.quick else "hidden")
    if not args.quick:
        # The model's own passes take more with time, too: the allocator's gaps.
        figures |= memory(args, "bare", BARE)
    for key, value in figures.items():
        print(f"{key:24s} {value:,}" if not isinstance(value, str) else f"{key:24s} {value}")
    print(json.dumps(figures))


def against_forward(corpus: Any, model: Any, *, rounds: int) -> dict[str, Any]:
    """Extraction of all hidden layers, to a reopened and verified store, and the bare pass."""
    import torch

    from nissl import extract
    from nissl.store import verify_store

    padded = token_batches(corpus, model)
    work = Path(tempfile.mkdtemp(prefix="nissl-bench-"))

    def bare() -> None:
        with torch.inference_mode():
            for ids, mask in padded:
                model.model(input_ids=ids, attention_mask=mask)

    def ours() -> int:
        store = extract(corpus, model, work / "acts")
        if verify_store(store.path):
            raise SystemExit("the store has a fault")
        return sum(shard["bytes"] for shard in store.manifest["shards"])

    def timed() -> tuple[float, int]:
        # Removed after each round, and not timed: the next one then writes to memory that this
        # machine has used before. A virtual machine's first use of memory costs it ten times more.
        found = cpu(ours)
        shutil.rmtree(work)
        return found

    bare()
    timed()  # both warm up
    times = [(cpu(bare)[0], *timed()) for _ in range(rounds)]
    ratios = sorted(mine / base for base, mine, _ in times)
    base, mine = (sorted(row[i] for row in times)[rounds // 2] for i in (0, 1))
    size = times[0][2]
    return {
        "words_of_the_rounds": corpus.n_tokens,
        "forward_tokens_per_cpu_s": round(corpus.n_tokens / base),
        "tokens_per_cpu_s": round(corpus.n_tokens / mine),
        "bytes_per_token": round(size / corpus.n_tokens),
        # The middle one: each round is paired with its own bare pass, for machines drift.
        "cpu_over_forward": round(ratios[rounds // 2], 3),
        "cpu_over_forward_all": " ".join(f"{ratio:.3f}" for ratio in ratios),
    }


def token_batches(corpus: Any, model: Any, size: int = 512) -> list[tuple[Any, Any]]:
    """Return the batches that extraction runs with its defaults, padded."""
    import torch

    from nissl.extraction.settings import make_settings, plan_shards
    from nissl.inputs import batches, make_items
    from nissl.model import find_sites

    settings = make_settings(
        corpus, model, find_sites(model), pooling="last", on_long="error", store_dtype="model"
    )
    out = []
    for plan in plan_shards(corpus.bounds, settings["shard_tokens"]):
        for batch in batches(make_items(model, corpus.read(*plan.sentences), "error"), size):
            ids = torch.zeros((len(batch), len(batch[0])), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for i, item in enumerate(batch):
                ids[i, : len(item)] = torch.from_numpy(item.ids)
                mask[i, : len(item)] = 1
            out.append((ids, mask))
    return out


def against_neurox(corpus: Any, name: str, *, hdf5: bool) -> dict[str, Any]:
    """Extraction and loading by both, from the words and the model's name."""
    import _neurox
    import numpy as np
    import polars as pl

    from nissl import extract, load_model, read_corpus
    from nissl.model import KNOWN
    from nissl.store import Activations

    try:
        _neurox.module("data.extraction.transformers_extractor")
        _neurox.module("interpretation.utils")
    except _neurox.NeuroXMissing as error:
        print(f"without NeuroX: {error}")
        return {"cpu_over_neurox": "not installed", "load_over_neurox": "not installed"}
    folder = str(KNOWN[name].folder()) if name in KNOWN else name
    table = corpus.tokens.group_by("sentence", maintain_order=True).agg("form", "upos")
    words, labels = table["form"].to_list(), table["upos"].to_list()
    # NeuroX sees words apart by one blank ("do n't ."), so here Nissl does, too.
    spaced = read_corpus(pl.DataFrame({"tokens": words, "upos": labels}))
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        acts = Path(work) / "acts"
        mine, _ = cpu(lambda: extract(spaced, load_model(name), acts))
        load, ours = best(lambda: load_ours(Activations.open(acts)))
        formats: tuple[tuple[_neurox.Format, str], ...] = (("json", ""), ("hdf5", "_hdf5"))
        for fmt, key in formats if hdf5 else formats[:1]:
            path = Path(work) / f"acts.{fmt}"
            theirs, _ = cpu(partial(_neurox.extract, words, folder, path, fmt))
            load_theirs, (X, y) = best(partial(_neurox.load, path, labels))
            if not np.array_equal(y, ours[1]):
                raise SystemExit("NeuroX read other labels than those it was given")
            figures[f"cpu_over_neurox{key}"] = round(mine / theirs, 3)
            figures[f"load_over_neurox{key}"] = round(load / load_theirs, 4)
            figures[f"largest_difference{key}"] = float(f"{np.abs(X - ours[0]).max():.1e}")
    return figures


def load_ours(acts: Any) -> tuple[Any, Any]:
    """Return what a probe takes: all neurons of all words, and the classes as numbers."""
    import numpy as np

    return acts.matrix(), np.unique(acts.tokens["upos"].to_numpy(), return_inverse=True)[1]


def memory(args: argparse.Namespace, key: str, what: str) -> dict[str, float]:
    """Measure memory for corpora of three sizes, each in a process of its own."""
    command = [sys.executable, __file__, "--model", args.model, "--corpus", args.corpus]
    figures: dict[str, float] = {}
    for words in SIZES:
        one = [*command, "--memory", str(words), what]
        out = subprocess.run(one, capture_output=True, text=True, check=True)
        peak, extra = json.loads(out.stdout.splitlines()[-1])
        if what != BARE:
            figures[f"peak_mb_{words // 1000}k"] = peak
        figures[f"{key}_mb_{words // 1000}k"] = extra
    first, last = (figures[f"{key}_mb_{words // 1000}k"] for words in (SIZES[0], SIZES[-1]))
    figures[f"{key}_growth_mb"] = round(last - first, 1)
    return figures


def memory_of(model_name: str, source: str, words: int, what: str) -> tuple[float, float]:
    """Extract that many words, or only run the model on them; peak MB, and what came with it."""
    import torch

    from nissl import extract, load_corpus, load_model
    from nissl.progress import set_quiet

    set_quiet(True)
    corpus = repeated(load_corpus(source), words)
    model = load_model(model_name)
    padded = token_batches(corpus, model) if what == BARE else []
    with tempfile.TemporaryDirectory() as work:
        extract(corpus.select_sentences(corpus.bounds[1:] <= 300), model, Path(work) / "warm")
        before = reset_peak()
        if what == BARE:
            with torch.inference_mode():
                for ids, mask in padded:
                    model.model(input_ids=ids, attention_mask=mask)
        else:
            extract(corpus, model, Path(work) / "acts", sites=what.split(","))
        peak = peak_mb()
    return round(peak, 1), round(peak - before, 1)


def repeated(corpus: Any, words: int) -> Any:
    """Return a corpus of at least so many words, the sentences again and again."""
    import dataclasses

    import polars as pl

    parts, count = [], 0
    while count < words:
        ids = pl.concat_str(pl.lit(f"{len(parts)}/"), pl.col("id")).alias("id")
        parts.append(dataclasses.replace(corpus, sentences=corpus.sentences.with_columns(ids)))
        count += corpus.n_tokens
    whole = type(corpus).concat(parts)
    return whole.select_sentences(whole.bounds[1:] <= words)


def reset_peak() -> float:
    """Forget the highest memory so far, where the system can; return what is used now, in MB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_mb()
    return status("VmRSS")


def peak_mb() -> float:
    """Return the highest memory of this process, in MB."""
    if Path("/proc/self/status").exists():
        return status("VmHWM")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def status(name: str) -> float:
    for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(name)


def best(run: Callable[[], _Out], rounds: int = 3) -> tuple[float, _Out]:
    """Return the smallest CPU time of some rounds, and the last result."""
    found = [cpu(run) for _ in range(rounds)]
    return min(seconds for seconds, _ in found), found[-1][1]


def cpu(run: Callable[[], _Out]) -> tuple[float, _Out]:
    began = time.process_time()
    out = run()
    return time.process_time() - began, out


if __name__ == "__main__":
    main()
