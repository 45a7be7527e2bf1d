"""Inputs built from a unit's formula, and what they do to the model's answers.

Mu & Andreas (2020, arXiv 2006.14032, section 6): a unit whose formula is ``hyp:nobody`` and whose
output weight is large for "contradiction" says which word to paste into a sentence so that the
model changes its answer. Here every pair on which the formula is false is edited as little as makes
it true, and the same number of random words, about as frequent, is what it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from nissl.errors import InputError, SettingError
from nissl.kernels.formulas import Formula
from nissl.methods._copy_paste_inputs import gold_of, rows_of
from nissl.methods._pair_edits import Words, apply, edits_for, leaf_names, random_edits, true_of
from nissl.methods.concepts import Concepts
from nissl.methods.copy_paste_result import CopyPaste
from nissl.methods.pair_concepts import Pair, holds
from nissl.results import Provenance

__all__ = ["CopyPaste", "copy_paste"]

Predict = Callable[[Sequence[Pair]], np.ndarray]


def copy_paste(
    predict: Predict,
    pairs: Sequence[Pair],
    formula: Formula,
    concepts: Concepts,
    target: int,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    gold: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    most: int | None = 500,
    draws: int = 5,
    n_boot: int = 1000,
    seed: int = 0,
) -> CopyPaste:
    """Make a unit's formula true by few words, and measure what the model answers then.

    Each pair on which the formula is false gets the fewest words put in (before its full stop) or
    taken out that make it true, drawn among equally few. Only words can be edited; overlap and
    lengths are looked at again, tags stay what they were. The control puts in (takes out) as many
    random words on the same sides, at the same place and about as frequent, ``draws`` times.

    Parameters
    ----------
    predict
        Pairs → probabilities of the classes (pairs, classes).
    pairs
        All pairs that ``concepts`` are of.
    formula
        Of the unit, over ``concepts``.
    concepts
        Made by :func:`~nissl.methods.pair_concepts.pair_concepts`.
    target
        Class that the unit speaks for: the one with its highest output weight.
    rows
        Pairs to edit, such as the held-out ones: their numbers, each once, or bool (N,); all by
        default.
    gold
        Right class of each of ``pairs``, (N,), as its number; only for the accuracies.
    classes
        Names of the classes.
    most
        Pairs edited at most, drawn by the seed.
    draws
        Random edits of each pair.
    n_boot, seed
        Bootstrap draws over pairs, and the seed of everything random.

    Raises
    ------
    InputError
        Other pairs than those of the concepts, probabilities of another shape, rows or right
        classes that there are not, or no pair that can be edited.
    SettingError
        No such class, another number of names than of classes, or no draw.
    """
    if len(pairs) != concepts.n_tokens:
        raise InputError(f"the concepts are of {concepts.n_tokens:,} pairs, not {len(pairs):,}")
    if draws < 1 or n_boot < 2:
        raise SettingError(f"draws must be 1 or more and n_boot 2 or more, not {draws}, {n_boot}")
    if gold is not None and np.shape(gold) != (len(pairs),):
        raise InputError(f"gold is the class of each of {len(pairs):,} pairs")
    rng = np.random.default_rng(seed)
    names = dict(leaf_names(formula, concepts.same))
    where = rows_of(rows, len(pairs))
    edited, left_out = _edited(pairs, formula, names, concepts, where, rng, most, draws)
    if not edited:
        why = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise InputError(f"no pair can be edited so that the formula becomes true ({why})")
    kept = [each[0] for each in edited]
    before = _probabilities(predict, [pairs[i] for i in kept])
    if not 0 <= target < before.shape[1]:
        raise SettingError(f"the target is a class from 0 to {before.shape[1] - 1}, not {target}")
    if classes is not None and len(classes) != before.shape[1]:
        raise SettingError(f"there are {len(classes)} names of {before.shape[1]} classes")
    right = None if gold is None else gold_of(gold, kept, before.shape[1])
    after = _probabilities(predict, [apply(pairs[i], edits) for i, edits, _ in edited])
    flat = [apply(pairs[i], edits) for i, _, some in edited for edits in some]
    random = _probabilities(predict, flat).reshape(len(kept), draws, -1)
    name = str(target) if classes is None else classes[target]
    labels = [str(c) for c in range(before.shape[1])] if classes is None else list(classes)
    return CopyPaste(
        provenance=Provenance(
            method="copy paste",
            settings={"most": most, "draws": draws, "n_boot": n_boot, "target": target},
            inputs={"concepts": concepts.fingerprint},
            seed=seed,
        ),
        formula=formula.text(concepts.names),
        target=name,
        pairs=len(kept),
        table=_table(before, after, random, target, right, n_boot, rng),
        examples=pl.DataFrame(
            {
                "pair": kept,
                "edits": [" ".join(edit.text() for edit in edits) for _, edits, _ in edited],
                "premise": [" ".join(apply(pairs[i], e).premise) for i, e, _ in edited],
                "hypothesis": [" ".join(apply(pairs[i], e).hypothesis) for i, e, _ in edited],
                "before": [labels[c] for c in before.argmax(axis=1)],
                "after": [labels[c] for c in after.argmax(axis=1)],
                "random": (random.argmax(axis=2) == target).mean(axis=1),
            }
        ),
        left_out=left_out,
    )


def _edited(
    pairs: Sequence[Pair],
    formula: Formula,
    names: dict[int, str],
    concepts: Concepts,
    where: np.ndarray,
    rng: np.random.Generator,
    most: int | None,
    draws: int,
) -> tuple[list[tuple[int, tuple, list[tuple]]], dict[str, int]]:
    """Return pair, edits, and random edits of each pair that can be edited."""
    words, avoid = Words(pairs), frozenset(names.values())
    leaves = list(names)
    masks = concepts.masks(where)[leaves]
    out: list[tuple[int, tuple, list[tuple]]] = []
    left_out: dict[str, int] = {}

    def leave(why: str, times: int = 1) -> None:
        left_out[why] = left_out.get(why, 0) + times

    for n, at in enumerate(rng.permutation(len(where)).tolist()):
        if most is not None and len(out) == most:
            leave(f"pairs beyond the first {most:,} drawn", len(where) - n)
            break
        i = int(where[at])
        known = {
            leaf: bool(masks[k, at])
            for k, leaf in enumerate(leaves)
            if holds(names[leaf], pairs[i]) is None
        }
        if true_of(formula, names, pairs[i], known):
            leave("pairs on which the formula is true already")
            continue
        edits = edits_for(formula, names, pairs[i], known, rng)
        if edits is None:
            leave("pairs on which no words make the formula true")
            continue
        some = [random_edits(edits, pairs[i], words, avoid, rng) for _ in range(draws)]
        if any(each is None for each in some):
            leave("pairs without random words to compare with")
            continue
        out.append((i, edits, [each for each in some if each is not None]))
    return out, left_out


def _probabilities(predict: Predict, pairs: Sequence[Pair]) -> np.ndarray:
    out = np.asarray(predict(pairs), dtype=np.float64)
    if out.ndim != 2 or len(out) != len(pairs) or not np.isfinite(out).all():
        raise InputError(
            f"predict gives finite probabilities (pairs, classes) of {len(pairs):,} pairs, not "
            f"{out.shape}"
        )
    return out


def _table(
    before: np.ndarray,
    after: np.ndarray,
    random: np.ndarray,
    target: int,
    right: np.ndarray | None,
    n_boot: int,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Means over pairs, and percentile intervals with whole pairs redrawn."""
    answer, first = after.argmax(axis=1), before.argmax(axis=1)
    others = random.argmax(axis=2)
    was = (first == target).astype(np.float64)
    # Columns: share of the target, probability of the target, other answers, right answers.
    base = np.stack([was, before[:, target], np.zeros(len(was)), _right(first, right)], axis=1)
    mine = np.stack(
        [answer == target, after[:, target], answer != first, _right(answer, right)], axis=1
    ).astype(np.float64)
    theirs = np.stack(
        [
            (others == target).mean(axis=1),
            random[:, :, target].mean(axis=1),
            (others != first[:, None]).mean(axis=1),
            np.mean([_right(column, right) for column in others.T], axis=0),
        ],
        axis=1,
    )
    draw = rng.integers(0, len(was), (n_boot, len(was)))
    rows = []
    for name, now, then in (
        ("edited", mine, base),
        ("random words", theirs, base),
        ("difference", mine, theirs),
    ):
        change = (now - then)[:, :2]
        low, high = np.percentile(change[draw].mean(axis=1), [2.5, 97.5], axis=0)
        if len(was) == 1:
            # One pair redrawn is itself: that says nothing about others.
            low, high = np.full((2, 2), np.nan)
        share, _, flipped, accuracy = now.mean(axis=0)
        gap = name == "difference"
        rows.append(
            {
                "inputs": name,
                "before": then[:, 0].mean(),
                "share": share,
                "change": change[:, 0].mean(),
                "low": low[0],
                "high": high[0],
                "probability": change[:, 1].mean(),
                "probability_low": low[1],
                "probability_high": high[1],
                "flipped": flipped - then[:, 2].mean() if gap else flipped,
                "accuracy_before": then[:, 3].mean(),
                "accuracy": accuracy,
            }
        )
    return pl.DataFrame(rows)


def _right(answer: np.ndarray, right: np.ndarray | None) -> np.ndarray:
    if right is None:
        return np.full(len(answer), np.nan)
    return (answer == right).astype(np.float64)
