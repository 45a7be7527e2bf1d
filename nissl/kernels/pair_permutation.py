"""Overlaps of all pairs: pairs share members, so it is members that are permuted.

What is permuted are whole sets (Mantel 1967), never single pairs: 20 languages have 190 pairs and
still only 20 things that could have been otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import factorial

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.stats import rankdata

from nissl.errors import InputError, SettingError

__all__ = [
    "Permuted",
    "bootstrap_pairs",
    "group_permutation",
    "mean_share",
    "overlap_shares",
    "random_mean_shares",
    "rank_permutation",
]

MOST_EXACT = 8
"""Up to so many members (40,320 orders) every permutation is taken."""


@dataclass(frozen=True)
class Permuted:
    """A statistic and how it stands among permutations.

    Attributes
    ----------
    value
        The statistic observed; nan where it does not exist.
    p
        Share of permutations with a statistic at least as large, the observed one among them.
    smallest
        The smallest p that this many members, and draws, could give.
    exact
        Whether every permutation was taken.
    """

    value: float
    p: float
    smallest: float
    exact: bool


def overlap_shares(members: Bool[np.ndarray, "s d"]) -> Float[np.ndarray, "s s"]:
    """Return |A ∩ B| / min(|A|, |B|) of each pair of sets; the diagonal is nan.

    Raises
    ------
    InputError
        An empty set.
    """
    size = members.sum(axis=1)
    if not (size > 0).all():
        raise InputError("a set of no neurons has no overlap")
    counts = members.astype(np.float64)
    out = counts @ counts.T / np.minimum(size[:, None], size)
    np.fill_diagonal(out, np.nan)
    return out


def mean_share(matrix: Float[np.ndarray, "s s"]) -> float:
    """Return the mean over pairs, those that are nan left out; nan if all are."""
    upper = matrix[np.triu_indices(len(matrix), k=1)]
    known = upper[~np.isnan(upper)]
    return float(known.mean()) if len(known) else float("nan")


def random_mean_shares(
    total: int,
    sizes: tuple[int, ...],
    *,
    draws: int = 1999,
    seed: int = 0,
) -> Float[np.ndarray, " draws"]:
    """Return the mean share over pairs of independent random sets, once a draw.

    Parameters
    ----------
    total
        Number of neurons.
    sizes
        Size of each set.

    Raises
    ------
    SettingError
        Fewer than two sets, or a size outside 1 … total.
    """
    size = np.asarray(sizes)
    if len(size) < 2 or size.min() < 1 or size.max() > total:
        raise SettingError(f"sets of {sizes} neurons cannot be drawn from {total}")
    rng = np.random.default_rng(seed)
    a, b = np.triu_indices(len(size), k=1)
    least = np.minimum(size[a], size[b])
    out = np.empty(draws)
    for i in range(draws):
        values = rng.random((len(size), total))
        edge = np.sort(values, axis=1)[np.arange(len(size)), size - 1]
        members = (values <= edge[:, None]).astype(np.float32)
        out[i] = ((members @ members.T)[a, b] / least).mean()
    return out


def group_permutation(
    matrix: Float[np.ndarray, "s s"],
    groups: Shaped[np.ndarray, " s"],
    *,
    draws: int = 9999,
    seed: int = 0,
) -> Permuted:
    """Test whether pairs within a group overlap more than pairs between groups (one-sided).

    The statistic is the mean within minus the mean between; the groups' names are permuted over
    the members. A pair that is nan counts nowhere.

    Raises
    ------
    InputError
        A matrix that is not square or does not fit the groups.
    """
    if matrix.shape != (len(groups), len(groups)):
        raise InputError(f"a matrix {matrix.shape} does not fit {len(groups)} groups")
    code = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    a, b = np.triu_indices(len(code), k=1)
    value = matrix[a, b]
    known = ~np.isnan(value)
    a, b, value = a[known], b[known], value[known]
    nothing = Permuted(float("nan"), 1.0, 1.0, True)
    same = code[a] == code[b]
    if not same.any() or same.all():
        return nothing
    orders, exact = _orders(len(code), draws, seed)
    within = code[orders[:, a]] == code[orders[:, b]]
    n = within.sum(axis=1)
    # Where pairs are lacking, an order may leave one kind without any: it counts as no evidence.
    fine = (n > 0) & (n < len(value))
    total = value.sum()
    inside = within @ value
    stat = np.full(len(orders), -np.inf)
    stat[fine] = inside[fine] / n[fine] - (total - inside[fine]) / (len(value) - n[fine])
    seen = float(value[same].mean() - value[~same].mean())
    return Permuted(seen, _share(stat, seen), max(_finest(code), 1 / len(orders)), exact)


def rank_permutation(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    *,
    sign: int = 1,
    draws: int = 9999,
    seed: int = 0,
) -> Permuted:
    """Test whether y rises with x (falls, with ``sign=-1``): Spearman's ρ, y permuted.

    Raises
    ------
    InputError
        Arrays of different lengths.
    """
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(f"{x.shape} and {y.shape} are not two lists of one length")
    n = len(x)
    if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Permuted(float("nan"), 1.0, 1.0, True)
    one, two = (rankdata(v) - (n + 1) / 2 for v in (x, y))
    scale = float(np.sqrt((one @ one) * (two @ two)))
    orders, exact = _orders(n, draws, seed)
    stat = sign * (two[orders] @ one) / scale
    seen = float(one @ two) / scale
    ties = _finest(np.unique(x, return_inverse=True)[1], names_matter=True)
    ties = max(ties, _finest(np.unique(y, return_inverse=True)[1], names_matter=True))
    return Permuted(seen, _share(stat, sign * seen), max(ties, 1 / len(orders)), exact)


def bootstrap_pairs(
    matrix: Float[np.ndarray, "s s"],
    groups: Shaped[np.ndarray, " s"] | None = None,
    *,
    counts: Float[np.ndarray, "s s"] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return a percentile interval of the mean over pairs, members resampled.

    With ``groups``, of the mean within groups minus the mean between. ``counts`` says how many
    values each entry is the mean of: then it is an interval of the mean over all of them. Pairs of
    a member with itself do not count. Few members give intervals that are too narrow; with fewer
    than four, or where most resamples have no such pair, there is none (nan).
    """
    s = len(matrix)
    if s < 4:
        return float("nan"), float("nan")
    a, b = np.triu_indices(s, k=1)
    value = matrix[a, b]
    known = ~np.isnan(value)
    a, b, value = a[known], b[known], value[known]
    times = np.random.default_rng(seed).multinomial(s, np.full(s, 1 / s), size=n_boot)
    weight = (times[:, a] * times[:, b]).astype(np.float64)
    if counts is not None:
        weight *= counts[a, b]
    with np.errstate(invalid="ignore", divide="ignore"):
        if groups is None:
            stat = weight @ value / weight.sum(axis=1)
        else:
            same = np.asarray(groups)[a] == np.asarray(groups)[b]
            inner, outer = weight[:, same], weight[:, ~same]
            stat = inner @ value[same] / inner.sum(axis=1)
            stat -= outer @ value[~same] / outer.sum(axis=1)
    stat = stat[np.isfinite(stat)]
    if len(stat) < n_boot / 2:
        return float("nan"), float("nan")
    tail = 50 * (1 - level)
    low, high = np.percentile(stat, [tail, 100 - tail])
    return float(low), float(high)


def _orders(n: int, draws: int, seed: int) -> tuple[Int[np.ndarray, "m n"], bool]:
    """Return orders of n members, the given one first, and whether they are all there are."""
    if n <= MOST_EXACT:
        return np.array(list(permutations(range(n)))), True
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)
    return np.concatenate([np.arange(n)[None], drawn]), False


def _share(stat: np.ndarray, seen: float) -> float:
    # Equal statistics differ in their last bits by the order of sums.
    return float((stat >= seen - 1e-12 * max(1.0, abs(seen))).mean())


def _finest(code: np.ndarray, *, names_matter: bool = False) -> float:
    """Return the share of permutations that leave the grouping as it is."""
    size = np.bincount(code)
    ways = 1
    for each in size:
        ways *= factorial(int(each))
    if not names_matter:
        for many in np.bincount(size[size > 0]):
            ways *= factorial(int(many))
    return ways / factorial(len(code))
