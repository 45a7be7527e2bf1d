"""Language neurons by activation entropy (LAPE), and what a language is without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from nissl.effects import loss_effect
from nissl.effects._encode import Texts, texts_of
from nissl.errors import InputError, SettingError
from nissl.kernels.lape import language_sets
from nissl.methods._paired import paired_change
from nissl.methods._text_values import Read, encode_texts, mlp_sites, read_sites, text_values
from nissl.methods.causal_sets import random_like
from nissl.methods.language_set_result import LanguageNeurons
from nissl.model import LoadedModel
from nissl.model.edit import Edit, edited
from nissl.progress import bar
from nissl.results import Provenance
from nissl.site import Site, format_neuron

__all__ = ["language_neurons"]

Pairs = tuple[tuple[str, ...], tuple[str, ...]]
"""Texts and their places."""


def language_neurons(
    model: LoadedModel,
    texts: Mapping[str, Texts],
    *,
    test: Mapping[str, Texts] | None = None,
    sites: str | Site | Sequence[str | Site] = "mlp",
    read: Read = "activation",
    threshold: float = 0.0,
    share: float = 0.01,
    filter_quantile: float = 0.95,
    assign_quantile: float = 0.95,
    check: bool = True,
    draws: int = 20,
    n_boot: int = 1000,
    seed: int = 0,
) -> LanguageNeurons:
    """Find neurons that few languages activate, and switch those of each language off.

    Tang et al. (2024), "Language-Specific Neurons"; the thresholds are theirs by default. The
    check reads the loss of every language without each language's neurons, beside random sets
    with as many neurons of every layer.

    Parameters
    ----------
    model
        With a causal-lm or masked-lm head for the check; without a head else.
    texts
        Language → texts. Long ones are cut where the model's input ends.
    test
        Language → texts for the check. By default every second text is kept back for it: neurons
        that fit one text by chance would look causal on it.
    sites, read, threshold
        A neuron is activated by a subword if its value is above the threshold: see
        :class:`~nissl.methods._sharing_patterns.Rule`.
    share, filter_quantile, assign_quantile
        See :func:`~nissl.kernels.lape.language_sets`.
    check
        Whether to switch neurons off.
    draws
        Random sets for each language.
    n_boot, seed
        Replicates of the paired bootstrap over texts, and the seed of everything.

    Raises
    ------
    SettingError
        Impossible thresholds, fewer than 2 draws, other languages in ``test``.
    InputError
        Fewer than two languages, or too few texts to keep some back.
    ModelError
        The model has no head for the check, a site cannot be edited, or a value is not finite.
    """
    if draws < 2:
        raise SettingError("at least 2 random draws are needed; 20 or more give a fair picture")
    found, kept = _parts(texts, test, check)
    units = mlp_sites(model, sites)
    reads = read_sites(model, units, read)
    counts, tokens = [], []
    for pairs in found.values():
        active, seen = _activations(model, pairs, reads, threshold)
        counts.append(active / seen)
        tokens.append(seen)
    probability = np.stack(counts, axis=1)
    sets = language_sets(
        probability,
        share=share,
        filter_quantile=filter_quantile,
        assign_quantile=assign_quantile,
    )
    languages = tuple(found)
    ids = [(site, unit) for site in units for unit in range(site.width)]
    rows: list[dict[str, Any]] = []
    own: dict[str, list[str]] = {language: [] for language in languages}
    for neuron, mine in zip(sets.chosen, sets.assigned, strict=True):
        site, unit = ids[int(neuron)]
        name = format_neuron(site.name, unit)
        whose = [language for language, yes in zip(languages, mine, strict=True) if yes]
        for language in whose:
            own[language].append(name)
        row: dict[str, Any] = {
            "neuron": name,
            "site": site.name,
            "layer": site.layer,
            "entropy": float(sets.entropy[neuron]),
            "languages": " ".join(whose),
        }
        rows.append(
            row | {f"p: {c}": float(probability[neuron, j]) for j, c in enumerate(languages)}
        )
    matrix = _check(model, own, kept, draws, n_boot, seed) if check else []
    what = "non-linearity's output" if read == "activation" else "unit's value"
    return LanguageNeurons(
        provenance=Provenance(
            "language neurons",
            {
                "read": read,
                "threshold": threshold,
                "share": share,
                "filter_quantile": filter_quantile,
                "assign_quantile": assign_quantile,
                "draws": draws,
                "n_boot": n_boot,
                "read_at": [site.name for site in reads],
                "start": model.start,
            },
            {"model": model.fingerprint},
            seed,
        ),
        model=model.name,
        languages=languages,
        rule=f"A subword activates a neuron if the {what} is above {threshold:g}; picked are "
        f"{100 * share:g}% of all units, of lowest entropy, among those that some language "
        f"activates with a probability above {sets.filter_bar:.3f}; one is of every language that "
        f"activates it with more than {sets.assign_bar:.3f}.",
        sites=tuple(site.name for site in units),
        widths=tuple(site.width for site in units),
        neurons=pl.DataFrame(rows, schema=_columns(languages)),
        matrix=pl.DataFrame(matrix, infer_schema_length=None),
        probability=probability.astype(np.float32),
        tokens=np.array(tokens, dtype=np.int64),
        eligible=int(sets.eligible.sum()),
        filter_bar=sets.filter_bar,
        assign_bar=sets.assign_bar,
    )


def _columns(languages: Sequence[str]) -> dict[str, Any]:
    """Return the columns of the neurons: they are there even where no neuron is."""
    first = {"neuron": pl.String, "site": pl.String, "layer": pl.Int64, "entropy": pl.Float64}
    return first | {"languages": pl.String} | {f"p: {each}": pl.Float64 for each in languages}


def _parts(
    texts: Mapping[str, Texts], test: Mapping[str, Texts] | None, check: bool
) -> tuple[dict[str, Pairs], dict[str, Pairs]]:
    """Return the texts that choose, and those that test."""
    if len(texts) < 2:
        raise InputError(f"language neurons need texts in 2 languages or more, not {len(texts)}")
    bad = next((name for name in texts if not name or name != "".join(name.split())), None)
    if bad is not None:
        raise SettingError(f'"{bad}" is no name of a language: leave blanks out')
    found = {language: texts_of(each, language) for language, each in texts.items()}
    if not check:
        return found, {}
    if test is not None:
        if set(test) != set(texts):
            raise SettingError(
                f"test texts are in {', '.join(test)}, and the others in {', '.join(texts)}"
            )
        return found, {language: texts_of(test[language], language) for language in texts}
    for language, (each, _) in found.items():
        if len(each) < 4:
            raise InputError(
                f"{len(each)} texts in {language} are too few to keep half of them back; give 4 or "
                "more, or test texts",
                where=language,
            )
    return (
        {language: (t[::2], p[::2]) for language, (t, p) in found.items()},
        {language: (t[1::2], p[1::2]) for language, (t, p) in found.items()},
    )


def _activations(
    model: LoadedModel, pairs: Pairs, reads: Sequence[Site], threshold: float
) -> tuple[np.ndarray, int]:
    """Return how many subwords activate each neuron, (d,), and how many there are."""
    encoded = encode_texts(model, *pairs, cut=True)
    active = [np.zeros(site.width, dtype=np.int64) for site in reads]
    seen = 0
    for batch in text_values(model, encoded, reads, pairs[1]):
        seen += int(batch.keep.sum())
        for s, site in enumerate(reads):
            over = (batch.sites[site.name] > threshold) & batch.keep[..., None]
            active[s] += over.sum(dim=(0, 1)).cpu().numpy()
    return np.concatenate(active), seen


def _check(
    model: LoadedModel,
    own: Mapping[str, Sequence[str]],
    kept: Mapping[str, Pairs],
    draws: int,
    n_boot: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the rows of the matrix; a language without neurons has none."""
    effects = {
        language: loss_effect(each, name=f"loss on {language}", places=places)
        for language, (each, places) in kept.items()
    }
    base = {language: effect.measure(model) for language, effect in effects.items()}
    weights = {language: effect.weights(model) for language, effect in effects.items()}
    rows: list[dict[str, Any]] = []
    sets = {language: list(neurons) for language, neurons in own.items() if neurons}
    with bar(len(sets) * (1 + draws), "language sets", unit="sets") as advance:

        def change(neurons: Sequence[str]) -> dict[str, np.ndarray]:
            with edited(model, Edit.zero(list(neurons))):
                found = {c: effect.measure(model) - base[c] for c, effect in effects.items()}
            advance(1)
            return found

        for off, neurons in sets.items():
            mine = change(neurons)
            others = [change(drawn) for drawn in random_like(model, neurons, draws, seed=seed)]
            for language, effect in effects.items():
                d, w = mine[language][None], weights[language]
                control = np.stack([each[language] for each in others])
                settings: dict[str, Any] = {"n_boot": n_boot, "seed": seed}
                one = paired_change(d, w, effect.clusters, **settings)
                other = paired_change(control, w, effect.clusters, **settings)
                beyond = paired_change(d, w, effect.clusters, minus=control, **settings)
                start = float(np.average(base[language], weights=w))
                means = control @ w / w.sum()
                rows.append(
                    {
                        "off": off,
                        "neurons": len(neurons),
                        "language": language,
                        "base": start,
                        "value": start + one.change,
                        "perplexity": float(np.exp(start)),
                        "perplexity_off": float(np.exp(start + one.change)),
                        "change": one.change,
                        "low": one.low,
                        "high": one.high,
                        "random": other.change,
                        "sd": other.sd,
                        "beyond": beyond.change,
                        "beyond_low": beyond.low,
                        "beyond_high": beyond.high,
                        "p": float((1 + (means >= one.change - 1e-12).sum()) / (1 + len(means))),
                        "draws": len(means),
                    }
                )
    return rows
