"""Tables of sharing: shares of classes with intervals, and what each class adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from nissl.effects._encode import Encoded
from nissl.effects.parallel_inputs import ParallelInputs
from nissl.kernels.sharing import CLASSES, contributions, effective_scores
from nissl.methods._sharing_patterns import Patterns, pooled
from nissl.methods._text_values import text_values
from nissl.methods.sharing_result import ALL
from nissl.model import LoadedModel
from nissl.model.values import ValueVectors, output_embedding, value_vectors

__all__ = ["class_table", "language_table", "mean_intervals", "score_table", "tally"]


def mean_intervals(
    values: np.ndarray, *, n_boot: int, seed: int, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return column means (k,) of values (inputs, k), and percentile intervals over inputs.

    One input has no interval (nan).
    """
    n = len(values)
    if n < 2:
        none = np.full(values.shape[1], np.nan)
        return values.mean(axis=0), none, none
    rng = np.random.default_rng(seed)
    parts = []
    step = max(1, 4_000_000 // n)
    for start in range(0, n_boot, step):
        times = rng.multinomial(n, np.full(n, 1 / n), size=min(step, n_boot - start))
        parts.append(times @ values / n)
    tail = 50 * (1 - level)
    low, high = np.percentile(np.concatenate(parts), [tail, 100 - tail], axis=0)
    return values.mean(axis=0), low, high


def tally(patterns: Patterns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, group by group.

    Returns
    -------
    sizes
        Neurons of each class, (groups, sites, 4).
    uses
        Active, specific and partial-shared neurons of each language, (groups, sites, L, 3).
    times
        Groups over which each neuron is of each class, (d, 4), int32.
    """
    starts = patterns.bounds[:-1]
    groups, kinds = patterns.groups, len(CLASSES)
    sizes = np.zeros((groups, len(starts), kinds), dtype=np.int64)
    uses = np.zeros((groups, len(starts), patterns.languages, 3), dtype=np.int64)
    times = np.zeros((int(patterns.bounds[-1]), kinds), dtype=np.int32)
    for g in range(groups):
        active, classes = patterns.active(g), patterns.classes(g)
        for c in range(kinds):
            mine = classes == c
            times[:, c] += mine
            sizes[g, :, c] = np.add.reduceat(mine, starts, dtype=np.int64)
        for k, which in enumerate((active, active & (classes == 2), active & (classes == 1))):
            uses[g, :, :, k] = np.add.reduceat(which, starts, axis=1, dtype=np.int64).T
    return sizes, uses, times


def class_table(
    parallel: ParallelInputs,
    patterns: Patterns,
    sizes: np.ndarray,
    *,
    n_boot: int,
    seed: int,
) -> pl.DataFrame:
    """Return the shares of classes by task and site, with intervals over inputs."""
    names = [(ALL, None), *((site.name, site.layer) for site in patterns.sites)]
    widths = np.diff(patterns.bounds)
    every = np.concatenate([sizes.sum(axis=1, keepdims=True), sizes], axis=1).astype(np.float64)
    total = np.concatenate([[widths.sum()], widths])
    share = every / total[None, :, None]
    rows: list[dict[str, Any]] = []
    for task, here in _tasks(parallel):
        flat = share[here].reshape(int(here.sum()), -1)
        mean, low, high = (
            x.reshape(len(names), -1) for x in mean_intervals(flat, n_boot=n_boot, seed=seed)
        )
        rows += [
            {
                "task": task,
                "site": site,
                "layer": layer,
                "class": cls,
                "share": mean[s, c],
                "low": low[s, c],
                "high": high[s, c],
                "neurons": mean[s, c] * total[s],
            }
            for s, (site, layer) in enumerate(names)
            for c, cls in enumerate(CLASSES)
        ]
    return pl.DataFrame(rows, infer_schema_length=None)


def language_table(parallel: ParallelInputs, patterns: Patterns, uses: np.ndarray) -> pl.DataFrame:
    """Return what each language activates, alone and with others, by task and site."""
    names = [(ALL, None), *((site.name, site.layer) for site in patterns.sites)]
    widths = np.diff(patterns.bounds)
    every = np.concatenate([uses.sum(axis=1, keepdims=True), uses], axis=1).astype(np.float64)
    share = every / np.concatenate([[widths.sum()], widths])[None, :, None, None]
    rows = []
    for task, here in _tasks(parallel):
        mean = share[here].mean(axis=0)
        rows += [
            {"task": task, "site": site, "layer": layer, "language": language}
            | dict(zip(("active", "specific", "partial"), mean[s, j].tolist(), strict=True))
            for s, (site, layer) in enumerate(names)
            for j, language in enumerate(parallel.languages)
        ]
    return pl.DataFrame(rows, infer_schema_length=None)


def score_table(
    model: LoadedModel,
    patterns: Patterns,
    encoded: Sequence[Encoded],
    position: str,
    answers: np.ndarray | None,
) -> pl.DataFrame:
    """Return what each class adds to the stream, and to the answer's logit, by site.

    Parameters
    ----------
    position
        Contributions are taken at the input's last subword, or are means over its subwords.
    answers
        First subword of each input's answer, (inputs,), or None.
    """
    vectors = {site.name: value_vectors(model, site) for site in patterns.sites}
    n_sites, kinds = len(patterns.sites), len(CLASSES)
    adds, scores = np.zeros((n_sites, kinds)), np.zeros((n_sites, kinds))
    for batch in text_values(model, encoded, patterns.sites):
        e = None if answers is None else output_embedding(model, answers[batch.text])
        classes = _of_rows(patterns, batch.text)
        for s, site in enumerate(patterns.sites):
            here = classes[:, patterns.bounds[s] : patterns.bounds[s + 1]]
            values = batch.sites[site.name]
            last = pooled(values, batch, "last").cpu().numpy()
            size = np.abs(last)
            if position != "last":
                keep = batch.keep[..., None]
                size = ((values.abs() * keep).sum(dim=1) / keep.sum(dim=1)).cpu().numpy()
            adds[s] += _by_class(contributions(size, vectors[site.name].vectors), here)
            if e is not None:
                scores[s] += _by_class(_scores(last, vectors[site.name], e), here)
    if answers is None:
        scores[:] = np.nan
    n = len(encoded)
    rows = []
    every = [(ALL, None, adds.sum(axis=0), scores.sum(axis=0))]
    every += [(site.name, site.layer, adds[s], scores[s]) for s, site in enumerate(patterns.sites)]
    for name, layer, added, score in every:
        for c, cls in enumerate(CLASSES):
            rows.append(
                {
                    "site": name,
                    "layer": layer,
                    "class": cls,
                    "contribution": added[c] / max(added.sum(), 1e-300),
                    "effective": score[c] / n,
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _scores(values: np.ndarray, down: ValueVectors, e: np.ndarray) -> np.ndarray:
    return effective_scores(values, down.vectors, e)


def _by_class(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return sums over rows and neurons of each class, (4,)."""
    return np.bincount(classes.ravel(), weights=values.ravel(), minlength=len(CLASSES))


def _of_rows(patterns: Patterns, texts: np.ndarray) -> np.ndarray:
    """Return the classes of the neurons over the group of each input, (rows, d)."""
    groups = texts // patterns.languages
    made: Mapping[int, np.ndarray] = {int(g): patterns.classes(int(g)) for g in np.unique(groups)}
    return np.stack([made[int(g)] for g in groups])


def _tasks(parallel: ParallelInputs) -> list[tuple[str, np.ndarray]]:
    """Return all groups, and those of each task where there are several."""
    tasks = np.array(parallel.task)
    names = list(dict.fromkeys(parallel.task))
    each = [(ALL, np.ones(len(tasks), dtype=bool))]
    return each + [(name, tasks == name) for name in names if len(names) > 1]
