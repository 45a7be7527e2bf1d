"""The four questions on overlaps between languages, each with a test and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from nissl.kernels.pair_permutation import bootstrap_pairs, group_permutation, rank_permutation

__all__ = ["ask"]

ALPHA = 0.05


def ask(
    pairs: pl.DataFrame,
    by_site: pl.DataFrame,
    cells: pl.DataFrame,
    languages: tuple[str, ...],
    genus: Mapping[str, str],
    pretraining: Mapping[str, float] | None,
    *,
    same: Mapping[str, str] | None = None,
    n_boot: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Answer the questions for one ranking and k; first what two treebanks of a language share.

    What is permuted and resampled are languages (``same``), not their treebanks.
    """
    whose = {x: (same or {}).get(x, x) for x in languages}
    kin = {whose[x]: genus[x] for x in reversed(languages)}
    data = {whose.get(x, x): amount for x, amount in (pretraining or {}).items()}
    own = pairs.filter(pl.col("same_language"))
    pairs = pairs.filter(~pl.col("same_language"))
    first = []
    if own.height:
        share = float(own["share"].to_numpy().mean())
        first = [
            _row(
                "the same language twice",
                f"Two treebanks of one language share {share:.1%}, which is what could be expected "
                "of two languages at the most; these pairs are in no test.",
                effect=share - float(own["chance"].to_numpy().mean()),
            )
        ]
    return [
        *first,
        _above(by_site, pairs, whose, n_boot, seed),
        _genus(pairs, whose, kin, n_boot, seed),
        _data(pairs, whose, data, seed),
        _values(pairs, cells, seed),
    ]


def _row(question: str, sentence: str, **more: float) -> dict[str, Any]:
    names = ("effect", "low", "high", "p", "smallest_p")
    found = {name: more.get(name, float("nan")) for name in names}
    return {"question": question, **found, "sentence": sentence}


def _above(
    by_site: pl.DataFrame, pairs: pl.DataFrame, whose: Mapping[str, str], n_boot: int, seed: int
) -> dict[str, Any]:
    excess, counts = _matrix(pairs, whose, pl.col("share") - pl.col("chance"))
    # Pairs of many categories count more, as in the mean that the interval is of.
    low, high = bootstrap_pairs(excess, counts=counts, n_boot=n_boot, seed=seed)
    share, chance = (float(pairs[c].to_numpy().mean()) for c in ("share", "chance"))
    p, n = float(by_site["p_holm"].to_numpy().min()), by_site.height
    above = int((by_site["p_holm"] <= ALPHA).sum())
    span = f" (excess {_span(low, high)})" if np.isfinite(low) else ""
    significant, count = int((pairs["p_holm_all"] <= ALPHA).sum()), pairs.height
    return _row(
        "above chance",
        f"Two languages share {share:.1%} of the best neurons of a category, {chance:.1%} by "
        f"chance{span}; the mean over pairs is above that of random sets at {above} of {n} "
        f"(category, site), Holm over all of them, and so are {significant:,} of {count:,} single "
        "pairs, Holm over all pairs.",
        effect=share - chance,
        low=low,
        high=high,
        p=p,
        smallest_p=float("nan"),
    )


def _genus(
    pairs: pl.DataFrame,
    whose: Mapping[str, str],
    genus: Mapping[str, str],
    n_boot: int,
    seed: int,
) -> dict[str, Any]:
    # Languages differ in the categories that they mark: compare within category and site.
    own = pl.col("share") - pl.col("share").mean().over("category", "site")
    matrix, _ = _matrix(pairs, whose, own)
    groups = np.array([genus[name] for name in dict.fromkeys(whose.values())])
    test = group_permutation(matrix, groups, seed=seed)
    if not np.isfinite(test.value):
        said = "no two languages are of one genus" if len(set(groups)) > 1 else "all are of one"
        return _row("larger within a genus", f"Genus: cannot be asked, {said}.")
    low, high = bootstrap_pairs(matrix, groups, n_boot=n_boot, seed=seed)
    span = f" ({_span(low, high)})" if np.isfinite(low) else ""
    so = "Languages of one genus share more" if test.p <= ALPHA else "No sign that a genus matters"
    limit = (
        f"; so few languages cannot give a p below {test.smallest:.3f}"
        if test.smallest > 0.01
        else ""
    )
    return _row(
        "larger within a genus",
        f"{so}: pairs within a genus differ from the others by {100 * test.value:+.1f} points"
        f"{span}, permutation of languages p = {test.p:.3g}{limit}.",
        effect=test.value,
        low=low,
        high=high,
        p=test.p,
        smallest_p=test.smallest,
    )


def _data(
    pairs: pl.DataFrame,
    whose: Mapping[str, str],
    pretraining: Mapping[str, float],
    seed: int,
) -> dict[str, Any]:
    name = "larger with pre-training data"
    if not pretraining:
        return _row(name, "Pre-training data: not asked, no amounts were given.")
    own = pl.col("share") - pl.col("share").mean().over("category", "site")
    matrix, _ = _matrix(pairs, whose, own)
    languages = tuple(dict.fromkeys(whose.values()))
    have = [i for i, x in enumerate(languages) if x in pretraining]
    mean = np.array([_mean(matrix[i]) for i in have])
    amount = np.array([float(pretraining[languages[i]]) for i in have])
    fine = np.isfinite(mean)
    return _correlation(name, amount[fine], mean[fine], 1, seed, "more data", "languages")


def _values(pairs: pl.DataFrame, cells: pl.DataFrame, seed: int) -> dict[str, Any]:
    excess = pairs.group_by("category").agg((pl.col("share") - pl.col("chance")).mean().alias("y"))
    values = cells.group_by("category").agg(pl.col("values").mean().alias("x"))
    both = excess.join(values, on="category").sort("category")
    return _correlation(
        "smaller for categories with more values",
        both["x"].to_numpy(),
        both["y"].to_numpy(),
        -1,
        seed,
        "more values",
        "categories",
    )


def _correlation(
    name: str, x: np.ndarray, y: np.ndarray, sign: int, seed: int, more: str, of: str
) -> dict[str, Any]:
    test = rank_permutation(x, y, sign=sign, seed=seed)
    if not np.isfinite(test.value):
        why = "fewer than three" if len(x) < 3 else "they do not differ"
        return _row(name, f"{more.capitalize()}: cannot be asked, {of}: {len(x)} ({why}).")
    way = "larger" if sign > 0 else "smaller"
    so = f"is {way} with {more}" if test.p <= ALPHA else f"shows no sign of being {way} with {more}"
    limit = f", of {test.smallest:.3f} at the least" if test.smallest > 0.01 else ""
    return _row(
        name,
        f"The overlap {so}: Spearman's ρ = {test.value:+.2f} over {len(x)} {of}, permutation "
        f"p = {test.p:.3g}{limit}.",
        effect=test.value,
        p=test.p,
        smallest_p=test.smallest,
    )


def _matrix(
    pairs: pl.DataFrame, whose: Mapping[str, str], value: pl.Expr
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of something for each pair of languages, diagonal nan, and of how many."""
    names = list(dict.fromkeys(whose.values()))
    at = {name: i for i, name in enumerate(names)}
    total = np.zeros((len(names), len(names)))
    count = np.zeros_like(total)
    for a, b, each in pairs.select("a", "b", value.alias("_")).iter_rows():
        i, j = at[whose[a]], at[whose[b]]
        for where in ((i, j), (j, i)):
            total[where] += each
            count[where] += 1
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), count


def _mean(row: np.ndarray) -> float:
    known = row[np.isfinite(row)]
    return float(known.mean()) if len(known) else float("nan")


def _span(low: float, high: float) -> str:
    return f"{100 * low:+.1f} to {100 * high:+.1f} points, 95% over languages"
