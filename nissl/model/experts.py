"""Mixtures of experts whose weights are fused: the units of every expert, computed in a hook."""

from __future__ import annotations

from typing import Any

__all__ = ["expert_units", "fused_weights", "is_experts"]


def fused_weights(module: Any) -> tuple[Any, ...]:
    """Return the weights up and down of a module that holds all experts in one, else nothing.

    Such a module has no linear maps to hook: its weights are 3-D parameters, expert by expert.
    """
    import torch

    up: Any = getattr(module, "gate_up_proj", getattr(module, "up_proj", None))
    down: Any = getattr(module, "down_proj", None)
    fused = all(isinstance(each, torch.nn.Parameter) and each.dim() == 3 for each in (up, down))
    return (up, down) if fused else ()


def is_experts(module: Any) -> int:
    """Return the number of units of all fused experts of a module, else 0.

    Only of those that are called with tokens and the experts each token goes to, as nearly all
    are in transformers: what others compute is not known.
    """
    weights = fused_weights(module)
    if not weights or not hasattr(module, "has_gate") or not hasattr(module, "is_transposed"):
        return 0
    down = weights[1]
    return down.shape[0] * down.shape[1 if module.is_transposed else 2]


def expert_units(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the units of a fused experts module for what it was called with.

    For every token and every expert it is routed to, act(gate) × up, before the map down and the
    router's weight; for all other experts 0. Experts lie side by side in their order.

    Parameters
    ----------
    args, kwargs
        What the module was called with: tokens (n, width), experts (n, k), weights (n, k).

    Returns
    -------
    Tensor
        (n, experts × inner).
    """
    import torch

    given = (
        dict(zip(("hidden_states", "top_k_index", "top_k_weights"), args, strict=False)) | kwargs
    )
    tokens = given["hidden_states"].reshape(-1, given["hidden_states"].shape[-1])
    routed = given["top_k_index"].reshape(len(tokens), -1)
    name = "gate_up_proj" if module.has_gate else "up_proj"
    weight, bias = getattr(module, name), getattr(module, f"{name}_bias", None)
    n = weight.shape[0]
    inner = is_experts(module) // n
    units = tokens.new_zeros((len(tokens), n, inner))
    for expert in torch.unique(routed).tolist():
        if not 0 <= expert < n:
            continue  # where experts are spread over devices, n marks one that lives elsewhere
        rows = (routed == expert).any(dim=1).nonzero()[:, 0]
        part = weight[expert]
        part = tokens[rows] @ (part if module.is_transposed else part.T)
        if bias is not None:
            part = part + bias[expert]
        part = module._apply_gate(part) if module.has_gate else module.act_fn(part)
        units[rows, expert] = part.to(units.dtype)
    return units.flatten(1)
