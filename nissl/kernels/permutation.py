"""Permutation tests of all neurons at once, with control of the family-wise error by max-T."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from nissl.errors import InputError, SettingError

__all__ = ["PermutationTest", "permutation_test", "permute_within"]

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``(X (n, d), y (n,)) -> (d,)``; larger is more extreme."""


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """What permuting the labels says about each neuron.

    Attributes
    ----------
    observed
        The statistic with the labels as they are, float64 (d,).
    p
        (1 + number of permutations at least as extreme) / (1 + permutations), float64 (d,). Never
        0 (Phipson & Smyth 2010).
    p_family
        Adjusted by step-down max-T: rejecting where it is at most α keeps the probability of any
        false rejection at or below α. float64 (d,)
    n_perm
        Number of permutations.
    """

    observed: np.ndarray
    p: np.ndarray
    p_family: np.ndarray
    n_perm: int


def permutation_test(
    statistic: Statistic,
    X: Float[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " n"],
    *,
    n_perm: int = 999,
    groups: Shaped[np.ndarray, " g"] | None = None,
    seed: int = 0,
) -> PermutationTest:
    """Test each neuron's statistic against permuted labels.

    The labels are permuted and the neurons are not, so that neurons keep their correlations and
    the largest statistic of all has its true null distribution. Westfall & Young 1993, algorithm
    4.1: the most extreme neuron is compared with the largest statistic over all neurons, the next
    with the largest over the rest, and so on; p-values may not decrease on the way.

    A permutation test says that label and neuron are independent *if all permutations of the labels
    are equally likely*. Labels of neighbouring tokens are not: with ``groups`` labels change places
    inside a sentence only, or inside one word form ("does the neuron know more of the label than
    the word does?").

    Parameters
    ----------
    statistic
        ``(X, y) -> (d,)``, larger is more extreme; take absolute values for a two-sided test.
    X
        Neurons, (n, d).
    y
        Labels or numbers, (n,).
    n_perm
        Permutations; the smallest p-value is 1 / (n_perm + 1).
    groups
        Group of each token inside which labels are permuted, (n,); all tokens by default.
    seed
        Seed of the permutations.

    Raises
    ------
    InputError
        A statistic that is no finite (d,), or groups inside which all labels are the same.
    SettingError
        Fewer than one permutation.
    """
    if n_perm < 1:
        raise SettingError(f"n_perm must be 1 or more, not {n_perm}")
    d = X.shape[1]
    observed = _checked(statistic(X, y), d)
    places = _Places(y, groups)
    rng = np.random.default_rng(seed)
    order = np.argsort(-observed, kind="stable")
    # A permutation that is the same up to summation order is as extreme, not less.
    bar = observed - 1e-10 * np.abs(observed)
    sorted_bar = bar[order]
    alone = np.zeros(d, dtype=np.int64)
    family = np.zeros(d, dtype=np.int64)
    for _ in range(n_perm):
        value = _checked(statistic(X, places.draw(y, rng)), d)
        alone += value >= bar
        # The largest statistic among this neuron and all that are observed to be less extreme.
        rest = np.maximum.accumulate(value[order][::-1])[::-1]
        family += rest >= sorted_bar
    adjusted = np.maximum.accumulate((1 + family) / (1 + n_perm))
    p_family = np.empty(d)
    p_family[order] = adjusted
    return PermutationTest(
        observed=observed, p=(1 + alone) / (1 + n_perm), p_family=p_family, n_perm=n_perm
    )


def permute_within(
    y: Shaped[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " g"] | None,
    rng: np.random.Generator,
) -> Shaped[np.ndarray, " n"]:
    """Return y with its values permuted inside each group (all tokens if ``None``).

    Raises
    ------
    InputError
        Groups inside which all labels are the same, so that nothing can change.
    """
    return _Places(y, groups).draw(y, rng)


class _Places:
    """Places of tokens sorted by group, kept between permutations."""

    def __init__(self, y: np.ndarray, groups: np.ndarray | None) -> None:
        if len(y) == 0:
            raise InputError("there are no labels to permute")
        if groups is None:
            self.code = None
            return
        if len(groups) != len(y):
            raise InputError(f"{len(y)} labels cannot have {len(groups)} group numbers")
        _, code = np.unique(groups, return_inverse=True)
        self.place = np.argsort(code, kind="stable")
        self.code = code[self.place]
        inside = y[self.place]
        same_group = self.code[1:] == self.code[:-1]
        if not (inside[1:] != inside[:-1])[same_group].any():
            raise InputError(
                "all labels are the same inside each group, so that nothing can be permuted; "
                "choose coarser groups"
            )

    def draw(self, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.code is None:
            return y[rng.permutation(len(y))]
        # Random numbers sorted inside each group: a uniform permutation of every group at once.
        shuffled = np.lexsort((rng.random(len(y)), self.code))
        out = np.empty_like(y)
        out[self.place] = y[self.place[shuffled]]
        return out


def _checked(value: np.ndarray, d: int) -> np.ndarray:
    value = np.asarray(value, dtype=np.float64)
    if value.shape != (d,) or not np.isfinite(value).all():
        raise InputError(
            f"the statistic must return {d} finite numbers, one a neuron, not shape {value.shape}"
        )
    return value
