"""Value vectors: what each MLP unit adds to the stream, and the sites that show how active it is.

An MLP's output is Σ_j m_j v_j + bias: m_j the units (the ``mlp`` site), v_j the columns of the map
down (Geva et al. 2021, "Transformer Feed-Forward Layers Are Key-Value Memories").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nissl.errors import ModelError, SettingError
from nissl.model.edit import site_of
from nissl.model.experts import is_experts
from nissl.model.sites import torch_module
from nissl.model.trial import place_of, trial
from nissl.site import Site

__all__ = [
    "ValueVectors",
    "activation_site",
    "activation_sites",
    "output_embedding",
    "value_vectors",
]

BLOCK = 512
"""Units whose vectors are found at a time where a map down is no plain matrix."""


@dataclass(frozen=True, eq=False)
class ValueVectors:
    """The map down of an MLP.

    Attributes
    ----------
    vectors
        v_j as rows, float32, (neurons, width).
    bias
        float32, (width,); zeros where the map has none.
    """

    vectors: np.ndarray
    bias: np.ndarray


def value_vectors(model: Any, site: str | Site) -> ValueVectors:
    """Return the value vectors of an ``mlp`` site.

    The map is known by the site's module, and its orientation by its class; one that is no plain
    matrix (quantised, adapted) is asked what it makes of one unit at a time.

    Parameters
    ----------
    model
        A :class:`~nissl.model.LoadedModel` or a torch module.
    site
        Such as ``mlp.3``.

    Raises
    ------
    SettingError
        A site of another kind.
    ModelError
        Fused experts: what a unit adds there depends on the router too.
    """
    import torch

    found = site_of(model, site)
    if found.kind != "mlp":
        raise SettingError(f"{found.name} is no mlp site; only MLP units have value vectors")
    root = torch_module(model)
    down = root.get_submodule(found.module)
    if is_experts(down):
        raise ModelError(
            f"{found.name} is the units of fused experts, whose router scales what each adds: they "
            "have no value vectors of their own"
        )
    with torch.inference_mode():
        if type(down) is torch.nn.Linear:
            vectors, bias = down.weight.T, down.bias
        elif type(down).__name__ == "Conv1D" and hasattr(down, "nf"):
            # GPT-2's own class of a linear map, which keeps its weight as (in, out).
            vectors, bias = down.weight, down.bias
        else:
            vectors, bias = _asked(down, found.width, place_of(root))
        matrix = vectors.float().cpu().numpy()
        shift = np.zeros(matrix.shape[1], np.float32) if bias is None else bias.float().cpu()
    return ValueVectors(np.ascontiguousarray(matrix), np.asarray(shift, dtype=np.float32))


def _asked(down: Any, width: int, place: Any) -> tuple[Any, Any]:
    """Return vectors and bias of a linear map of any class: f(one unit) − f(nothing)."""
    import torch

    kind = next((p.dtype for p in down.parameters() if p.is_floating_point()), torch.float32)
    zero = down(torch.zeros((1, width), dtype=kind, device=place)).float()
    parts = []
    for start in range(0, width, BLOCK):
        rows = torch.zeros((min(BLOCK, width - start), width), dtype=kind, device=place)
        rows[:, start : start + len(rows)].fill_diagonal_(1.0)
        parts.append(down(rows).float() - zero)
    return torch.cat(parts), zero[0]


def output_embedding(model: Any, tokens: np.ndarray) -> np.ndarray:
    """Return the output embeddings of tokens, float32, (tokens, width).

    Raises
    ------
    ModelError
        The model has no map to its vocabulary; load it with its head.
    """
    import torch

    root = torch_module(model)
    get = getattr(root, "get_output_embeddings", None)
    head = get() if get is not None else None
    weight = getattr(head, "weight", None)
    if weight is None:
        raise ModelError(
            f"{type(root).__name__} has no output embedding; load the model with its head "
            '(head="causal-lm")'
        )
    with torch.inference_mode():
        index = torch.as_tensor(np.asarray(tokens), dtype=torch.long, device=weight.device)
        return weight[index].float().cpu().numpy()


def activation_site(model: Any, site: str | Site) -> Site:
    """Return where the output of the MLP's non-linearity is seen, of the same neurons.

    Of a gated MLP the units (the ``mlp`` site) are act(gate) × up, whose sign says nothing of the
    gate; whether a neuron is "activated" is asked of act(gate) by Tang et al. (2024). It is the
    one module without weights, in the module that holds the map down, that gives as many numbers
    as there are units. Where there is none (a function instead of a module), the units themselves.
    """
    return activation_sites(model, [site])[0]


def activation_sites(model: Any, sites: Sequence[str | Site]) -> tuple[Site, ...]:
    """Return :func:`activation_site` of several sites; one trial pass finds them all."""
    root = torch_module(model)
    found = [site_of(model, site) for site in sites]
    seen: dict[str, list[str]] = {site.name: [] for site in found}
    handles: list[Any] = []

    def watch(site: Site, path: str) -> Any:
        def hook(module: Any, args: tuple[Any, ...], out: Any) -> None:
            if getattr(out, "shape", (0,))[-1] == site.width:
                seen[site.name].append(path)

        return hook

    for site in found:
        if site.kind != "mlp" or is_experts(root.get_submodule(site.module)):
            continue
        holder = site.module.rpartition(".")[0]
        for name, part in root.get_submodule(holder).named_modules():
            bare = next(part.parameters(), None) is None and next(part.children(), None) is None
            # A dropout is bare as well, but gives the units and not what they are made of.
            if name and bare and "dropout" not in type(part).__name__.lower():
                handles.append(part.register_forward_hook(watch(site, f"{holder}.{name}")))
    try:
        if handles:
            trial(root)
    finally:
        for handle in handles:
            handle.remove()
    return tuple(_seen_at(site, seen[site.name]) for site in found)


def _seen_at(site: Site, paths: Sequence[str]) -> Site:
    """Return the site of a module that was seen once; else what it is of is not known."""
    if len(paths) != 1:
        return site
    return Site("module", site.layer, paths[0], "output", site.width, site.stack)
