"""Which penalty to take, given what every fold scored at every penalty."""

from __future__ import annotations

import numpy as np

from nissl.errors import SettingError, did_you_mean

__all__ = ["CHOICES", "check_choice", "choose_pair", "standard_errors"]

CHOICES = ("accuracy", "one-se", "ablation")


def check_choice(choose: str) -> None:
    """Refuse an unknown rule.

    Raises
    ------
    SettingError
    """
    if choose not in CHOICES:
        raise SettingError(
            f'choose must be one of {", ".join(CHOICES)}, not "{choose}".'
            f"{did_you_mean(str(choose), CHOICES)}"
        )


def standard_errors(scores: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean over folds of scores (G, k), (G,); 0 for one fold."""
    folds = scores.shape[1]
    if folds < 2:
        return np.zeros(len(scores))
    return scores.std(axis=1, ddof=1) / np.sqrt(folds)


def choose_pair(scores: np.ndarray, pairs: list[tuple[float, float]], *, one_se: bool) -> int:
    """Return the index of the pair with the best mean score; of equals the strongest.

    With ``one_se`` the strongest pair whose mean is within one standard error of the best (Hastie,
    Tibshirani and Friedman 2009, section 7.10): the fewest neurons that nothing speaks against.
    Stronger is the larger λ₁, then the larger λ₂.

    Parameters
    ----------
    scores
        Score of each pair in each fold, higher is better, (G, k).
    """
    mean = scores.mean(axis=1)
    best = int(mean.argmax())
    # Means of the same counts may differ in their last bit.
    floor = mean[best] - 1e-12
    if one_se:
        floor -= standard_errors(scores)[best]
    return max(np.flatnonzero(mean >= floor).tolist(), key=lambda i: pairs[i])
