"""Read the corpora of a study: source, sample, splits."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import polars as pl

from nissl.corpus import SPLITS, Corpus, read_corpus
from nissl.data import TREEBANK, treebank_folder
from nissl.errors import SettingError, did_you_mean
from nissl.study.config import CorpusConfig

__all__ = ["describe_corpus", "load_corpus", "prepare_corpus"]


def load_corpus(
    source: Any,
    *,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    split_by: str | None = None,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
    dev_share: float | None = None,
    seed: int = 0,
) -> Corpus:
    """Read a corpus (``nissl:treebank`` is ours) and split it anew if asked, seeded."""
    given = dict(options or {})
    if source == TREEBANK:
        corpus = read_corpus(treebank_folder(), format="conllu", name="nissl-treebank", **given)
    else:
        corpus = read_corpus(source, format=format, **given)
    if split_by is not None:
        return corpus.with_splits(by=split_by, fractions=fractions, seed=seed)
    if dev_share is not None:
        return _carve_dev(corpus, dev_share, seed)
    return corpus


def prepare_corpus(name: str, config: CorpusConfig, *, seed: int) -> Corpus:
    """Read a corpus of a study, split it and draw its sample.

    Raises
    ------
    SettingError
        A split is missing and the configuration does not say how to make it.
    """
    corpus = load_corpus(
        config.source,
        format=config.format,
        options=config.options,
        split_by=config.split_by,
        fractions=config.fractions,
        dev_share=config.dev_share,
        seed=seed,
    )
    found = set(corpus.tokens["split"].drop_nulls().unique().to_list())
    lacking = [split for split in SPLITS if split not in found]
    if lacking:
        dev_only = lacking == ["dev"]
        hint = "take it from the train split (dev_share, --dev-share), " if dev_only else ""
        raise SettingError(
            f'corpus "{name}" has no {" and no ".join(lacking)} split; {hint}split it anew '
            "(split_by, --split-by sentence), or give a file for each split"
        )
    for split, n in config.sample.items():
        if split not in SPLITS:
            raise SettingError(
                f'corpus "{name}": no split "{split}" to sample from.{did_you_mean(split, SPLITS)}'
            )
        corpus = corpus.sample_sentences(n, seed=seed, split=split)
    return dataclasses.replace(corpus, name=name)


def _carve_dev(corpus: Corpus, share: float, seed: int) -> Corpus:
    """Move a share of the training sentences to dev; a sentence's side depends on its id alone."""
    ids = corpus.sentences["id"].to_list()
    sides = []
    for ident in ids:
        digest = hashlib.sha256(f"{seed}\x00dev\x00{ident}".encode()).digest()
        sides.append(int.from_bytes(digest[:8], "big") / 2**64 < share)
    moved = pl.Series(sides)[corpus.tokens["sentence"].to_numpy()]
    split = (
        pl.when(moved & (pl.col("split") == "train"))
        .then(pl.lit("dev"))
        .otherwise(pl.col("split"))
        .alias("split")
    )
    return dataclasses.replace(corpus, tokens=corpus.tokens.with_columns(split))


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """Return the facts about a corpus that a report states."""
    counts = dict(corpus.tokens["split"].drop_nulls().value_counts().rows())
    return {
        "name": corpus.name,
        "sentences": corpus.n_sentences,
        "tokens": corpus.n_tokens,
        "fingerprint": corpus.fingerprint,
        "splits": {split: counts.get(split, 0) for split in SPLITS},
        "left_out": dict(corpus.left_out),
    }
