"""Selection of neurons with a controlled false discovery rate, by model-X knockoffs.

"These 41 neurons, of which at most a tenth are expected to be false": a neuron is false if, given
all the others, it says nothing about the label. A copy of a good neuron is false in this sense when
the good one is there too.

What is assumed. The guarantee holds if the neurons are Gaussian with the covariance that was
estimated (second-order knockoffs; Candès, Fan, Janson & Lv 2018, section 3.4.1; robust to small
errors: Barber, Candès & Samworth 2020) and the tokens are independent. Tokens of one sentence are
not independent; thin them (say, one token of a class a sentence) where neurons vary mostly between
sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve, cholesky

from nissl.errors import InputError, SettingError
from nissl.kernels.checks import check_labels
from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.knockoff_spread import entropy_spread, equicorrelated_spread, sdp_spread
from nissl.kernels.standardise import moments, standardise

__all__ = [
    "Knockoffs",
    "gaussian_knockoffs",
    "importance",
    "knockoff_filter",
    "knockoff_threshold",
    "shrunk_correlation",
]

Spread = Literal["entropy", "sdp", "equicorrelated"]
Statistic = Literal["difference", "signed-max"]
BLOCK = 4096
"""Tokens at a time: bounds the float64 copies to a few times 4096 × d."""


@dataclass(frozen=True, eq=False)
class Knockoffs:
    """Neurons selected at a false discovery rate.

    Attributes
    ----------
    selected
        The neurons selected, largest statistic first, int64.
    statistic
        W: large where the neuron weighs more than its knockoff, float64 (d,).
    threshold
        Neurons with W at or above it are selected; infinite when none are.
    q
        The nominal rate.
    spread
        s: how far each knockoff may lie from its neuron, 0 (cannot be told apart, never
        selected) to 1, float64 (d,).
    shrinkage
        Weight of the identity in the estimated correlations.
    l1, l2
        Penalties of the probe.
    """

    selected: np.ndarray
    statistic: np.ndarray
    threshold: float
    q: float
    spread: np.ndarray
    shrinkage: float
    l1: float
    l2: float


def knockoff_filter(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    q: int | float = 0.1,
    l1: int | float | None = None,
    l2: int | float = 1e-3,
    spread: Spread = "entropy",
    statistic: Statistic = "difference",
    correlation: Float[np.ndarray, "d d"] | None = None,
    tol: float = 1e-3,
    seed: int = 0,
) -> Knockoffs:
    """Select neurons so that the expected share of false ones is at most q.

    Knockoffs are drawn, the elastic-net probe is fitted to neurons and knockoffs together, and a
    neuron counts by how much more it weighs than its knockoff. Null neurons win against their
    knockoffs as often as they lose, so that the losers count the false winners (knockoff+).

    Knockoff+ selects no fewer than 1/q neurons or none: at q = .1 ten good neurons are needed.

    Parameters
    ----------
    X
        Standardised neurons, (n, d). The fit holds a second matrix of 2 d neurons.
    y
        Class of each token, (n,).
    q
        Nominal false discovery rate, in (0, 1).
    l1
        Penalty of absolute weights; by default half of √(2 log(2 d) p (1 − p) / n) with p the share
        of the most frequent class (or its complement): what a null neuron's gradient reaches by
        chance would be the whole. It must not depend on which column is a knockoff.
    l2
        Penalty of squared weights.
    spread
        ``"entropy"``; or ``"sdp"`` and ``"equicorrelated"``, which may lose all power among
        neighbours that correlate (:mod:`nissl.kernels.knockoff_spread`).
    statistic
        ``"difference"``: Z − Z~; ``"signed-max"``: max(Z, Z~) with the winner's sign; Z is the sum
        of absolute weights over classes.
    correlation
        Correlations of the neurons if they are known better than from X, say from unlabelled
        text; estimated with :func:`shrunk_correlation` by default.
    tol
        Relative duality gap of the probe.
    seed
        Seed of the knockoffs. Another seed gives another selection: report the seed.

    Raises
    ------
    InputError, LabelError, SettingError
        NaN, wrong lengths, one class, a value out of range.
    """
    n, d = X.shape
    y = check_labels(y, n, n_classes)
    _check_rate(q)
    if correlation is None:
        correlation, shrinkage = shrunk_correlation(X)
    else:
        shrinkage = 0.0
    s = _spread(correlation, spread)
    # A stream of its own: whoever drew the neurons from the same seed would get back, as the noise
    # of the knockoffs, the neurons themselves.
    rng = np.random.default_rng([seed, 0x6B6E6F63])
    both = np.empty((2 * d, n), dtype=np.float32)
    both[:d] = X.T
    both[d:] = gaussian_knockoffs(X, correlation, s, rng).T
    # Each neuron changes places with its knockoff by a coin: so W is antisymmetric whatever the
    # solver does with columns that come first.
    swap = rng.random(d) < 0.5
    both[:d][swap], both[d:][swap] = both[d:][swap], both[:d][swap].copy()
    if l1 is None:
        l1 = _default_l1(y, n_classes, d)
    fit = fit_elastic_net(both.T, y, n_classes, l1=float(l1), l2=float(l2), tol=tol)
    W = importance(fit.coef, statistic)
    W[swap] *= -1
    threshold = knockoff_threshold(W, q)
    order = np.argsort(-W, kind="stable")
    return Knockoffs(
        selected=order[W[order] >= threshold].astype(np.int64),
        statistic=W,
        threshold=threshold,
        q=q,
        spread=s,
        shrinkage=shrinkage,
        l1=l1,
        l2=l2,
    )


def shrunk_correlation(X: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "d d"], float]:
    """Return correlations shrunk towards the identity, float64 (d, d), and the weight of it.

    The weight is Ledoit & Wolf's (2004, lemma 3.2 with equations 11 to 14), which minimises the
    expected squared error. A constant neuron correlates with nothing.
    """
    mean, sd = moments(X)
    Z = standardise(X, mean, sd)
    n, d = X.shape
    gram, fourth = np.zeros((d, d)), 0.0
    for start in range(0, n, BLOCK):
        block = Z[start : start + BLOCK].astype(np.float64)
        gram += block.T @ block
        fourth += float((np.einsum("ij,ij->i", block, block) ** 2).sum())
    corr = gram / n
    still = np.flatnonzero(sd == 0)
    used = d - len(still)
    total = float((corr**2).sum())
    # Distance of the sample to the identity, and how much of it is noise of estimation.
    apart = total - used
    noise = min((fourth / n - total) / n, apart)
    shrinkage = max(0.0, noise / apart) if apart > 0 else 1.0
    corr *= 1 - shrinkage
    corr[np.arange(d), np.arange(d)] = 1.0
    return corr, shrinkage


def gaussian_knockoffs(
    X: Float[np.ndarray, "n d"],
    correlation: Float[np.ndarray, "d d"],
    spread: Float[np.ndarray, " d"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "n d"]:
    """Draw second-order Gaussian knockoffs, float32 (n, d) in Fortran order.

    Given x, the knockoff is normal with mean x − D Σ⁻¹ x and covariance 2 D − D Σ⁻¹ D, D = diag(s)
    (Candès et al. 2018, equation 3.2). X is centred and scaled before and the knockoffs are scaled
    back; a constant neuron's knockoff is that constant.

    Raises
    ------
    InputError
        Correlations that are not positive definite, or a spread that they do not allow.
    """
    n, d = X.shape
    mean, sd = moments(X)
    try:
        factor = cho_factor(correlation, lower=True)
    except np.linalg.LinAlgError:
        raise InputError(
            "the correlations are not positive definite; shrink them, or drop repeated neurons"
        ) from None
    pull = cho_solve(factor, np.diag(spread))  # Σ⁻¹ D
    cover = 2 * np.diag(spread) - spread[:, None] * pull
    root = _root((cover + cover.T) / 2)
    scale = np.where(sd > 0, sd, 1.0)
    out = np.empty((d, n), dtype=np.float32)
    for start in range(0, n, BLOCK):
        z = (X[start : start + BLOCK].astype(np.float64) - mean) / scale
        noise = rng.standard_normal(z.shape)
        drawn = z - z @ pull + noise @ root.T
        out[:, start : start + BLOCK] = (drawn * scale + mean).T
    out[sd == 0] = mean[sd == 0, None]
    return out.T


def importance(
    coef: Float[np.ndarray, "c d2"], statistic: Statistic = "difference"
) -> Float[np.ndarray, " d"]:
    """Return W of each neuron from weights (C, 2 d) of neurons and then their knockoffs, (d,).

    Raises
    ------
    InputError
        An odd number of columns.
    SettingError
        An unknown statistic.
    """
    if coef.shape[1] % 2:
        raise InputError(f"{coef.shape[1]} columns are not neurons and as many knockoffs")
    mass = np.abs(coef).sum(axis=0).astype(np.float64)
    own, fake = np.split(mass, 2)
    if statistic == "difference":
        return own - fake
    if statistic == "signed-max":
        return np.maximum(own, fake) * np.sign(own - fake)
    raise SettingError(f'statistic must be "difference" or "signed-max", not "{statistic}"')


def knockoff_threshold(W: Float[np.ndarray, " d"], q: int | float, *, offset: int = 1) -> float:
    """Return the smallest t among |W| with (offset + #{W ≤ −t}) / max(1, #{W ≥ t}) ≤ q.

    Barber & Candès 2015, equations 1.8 (offset 0) and 1.9 (offset 1, knockoff+). Only knockoff+
    controls the false discovery rate; offset 0 controls a slightly smaller quantity.

    Returns
    -------
    float
        The threshold; infinite when no t will do.

    Raises
    ------
    SettingError
        A rate outside (0, 1), or another offset.
    """
    _check_rate(q)
    if offset not in (0, 1):
        raise SettingError(f"offset must be 0 or 1, not {offset}")
    t = np.unique(np.abs(W[W != 0]))
    up, down = np.sort(W[W > 0]), np.sort(-W[W < 0])
    winners = len(up) - np.searchsorted(up, t, side="left")
    losers = len(down) - np.searchsorted(down, t, side="left")
    fine = np.flatnonzero((offset + losers) <= q * np.maximum(winners, 1))
    return float(t[fine[0]]) if len(fine) else float("inf")


def _spread(correlation: np.ndarray, spread: str) -> np.ndarray:
    if spread == "entropy":
        return entropy_spread(correlation)
    if spread == "sdp":
        return sdp_spread(correlation)
    if spread == "equicorrelated":
        # Strictly inside, so that the covariance of the noise keeps its root.
        return (1 - 1e-6) * equicorrelated_spread(correlation)
    raise SettingError(f'spread must be "entropy", "sdp" or "equicorrelated", not "{spread}"')


def _root(cover: np.ndarray) -> np.ndarray:
    """Cholesky factor of a covariance that may be singular, up to 1e-6 on its diagonal."""
    for jitter in (0.0, 1e-12, 1e-9, 1e-6):
        try:
            return cholesky(cover + jitter * np.eye(len(cover)), lower=True)
        except np.linalg.LinAlgError:
            continue
    raise InputError("the spread is larger than the correlations allow: diag(s) ⪯ 2 Σ must hold")


def _default_l1(y: np.ndarray, n_classes: int, d: int) -> float:
    p = np.bincount(y, minlength=n_classes) / len(y)
    widest = float((p * (1 - p)).max())
    return 0.5 * sqrt(2 * log(2 * d) * widest / len(y))


def _check_rate(q: int | float) -> None:
    if not 0 < q < 1:
        raise SettingError(f"q must lie between 0 and 1, not {q:g}")
