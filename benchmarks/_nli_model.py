"""A small network for pairs of sentences, and the pairs it learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nissl.methods.pair_concepts import Pair

__all__ = ["CLASSES", "PairModel", "generated_pairs", "read_pairs"]

CLASSES = ("entailment", "neutral", "contradiction")
FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "snli-dev"


def read_pairs(folder: Path | None) -> tuple[list[Pair], np.ndarray] | None:
    """Return SNLI's development pairs that have a gold label; None where they are not there."""
    folder = folder or FOLDER
    words, table = folder / "snli_1.0_dev.tok", folder / "6_snli_1.0_dev.csv"
    if not (words.exists() and table.exists()):
        return None
    lines = [tuple(line.split()) for line in words.read_text(encoding="utf-8").splitlines()]
    gold = [line.split(",")[0] for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    pairs = [Pair(a, b) for a, b in zip(lines[::2], lines[1::2], strict=True)]
    kept = [i for i, label in enumerate(gold) if label in CLASSES and pairs[i].hypothesis]
    return [pairs[i] for i in kept], np.array([CLASSES.index(gold[i]) for i in kept])


def generated_pairs(count: int, seed: int = 0) -> tuple[list[Pair], np.ndarray]:
    """Return made-up pairs: the same scene, one with more said of it, or another one."""
    rng = np.random.default_rng(seed)
    who = ("man", "woman", "dog", "boy", "girl", "cat", "child", "player", "crowd", "worker")
    does = ("runs", "sleeps", "eats", "jumps", "sings", "waits", "plays", "walks", "reads", "falls")
    where = ("park", "street", "house", "beach", "field", "bar", "city", "school")
    why = ("friend", "game", "train", "birthday", "race", "work")
    pairs, gold = [], []
    subject = verb = ""
    premise: tuple[str, ...] = ()
    for i in range(count):
        # Three hypotheses of one premise, as in SNLI.
        label = i % 3
        hypothesis: tuple[str, ...]
        if label == 0:
            subject, verb, place = (str(rng.choice(words)) for words in (who, does, where))
            premise = ("a", subject, verb, "in", "the", place, ".")
            hypothesis = ("a", subject, verb, ".")
        elif label == 1:
            hypothesis = ("the", subject, "waits", "for", "the", str(rng.choice(why)), ".")
        elif rng.random() < 0.4:
            hypothesis = ("nobody", verb, ".")
        else:
            other = str(rng.choice([word for word in does if word != verb]))
            hypothesis = ("a", subject, other, ".")
        wrong = rng.random() < 0.05
        pairs.append(Pair(premise, hypothesis))
        gold.append(int(rng.integers(3)) if wrong else label)
    return pairs, np.array(gold)


class PairModel:
    """Both sentences through one encoder, then [u, v, |u − v|, u · v], a ReLU layer, and classes.

    The encoder is the mean of a GRU's states, or of word vectors ("bag"); the units of the
    penultimate layer are what is explained, as in Mu & Andreas (2020, section 4) and Conneau et al.
    (2017).
    """

    def __init__(self, encoder: str, width: int, units: int, seed: int = 0) -> None:
        import torch

        torch.manual_seed(seed)
        self.torch, self.encoder, self.width, self.units = torch, encoder, width, units
        self.seed = seed
        self.place: dict[str, int] = {}

    def fit(self, pairs: Sequence[Pair], gold: np.ndarray, epochs: int) -> None:
        """Learn word vectors and weights from scratch."""
        torch = self.torch
        count = Counter(w for p in pairs for side in ("pre", "hyp") for w in _lower(p.side(side)))
        # 0 pads, 1 stands for words seen once or never.
        known = sorted(word for word, times in count.items() if times > 1)
        self.place = {word: i + 2 for i, word in enumerate(known)}
        nn = torch.nn
        self.words: Any = nn.Embedding(len(known) + 2, self.width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.3)
        self.gru: Any = nn.GRU(self.width, self.width, batch_first=True)
        self.hidden: Any = nn.Linear(4 * self.width, self.units)
        self.out: Any = nn.Linear(self.units, len(CLASSES))
        self.drop: Any = nn.Dropout(0.3)
        parts = (self.words, self.gru, self.hidden, self.out)
        weights = [w for part in parts for w in part.parameters()]
        optimiser = torch.optim.Adam(weights, lr=2e-3, weight_decay=1e-5)
        rng = np.random.default_rng(self.seed)
        sides, target = self._ids(pairs), torch.from_numpy(gold)
        self.drop.train()
        for _ in range(epochs):
            for rows in np.array_split(rng.permutation(len(pairs)), max(1, len(pairs) // 64)):
                at = torch.from_numpy(rows)
                units = self._units(*(side[at] for side in sides))
                loss = nn.functional.cross_entropy(self.out(self.drop(units)), target[at])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        self.drop.eval()

    def activations(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return the penultimate layer, float32 (pairs, units)."""
        torch, out = self.torch, []
        with torch.inference_mode():
            for start in range(0, len(pairs), 512):
                out.append(self._units(*self._ids(pairs[start : start + 512])).numpy())
        return np.asfortranarray(np.concatenate(out))

    def probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return the probability of each class, (pairs, 3)."""
        torch = self.torch
        with torch.inference_mode():
            return self.out(torch.from_numpy(self.activations(pairs))).softmax(1).numpy()

    @property
    def output_weights(self) -> np.ndarray:
        """Of each class and unit, (3, units)."""
        return self.out.weight.detach().numpy()

    def _ids(self, pairs: Sequence[Pair]) -> tuple[Any, Any]:
        def ids(side: str) -> Any:
            rows = [[self.place.get(w, 1) for w in _lower(p.side(side))] or [1] for p in pairs]
            table = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
            for i, row in enumerate(rows):
                table[i, : len(row)] = row
            return self.torch.from_numpy(table)

        return ids("pre"), ids("hyp")

    def _encode(self, ids: Any) -> Any:
        x, there = self.drop(self.words(ids)), (ids > 0).unsqueeze(2)
        if self.encoder == "gru":
            x = self.gru(x)[0]
        # The mean over the sentence: with the largest value, most units die while learning.
        return (x * there).sum(1) / there.sum(1)

    def _units(self, pre: Any, hyp: Any) -> Any:
        u, v = self._encode(pre), self._encode(hyp)
        return self.torch.relu(self.hidden(self.torch.cat([u, v, (u - v).abs(), u * v], 1)))


def _lower(words: Sequence[str]) -> list[str]:
    return [word.lower() for word in words]
