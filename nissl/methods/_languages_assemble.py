"""What finished cells say: tables of pairs and sites, answers, and what is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from nissl.kernels.multiple_tests import holm
from nissl.methods._languages_cell import Cell, Words
from nissl.methods._languages_plan import PREFIX
from nissl.methods._languages_questions import ask
from nissl.methods._languages_tables import layer_row, pair_rows

__all__ = ["Finished", "assemble", "excluded_table"]

SETS_A_TEST = 40
"""Random sets for each (category, site): the smallest p after Holm is one in so many."""

Finished = tuple[Cell, str, dict[str, Any] | None]
"""A cell, a ranking, and its piece or None."""

_NAMES: dict[str, Any] = {
    "language": pl.String,
    "category": pl.String,
    "site": pl.String,
    "seed": pl.Int64,
    "ranking": pl.String,
}


def _names(cell: Cell, ranking: str) -> dict[str, Any]:
    category = cell.label.removeprefix(PREFIX)
    values = (cell.language, category, cell.site, cell.seed, ranking)
    return dict(zip(_NAMES, values, strict=True))


def _cell_row(cell: Cell, ranking: str, piece: dict[str, Any] | None) -> dict[str, Any]:
    assert piece is not None
    return {
        **_names(cell, ranking),
        "words": int((cell.words.part == 0).sum()),
        "values": len(cell.words.values),
        "accuracy": piece["accuracy"],
        "majority": piece["majority"],
        "early": piece["early"],
        "cpu_seconds": piece["cpu_seconds"],
    }


def assemble(
    found: Sequence[Finished],
    genus: Mapping[str, str],
    same: Mapping[str, str],
    ks: Sequence[int],
    k_of: Mapping[str, int],
    pretraining: Mapping[str, float] | None,
    *,
    draws: int,
    n_boot: int,
    seed: int,
) -> dict[str, pl.DataFrame]:
    """Return the tables of a result by name."""
    done = [each for each in found if each[2] is not None]
    gone = [_names(cell, name) for cell, name, piece in found if piece is None]
    cells = pl.DataFrame([_cell_row(*each) for each in done], schema=_CELLS)
    pairs, sites, answers = [], [], []
    nulls: dict[Any, np.ndarray] = {}
    # Holm multiplies the smallest p by the number of tests: with too few random sets nothing
    # could ever be told from chance where there are many layers.
    draws = max(draws, SETS_A_TEST * len({(cell.label, cell.site) for cell, _, _ in found}) - 1)
    rankings = list(dict.fromkeys(name for _, name, _ in found))
    for ranking in rankings:
        mine = [each for each in done if each[1] == ranking]
        for k in ks:
            size = {name: k_of.get(name, k) for name in genus}
            here: list[pl.DataFrame] = []
            rows: list[dict[str, Any]] = []
            for (label, site), orders in _orders(mine).items():
                if len({same[x] for x in orders}) < 2:
                    continue
                category = label.removeprefix(PREFIX)
                head = {"ranking": ranking, "k": k, "category": category, "site": site}
                two = pair_rows(orders, size, genus, same, head)
                here.append(pl.DataFrame(two, schema=_PAIRS))
                options: dict[str, Any] = {"draws": draws, "n_boot": n_boot, "seed": seed}
                rows.append(layer_row(orders, size, genus, same, two, head, **options, nulls=nulls))
            if not rows:
                continue
            table = pl.concat(here)
            tested = ~table["same_language"].to_numpy()
            every = np.full(table.height, np.nan)
            every[tested] = holm(table["p"].to_numpy()[tested])
            over_all = pl.Series("p_holm_all", every).fill_nan(None)
            table = table.with_columns(over_all)
            by_site = pl.DataFrame(rows, schema=_SITES)
            by_site = by_site.with_columns(pl.Series("p_holm", holm(by_site["p"].to_numpy())))
            pairs.append(table)
            sites.append(by_site)
            words = cells.filter(pl.col("ranking") == ranking)
            said = ask(
                *(table, by_site, words, tuple(genus), genus, pretraining),
                same=same,
                n_boot=n_boot,
                seed=seed,
            )
            answers += [{"ranking": ranking, "k": k, **each} for each in said]
    last = {"p_holm_all": pl.Float64}
    return {
        "pairs": pl.concat(pairs) if pairs else pl.DataFrame(schema={**_PAIRS, **last}),
        "by_site": pl.concat(sites)
        if sites
        else pl.DataFrame(schema={**_SITES, "p_holm": pl.Float64}),
        "questions": pl.DataFrame(answers, schema=_ANSWERS),
        "cells": cells,
        "missing": pl.DataFrame(gone, schema=_NAMES),
    }


def excluded_table(words: Mapping[tuple[str, str, int], Words]) -> pl.DataFrame:
    """Return what was dropped: a value, or a category of a language as a whole (value "all")."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for (language, label, _), found in words.items():
        category = label.removeprefix(PREFIX)
        for value, why in found.dropped.items():
            rows.setdefault((language, category, value), []).append(why)
        if found.reason:
            why = found.reason.split(" (")[0]
            rows.setdefault((language, category, "all"), []).append(why)
    seeds = len({seed for _, _, seed in words})

    def said(whys: list[str]) -> str:
        return whys[0] if len(whys) == seeds else f"{whys[0]} (in {len(whys)} of {seeds} seeds)"

    return pl.DataFrame(
        [(*names, said(whys)) for names, whys in rows.items()],
        schema=dict.fromkeys(("language", "category", "value", "why"), pl.String),
        orient="row",
    )


def _orders(found: Sequence[Finished]) -> dict[tuple[str, str], dict[str, dict[int, np.ndarray]]]:
    """Return (label, site) → language → seed → order."""
    out: dict[tuple[str, str], dict[str, dict[int, np.ndarray]]] = {}
    for cell, _, piece in found:
        assert piece is not None
        of = out.setdefault((cell.label, cell.site), {}).setdefault(cell.language, {})
        of[cell.seed] = np.asarray(piece["order"], dtype=np.int64)
    return out


_CELLS: dict[str, Any] = {
    **_NAMES,
    "words": pl.Int64,
    "values": pl.Int64,
    "accuracy": pl.Float64,
    "majority": pl.Float64,
    "early": pl.Boolean,
    "cpu_seconds": pl.Float64,
}
_HEAD: dict[str, Any] = {
    "ranking": pl.String,
    "k": pl.Int64,
    "category": pl.String,
    "site": pl.String,
}
_PAIRS: dict[str, Any] = {
    **_HEAD,
    "a": pl.String,
    "b": pl.String,
    "same_genus": pl.Boolean,
    "same_language": pl.Boolean,
    **dict.fromkeys(("k_a", "k_b", "neurons", "overlap"), pl.Int64),
    **dict.fromkeys(("expected", "share", "chance", "ratio", "p", "low", "high"), pl.Float64),
    "p_holm": pl.Float64,
}
_SITES: dict[str, Any] = {
    **_HEAD,
    "languages": pl.Int64,
    "neurons": pl.Int64,
    **dict.fromkeys(("share", "chance", "low", "high", "p"), pl.Float64),
    "pairs": pl.Int64,
    "above": pl.Int64,
    **dict.fromkeys(("genus_difference", "genus_low", "genus_high"), pl.Float64),
    **dict.fromkeys(("genus_p", "genus_smallest_p", "agreement"), pl.Float64),
}
_ANSWERS: dict[str, Any] = {
    "ranking": pl.String,
    "k": pl.Int64,
    "question": pl.String,
    **dict.fromkeys(("effect", "low", "high", "p", "smallest_p"), pl.Float64),
    "sentence": pl.String,
}
