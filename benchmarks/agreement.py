"""Number agreement and minimal pairs: how often a model prefers the right sentence, by condition.

Any files of minimal pairs (BLiMP, number agreement); with Wilson intervals at 95 %. ``--quick``
takes ten pairs a condition, and without files makes sentences of its own and a tiny model.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nissl.parallel import set_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten pairs a condition")
    parser.add_argument("--model", default=None, help="a folder such as build/models/smollm2")
    parser.add_argument("--take", type=int, default=100, help="pairs a condition, drawn")
    parser.add_argument("files", nargs="*", help="pairs, such as nounpp.txt")
    args = parser.parse_args()
    set_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = args.files or [_made_up(Path(folder))]
        model = args.model or _tiny(Path(folder), files)
        table = measure(model, files, 10 if args.quick else args.take)
    print(json.dumps(table))


def measure(name: str, files: list[str], take: int) -> dict[str, float]:
    """Print a line for each condition of each file; return the shares."""
    from statsmodels.stats.proportion import proportion_confint

    from nissl.effects import pair_effect, read_items
    from nissl.model import load_model

    model = load_model(name, head="causal-lm")
    found: dict[str, float] = {}
    for file in files:
        everything = read_items(file)
        pairs = everything.take(take)
        right = pair_effect(pairs).measure(model)
        conditions = np.asarray(pairs.condition)
        stem = Path(file.split("!")[-1]).stem
        for name in dict.fromkeys(pairs.condition):
            values = right[conditions == name]
            low, high = proportion_confint(float(values.sum()), len(values), method="wilson")
            print(
                f"{stem:40} {name:40} {values.mean():.3f} [{low:.3f}, {high:.3f}] "
                f"of {len(values)} pairs, drawn from {everything.condition.count(name):,}",
                flush=True,
            )
            found[f"{stem}/{name}"] = round(float(values.mean()), 4)
    return found


def _made_up(folder: Path) -> str:
    """Write agreement with the next noun and over another one."""
    path = folder / "made-up.txt"
    nouns = {"singular": ("dog", "cat", "boy"), "plural": ("dogs", "cats", "boys")}
    verbs = {"singular": "runs", "plural": "run"}
    lines, number = [], 0
    for one, subjects in nouns.items():
        for two, others in nouns.items():
            for a in subjects:
                for b in others:
                    number += 1
                    for answer in ("singular", "plural"):
                        verdict = "correct" if answer == one else "wrong"
                        text = f"The {a} near the {b} {verbs[answer]}"
                        lines.append(f"{text}\t{one}_{two}\t{verdict}\tid{number}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _tiny(folder: Path, files: list[str]) -> str:
    """Make a model with random weights that knows the words of the files: right by half."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    from nissl.effects import read_items

    words = ["<|endoftext|>", "<unk>"]
    for file in files:
        pairs = read_items(file)
        texts = (*pairs.prefix, *pairs.good, *pairs.bad)
        words = [*dict.fromkeys([*words, *" ".join(texts).split()])]
    plain = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, unk_token="<unk>", bos_token="<|endoftext|>"
    )
    torch.manual_seed(0)
    config: Any = transformers.GPT2Config(
        vocab_size=len(words), n_embd=32, n_layer=2, n_head=2, n_positions=64
    )
    path = folder / "tiny"
    transformers.GPT2LMHeadModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


if __name__ == "__main__":
    main()
