"""Tables of overlaps between languages: one row a pair, one row a site, with exact tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from nissl.kernels.multiple_tests import holm
from nissl.kernels.overlap_tests import expected_overlap, hypergeometric_overlap
from nissl.kernels.pair_null import permuted_mean_shares
from nissl.kernels.pair_permutation import (
    bootstrap_pairs,
    group_permutation,
    mean_share,
    overlap_shares,
    random_mean_shares,
)

__all__ = ["Orders", "by_language", "consensus", "layer_row", "pair_rows", "share_matrix"]

Orders = Mapping[str, Mapping[int, np.ndarray]]
"""Language → seed → neurons, best first."""


def consensus(orders: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return one order of several seeds': by mean rank, ties by the first seed's."""
    seeds = sorted(orders)
    first = orders[seeds[0]]
    if len(seeds) == 1:
        return first
    rank = np.zeros(len(first))
    for seed in seeds:
        rank[orders[seed]] += np.arange(len(first))
    return first[np.argsort(rank[first], kind="stable")]


def members(order: np.ndarray, k: int) -> np.ndarray:
    """Return which neurons are among the k best, bool (d,)."""
    out = np.zeros(len(order), dtype=bool)
    out[order[:k]] = True
    return out


def share_matrix(orders: Orders, size: Mapping[str, int]) -> np.ndarray:
    """Return |A ∩ B| / min(k) of each pair of languages, the diagonal nan."""
    return overlap_shares(np.stack([members(consensus(o), size[x]) for x, o in orders.items()]))


def pair_rows(
    orders: Orders,
    size: Mapping[str, int],
    genus: Mapping[str, str],
    same: Mapping[str, str],
    head: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return one row a pair of languages that both have the category.

    ``low, high`` span the shares of sets of any two seeds, where there are several.
    """
    names = list(orders)
    sets = {x: members(consensus(orders[x]), size[x]) for x in names}
    each = {x: [members(o, size[x]) for o in orders[x].values()] for x in names}
    rows = []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            total, least = len(sets[a]), min(size[a], size[b])
            both = int((sets[a] & sets[b]).sum())
            expected = expected_overlap(total, size[a], size[b])
            spread = [(x & y).sum() / least for x in each[a] for y in each[b]]
            several = len(spread) > 1
            rows.append(
                {
                    **head,
                    "a": a,
                    "b": b,
                    "same_genus": genus[a] == genus[b],
                    "same_language": same[a] == same[b],
                    "k_a": size[a],
                    "k_b": size[b],
                    "neurons": total,
                    "overlap": both,
                    "expected": expected,
                    "share": both / least,
                    "chance": expected / least,
                    "ratio": both / expected,
                    "p": _exact(total, size[a], size[b], both),
                    "low": float(min(spread)) if several else None,
                    "high": float(max(spread)) if several else None,
                }
            )
    # Pairs of one language are in no test, so they are none of those that Holm counts.
    tested = [row for row in rows if not row["same_language"]]
    for row, p in zip(tested, holm(np.array([r["p"] for r in tested])), strict=True):
        row["p_holm"] = float(p)
    return rows


def by_language(matrix: np.ndarray, language: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means over the pairs of sets of two languages, and how many each is of, (L, L) both.

    Languages come in the order of their first sets; the diagonal, and pairs that lack, are nan.
    """
    names = list(dict.fromkeys(language.tolist()))
    mine = np.array([[each == name for each in language] for name in names], dtype=np.float64)
    known = ~np.isnan(matrix)
    np.fill_diagonal(known, val=False)
    count = mine @ known @ mine.T
    np.fill_diagonal(count, 0)
    total = mine @ np.where(known, matrix, 0.0) @ mine.T
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), count


def layer_row(
    orders: Orders,
    size: Mapping[str, int],
    genus: Mapping[str, str],
    same: Mapping[str, str],
    pairs: list[dict[str, Any]],
    head: Mapping[str, Any],
    *,
    draws: int,
    n_boot: int,
    seed: int,
    nulls: dict[Any, np.ndarray],
) -> dict[str, Any]:
    """Return one row for all languages at one site, pairs of one language left out.

    ``p`` is that of the mean share among random sets; ``agreement`` what a language shares with
    itself under another seed, which is the most that could be asked of two languages. What is
    permuted and resampled are languages: two treebanks of one are one, by the mean of their pairs.
    """
    names = list(orders)
    matrix = share_matrix(orders, size)
    language = np.array([same[x] for x in names])
    matrix[language[:, None] == language] = np.nan
    pairs = [row for row in pairs if not row["same_language"]]
    kin = {same[x]: genus[x] for x in reversed(names)}
    whole, counts = by_language(matrix, language)
    groups = np.array([kin[x] for x in dict.fromkeys(language.tolist())])
    total = len(next(iter(orders[names[0]].values())))
    null = _null(orders, size, language, total, draws, seed, nulls)
    mean = mean_share(matrix)
    low, high = bootstrap_pairs(whole, counts=counts, n_boot=n_boot, seed=seed)
    test = group_permutation(whole, groups, seed=seed)
    glow, ghigh = bootstrap_pairs(whole, groups, n_boot=n_boot, seed=seed)
    own = [
        float((x & y).sum() / size[name])
        for name in names
        for x, y in _twos([members(o, size[name]) for o in orders[name].values()])
    ]
    return {
        **head,
        "languages": len(whole),
        "neurons": total,
        "share": mean,
        "chance": float(np.mean([r["chance"] for r in pairs])),
        "low": low,
        "high": high,
        "p": float((1 + (null >= mean - 1e-12).sum()) / (1 + len(null))),
        "pairs": len(pairs),
        "above": sum(r["p_holm"] <= 0.05 for r in pairs),
        "genus_difference": test.value,
        "genus_low": glow,
        "genus_high": ghigh,
        "genus_p": test.p,
        "genus_smallest_p": test.smallest,
        "agreement": float(np.mean(own)) if own else None,
    }


def _null(
    orders: Orders,
    size: Mapping[str, int],
    language: np.ndarray,
    total: int,
    draws: int,
    seed: int,
    nulls: dict[Any, np.ndarray],
) -> np.ndarray:
    """Return mean shares of random sets, those of one language drawn together, (draws,).

    Nulls are kept: only the sizes matter, and of sets of one language how far they overlap.
    """
    sizes = tuple(size[x] for x in orders)
    if len(set(language)) == len(language):
        kind: Any = (total, sizes)
        if kind not in nulls:
            nulls[kind] = random_mean_shares(total, sizes, draws=draws, seed=seed)
        return nulls[kind]
    sets = np.stack([members(consensus(o), size[x]) for x, o in orders.items()])
    owner = np.unique(language, return_inverse=True)[1]
    patterns = []
    for each in range(int(owner.max()) + 1):
        kinds, times = np.unique(sets[owner == each], axis=1, return_counts=True)
        patterns.append((kinds.tobytes(), times.tobytes()))
    kind = (total, sizes, tuple(owner.tolist()), tuple(patterns))
    if kind not in nulls:
        nulls[kind] = permuted_mean_shares(sets, owner, draws=draws, seed=seed)
    return nulls[kind]


@lru_cache(maxsize=100_000)
def _exact(total: int, a: int, b: int, both: int) -> float:
    # A millisecond each, and a grid of many pairs has few different overlaps.
    return hypergeometric_overlap(total, a, b, both)


def _twos(sets: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(x, y) for i, x in enumerate(sets) for y in sets[i + 1 :]]
