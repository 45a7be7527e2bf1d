"""How many tokens are needed to see an effect in a neuron, and what effect can be seen."""

from __future__ import annotations

from math import ceil, isfinite, sqrt

from scipy.optimize import root_scalar
from scipy.stats import nct, t

from nissl.errors import SettingError

__all__ = ["design_effect", "minimal_effect", "power_of", "tokens_needed"]


def design_effect(length: int | float, icc: int | float, *, length_cv: int | float = 0.0) -> float:
    """Return by how much sentences inflate the variance of a mean over tokens.

    1 + ((1 + cv²) m − 1) ρ with mean length m and intra-sentence correlation ρ (Kish 1965; for
    unequal lengths Eldridge, Ashby & Kerry 2006, equation 2). n tokens are worth n / design effect
    independent ones. It holds where the label, too, is shared by the sentence; labels that vary
    inside sentences lose less, so that the number of tokens is then on the safe side.

    Parameters
    ----------
    length
        Mean number of tokens a sentence (1 or more).
    icc
        Correlation of a neuron's values on two tokens of one sentence, in [0, 1].
    length_cv
        Standard deviation of the lengths over their mean.

    Raises
    ------
    SettingError
        A value out of range.
    """
    if length < 1 or not isfinite(length):
        raise SettingError(f"a sentence has one token or more on average, not {length:g}")
    if not 0 <= icc <= 1:
        raise SettingError(f"icc must lie between 0 and 1, not {icc:g}")
    if length_cv < 0:
        raise SettingError(f"length_cv must be 0 or more, not {length_cv:g}")
    return 1 + ((1 + length_cv**2) * length - 1) * icc


def power_of(
    n: int | float,
    d: int | float,
    *,
    alpha: int | float = 0.05,
    share: int | float = 0.5,
    n_neurons: int = 1,
    two_sided: bool = True,
    design: int | float = 1.0,
) -> float:
    """Return the probability that a t-test on n tokens sees a difference d in one neuron.

    The class has ``share`` of the tokens. The test compares the neuron's mean inside and outside
    the class; under the alternative its t is noncentral with mean parameter
    d √(n share (1 − share)) and n − 2 degrees of freedom, n counted in independent tokens
    (Cohen 1988, section 2.2).

    Parameters
    ----------
    n
        Tokens in all, of the class and others.
    d
        Difference of means in standard deviations of the neuron inside a class.
    alpha
        Probability of a false alarm in any of the ``n_neurons`` neurons.
    share
        Share of the tokens that are in the class, in (0, 1).
    n_neurons
        Neurons tested; alpha is divided by them (Bonferroni), so that Holm and max-T, which are
        never weaker, have at least this power.
    two_sided
        Whether both directions count.
    design
        Design effect; see :func:`design_effect`.

    Raises
    ------
    SettingError
        A value out of range.
    """
    _check(alpha, share, n_neurons, design)
    effective = n / design
    if effective <= 2:
        raise SettingError(f"a t-test needs more than 2 independent tokens, not {effective:g}")
    df = effective - 2
    level = alpha / n_neurons
    shift = (abs(d) if two_sided else d) * sqrt(effective * share * (1 - share))
    bar = float(t.isf(level / 2 if two_sided else level, df))
    found = float(nct.sf(bar, df, shift)) if shift != 0 else float(t.sf(bar, df))
    if two_sided:
        # The wrong side: below 1e-12 it is NaN in SciPy rather than 0.
        wrong = float(nct.cdf(-bar, df, shift)) if shift != 0 else float(t.cdf(-bar, df))
        found += wrong if isfinite(wrong) else 0.0
    return min(found, 1.0)


def tokens_needed(
    d: int | float,
    *,
    power: int | float = 0.8,
    alpha: int | float = 0.05,
    share: int | float = 0.5,
    n_neurons: int = 1,
    two_sided: bool = True,
    design: int | float = 1.0,
) -> int:
    """Return the smallest number of tokens with which a difference d is seen with given power.

    Parameters
    ----------
    d
        Difference of means in standard deviations, not 0.
    power
        Probability of seeing it, in (alpha, 1).
    alpha, share, n_neurons, two_sided, design
        See :func:`power_of`.

    Returns
    -------
    int
        Tokens in all, of the class and others.

    Raises
    ------
    SettingError
        A value out of range, or an effect that more than 1e12 tokens would not show.
    """
    _check(alpha, share, n_neurons, design)
    _check_power(power, alpha / n_neurons)
    if d == 0 or not isfinite(d) or (d < 0 and not two_sided):
        raise SettingError(f"no number of tokens shows an effect of {d:g}")

    def enough(n: int) -> bool:
        return (
            power_of(
                n,
                d,
                alpha=alpha,
                share=share,
                n_neurons=n_neurons,
                two_sided=two_sided,
                design=design,
            )
            >= power
        )

    # Two tokens in each part at the least, or there is no variance to compare with.
    low = ceil(max(2.0 * design + 1e-9, 2 / min(share, 1 - share)))
    if low / design <= 2:
        low += 1
    if enough(low):
        return low
    high = 2 * low
    while not enough(high):
        low, high = high, 2 * high
        if high > 10**12:
            raise SettingError(f"an effect of {d:g} is too small: it needs over 1e12 tokens")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def minimal_effect(
    n: int | float,
    *,
    power: int | float = 0.8,
    alpha: int | float = 0.05,
    share: int | float = 0.5,
    n_neurons: int = 1,
    two_sided: bool = True,
    design: int | float = 1.0,
) -> float:
    """Return the smallest difference (in standard deviations) that n tokens show with given power.

    Parameters
    ----------
    n
        Tokens in all.
    power
        Probability of seeing it, in (alpha, 1).
    alpha, share, n_neurons, two_sided, design
        See :func:`power_of`.

    Raises
    ------
    SettingError
        A value out of range, or too few tokens for any effect.
    """
    _check(alpha, share, n_neurons, design)
    _check_power(power, alpha / n_neurons)

    def excess(d: float) -> float:
        return (
            power_of(
                n,
                d,
                alpha=alpha,
                share=share,
                n_neurons=n_neurons,
                two_sided=two_sided,
                design=design,
            )
            - power
        )

    high = 1e-3
    while excess(high) < 0:
        high *= 2
        if high > 1e6:
            raise SettingError(f"{n:g} tokens are too few to show any effect at this level")
    return float(root_scalar(excess, bracket=(0.0, high), method="brentq", xtol=1e-12).root)


def _check(alpha: int | float, share: int | float, n_neurons: int, design: int | float) -> None:
    if not 0 < alpha < 1:
        raise SettingError(f"alpha must lie between 0 and 1, not {alpha:g}")
    if not 0 < share < 1:
        raise SettingError(f"share must lie between 0 and 1, not {share:g}")
    if n_neurons < 1:
        raise SettingError(f"n_neurons must be 1 or more, not {n_neurons}")
    if design < 1 or not isfinite(design):
        raise SettingError(f"a design effect is 1 or more, not {design:g}")


def _check_power(power: int | float, level: float) -> None:
    if not level < power < 1:
        raise SettingError(f"power must lie above the level {level:.2g} and below 1, not {power:g}")
