"""Concepts as of a text, planted formulas and noisy neurons for benchmarks/compositional.py."""

from __future__ import annotations

import numpy as np

from nissl.kernels.formulas import Formula, Op

PLANTED: dict[str, tuple[Op, ...]] = {
    "A AND NOT B": ("and not",),
    "(A OR B) AND NOT C": ("or", "and not"),
    "A OR B OR C": ("or", "or"),
    "((A OR B OR C) AND NOT D) OR E": ("or", "or", "and not", "or"),
    "(((A AND NOT B) OR C) AND NOT D) OR E": ("and not", "or", "and not", "or"),
    "(A OR B OR C OR D) AND NOT E": ("or", "or", "or", "and not"),
}
INTERSECTIONS: dict[str, tuple[Op, ...]] = {
    "(((A AND B) OR C) AND D) OR E": ("and", "or", "and", "or"),
    "(((A OR B) AND C) OR D) AND NOT E": ("or", "and", "or", "and not"),
}
"""Parts of these cover next to nothing alone: no step of one leaf leads to them for certain."""


def text_concepts(count: int, tokens: int, seed: int) -> np.ndarray:
    """Bool (count, tokens): words of a Zipf vocabulary, tags that are unions of words, neighbours.

    One concept in fourteen is a tag (covering 1 … 30 % of the tokens), one in twenty says which
    word comes before, and the rest are single words: sizes fall as 1 / rank, as in a corpus.
    """
    rng = np.random.default_rng(seed)
    tags, before = count // 14, count // 20
    words = count - tags - before
    share = 1 / np.arange(1, words + 1)
    text = rng.choice(words, tokens, p=share / share.sum())
    out = np.zeros((count, tokens), dtype=bool)
    for t in range(tags):
        chosen = rng.random(words) < np.exp(rng.uniform(np.log(0.01), np.log(0.3)))
        out[t] = chosen[text]
    for w in range(before):
        out[tags + w, 1:] = text[:-1] == w
    out[tags + before + text, np.arange(tokens)] = True
    return out


def plant(
    concepts: np.ndarray, ops: tuple[Op, ...], seed: int, least: float = 0.1, low: float = 0.01
) -> Formula:
    """Draw a formula of concepts that cover ``low`` … 0.3 each of whose leaves matters.

    Each leaf left out changes more than the share ``least`` of the mask's tokens.
    """
    rng = np.random.default_rng(seed)
    size = concepts.mean(axis=1)
    frequent = np.flatnonzero((size > low) & (size < 0.3))
    while True:
        formula = Formula(tuple(int(k) for k in rng.choice(frequent, len(ops) + 1, False)), ops)
        mask = formula.mask(concepts)
        if mask.sum() < 50:
            continue
        shorter = [Formula(formula.leaves[1:], formula.ops[1:])]
        for i in range(len(ops)):
            leaves = formula.leaves[: i + 1] + formula.leaves[i + 2 :]
            shorter.append(Formula(leaves, formula.ops[:i] + formula.ops[i + 1 :]))
        if all((f.mask(concepts) ^ mask).sum() > least * mask.sum() for f in shorter):
            return formula


def flip(mask: np.ndarray, share: float, kind: str, seed: int) -> np.ndarray:
    """Make labels wrong, a share of as many as the mask has tokens.

    ``mask``: half of the wrong ones off that are on in truth, half of them on that are off: the
    planted formula is left with an IoU of (1 − share / 2) / (1 + share / 2), 0.9512 for 5 %;
    ``off``: all of them off, 1 − share = 0.95; ``both``: that share off and as many others on,
    twice as many wrong in all, (1 − share) / (1 + share) = 0.9048.
    """
    rng = np.random.default_rng(seed)
    out = mask.copy()
    number = round(share * mask.sum() * (0.5 if kind == "mask" else 1))
    out[rng.choice(np.flatnonzero(mask), number, replace=False)] = False
    if kind != "off":
        out[rng.choice(np.flatnonzero(~mask), number, replace=False)] = True
    return out


def neurons(concepts: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Bool (count, tokens): neurons that know something of a few concepts, and much else."""
    rng = np.random.default_rng(seed)
    size = concepts.mean(axis=1)
    known = np.flatnonzero(size > 0.003)
    out = np.zeros((count, concepts.shape[1]), dtype=bool)
    for u in range(count):
        few = rng.choice(known, 6)
        value = rng.standard_normal(concepts.shape[1]) + rng.normal(0, 1.5, 6) @ concepts[few]
        out[u] = value > np.quantile(value, 1 - rng.choice([0.005, 0.02, 0.1, 0.3]))
    return out
