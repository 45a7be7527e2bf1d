"""Language activation probability entropy (LAPE): neurons that few languages activate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nissl.errors import InputError, SettingError

__all__ = ["LanguageSets", "activation_entropy", "language_sets"]


@dataclass(frozen=True, eq=False)
class LanguageSets:
    """Neurons picked for the low entropy of their languages.

    Attributes
    ----------
    chosen
        The neurons, lowest entropy first, (k,); ties in their order.
    assigned
        Whether each is a neuron of each language, (k, languages). It can be of several, or of
        none, where no language reaches the bar.
    entropy
        Of every neuron, nats, (d,); NaN for dead ones.
    eligible
        Neurons that reach the filter in some language, (d,).
    filter_bar, assign_bar
        The probabilities that the two quantiles stand for.
    """

    chosen: np.ndarray
    assigned: np.ndarray
    entropy: np.ndarray
    eligible: np.ndarray
    filter_bar: float
    assign_bar: float

    def of(self, language: int) -> Int[np.ndarray, " n"]:
        """Return the neurons of one language, lowest entropy first."""
        return self.chosen[self.assigned[:, language]]


def activation_entropy(probability: Float[np.ndarray, "d languages"]) -> Float[np.ndarray, " d"]:
    """Return the entropy of each neuron's activation probabilities over languages, nats.

    They are first divided by their sum. 0: one language alone activates the neuron; log L: all L
    do alike; NaN: none does.

    Raises
    ------
    InputError
        A probability outside [0, 1].
    """
    p = np.asarray(probability, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("activation probabilities must lie between 0 and 1")
    total = p.sum(axis=1, keepdims=True)
    share = np.divide(p, total, out=np.zeros_like(p), where=total > 0)
    logs = np.log(share, out=np.zeros_like(p), where=share > 0)
    return np.where(total[:, 0] > 0, np.abs((share * logs).sum(axis=1)), np.nan)


def language_sets(
    probability: Float[np.ndarray, "d languages"],
    *,
    share: float = 0.01,
    filter_quantile: float = 0.95,
    assign_quantile: float = 0.95,
) -> LanguageSets:
    """Pick the neurons of lowest entropy and say whose they are.

    Tang et al. (2024), "Language-Specific Neurons: The Key to Multilingual Capabilities in Large
    Language Models", section 2.2, with their thresholds by default. A dead neuron, or one that a
    token or two activate, has a low entropy or none by accident: only those can be picked that
    some language activates more often than ``filter_quantile`` of all probabilities, and never
    one that nothing activates. Where fewer are eligible than the share asks for, all are picked.

    Parameters
    ----------
    probability
        Share of each language's tokens that activate each neuron, (d, languages).
    share
        Of all d neurons, dead ones included, that are picked.
    filter_quantile
        Of all d × L probabilities; 0 leaves only dead neurons out.
    assign_quantile
        A picked neuron is of each language that activates it more often than this quantile of all
        probabilities.

    Raises
    ------
    SettingError
        A share or quantile outside its range.
    InputError
        Fewer than two languages, or probabilities outside [0, 1].
    """
    p = np.asarray(probability, dtype=np.float64)
    if p.shape[1] < 2:
        raise InputError(f"language neurons need 2 languages or more, not {p.shape[1]}")
    if not 0 < share <= 1:
        raise SettingError(f"share must lie above 0 and not above 1, not {share:g}")
    for name, value in (("filter_quantile", filter_quantile), ("assign_quantile", assign_quantile)):
        if not 0 <= value < 1:
            raise SettingError(f"{name} must be 0 or more and below 1, not {value:g}")
    entropy = activation_entropy(p)
    flat = np.sort(p, axis=None)
    bars = [_ranked(flat, q) for q in (filter_quantile, assign_quantile)]
    eligible = np.any(p > bars[0], axis=1)
    places = np.flatnonzero(eligible)
    count = min(len(places), max(1, round(share * len(p))))
    chosen = places[np.argsort(entropy[places], kind="stable")][:count]
    return LanguageSets(chosen, p[chosen] > bars[1], entropy, eligible, *bars)


def _ranked(ordered: np.ndarray, quantile: float) -> float:
    """Return the round(q · n)-th smallest value, as the paper does: no interpolation; 0 for q 0."""
    place = round(quantile * len(ordered))
    return float(ordered[place - 1]) if place else 0.0
