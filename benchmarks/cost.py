"""Cost of extracting a million words, on paper: nothing is run, and every assumption is printed.

A forward pass takes two floating-point operations a weight and subword (attention over short
sentences adds a few per cent and is left out). A device reaches a share of what its maker states. A
store takes the width of its sites in its dtype.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

SUBWORDS = 1.3
"""Subwords a word, padding included: an assumption that fits English."""


@dataclass(frozen=True)
class Shape:
    """What decides the cost of a transformer: blocks, stream, keys and values, MLP units, maps."""

    blocks: int
    width: int
    key_width: int
    units: int
    mlp_maps: int
    bytes: int

    @property
    def weights(self) -> int:
        """Weights that every subword meets: all but the embeddings."""
        attention = 2 * self.width**2 + 2 * self.width * self.key_width
        return self.blocks * (attention + self.mlp_maps * self.width * self.units)

    @property
    def hidden_bytes(self) -> int:
        """Bytes a word of all hidden sites."""
        return (self.blocks + 1) * self.width * self.bytes

    @property
    def mlp_bytes(self) -> int:
        """Bytes a word of all MLP units."""
        return self.blocks * self.units * self.bytes


MODELS = {
    "BERT-base (float32)": Shape(12, 768, 768, 3072, 2, 4),
    "Llama-8B (bfloat16)": Shape(32, 4096, 1024, 14336, 3, 2),
    "Llama-70B (bfloat16)": Shape(80, 8192, 1024, 28672, 3, 2),
}
DEVICES = {
    # name: stated TFLOP/s, share reached
    "one CPU core": (0.1, 0.5),
    "A100": (312.0, 0.4),
    "H100": (989.0, 0.4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same: there is nothing to run")
    parser.parse_args()
    figures = {}
    for name, shape in MODELS.items():
        operations = 2 * shape.weights * SUBWORDS * 1e6
        hours = {d: operations / (t * share * 1e12) / 3600 for d, (t, share) in DEVICES.items()}
        figures[name] = {
            "weights_b": float(f"{shape.weights / 1e9:.3g}"),
            "petaflop": float(f"{operations / 1e15:.2g}"),
            **{f"hours_{d}": float(f"{h:.2g}") for d, h in hours.items()},
            "hidden_gb": round(shape.hidden_bytes * 1e6 / 1e9),
            "mlp_gb": round(shape.mlp_bytes * 1e6 / 1e9),
        }
    print("a million words; " + f"{SUBWORDS} subwords a word; devices (stated TFLOP/s × share):")
    print("; ".join(f"{d} {t:g} × {share:g}" for d, (t, share) in DEVICES.items()))
    print("| model | weights met (G) | PFLOP | " + " | ".join(f"{d}, h" for d in DEVICES), end="")
    print(" | hidden sites, GB | MLP units, GB |")
    print("|" + " --- |" * (5 + len(DEVICES)))
    for name, row in figures.items():
        print(f"| {name} | " + " | ".join(f"{value:,}" for value in row.values()) + " |")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
