"""Three parts by lemma, with a minimum of each value in each: what falls short is dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, Shaped

from nissl.errors import InputError, SettingError
from nissl.kernels.group_split import group_split

__all__ = ["FEWEST", "lemma_keys", "split_values", "too_few"]

FEWEST = (50, 5, 5)
TRIES = 4
PARTS = ("train", "dev", "test")


def lemma_keys(
    forms: Sequence[str], lemmas: Sequence[str | None] | None
) -> Shaped[np.ndarray, " n"]:
    """Return what words are grouped by, (n,): the lemma, else the form, without case."""
    found = [None] * len(forms) if lemmas is None else lemmas
    return np.array([(a or b).casefold() for a, b in zip(found, forms, strict=True)], dtype=object)


def split_values(
    values: Shaped[np.ndarray, " n"],
    keys: Shaped[np.ndarray, " n"],
    *,
    min_count: tuple[int, int, int] = FEWEST,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> tuple[Int[np.ndarray, " n"], dict[str, str]]:
    """Return the part of each word, 0, 1, 2 or −1 for none, and value → why it was dropped.

    No key is in two parts. Where a value has fewer words in some part than it must, other lots are
    drawn (4 in all); if none of them serves, the value that is farthest from its minimum is dropped
    and the rest is split anew. Values that no split could serve (too few words, or fewer than
    three lemmas) are dropped at once.

    Parameters
    ----------
    values, keys
        Value (or None) and lemma of each word.
    min_count
        Fewest words of each value in train, dev and test.
    fractions, seed
        See :func:`~nissl.kernels.group_split.group_split`.

    Raises
    ------
    InputError, SettingError
        Arrays of different lengths; a minimum below 1.
    """
    least = np.asarray(min_count)
    if least.shape != (3,) or least.min() < 1:
        raise SettingError(f"min_count is three numbers, each 1 or more, not {min_count}")
    if len(values) != len(keys):
        raise InputError(f"{len(values)} values and {len(keys)} lemmas: one of each a word")
    has = np.array([value is not None for value in values], dtype=bool)
    part = np.full(len(values), -1, dtype=np.int64)
    dropped: dict[str, str] = {}
    needs = "/".join(str(m) for m in min_count)

    def drop(name: str, words: str, lemmas: int) -> None:
        many = "" if lemmas == 1 else "s"
        dropped[name] = f"{words} of {lemmas} lemma{many}; needs {needs}"
        has[values == name] = False

    names, code, group = _coded(values, keys, has)
    for v, name in enumerate(names):
        lemmas = len(np.unique(group[code == v]))
        if (count := int((code == v).sum())) < least.sum() or lemmas < len(PARTS):
            drop(name, f"{count} words", lemmas)
    while has.any():
        rows = np.flatnonzero(has)
        names, code, group = _coded(values, keys, has)
        best: tuple[float, np.ndarray, np.ndarray] | None = None
        for attempt in range(TRIES):
            found = group_split(code, group, fractions=fractions, seed=seed + 100_003 * attempt)
            n = np.stack([np.bincount(code[found == p], minlength=len(names)) for p in range(3)])
            ratio = (n / least[:, None]).min(axis=0)
            if best is None or np.minimum(ratio, 1).sum() > best[0]:
                best = (float(np.minimum(ratio, 1).sum()), found, n)
            if (ratio >= 1).all():
                break
        assert best is not None
        _, found, n = best
        ratio = (n / least[:, None]).min(axis=0)
        if (ratio >= 1).all():
            part[rows] = found
            break
        worst = int(np.lexsort((n.sum(axis=0), ratio))[0])
        words = ", ".join(f"{n[p, worst]} {PARTS[p]}" for p in range(3))
        drop(names[worst], words, len(np.unique(group[code == worst])))
    return part, dropped


def _coded(
    values: np.ndarray, keys: np.ndarray, has: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return names of the values, and value and lemma of each word that has one, as numbers."""
    names, code = np.unique(values[has].astype(str), return_inverse=True)
    return names.tolist(), code, np.unique(keys[has].astype(str), return_inverse=True)[1]


def too_few(kept: Sequence[str], dropped: Mapping[str, str]) -> str:
    """Return why values cannot be told apart, empty if two or more are left."""
    if len(kept) > 1:
        return ""
    gone = "; ".join(f"{value}: {why}" for value, why in dropped.items())
    what = f"only {kept[0]} is left" if kept else "no value is left"
    return f"{what} ({gone})" if gone else what
