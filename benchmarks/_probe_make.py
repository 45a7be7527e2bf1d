"""How the problems of the probe benchmark are drawn: arrays in, arrays out, all by a seed."""

from __future__ import annotations

import numpy as np

__all__ = ["control", "planted", "sample", "standardise"]

RARE = 10
"""Classes with fewer of the sampled tokens are not in a problem."""


def sample(
    labels: dict[str, np.ndarray], size: int, *, seed: int
) -> tuple[np.ndarray, dict[str, set[str]], list[str]]:
    """Draw tokens whose classes are all frequent among those drawn.

    A class with fewer than :data:`RARE` of the drawn tokens is given up and the tokens drawn anew
    (from the same permutation), until no class is rare.

    Returns
    -------
    rows
        Sorted positions, (size,) or fewer where there are no more.
    frequent
        Classes by label.
    notes
        What was given up.
    """
    order = np.random.default_rng(seed).permutation(len(next(iter(labels.values()))))
    gone: dict[str, set[str]] = {name: set() for name in labels}
    while True:
        fits = np.ones(len(order), dtype=bool)
        for name, values in labels.items():
            fits &= ~np.isin(values, sorted(gone[name]))
        rows = order[fits[order]][:size]
        again = False
        frequent = {}
        for name, values in labels.items():
            classes, counts = np.unique(values[rows], return_counts=True)
            frequent[name] = set(classes[counts >= RARE].tolist())
            rare = set(np.unique(values).tolist()) - frequent[name] - gone[name]
            gone[name] |= rare
            again |= bool(rare)
        if not again:
            break
    notes = [
        f"{name}: {int(np.isin(labels[name], sorted(lost)).sum())} tokens of the treebank are of "
        f"classes with fewer than {RARE} in the sample and were not drawn: "
        f"{', '.join(sorted(lost))}"
        for name, lost in gone.items()
        if lost
    ]
    return np.sort(rows), frequent, notes


def standardise(XT: np.ndarray) -> np.ndarray:
    """Give neurons (d, n) mean 0 and standard deviation 1, in place; constant ones become 0."""
    for row in XT:
        wide = row.astype(np.float64)
        wide -= wide.mean()
        spread = wide.std()
        row[:] = wide / spread if spread > 0 else 0.0
    return XT


def planted(n: int, d: int, n_classes: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw neurons that hang together, and labels from a sparse softmax model on them.

    Half of a neuron's variance is its own noise, half comes from d/40 common factors whose weight
    falls like 1/√rank, as the spectra of activations do. A class has weights on 20 of d/10 neurons.

    Returns
    -------
    XT
        Standardised, float32 (d, n).
    y
        int64 (n,).
    """
    rng = np.random.default_rng(seed)
    rank = max(8, d // 40)
    loading = rng.standard_normal((d, rank), dtype=np.float32)
    loading /= np.sqrt(np.arange(1, rank + 1, dtype=np.float32))
    loading /= np.linalg.norm(loading, axis=1, keepdims=True)
    XT = loading @ rng.standard_normal((rank, n), dtype=np.float32)
    XT += rng.standard_normal((d, n), dtype=np.float32)
    XT = standardise(XT)
    support = rng.choice(d, d // 10, replace=False)
    # Unequal classes, as labels of language are: log frequencies spread by about one.
    logits = np.repeat(rng.normal(0, 1, (n_classes, 1)), n, axis=1)
    for c in range(n_classes):
        mine = rng.choice(support, 20, replace=False)
        logits[c] += rng.normal(0, 1, 20) @ XT[mine].astype(np.float64)
    y = np.argmax(logits + rng.gumbel(size=logits.shape), axis=0)
    # A class that no token drew would leave a hole in the numbers.
    return XT, np.unique(y, return_inverse=True)[1].astype(np.int64)


def control(forms: np.ndarray, n_classes: int, *, seed: int) -> np.ndarray:
    """Deal the word types out to classes at random; every class gets two tokens or more.

    Parameters
    ----------
    forms
        Word of each token, (n,).

    Returns
    -------
    array of int64 (n,)
    """
    types, which = np.unique(forms, return_inverse=True)
    n_classes = min(n_classes, len(types) // 2)
    deal = np.random.default_rng(seed).permutation(len(types)) % n_classes
    return deal[which].astype(np.int64)
