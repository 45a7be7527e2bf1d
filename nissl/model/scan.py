"""Every neuron of a site ablated, one at a time: exactly, in batches; or to first order."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nissl.errors import ModelError, SettingError
from nissl.model._edit_hooks import check_editable, root_of
from nissl.model._edit_neurons import check_range
from nissl.model._scan_pass import Batch, Inputs, Measure, read_batch
from nissl.model._scan_record import Prefix, recorded
from nissl.model._scan_screen import screen
from nissl.model._scan_variants import OneEach, resumed, whole
from nissl.model.edit import site_of
from nissl.model.sites import torch_module
from nissl.model.trace import first_tensor
from nissl.site import Site

__all__ = ["ScanChunk", "scan", "screen"]


@dataclass(frozen=True, eq=False)
class ScanChunk:
    """Effects of some neurons.

    Attributes
    ----------
    site
        Where they are.
    units
        (n,) indices.
    effects
        (n, rows, …) where the measure is of rows, (n, …) where it is of variants: the measure
        with the neuron ablated, less the measure of the model as it is.
    skipped
        Whether what lies below the site was computed once only.
    """

    site: Site
    units: np.ndarray
    effects: np.ndarray
    skipped: bool


def scan(
    model: Any,
    inputs: Inputs,
    site: str | Site,
    measure: Measure,
    *,
    units: Sequence[int] | np.ndarray | None = None,
    target: Any = 0.0,
    positions: int | Sequence[int] | None = None,
    rows: int = 256,
    skip: bool = True,
) -> Generator[ScanChunk]:
    """Ablate each neuron of a site by itself, everywhere, many variants in one pass.

    What lies below the site is computed once: modules that were over when a first pass came to
    the site give, in all further passes, what they gave then, once for each variant. Whether that
    is the same as running everything is tried first on large changes of two neurons; where it is
    not, or where a site is inside recurrent layers, every pass runs the whole model. Between two
    chunks the model is as it was.

    Parameters
    ----------
    model
        A :class:`~nissl.model.LoadedModel` or a torch module.
    inputs
        By name, as for :func:`~nissl.model.run_inputs`, or (ids, mask), as for
        :func:`~nissl.model.run`: tensors whose first axis is the batch.
    measure
        Called with the model's output of variants × batch rows, variant by variant (row v × batch
        + b is row b of variant v); returns a number for each row or for each variant.
    units
        Which neurons, by default all; to go on with a scan, those that are not done.
    target
        What a neuron is set to: one number, or one for each neuron of the site (means).
    positions
        The positions of the output that the measure wants, the same in every row, -1 for the last:
        the head is computed there alone where the model takes ``logits_to_keep``, and the measure
        sees an output of these positions.
    rows
        Rows a pass at most: it bounds memory. One variant at least. Halved, from then on, where a
        device has too little memory.
    skip
        Whether to try to compute what lies below once.

    Yields
    ------
    ScanChunk
        In the order of ``units``.

    Raises
    ------
    ModelError
        A site that cannot be edited or that no pass comes to; a compiled model.
    SettingError
        An unknown site or neuron, or a measure that gives another number of numbers.
    """
    import torch

    root = root_of(torch_module(model))
    place = site_of(model, site)
    module = check_editable(root, place)
    wanted = np.arange(place.width) if units is None else np.atleast_1d(np.asarray(units))
    if wanted.size and wanted.dtype.kind not in "iu":
        raise SettingError("units are whole numbers")
    check_range(place.name, wanted, place.width)
    targets = np.broadcast_to(np.asarray(target, dtype=np.float64), (place.width,))
    batch = read_batch(root, inputs, positions)
    many = max(1, rows // batch.rows)
    inner = isinstance(module, torch.nn.RNNBase)
    with torch.inference_mode():
        out, prefix = recorded(root, place, batch.run)
        base, _ = batch.measured(measure, out, 1)
        if prefix is None and not inner:
            raise ModelError(f"no pass comes to site {place.name}, at {place.module}")
        skip = skip and wanted.size > 0 and prefix is not None and not inner
        if not skip or not _same(batch, place, prefix, wanted, first_tensor(out)):
            prefix = None
    first = 0
    while first < wanted.size:
        chunk = wanted[first : first + many]
        each = OneEach(chunk, targets[chunk])
        try:
            with torch.inference_mode():
                found = _variants(batch, place, prefix, each, measure)
                effects = (found - base).double().cpu().numpy()
        except torch.OutOfMemoryError:
            if len(chunk) == 1:
                raise
            effects = None
        if effects is None:
            # Outside the handler, whose traceback would keep the pass's tensors.
            torch.cuda.empty_cache()
            many = -(-len(chunk) // 2)
            continue
        first += len(chunk)
        yield ScanChunk(place, chunk.copy(), effects, prefix is not None)


def _variants(
    batch: Batch, site: Site, prefix: Prefix | None, each: OneEach, measure: Measure
) -> Any:
    """Return what is measured of each variant."""
    out = _run(batch, site, prefix, each)
    return batch.measured(measure, out, len(each.units))[0]


def _run(batch: Batch, site: Site, prefix: Prefix | None, each: OneEach) -> Any:
    """Run a batch in variants, from the site on or from the beginning."""
    if prefix is None:
        change = whole(batch.root, site, each)
    else:
        change = resumed(batch.root, site, each, prefix, batch.sizes)
    with change:
        return batch.run(len(each.units))


def _same(batch: Batch, site: Site, prefix: Prefix | None, units: np.ndarray, base: Any) -> bool:
    """Whether a pass that begins at the site gives what a whole pass does.

    Tried with neurons set far beyond their values, so that a change that is lost would show.

    Parameters
    ----------
    base
        (rows, …) what the model gives unchanged.
    """
    import torch

    pair = np.asarray([units[0], units[-1]])
    each = OneEach(pair, np.asarray([20.0, -20.0]))
    want = first_tensor(_run(batch, site, None, each))
    try:
        found = first_tensor(_run(batch, site, prefix, each))
    except Exception:
        # Whatever a module does with repeated outputs: a whole pass is always right.
        return False
    if found.shape != want.shape or len(want) != 2 * len(base):
        return False
    exact = want.dtype in (torch.float32, torch.float64)
    effect = float((want - base.repeat(2, *(1,) * (base.dim() - 1))).abs().max())
    loose = (1e-3 if exact else 0.1) * effect + (1e-6 if exact else 1e-2) * float(base.abs().max())
    return bool((found - want).abs().max() <= loose)
