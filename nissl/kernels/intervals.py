"""Bootstrap intervals over sentences: tokens of one sentence are not independent."""

from __future__ import annotations

import numpy as np

from nissl.errors import InputError, SettingError

__all__ = ["bootstrap_accuracy"]


def bootstrap_accuracy(
    correct: np.ndarray,
    groups: np.ndarray,
    *,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Return the mean and a percentile bootstrap interval of an accuracy.

    Parameters
    ----------
    correct
        Which tokens are right, bool (n,) or (draws, n). With several draws (say, of random
        neurons) each replicate picks one too, so that the interval covers the draw.
    groups
        Sentence of each token, (n,); whole sentences are resampled.
    n_boot, seed, level
        Number of replicates, their seed, and the interval's level.
    """
    right = np.atleast_2d(np.asarray(correct))
    groups = np.asarray(groups)
    if right.shape[1] != len(groups) or len(groups) == 0:
        raise InputError(f"{right.shape[1]} tokens cannot have {len(groups)} sentence numbers")
    if not 0 < level < 1 or n_boot < 1:
        raise SettingError("level must lie in (0, 1) and n_boot be 1 or more")
    _, code = np.unique(groups, return_inverse=True)
    m = int(code.max()) + 1
    size = np.bincount(code, minlength=m).astype(np.float64)
    hits = np.stack([np.bincount(code, weights=row, minlength=m) for row in right.astype(float)])
    rng = np.random.default_rng(seed)
    draw = rng.integers(0, len(hits), n_boot)
    values = np.empty(n_boot)
    # In blocks: the table of how often each sentence is drawn is n_boot × sentences.
    step = max(1, 4_000_000 // m)
    for start in range(0, n_boot, step):
        stop = min(n_boot, start + step)
        times = rng.multinomial(m, np.full(m, 1 / m), size=stop - start).astype(np.float64)
        won = np.einsum("bm,bm->b", times, hits[draw[start:stop]])
        values[start:stop] = won / (times @ size)
    tail = 50 * (1 - level)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(right.mean()), float(low), float(high)
