"""Formulas of neurons whose values come as arrays: pixels of images, pairs of sentences."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from nissl.errors import InputError, SettingError
from nissl.kernels.formula_tests import sentence_starts, shuffled_search
from nissl.kernels.formulas import pack
from nissl.kernels.unit_masks import unit_masks
from nissl.methods._explain_block import Material, explain_block, joined, search_of, thresholds_of
from nissl.methods._explain_run import BLOCK, no_noise
from nissl.methods._explain_settings import ExplainSettings, divide
from nissl.methods.concepts import Concepts
from nissl.methods.explain import _with_q
from nissl.methods.explanation import Explanation
from nissl.progress import bar
from nissl.results import Provenance

__all__ = ["explain_masks"]

Values = np.ndarray | Callable[[], np.ndarray]


def explain_masks(
    concepts: Concepts,
    activations: Mapping[str, Values],
    groups: np.ndarray,
    *,
    model: str = "model",
    item: str = "pixel",
    group: str = "image",
    mask: str = "quantile",
    share: float = 0.005,
    sides: str = "high",
    ranges: int = 5,
    length: int = 3,
    beam: int = 10,
    penalty: float = 0.99,
    min_support: int = 5,
    score: str = "iou",
    held_out: float | np.ndarray = 0.3,
    permutations: int = 1000,
    fdr: float = 0.05,
    n_boot: int = 200,
    noise: int = 20,
    exhaustive: bool = False,
    seed: int = 0,
) -> Explanation:
    """Find the formula of each neuron of arrays, as :func:`nissl.explain` does of a store.

    Mu & Andreas (2020, arXiv 2006.14032): pixels of images with segmentations (section 3), pairs of
    sentences (section 4). The result has the same tables, figures and page.

    Parameters
    ----------
    concepts
        Of the N rows (:func:`~nissl.methods.concepts.concepts_from_masks`,
        :func:`~nissl.methods.pair_concepts.pair_concepts`).
    activations
        Site → values (N, U), or a function that returns them when their turn comes, so that one
        site is held at a time. A neuron is called ``site:column``.
    groups
        (N,): what each row belongs to (image, premise); its rows stand together.
    model, item, group
        How the page calls the model, a row, and a group.
    mask, share, sides, ranges, length, beam, penalty, min_support, score, permutations, fdr
        As in :func:`nissl.explain`; there are at most as many shifts as held-out groups less one.
    held_out
        Share of groups held out, or bool (N,): the rows held out, whole groups.
    n_boot, noise, seed
        As in :func:`nissl.explain`; ``noise`` counts neurons of each site.
    exhaustive
        Whether to try every formula, for lengths up to 3.

    Raises
    ------
    InputError
        Another number of rows somewhere, rows of a group apart, a value that is not finite, or no
        neuron that has a mask.
    SettingError
        An impossible setting.
    """
    settings = ExplainSettings(
        mask, share, sides, ranges, length, beam, penalty, min_support, score,
        held_out if isinstance(held_out, float) else "given", permutations, n_boot,
        "always" if exhaustive else "never", seed,
    )  # fmt: skip
    if not 0 < fdr < 1:
        raise SettingError(f"the false discovery rate is between 0 and 1, not {fdr}")
    if noise < 0:
        raise SettingError(f"noise is a number of neurons, not {noise}")
    starts = sentence_starts(groups, concepts.n_tokens)
    train, held = _divide(groups, held_out, seed)
    material = Material(
        settings=settings,
        exhaustive=exhaustive,
        train=train,
        held=held,
        concepts_train=pack(concepts.masks(train)),
        concepts_held=pack(concepts.masks(held)),
        sentence_held=np.asarray(groups)[held],
        names=list(concepts.names),
    )
    done: list[pl.DataFrame] = []
    noises: list[pl.DataFrame] = []
    left_out: dict[str, int] = {}
    digest = hashlib.sha256()
    with bar(len(activations), "explaining", unit="sites") as advance:
        for layer, (site, values) in enumerate(activations.items()):
            X = _values(site, values, concepts.n_tokens)
            digest.update(f"{site}\n{X.shape}\n".encode())
            for first, block in _blocks(X):
                digest.update(np.ascontiguousarray(block.T, dtype=np.float32).tobytes())
                table = _table(site, layer, range(first, first + block.shape[1]))
                found = explain_block(block, table, material, time_limit=None)
                done.append(found.rows)
                for why, times in found.left_out.items():
                    left_out[why] = left_out.get(why, 0) + times
            noises.append(_noise(site, X, np.asarray(groups), material, noise))
            advance(1)
    rows = joined(done)
    if not rows.height:
        why = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise InputError(f"no neuron has a mask to explain ({why or 'there is none'})")
    return Explanation(
        provenance=Provenance(
            method="explain masks",
            settings={**settings.as_dict(), "fdr": fdr, "noise": noise, "groups": len(starts)},
            inputs={"activations": digest.hexdigest(), "concepts": concepts.fingerprint},
            seed=seed,
        ),
        model=model,
        score=score,
        fdr=fdr,
        permutations=min(permutations, len(np.unique(material.sentence_held)) - 1),
        tokens=concepts.n_tokens,
        held_out=len(held),
        table=_with_q(rows, fdr),
        concepts=concepts.frame(),
        noise=pl.concat(noises),
        left_out=left_out,
        complete=True,
        item=item,
        group=group,
        no_concepts={
            why.replace("tokens", f"{item}s"): times for why, times in concepts.not_made().items()
        },
    )


def _divide(
    groups: np.ndarray, held_out: float | np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows to train on and held-out rows."""
    if isinstance(held_out, float | int):
        codes = np.unique(groups, return_inverse=True)[1]
        return divide(pl.DataFrame({"sentence": codes}), held_out, seed)
    out = np.asarray(held_out)
    if out.dtype != bool or out.shape != np.shape(groups):
        raise InputError(
            f"held_out is a share, or a boolean for each of {len(groups):,} rows, not "
            f"{out.dtype} {out.shape}"
        )
    both = np.intersect1d(np.asarray(groups)[out], np.asarray(groups)[~out])
    if len(both):
        raise InputError(f"group {both[0]} is held out in part; hold out whole groups")
    for side, name in ((~out, "train on"), (out, "hold out")):
        if len(np.unique(np.asarray(groups)[side])) < 2:
            raise SettingError(f"there are fewer than 2 groups to {name}")
    return np.flatnonzero(~out), np.flatnonzero(out)


def _values(site: str, values: Values, n: int) -> np.ndarray:
    """Return a site's values (n, neurons), which are finite on training and on held-out rows."""
    X = np.asarray(values() if callable(values) else values)
    if X.ndim != 2 or len(X) != n:
        raise InputError(
            f"activations of {site} are {X.shape}, and the concepts are of {n:,} rows: (rows, "
            "neurons) are needed"
        )
    for first, block in _blocks(X):
        # Seen here, as a value that is not finite would be off on held-out rows, and say nothing.
        bad = np.argwhere(~np.isfinite(block))
        if len(bad):
            row, unit = (int(i) for i in bad[0])
            raise InputError(
                f"neuron {site}:{first + unit} is {block[row, unit]} at row {row}; activations "
                "must be finite"
            )
    return X


def _blocks(X: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, X.shape[1], BLOCK):
        yield first, X[:, first : first + BLOCK]


def _table(site: str, layer: int, units: range) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "neuron": [f"{site}:{u}" for u in units],
            "site": [site] * len(units),
            "layer": [layer] * len(units),
            "index": list(units),
        }
    )


def _noise(
    site: str, X: np.ndarray, groups: np.ndarray, material: Material, units: int
) -> pl.DataFrame:
    """Search masks of some neurons, moved round by whole groups, on the training rows."""
    seed = material.settings.seed
    some = np.sort(np.random.default_rng(seed).permutation(X.shape[1])[:units])
    if not len(some):
        return no_noise()
    part = X[np.ix_(material.train, some)]
    bounds = thresholds_of(part, material.settings)
    if not len(bounds):
        return no_noise()
    search, how = search_of(material)
    options: dict[str, Any] = {"seed": seed, "search": search, **how}
    moved = shuffled_search(
        material.concepts_train, unit_masks(part, bounds), groups[material.train], **options
    )
    return pl.DataFrame(
        {
            "neuron": [f"{site}:{some[u]}" for u in bounds.unit.tolist()],
            "side": list(bounds.side),
            "score": np.nan_to_num(moved.scores),
        }
    )
