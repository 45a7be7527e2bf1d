"""Run a plan: batches padded on the right, only the logits that are wanted, exact sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from nissl.effects._plan import Plan
from nissl.errors import ModelError
from nissl.model import LoadedModel, mixes_padding, run, run_inputs
from nissl.model.edit import paused
from nissl.model.trial import arguments_of, place_of

__all__ = [
    "BATCH_TOKENS",
    "ON_DEVICE",
    "PlanBatch",
    "batches_of",
    "log_softmax_at",
    "logits_of",
    "pad",
    "run_batch",
    "score",
]

BATCH_TOKENS = 1024
"""Subwords a batch at most, padding included, on a CPU; ``ON_DEVICE`` times as many elsewhere."""
CHUNK = 8_000_000
"""Logits normalised at a time, likewise."""
ON_DEVICE = 8
"""What a GPU is given more of at a time than a processor is, to have something to do."""

_MIXES: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class PlanBatch:
    """Inputs of about one length, and the targets read from them.

    Attributes
    ----------
    ids, mask
        (rows, length) tensors.
    target
        (targets,) which of the plan's targets these are.
    row, position, token
        (targets,): row of the batch, position of its output, token.
    """

    ids: Any
    mask: Any
    target: np.ndarray
    row: np.ndarray
    position: np.ndarray
    token: np.ndarray


def pad(rows: list[tuple[int, ...]], filler: int = 0) -> tuple[Any, Any]:
    """Return ids and mask (rows, length), padded on the right."""
    import torch

    length = max(map(len, rows))
    ids = torch.full((len(rows), length), filler, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


def groups_of(model: LoadedModel, lengths: np.ndarray, *, equal: bool = False) -> list[np.ndarray]:
    """Cut inputs, sorted by length, into batches; of one length each where padding would leak."""
    most = BATCH_TOKENS * (1 if model.device == "cpu" else ON_DEVICE)
    strict = equal or (bool((lengths != lengths[0]).any()) and _mixes(model))
    order = np.argsort(-lengths, kind="stable")
    cut: list[np.ndarray] = []
    start = 0
    for i in range(1, len(order) + 1):
        longest = int(lengths[order[start]])
        full = (i + 1 - start) * longest > most
        if i == len(order) or full or (strict and lengths[order[i]] != longest):
            cut.append(order[start:i])
            start = i
    return cut


def batches_of(model: LoadedModel, plan: Plan, *, equal: bool = False) -> Iterator[PlanBatch]:
    """Yield the batches of a plan; with ``equal`` nothing is padded."""
    if not plan.rows:
        return
    lengths = np.fromiter(map(len, plan.rows), np.int64, len(plan.rows))
    place = np.empty(len(plan.rows), dtype=np.int64)
    batch_of = np.empty(len(plan.rows), dtype=np.int64)
    groups = groups_of(model, lengths, equal=equal)
    for number, group in enumerate(groups):
        place[group], batch_of[group] = np.arange(len(group)), number
    order = np.argsort(batch_of[plan.row], kind="stable")
    ends = np.searchsorted(batch_of[plan.row][order], np.arange(len(groups) + 1))
    for number, group in enumerate(groups):
        here = order[ends[number] : ends[number + 1]]
        ids, mask = pad([plan.rows[int(i)] for i in group])
        yield PlanBatch(
            ids, mask, here, place[plan.row[here]], plan.position[here], plan.token[here]
        )


def logits_of(out: Any) -> Any:
    """Return the logits of what a model returns: ``.logits``, the first of a tuple, or itself.

    Raises
    ------
    ModelError
        It returns nothing of the kind.
    """
    found: Any = getattr(out, "logits", None)
    if found is None and isinstance(out, tuple) and out:
        found = out[0]
    found = out if found is None else found
    if not hasattr(found, "shape") or len(found.shape) < 2:
        raise ModelError(f"the model gives a {type(out).__name__}, not logits")
    return found


def run_batch(model: LoadedModel, ids: Any, mask: Any, keep: np.ndarray | None = None) -> Any:
    """Return logits (rows, length, vocabulary); with ``keep`` of those positions alone.

    Models that can leave the others out do, which spares most of the work of a large vocabulary.
    """
    import torch

    takes = arguments_of(model.model)
    place = place_of(model.model)
    if keep is not None and "logits_to_keep" in takes and "input_ids" in takes:
        given = {"input_ids": ids.to(place), "attention_mask": mask.to(place)}
        given["logits_to_keep"] = torch.as_tensor(keep, device=place)
        return logits_of(run_inputs(model, given))
    logits = logits_of(run(model, ids, mask))
    return logits if keep is None else logits[:, torch.as_tensor(keep, device=logits.device)]


def log_softmax_at(logits: Any, row: Any, position: Any, token: Any) -> Any:
    """Return log-probabilities (targets,) of tokens at rows and positions, in float32 at least."""
    import torch

    most = CHUNK * (1 if logits.device.type == "cpu" else ON_DEVICE)
    step = max(1, most // logits.shape[-1])
    parts = []
    for start in range(0, len(row), step):
        here = slice(start, start + step)
        chosen = logits[row[here], position[here]]
        chosen = chosen.float() if chosen.dtype != torch.float64 else chosen
        hit = chosen.gather(1, token[here, None])[:, 0]
        parts.append(hit - chosen.logsumexp(dim=1))
    return torch.cat(parts) if parts else logits.new_zeros(0)


def score(
    model: LoadedModel, plan: Plan, read: Callable[[Any, Any, Any, Any], Any] | None = None
) -> np.ndarray:
    """Return the log-probability of every target, nats, (targets,), float64.

    Parameters
    ----------
    read
        Called with logits, rows, positions and tokens for another number instead, such as whether
        the token is the likeliest.
    """
    import torch

    values = np.empty(len(plan.row), dtype=np.float64)
    with torch.inference_mode():
        for batch in batches_of(model, plan):
            keep, where = np.unique(batch.position, return_inverse=True)
            logits = run_batch(model, batch.ids, batch.mask, keep)
            place = logits.device
            index = [torch.as_tensor(x, device=place) for x in (batch.row, where, batch.token)]
            found = (read or log_softmax_at)(logits, *index)
            values[batch.target] = found.double().cpu().numpy()
    return values


def _mixes(model: LoadedModel) -> bool:
    """Whether padding leaks into values; asked once a model, and never through edits."""
    if model.model not in _MIXES:
        with paused():
            try:
                _MIXES[model.model] = mixes_padding(model)
            except ModelError:
                # Where it cannot be tried, nothing is padded.
                _MIXES[model.model] = True
    return _MIXES[model.model]
