"""Every MLP unit of a layer ablated: one edited forward each, batched from the site on, screened.

A GPT-2- or Llama-shaped model with random weights, on short sentences such as number agreement is
asked with, and the difference of two words' scores after each. The loop of edited forwards is timed
on some units and extrapolated to all that the batched scan did; so is the scan, from one layer to
all layers, for the screen that does all layers in one pass. CPU seconds, one thread.

Two loops are timed: ``scan_speedup`` is against a forward that computes its head at the last
position only, as the scan does, ``scan_speedup_plain`` against a plain one.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from nissl.parallel import set_threads

SIZES = {
    # name: (blocks, width, heads, vocabulary)
    "quick": (12, 256, 4, 16_384),
    "full": (12, 768, 12, 50_257),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a narrow model: under a minute")
    parser.add_argument("--kind", choices=("gpt2", "llama"), default="gpt2")
    parser.add_argument("--layer", type=int, help="MLP scanned, by default at three quarters")
    parser.add_argument("--units", type=int, help="units scanned; by default 512, all if quick")
    parser.add_argument("--sentences", type=int, default=4)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--rows", type=int, default=256)
    args = parser.parse_args()
    set_threads(1)
    result = measure(args)
    print(json.dumps(result))


def build(kind: str, blocks: int, width: int, heads: int, vocabulary: int) -> Any:
    """Make a causal language model with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    if kind == "gpt2":
        settings: Any = transformers.GPT2Config(
            vocab_size=vocabulary,
            n_embd=width,
            n_layer=blocks,
            n_head=heads,
            n_positions=128,
            bos_token_id=0,
            eos_token_id=0,
        )
    else:
        settings = transformers.LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=blocks,
            num_attention_heads=heads,
            max_position_embeddings=128,
        )
    model = transformers.AutoModelForCausalLM.from_config(settings)
    for value in model.parameters():
        # Untrained weights are so small that all neurons are nearly linear: make them larger.
        if value.dim() == 2 and value.shape[0] != vocabulary:
            value.data *= 3
    return model.eval().requires_grad_(False)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time the loop, the scan and the screen; see that loop and scan agree."""
    import torch
    from scipy.stats import spearmanr

    from nissl.model import Edit, edited, find_sites, scan, screen

    blocks, width, heads, vocabulary = SIZES["quick" if args.quick else "full"]
    model = build(args.kind, blocks, width, heads, vocabulary)
    sites = find_sites(model, ["mlp"])
    site = sites[(args.layer or round(blocks * 3 / 4)) - 1]
    count = args.units or (site.width if args.quick else 512)
    units = np.random.default_rng(0).permutation(site.width)[:count]
    ids = torch.randint(0, vocabulary, (args.sentences, args.length))
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def difference(out: Any) -> Any:
        last = out.logits[:, -1]
        return (last[:, 17] - last[:, 23]).double()

    def loop(some: np.ndarray, **options: Any) -> tuple[float, np.ndarray]:
        found = []
        with torch.inference_mode():
            base = difference(model(**given, use_cache=False))
            began = time.process_time()
            for unit in some:
                with edited(model, Edit.zero((site, [int(unit)]))):
                    found.append(difference(model(**given, use_cache=False, **options)) - base)
            seconds = (time.process_time() - began) / len(some)
        return seconds, torch.stack(found).numpy()

    def batched(some: np.ndarray) -> tuple[float, np.ndarray]:
        began = time.process_time()
        chunks = list(
            scan(model, given, site, difference, units=some, positions=-1, rows=args.rows)
        )
        seconds = (time.process_time() - began) / len(some)
        assert all(chunk.skipped for chunk in chunks)
        return seconds, np.concatenate([chunk.effects for chunk in chunks])

    def screened(which: Any) -> tuple[float, dict[str, np.ndarray]]:
        times: list[float] = []
        found: dict[str, np.ndarray] = {}
        for _ in range(3):
            began = time.process_time()
            found = screen(model, given, which, difference, positions=-1)
            times.append(time.process_time() - began)
        return float(np.median(times)), found

    loop(units[:2])
    each, exact = loop(units[:24], logits_to_keep=torch.tensor([-1]))
    plain, _ = loop(units[:24])
    scanned, effects = batched(units)
    screened(sites)
    all_layers, estimates = screened(sites)
    one_layer, _ = screened(site)
    error = float(np.abs(effects[:24] - exact).max() / np.abs(exact).max())
    assert error < 1e-3, error
    total = sum(s.width for s in sites)
    guess = estimates[site.name][units].mean(1)
    rank: Any = spearmanr(np.abs(effects.mean(1)), np.abs(guess))
    signed: Any = spearmanr(effects.mean(1), guess)
    print(
        f"{args.kind} {blocks} × {width}, {vocabulary:,} words; {site.name}, {count} of "
        f"{site.width} units, {args.sentences} sentences of {args.length} tokens\n"
        f"a unit: edited forward {each * 1e3:.1f} ms (plain head {plain * 1e3:.1f} ms), in the "
        f"batched scan {scanned * 1e3:.2f} ms; the loop was timed on 24 units\n"
        f"screen of {total:,} units of all layers {all_layers:.2f} s, of the one layer "
        f"{one_layer:.2f} s; scan and loop differ by {error:.1e} of the largest effect"
    )
    return {
        "kind": args.kind,
        "blocks": blocks,
        "width": width,
        "vocabulary": vocabulary,
        "site": site.name,
        "units": int(count),
        "sentences": args.sentences,
        "length": args.length,
        "rows": args.rows,
        "loop_units_timed": 24,
        "loop_ms_per_unit": round(each * 1e3, 3),
        "plain_loop_ms_per_unit": round(plain * 1e3, 3),
        "scan_ms_per_unit": round(scanned * 1e3, 4),
        "screen_s": round(all_layers, 4),
        "scan_speedup": round(each / scanned, 2),
        "scan_speedup_plain": round(plain / scanned, 2),
        "screen_speedup": round(scanned * total / all_layers, 1),
        "screen_speedup_one_layer": round(scanned * site.width / one_layer, 1),
        "screen_spearman": round(float(rank[0]), 4),
        "screen_spearman_signed": round(float(signed[0]), 4),
        "relative_difference": error,
    }


if __name__ == "__main__":
    main()
