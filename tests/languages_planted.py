"""Stores of languages with planted neurons, and small treebanks in CoNLL-U."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from nissl.site import Site
from nissl.store import Activations, write_store

GENUS = {**dict.fromkeys("abcd", "north"), **dict.fromkeys("efgh", "south")}
WIDTH = 60
K = 10


def plant(folder: Path, languages: dict[str, str], *, n: int = 400, seed: int = 3):
    """Write a store a language. Return them and the neurons planted at hidden.0.

    hidden.0: 4 neurons that all languages share, 4 that a genus shares, 2 of each one's own.
    hidden.1: 10 of each one's own. Both carry um.Number; um.Tense is nowhere.
    """
    rng = np.random.default_rng(seed)
    common = rng.permutation(WIDTH)
    kin = {g: common[4 + 4 * i : 8 + 4 * i] for i, g in enumerate(sorted(set(languages.values())))}
    stores: dict[str, Activations] = {}
    planted: dict[str, set[int]] = {}
    for language, genus in languages.items():
        lemma = rng.integers(0, 90, n)
        number, tense = rng.integers(0, 2, n), rng.integers(0, 3, n)
        left = np.setdiff1d(np.arange(WIDTH), np.concatenate([common[:4], *kin.values()]))
        first = np.concatenate([common[:4], kin[genus], rng.choice(left, 2, replace=False)])
        own = [first, rng.choice(WIDTH, K, replace=False)]
        values = {}
        for layer, chosen in enumerate(own):
            x = rng.normal(size=(n, WIDTH))
            x[:, chosen] += 2.0 * number[:, None]
            values[f"hidden.{layer}"] = x.astype(np.float32)
        tokens = pl.DataFrame(
            {
                "sentence": pl.Series(np.arange(n) // 8, dtype=pl.Int32),
                "position": pl.Series(np.arange(n) % 8, dtype=pl.Int32),
                "form": [f"w{i}" for i in lemma],
                "split": pl.Series([None] * n, dtype=pl.String),
                "lemma": [f"L{i}" for i in lemma],
                "um.Number": np.array(["SG", "PL"])[number].tolist(),
                "um.Tense": np.array(["PST", "PRS", "FUT"])[tense].tolist(),
            }
        )
        sentences = pl.DataFrame(
            {
                "sentence": pl.Series(range(n // 8), dtype=pl.Int32),
                "id": [str(i) for i in range(n // 8)],
                "where": ["planted"] * (n // 8),
            }
        )
        stores[language] = write_store(
            folder / language,
            model="planted",
            corpus=language,
            sites=[Site("hidden", i, f"l.{i}", "output", WIDTH) for i in (0, 1)],
            tokens=tokens,
            sentences=sentences,
            labels=["um.Number", "um.Tense"],
            blocks=[values],
        )
        planted[language] = set(first.tolist())
    return stores, planted


def write_treebank(folder: Path, code: str, *, sentences: int = 40, seed: int = 0) -> Path:
    """Write a treebank of random words with Number and Case (two values each)."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(sentences):
        lines.append(f"# sent_id = {code}-{i}")
        for j in range(1, 7):
            plural, dative = rng.integers(0, 2, 2)
            lemma = f"{code}{rng.integers(0, 40)}"
            form = lemma + ("s" if plural else "") + ("e" if dative else "")
            feats = f"Case={'Dat' if dative else 'Nom'}|Number={'Plur' if plural else 'Sing'}"
            lines.append(f"{j}\t{form}\t{lemma}\tNOUN\t_\t{feats}\t{j - 1}\tdep\t_\t_")
        lines.append("")
    path = folder / f"{code}_toy-ud-test.conllu"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
