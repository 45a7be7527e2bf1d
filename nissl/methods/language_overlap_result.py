"""What was found about the same neurons in different languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import polars as pl

from nissl.errors import SettingError, did_you_mean
from nissl.methods._languages_plots import draw_clusters, draw_layers
from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LanguageOverlap"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageOverlap(Result):
    """Overlaps of the neurons that rank best for one category in different languages.

    Overlaps are within a site: how many of the k best neurons two languages have in common, as a
    share of the smaller k, beside what two random sets have, k_a · k_b / D.

    Attributes
    ----------
    model, random_weights
        Whose neurons, and whether its weights are random: the null.
    languages, categories, sites, rankings, ks
        What the grid is over; categories without the prefix ``um.``.
    genus
        Language → its genus.
    pairs
        One row a pair: ``ranking, k, category, site, a, b, same_genus, same_language, overlap,
        expected, share, chance, ratio, p`` (exact), ``p_holm`` (over the pairs of one site and
        category), ``p_holm_all`` (over all pairs of a ranking and k), ``low, high`` over seeds.
        Pairs of one language (``same_language``) are in no test: theirs are null.
    by_site
        One row a site and category: mean share with a bootstrap interval over languages, its
        permutation p and that adjusted for all of them (``p_holm``), pairs above chance, and what
        pairs within a genus share more.
    questions
        One row a question, ranking and k: effect, interval, p, the smallest p that so few
        languages or categories could give, and a sentence.
    cells
        One row a language, category, site, seed and ranking: words, values, test accuracy of a
        probe on the best (of the largest k) beside the majority, whether the ranking ended early,
        CPU seconds.
    excluded
        What is not in the grid and why: ``language, category, value, why``.
    missing
        Cells that are not finished: ``language, category, site, seed, ranking``.
    left_out
        What else was left out, and how often.
    """

    kind: ClassVar[str] = "language overlap"
    model: str
    random_weights: bool
    languages: tuple[str, ...]
    genus: Mapping[str, str]
    categories: tuple[str, ...]
    sites: tuple[str, ...]
    rankings: tuple[str, ...]
    ks: tuple[int, ...]
    pairs: pl.DataFrame
    by_site: pl.DataFrame
    questions: pl.DataFrame
    cells: pl.DataFrame
    excluded: pl.DataFrame
    missing: pl.DataFrame
    left_out: Mapping[str, int]

    def frame(self) -> pl.DataFrame:
        """One row a pair of languages, site, category, ranking and k."""
        return self.pairs

    def frames(self) -> dict[str, pl.DataFrame]:
        """Return all tables by name."""
        return {
            "pairs": self.pairs,
            "by_site": self.by_site,
            "questions": self.questions,
            "cells": self.cells,
            "excluded": self.excluded,
            "missing": self.missing,
        }

    def summary(self) -> tuple[str, ...]:
        """The answers to the questions, a paragraph a ranking and k, and what is missing."""
        lines = [
            f"By {ranking}, k = {k}. {' '.join(rows['sentence'])}"
            for (ranking, k), rows in self.questions.group_by("ranking", "k", maintain_order=True)
        ]
        if self.missing.height:
            lines.append(
                f"Partial: {self.missing.height:,} of {self.missing.height + self.cells.height:,} "
                "rankings are not finished; run again to go on."
            )
        return tuple(lines)

    def chosen(
        self, *, ranking: str | None = None, k: int | None = None, category: str | None = None
    ) -> pl.DataFrame:
        """Return the pairs of one ranking and k (the first by default), and one category or all.

        Raises
        ------
        SettingError
            A ranking, k or category that is not here.
        """
        ranking = self.rankings[0] if ranking is None else ranking
        k = self.ks[0] if k is None else k
        for what, value, known in (
            ("ranking", ranking, self.rankings),
            ("k", str(k), [str(each) for each in self.ks]),
            ("category", category, self.categories),
        ):
            if value is not None and value not in known:
                raise SettingError(
                    f'no {what} "{value}" here; there are {", ".join(known)}.'
                    f"{did_you_mean(value, known)}"
                )
        rows = self.pairs.filter((pl.col("ranking") == ranking) & (pl.col("k") == k))
        return rows if category is None else rows.filter(pl.col("category") == category)

    def matrix(
        self, *, ranking: str | None = None, k: int | None = None, category: str | None = None
    ) -> np.ndarray:
        """Return mean shares of all pairs over sites (and categories), (languages, languages).

        The diagonal, and pairs that no category is marked in both, are nan.
        """
        rows = self.chosen(ranking=ranking, k=k, category=category)
        out = np.full((len(self.languages), len(self.languages)), np.nan)
        at = {name: i for i, name in enumerate(self.languages)}
        means = rows.group_by("a", "b").agg(pl.col("share").mean())
        for a, b, share in means.iter_rows():
            out[at[a], at[b]] = out[at[b], at[a]] = share
        return out

    def plot(
        self,
        ax: Axes | None = None,
        *,
        what: Literal["clusters", "layers"] = "clusters",
        ranking: str | None = None,
        k: int | None = None,
        category: str | None = None,
    ) -> Axes:
        """Languages clustered by overlap beside their genus, or mean overlap by layer."""
        if what == "clusters":
            matrix = self.matrix(ranking=ranking, k=k, category=category)
            return draw_clusters(ax, matrix, self.languages, self.genus)
        if what != "layers":
            raise SettingError(f'what is "clusters" or "layers", not "{what}"')
        self.chosen(ranking=ranking, k=k, category=category)
        rows = self.by_site.filter(
            (pl.col("ranking") == (ranking or self.rankings[0]))
            & (pl.col("k") == (self.ks[0] if k is None else k))
        )
        if category is not None:
            rows = rows.filter(pl.col("category") == category)
        return draw_layers(ax, rows, self.sites)
