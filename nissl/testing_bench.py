"""The planted-truth bench: neurons of known kinds, for asking every ranking what it can see.

>>> bench = planted_bench(0)
>>> bench.X.shape, len(bench.planted)
((4000, 96), 18)
>>> hits(bench, bench.planted)
{'raised': 6, 'lowered': 6, 'spread': 6, 'loud': 0}
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nissl.errors import SettingError
from nissl.kernels.standardise import moments, standardise

__all__ = ["KINDS", "Bench", "hits", "noise_above", "planted_bench"]

KINDS = ("raised", "lowered", "spread", "loud")
SIZES = (6, 6, 6, 4)
SHIFT, SPREAD, LOUD = 0.8, 2.0, 40.0


@dataclass(frozen=True, eq=False)
class Bench:
    """Two classes of equal size and 96 neurons; class 1 is the one that neurons respond to.

    Attributes
    ----------
    X
        Raw neurons, float32, Fortran order, (n, d). All are N(0, 1) on tokens of class 0, but the
        loud ones.
    Z
        The same, standardised: what rankings are given by default.
    y
        Class of each token, 0 or 1, int64 (n,).
    raised, lowered
        Neurons with mean +0.8 and −0.8 on class 1.
    spread
        Neurons with standard deviation 2 on class 1 and the same mean: linear methods see nothing.
    loud
        Noise with standard deviation 40 on all tokens: what a ranking by raw size falls for.
    """

    X: np.ndarray
    Z: np.ndarray
    y: np.ndarray
    raised: np.ndarray
    lowered: np.ndarray
    spread: np.ndarray
    loud: np.ndarray

    @property
    def planted(self) -> np.ndarray:
        """The 18 neurons that tell of the class."""
        return np.concatenate([self.raised, self.lowered, self.spread])

    @property
    def noise(self) -> np.ndarray:
        """All other neurons, the loud ones among them."""
        return np.setdiff1d(np.arange(self.X.shape[1]), self.planted)


def planted_bench(seed: int, *, n_tokens: int = 4000, n_neurons: int = 96) -> Bench:
    """Draw the bench; the places of the kinds are random.

    Parameters
    ----------
    seed
        Seed of everything.
    n_tokens, n_neurons
        Sizes; 22 neurons are of a kind, the others N(0, 1) throughout.

    Raises
    ------
    SettingError
        Fewer than 22 neurons or 2 tokens.
    """
    if n_neurons < sum(SIZES) or n_tokens < 2:
        raise SettingError(
            f"the bench needs {sum(SIZES)} neurons and 2 tokens, not {n_neurons} and {n_tokens}"
        )
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n_tokens) % 2)
    XT = rng.standard_normal((n_neurons, n_tokens), dtype=np.float32)
    places = rng.permutation(n_neurons)[: sum(SIZES)]
    kinds = [np.sort(part) for part in np.split(places, np.cumsum(SIZES)[:-1])]
    raised, lowered, spread, loud = kinds
    XT[raised] += np.float32(SHIFT) * (y == 1)
    XT[lowered] -= np.float32(SHIFT) * (y == 1)
    XT[spread] *= np.where(y == 1, np.float32(SPREAD), np.float32(1))
    XT[loud] *= np.float32(LOUD)
    X = XT.T
    return Bench(X, standardise(X, *moments(X)), y, raised, lowered, spread, loud)


def hits(bench: Bench, order: np.ndarray, top: int = 18) -> dict[str, int]:
    """Count neurons of each kind among the first ones of an order, best first."""
    first = np.asarray(order)[:top]
    return {kind: int(np.isin(getattr(bench, kind), first).sum()) for kind in KINDS}


def noise_above(bench: Bench, order: np.ndarray, seen: tuple[str, ...] = KINDS[:3]) -> int:
    """Count noise neurons that an order puts above the last planted neuron of the kinds seen."""
    place = np.empty(len(order), dtype=np.int64)
    place[np.asarray(order)] = np.arange(len(order))
    last = max(int(place[getattr(bench, kind)].max()) for kind in seen)
    return int((place[bench.noise] < last).sum())
