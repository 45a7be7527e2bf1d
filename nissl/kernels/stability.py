"""Stability selection: which neurons a selector picks again and again on halves of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from nissl.errors import InputError, SettingError

__all__ = [
    "Stability",
    "complementary_halves",
    "error_bound",
    "stability_selection",
]

Selector = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""``(X (n, d), y (n,), rng) -> (d,)`` bool: the neurons chosen on these tokens."""


@dataclass(frozen=True, eq=False)
class Stability:
    """How often each neuron was chosen.

    Attributes
    ----------
    frequency
        Share of the 2 B halves on which the neuron was chosen, float64 (d,).
    simultaneous
        Share of the B pairs on both halves of which it was chosen, float64 (d,).
    mean_chosen
        q, the mean number of neurons chosen on a half.
    threshold
        π: neurons with frequency ≥ π are stable.
    selected
        The stable neurons, most frequent first, int64.
    bound
        Upper bound on the expected number of stable neurons that a half would choose with no more
        than average probability (the falsely stable ones), under the unimodality assumption of
        Shah & Samworth where it applies, else without it; see :func:`error_bound`.
    bound_worst
        The same without any assumption.
    n_pairs
        B.
    """

    frequency: np.ndarray
    simultaneous: np.ndarray
    mean_chosen: float
    threshold: float
    selected: np.ndarray
    bound: float
    bound_worst: float
    n_pairs: int


def stability_selection(
    X: Float[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " m"],
    selector: Selector,
    *,
    n_pairs: int = 50,
    threshold: int | float = 0.75,
    groups: Shaped[np.ndarray, " g"] | None = None,
    seed: int = 0,
) -> Stability:
    """Choose the neurons that a selector chooses on most halves of the data.

    Complementary pairs (Shah & Samworth 2013): B times the sentences are divided into two halves,
    and the selector runs on each. (Meinshausen & Bühlmann 2010 draw one half at a time; both halves
    give bounds that need no exchangeability.) How many neurons the selector picks matters: the
    bound is q²/d-like, so choose a selector that picks few, about √(0.8 d) or fewer.

    A neuron with a close copy may be missed: half of the picks go to the copy. Clusters of
    redundant neurons are better entered as one.

    Parameters
    ----------
    X
        Standardised neurons, (n, d). Halves keep float32 in Fortran order.
    y
        Labels or numbers, (n,).
    selector
        ``(X, y, rng) -> mask (d,)``. It gets its own random generator, the same on each run.
    n_pairs
        B, pairs of halves; the selector runs 2 B times.
    threshold
        π, in (0.5, 1].
    groups
        Sentence of each token, (n,): sentences are divided, not tokens.
    seed
        Seed of the halves and of the selector.

    Raises
    ------
    InputError
        A mask of another shape, fewer than two sentences.
    SettingError
        A threshold or number of pairs out of range.
    """
    if n_pairs < 1:
        raise SettingError(f"n_pairs must be 1 or more, not {n_pairs}")
    if not 0.5 < threshold <= 1:
        raise SettingError(f"threshold must lie above 0.5 and at most at 1, not {threshold:g}")
    n, d = X.shape
    if len(y) != n:
        raise InputError(f"{len(y)} labels do not fit {n} tokens")
    rng = np.random.default_rng(seed)
    once = np.zeros(d, dtype=np.int64)
    twice = np.zeros(d, dtype=np.int64)
    for _ in range(n_pairs):
        masks = []
        for rows in complementary_halves(n, rng, groups):
            half = np.ascontiguousarray(X.T[:, rows]).T
            mask = np.asarray(selector(half, y[rows], rng.spawn(1)[0]))
            if mask.shape != (d,) or mask.dtype != np.bool_:
                raise InputError(
                    f"the selector must return a bool mask of {d} neurons, not {mask.dtype} of "
                    f"shape {mask.shape}"
                )
            masks.append(mask)
        once += masks[0].astype(np.int64) + masks[1]
        twice += masks[0] & masks[1]
    frequency = once / (2 * n_pairs)
    q = float(frequency.sum())
    order = np.argsort(-frequency, kind="stable")
    # Counts, not shares: 0.75 of 100 halves must not fail by a rounding error.
    stable = once >= np.ceil(threshold * 2 * n_pairs - 1e-9)
    return Stability(
        frequency=frequency,
        simultaneous=twice / n_pairs,
        mean_chosen=q,
        threshold=threshold,
        selected=order[stable[order]].astype(np.int64),
        bound=error_bound(q, d, threshold, n_pairs=n_pairs),
        bound_worst=error_bound(q, d, threshold),
        n_pairs=n_pairs,
    )


def complementary_halves(
    n: int, rng: np.random.Generator, groups: Shaped[np.ndarray, " g"] | None = None
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Divide tokens into two disjoint halves of ⌊m/2⌋ sentences each; return their rows, sorted.

    With an odd number of sentences one is left out, another each time.

    Raises
    ------
    InputError
        Fewer than two sentences (or tokens), or a wrong number of sentence numbers.
    """
    if groups is None:
        code, m = np.arange(n), n
    else:
        if len(groups) != n:
            raise InputError(f"{n} tokens cannot have {len(groups)} sentence numbers")
        _, code = np.unique(groups, return_inverse=True)
        m = int(code.max()) + 1 if n else 0
    if m < 2:
        raise InputError(f"halves need two or more sentences, not {m}")
    side = np.zeros(m, dtype=np.int8)
    drawn = rng.permutation(m)
    side[drawn[: m // 2]] = 1
    side[drawn[m // 2 : 2 * (m // 2)]] = 2
    return np.flatnonzero(side[code] == 1), np.flatnonzero(side[code] == 2)


def error_bound(
    q: int | float, d: int, threshold: int | float, *, n_pairs: int | None = None
) -> float:
    """Return an upper bound on the expected number of falsely stable neurons.

    "Falsely stable" are stable neurons that the selector picks, on a random half, with probability
    at most q/d, that of a neuron drawn at random. If all null neurons are alike to the selector,
    and it is better than guessing, these include all of them (Meinshausen & Bühlmann 2010, theorem
    1, needs just that).

    Parameters
    ----------
    q
        Mean number of neurons picked on a half.
    d
        Number of neurons.
    threshold
        π, in (0.5, 1].
    n_pairs
        B. If given, the distribution of a neuron's simultaneous picks is taken to be unimodal
        (Shah & Samworth 2013, theorem 2), which about halves the bound; where the theorem does not
        apply (q/d > 1/√3, or π too near to .5) the worst case is returned. If not given: the worst
        case q²/(d (2π − 1)) (Shah & Samworth, theorem 1 with θ = q/d).

    Raises
    ------
    SettingError
        A value out of range.
    """
    if not 0.5 < threshold <= 1:
        raise SettingError(f"threshold must lie above 0.5 and at most at 1, not {threshold:g}")
    if d < 1 or not 0 <= q <= d:
        raise SettingError(f"a selector cannot pick {q:g} of {d} neurons")
    theta = q / d
    worst = float(min(q * theta / (2 * threshold - 1), q))
    if n_pairs is None:
        return worst
    if n_pairs < 1:
        raise SettingError(f"n_pairs must be 1 or more, not {n_pairs}")
    step = 1 / (2 * n_pairs)
    lowest = 0.5 + min(theta**2, step + 0.75 * theta**2)
    if theta > 1 / np.sqrt(3) or threshold <= lowest or 2 * threshold - 1 - step <= 0:
        return worst
    if threshold <= 0.75:
        factor = 1 / (2 * (2 * threshold - 1 - step))
    else:
        factor = 4 * (1 - threshold + step) / (1 + 2 * step)
    return min(factor * theta * q, worst)
