"""Splits in which no lemma is on two sides: a probe cannot pass by knowing words by heart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from nissl.corpus.corpus import SPLITS, Corpus
from nissl.kernels.value_split import FEWEST, lemma_keys, split_values, too_few

__all__ = ["LemmaSplit", "lemma_split"]


@dataclass(frozen=True)
class LemmaSplit:
    """One label split by lemma.

    Attributes
    ----------
    corpus
        The corpus in which the label has only values that passed, and only words with such a value
        have a split.
    values
        Those that passed, sorted.
    dropped
        Value → why it did not pass.
    reason
        Why the label as a whole cannot be used, empty if it can: fewer than two values are left.
    """

    corpus: Corpus
    values: tuple[str, ...]
    dropped: Mapping[str, str]
    reason: str


def lemma_split(
    corpus: Corpus,
    label: str,
    *,
    min_count: tuple[int, int, int] = FEWEST,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> LemmaSplit:
    """Split the words that have a value by lemma, with a minimum of each value in each part.

    Values that fall short are dropped and the split is made again without them, until all that are
    left pass. A word without a lemma counts as a lemma by its form; case is ignored.

    Parameters
    ----------
    label
        A label column.
    min_count
        Fewest words of each value in train, dev and test.
    fractions, seed
        See :func:`~nissl.kernels.group_split.group_split`.

    Raises
    ------
    LabelError
        No such label.
    SettingError
        A minimum below 1, or fractions that do not sum to 1.
    """
    values = corpus.label(label).to_numpy().astype(object)
    tokens = corpus.tokens
    lemmas = tokens["lemma"].to_list() if "lemma" in tokens.columns else None
    part, dropped = split_values(
        values,
        lemma_keys(tokens["form"].to_list(), lemmas),
        min_count=min_count,
        fractions=fractions,
        seed=seed,
    )
    names = [*SPLITS, None]
    kept = [v if p >= 0 else None for v, p in zip(values.tolist(), part, strict=True)]
    out = corpus.with_column(label, kept)
    split = pl.Series("split", [names[p] for p in part], dtype=pl.String)
    left_out = dict(corpus.left_out)
    for value, why in dropped.items():
        left_out[f"{label} {value} ({why})"] = int((values == value).sum())
    passed = tuple(sorted({v for v in kept if v is not None}))
    return LemmaSplit(
        corpus=dataclasses.replace(out, tokens=out.tokens.with_columns(split), left_out=left_out),
        values=passed,
        dropped=dropped,
        reason=too_few(passed, dropped),
    )
