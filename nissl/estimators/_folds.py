"""Which tokens a fold trains on and which it holds out."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedKFold, check_cv

from nissl.errors import InputError, SettingError
from nissl.estimators._rows import Labelled

__all__ = ["make_folds"]


def make_folds(cv: Any, data: Labelled, y: Any, groups: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (training rows, held-out rows) of each fold; tokens of weight 0 are in neither.

    Parameters
    ----------
    cv
        A number of folds (stratified by class, or by group where there are groups), a splitter of
        scikit-learn, or a list of pairs of rows.
    y
        Labels as given, for a splitter.
    groups
        Group of each token (its sentence), (n,), or ``None``. No group may be both trained on and
        held out.

    Raises
    ------
    InputError, SettingError
        Groups of another length; a split that is impossible, overlaps, or tears a group.
    """
    n = len(data.code)
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != (n,):
            raise InputError(f"{groups.size} groups for {n} tokens")
    used = data.used
    try:
        if isinstance(cv, int | np.integer):
            # Tokens of weight 0 count for nothing, so they do not fill up a fold either.
            kind = StratifiedKFold(int(cv)) if groups is None else GroupKFold(int(cv))
            held = None if groups is None else groups[used]
            pairs = kind.split(np.zeros(len(used)), data.code[used], held)
            folds = [(used[train], used[test]) for train, test in pairs]
        else:
            splitter = cast("Any", check_cv(cv, y, classifier=True))
            pairs = splitter.split(np.zeros(n), y, groups)
            folds = [(_rows(train, n), _rows(test, n)) for train, test in pairs]
    except ValueError as error:
        raise SettingError(f"cv cannot split these tokens: {error}") from None
    if not folds:
        raise SettingError("cv gives no folds")
    out = []
    for i, (train, test) in enumerate(folds):
        train, test = np.intersect1d(train, used), np.intersect1d(test, used)
        if len(np.intersect1d(train, test)):
            raise SettingError(f"fold {i} of cv holds out tokens that it trains on")
        if groups is not None and np.isin(groups[test], groups[train]).any():
            raise SettingError(
                f"fold {i} of cv tears a group apart; give a number or a group splitter as cv"
            )
        if not len(train) or not len(test):
            raise SettingError(
                f"fold {i} of cv trains on {len(train)} and tests {len(test)} tokens"
            )
        out.append((train, test))
    return out


def _rows(index: Any, n: int) -> np.ndarray:
    """Row numbers of an index or a mask."""
    index = np.asarray(index)
    if index.dtype == bool:
        return np.flatnonzero(index)
    return np.arange(n)[index]
