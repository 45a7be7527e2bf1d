"""A store of a made-up treebank, with neurons that compute known formulas."""

from __future__ import annotations

import numpy as np
import polars as pl

from nissl.site import Site
from nissl.store import write_store

N, LENGTH = 3000, 10
WORDS = {
    "NOUN": ["dog", "cats", "tree", "houses", "river", "stars"],
    "VERB": ["runs", "sees", "likes"],
    "DET": ["The", "a"],
    "ADJ": ["old", "blue", "tiny"],
}
PLURAL = {"cats", "houses", "stars"}
EXACT, NOISY, NOISE, CONSTANT, LOW, THREE, SPREAD, NEVER = range(8)
WIDTH = 8


def planted_tokens(seed: int = 0) -> pl.DataFrame:
    """Return tokens: sentences of ten words, tags drawn at random, number of nouns alone."""
    rng = np.random.default_rng(seed)
    upos = rng.choice(list(WORDS), N, p=[0.4, 0.2, 0.2, 0.2])
    forms = [str(rng.choice(WORDS[tag])) for tag in upos]
    number = [
        None if tag != "NOUN" else "Plur" if form in PLURAL else "Sing"
        for tag, form in zip(upos, forms, strict=True)
    ]
    sentence = np.arange(N) // LENGTH
    return pl.DataFrame(
        {
            "sentence": pl.Series(sentence, dtype=pl.Int32),
            "position": pl.Series(np.arange(N) % LENGTH, dtype=pl.Int32),
            "form": forms,
            "split": np.array(["train", "dev", "train", "test", "train"])[sentence % 5].tolist(),
            "lemma": [form.lower().rstrip("s") for form in forms],
            "upos": upos.tolist(),
            "feats.Number": number,
            "misc.Id": [str(i % 7) for i in range(N)],
        }
    )


def planted_values(tokens: pl.DataFrame, seed: int = 0) -> np.ndarray:
    """Return neurons (N, 8): on (above zero) exactly where their formula holds, or otherwise."""
    rng = np.random.default_rng(seed + 1)
    upos = tokens["upos"].to_numpy()
    plural = (tokens["feats.Number"] == "Plur").fill_null(False).to_numpy()
    first = tokens["position"].to_numpy() == 0
    singular = (upos == "NOUN") & ~plural
    flipped = singular ^ (rng.random(N) < 0.05)
    three = ((upos == "VERB") | (upos == "ADJ")) & ~first
    size = rng.uniform(0.5, 1.5, (N, WIDTH))
    X = np.zeros((N, WIDTH))
    for unit, on in ((EXACT, singular), (NOISY, flipped), (THREE, three)):
        X[:, unit] = np.where(on, 1, -1) * size[:, unit]
    X[:, LOW] = np.where(upos == "DET", -1, 1) * size[:, LOW]
    X[:, NOISE] = rng.standard_normal(N)
    X[:, CONSTANT] = 2.0
    X[:, SPREAD] = rng.standard_normal(N)
    X[:, NEVER] = -size[:, NEVER]
    return X.astype(np.float32)


def planted_store(folder, seed: int = 0):
    """Write the store: two sites of the same eight neurons, the second with its sign turned."""
    tokens = planted_tokens(seed)
    X = planted_values(tokens, seed)
    count = N // LENGTH
    sentences = pl.DataFrame(
        {
            "sentence": pl.Series(np.arange(count), dtype=pl.Int32),
            "id": [f"s{i}" for i in range(count)],
            "text": [""] * count,
            "where": ["planted"] * count,
        }
    )
    return write_store(
        folder,
        model="planted",
        corpus="planted",
        sites=[Site("hidden", layer, f"m.{layer}", "output", WIDTH) for layer in (0, 1)],
        tokens=tokens,
        sentences=sentences,
        labels=["upos", "feats.Number", "misc.Id"],
        blocks=[{"hidden.0": X[a:b], "hidden.1": -X[a:b]} for a, b in ((0, 1700), (1700, N))],
    )
