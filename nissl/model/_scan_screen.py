"""The effect of ablating every neuron of many sites, to first order, from one pass and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nissl.errors import ModelError, SettingError
from nissl.model._edit_hooks import changed, root_of
from nissl.model._edit_where import At
from nissl.model._scan_pass import Inputs, Measure, read_batch
from nissl.model.edit import site_of
from nissl.model.shapes import to_batch
from nissl.model.sites import torch_module
from nissl.site import Site

__all__ = ["screen"]


class _Tap:
    """Keeps what passes through sites, as tensors of which gradients can be taken."""

    def __init__(self) -> None:
        self.kept: dict[Site, list[tuple[Any, Any]]] = defaultdict(list)

    def tensor(self, site: Site, raw: Any, moment: Any) -> Any:
        kept = _tracked(raw)
        shape = moment.shape
        state = type(shape)(shape.model, shape.time_major, shape.batch, dict(shape.lengths))
        self.kept[site].append((kept, lambda values: to_batch(state, site, values)))
        # Of a copy the model may do with it what it likes, in place as well.
        return kept.clone()

    def step(self, site: Site, value: Any, at: At) -> Any:
        kept = _tracked(value)
        self.kept[site].append((kept, lambda values: values))
        return kept.clone()


def _tracked(value: Any) -> Any:
    return value.clone() if value.requires_grad else value.detach().clone().requires_grad_(True)


def screen(
    model: Any,
    inputs: Inputs,
    sites: str | Site | Sequence[str | Site],
    measure: Measure,
    *,
    target: float | Mapping[str, Any] = 0.0,
    positions: int | Sequence[int] | None = None,
) -> dict[str, np.ndarray]:
    """Estimate the effect of ablating each neuron by itself, for all neurons of sites at once.

    With measure m, value a of neuron j at row b and position t, and target c, the effect on row b
    is about Σ_t ∂m_b/∂a_btj · (c_j − a_btj): attribution patching (Nanda 2023; Syed, Rager and
    Conmy 2023, "Attribution Patching Outperforms Automated Circuit Discovery", equation 2) with an
    ablation for the other input. Exact where m is linear in the neuron; it misses what saturates.

    Parameters
    ----------
    model, inputs, measure, positions
        As for :func:`~nissl.model.scan`; the measure must be differentiable and give one number a
        row, or one in all.
    target
        What neurons would be set to: one number, or site name → (width,).

    Returns
    -------
    dict
        Site name → (width, rows) where the measure is of rows, else (width,).

    Raises
    ------
    ModelError
        A site that cannot be edited, or that no pass comes to; a compiled model.
    SettingError
        An unknown site, or one that ``target`` lacks; a measure that gives other numbers, or none
        that depends on the sites.
    """
    import torch

    root = root_of(torch_module(model))
    given = [sites] if isinstance(sites, str | Site) else list(sites)
    places = [site_of(model, site) for site in given]
    if isinstance(target, Mapping):
        for site in places:
            if site.name not in target:
                raise SettingError(f"target lacks site {site.name}; give a value for every site")
    batch = read_batch(root, inputs, positions)
    tap = _Tap()
    with torch.inference_mode(False), torch.enable_grad():
        with changed(root, places, tap):
            out = batch.run()
        found, by_row = batch.measured(measure, out, 1)
        if found.numel() != (batch.rows if by_row else 1):
            raise SettingError(
                f"the measure gives {found.numel()} numbers for {batch.rows} rows; for a screen "
                "give one a row, or one in all"
            )
        for site in places:
            if site not in tap.kept:
                raise ModelError(f"no pass comes to site {site.name}, at {site.module}")
        if not found.requires_grad:
            raise SettingError(
                "the measure has no gradient with respect to the sites; compute it in torch from "
                "the model's output, and name sites that lie below it"
            )
        kept = [value for each in tap.kept.values() for value, _ in each]
        slopes = iter(torch.autograd.grad(found.sum(), kept, allow_unused=True))
    effects: dict[str, np.ndarray] = {}
    with torch.no_grad():
        for site, each in tap.kept.items():
            aim = target[site.name] if isinstance(target, Mapping) else target
            total: Any = 0.0
            for value, turn in each:
                slope = next(slopes)
                if slope is None:
                    continue
                goal = torch.as_tensor(aim).to(value)
                # Summed in double precision: a site's values may be halves.
                change = turn((goal - value).double() * slope.double())
                total = total + change.reshape(batch.rows, -1, site.width).sum(dim=1)
            if isinstance(total, float):
                total = torch.zeros((batch.rows, site.width))
            effects[site.name] = (total.T if by_row else total.sum(dim=0)).cpu().numpy()
    return {site.name: effects[site.name] for site in places}
