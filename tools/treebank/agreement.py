"""Compare two CoNLL-U files token by token: ``agreement.py REFERENCE OTHER``.

Only sentences that both files hold count. LAS is head and relation together. The interval is
Wilson's at 95%; the last line is the same as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

from tree import Token, TreebankError, read

COLUMNS = {
    "LEMMA": ("lemma",),
    "UPOS": ("upos",),
    "XPOS": ("xpos",),
    "FEATS": ("feats",),
    "HEAD": ("head",),
    "DEPREL": ("deprel",),
    "LAS": ("head", "deprel"),
    "Chunk": ("chunk",),
}
Z = 1.959964


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a proportion."""
    p, spread = hits / n, Z * Z / n
    centre = (p + spread / 2) / (1 + spread)
    half = Z * math.sqrt(p * (1 - p) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def pairs(reference: Path, other: Path) -> list[tuple[Token, Token]]:
    """Return the tokens of the sentences that both files hold."""
    others = {s.sent_id: s for s in read(other)}
    found: list[tuple[Token, Token]] = []
    for sentence in read(reference):
        match = others.get(sentence.sent_id)
        if match is None:
            continue
        if len(match.tokens) != len(sentence.tokens):
            raise TreebankError(f"{sentence.sent_id} has a different number of tokens")
        found += zip(sentence.tokens, match.tokens, strict=True)
    if not found:
        raise TreebankError("the files have no sentence in common")
    return found


def main() -> int:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", type=Path)
    parser.add_argument("other", type=Path)
    options = parser.parse_args()
    try:
        tokens = pairs(options.reference, options.other)
    except TreebankError as error:
        print(error, file=sys.stderr)
        return 1
    summary: dict[str, dict[str, float]] = {}
    n = len(tokens)
    for column, names in COLUMNS.items():
        if all(getattr(a, x) in ("", "_", None) for a, _ in tokens for x in names):
            print(f"{column:7} not annotated in the reference")
            continue
        hits = sum(all(getattr(a, x) == getattr(b, x) for x in names) for a, b in tokens)
        low, high = wilson(hits, n)
        summary[column] = {"agreement": hits / n, "n": n, "low": low, "high": high}
        print(f"{column:7} {hits / n:7.2%}  n = {n}  95% interval {low:.2%} to {high:.2%}")
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
