"""One batch of a scan: exactly, piece by piece; and all neurons to first order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nissl.effects import LogProbEffect
from nissl.effects._score import ON_DEVICE, PlanBatch, batches_of, log_softmax_at, logits_of
from nissl.methods._scan_chunks import ScanFolder
from nissl.model import LoadedModel, Site
from nissl.model.scan import scan, screen

__all__ = ["scan_batch", "screen_neurons"]

PIECE = 64
"""Neurons a file of a resumable scan, at least."""
ROWS_TOKENS = 4096
"""Subwords a pass of the scan, variants included, on a CPU; elsewhere ``ON_DEVICE`` times that."""


def screen_neurons(
    model: LoadedModel,
    effect: LogProbEffect,
    sites: Sequence[Site],
    aims: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Return the first-order change of an effect's mean margin for all neurons, (width,) a site.

    Empty where the effect has no margin.
    """
    import torch

    prepared = effect.prepared(model)
    if prepared.margins is None:
        return {}
    item, slot, factor = prepared.margins
    w = prepared.weights / prepared.weights.sum()
    share = np.bincount(slot, weights=factor * w[item], minlength=prepared.plan.slots)
    total = {site.name: np.zeros(site.width) for site in sites}
    for batch in batches_of(model, prepared.plan, equal=True):
        keep, position = np.unique(batch.position, return_inverse=True)
        factors = torch.as_tensor(share[prepared.plan.slot[batch.target]])
        rows = len(batch.ids)

        def measure(
            out: Any,
            batch: PlanBatch = batch,
            position: Any = position,
            factors: Any = factors,
            rows: int = rows,
        ) -> Any:
            logits = logits_of(out)
            where = [
                torch.as_tensor(x, device=logits.device) for x in (batch.row, position, batch.token)
            ]
            each = log_softmax_at(logits, *where)
            return logits.new_zeros(rows, dtype=each.dtype).index_add(
                0, where[0], each * factors.to(each)
            )

        found = screen(
            model,
            (batch.ids, batch.mask),
            list(sites),
            measure,
            target=dict(aims),
            positions=keep.tolist(),
        )
        for name, values in found.items():
            total[name] += values.reshape(len(values), -1).sum(axis=1)
    return total


def scan_batch(
    model: LoadedModel,
    site: Site,
    aim: np.ndarray,
    number: int,
    batch: PlanBatch,
    kept: ScanFolder,
    advance: Any,
) -> None:
    """Scan what is not finished of one site and batch, and keep it piece by piece."""
    import torch

    done = [units for units, _ in kept.pieces(site.name, number)]
    left = np.setdiff1d(np.arange(site.width), np.concatenate(done) if done else [])
    advance(site.width - len(left))
    if not len(left):
        return
    rows, length = batch.ids.shape
    keep, position = np.unique(batch.position, return_inverse=True)
    # Targets row by row, as many columns as the row with most has.
    order = np.argsort(batch.row, kind="stable")
    counts = np.bincount(batch.row, minlength=rows)
    column = np.empty(len(order), dtype=np.int64)
    column[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)

    def measure(out: Any) -> Any:
        logits = logits_of(out)
        place = logits.device
        many = len(logits) // rows
        lead = torch.arange(many, device=place)[:, None] * rows
        row = (lead + torch.as_tensor(batch.row, device=place)).reshape(-1)
        where = torch.as_tensor(position, device=place).repeat(many)
        token = torch.as_tensor(batch.token, device=place).repeat(many)
        found = logits.new_zeros((many * rows, int(counts.max())), dtype=torch.float64)
        each = log_softmax_at(logits, row, where, token).double()
        found[row, torch.as_tensor(column, device=place).repeat(many)] = each
        return found

    tokens = ROWS_TOKENS * (1 if model.device == "cpu" else ON_DEVICE)
    waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def keep_waiting() -> None:
        if waiting:
            units = np.concatenate([u for u, _ in waiting])
            kept.add(site.name, number, units, np.concatenate([v for _, v in waiting]))
            waiting.clear()

    try:
        for chunk in scan(
            model,
            (batch.ids, batch.mask),
            site,
            measure,
            units=left.tolist(),
            target=aim,
            positions=keep.tolist(),
            rows=max(rows, tokens // length),
        ):
            each = chunk.effects.reshape(len(chunk.units), rows, -1)[:, batch.row, column]
            waiting.append((chunk.units, each.astype(np.float32)))
            advance(len(chunk.units))
            if sum(len(u) for u, _ in waiting) >= PIECE:
                keep_waiting()
    finally:
        # Whatever ended the scan, these are finished.
        keep_waiting()
