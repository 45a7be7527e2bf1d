"""Recurrent layers of torch: states and gates of every layer at every step.

torch runs a stack of recurrent layers as one fused operation that returns the last layer's output
and nothing else. What it computed inside is computed again here, from the module's own weights and
the input that it was really given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nissl.errors import ModelError
from nissl.site import Site

__all__ = [
    "batch_first",
    "layers_before",
    "parts_of",
    "read_input",
    "recurrent_modules",
    "recurrent_sites",
    "unroll",
]

PARTS = {
    "LSTM": ("hidden", "cell", "input_gate", "forget_gate", "cell_gate", "output_gate"),
    "GRU": ("hidden", "reset_gate", "update_gate", "new_gate"),
    "RNN_TANH": ("hidden",),
    "RNN_RELU": ("hidden",),
}


def recurrent_modules(model: Any) -> list[tuple[str, Any]]:
    """Return path and module of every LSTM, GRU and RNN, in the order they are registered."""
    import torch

    return [(p, m) for p, m in model.named_modules() if isinstance(m, torch.nn.RNNBase)]


def parts_of(module: Any) -> tuple[str, ...]:
    """Return the names of the states that a recurrent module has."""
    return PARTS[module.mode]


def layers_before(model: Any, path: str) -> int:
    """Count the layers of the recurrent modules before the one at a path."""
    total = 0
    for other, module in recurrent_modules(model):
        if other == path:
            break
        total += module.num_layers
    return total


def recurrent_sites(model: Any, kind: str) -> tuple[Site, ...]:
    """Return the sites of one kind of a model's recurrent layers, counted through all modules.

    ``hidden.0`` is the input of the first layer and ``hidden.i`` the output of layer i, both
    directions side by side; ``state`` has every part of every layer, part by part.
    """
    found = recurrent_modules(model)
    if not found or kind not in ("hidden", "state"):
        return ()
    sites: list[Site] = []
    if kind == "hidden":
        path, first = found[0]
        sites.append(Site("hidden", 0, path, "input", first.input_size))
    for part in ["hidden"] if kind == "hidden" else PARTS["LSTM"] + PARTS["GRU"][1:]:
        layer = 0
        for path, module in found:
            ways = 2 if module.bidirectional else 1
            wide = (part == "hidden" and module.proj_size) or module.hidden_size
            for _ in range(module.num_layers):
                layer += 1
                if part in parts_of(module):
                    named = "" if kind == "hidden" else part
                    sites.append(Site(kind, layer, path, "output", ways * wide, part=named))
    return tuple(sites)


@dataclass(frozen=True)
class _Sequence:
    """An input: (length, batch, width), the sequences' own lengths, and whether it was packed."""

    values: Any
    lengths: Any
    packed: bool


def read_input(module: Any, given: Any) -> _Sequence:
    """Return what a recurrent module was given, time first, in the order of the batch."""
    import torch
    from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

    if isinstance(given, PackedSequence):
        values, lengths = pad_packed_sequence(given)
        return _Sequence(values, lengths.to(values.device), True)
    if given.dim() == 2:
        given = given[:, None] if not module.batch_first else given[None]
    values = given.transpose(0, 1) if module.batch_first else given
    lengths = torch.full((values.shape[1],), values.shape[0], device=values.device)
    return _Sequence(values, lengths, False)


def batch_first(sequence: Any) -> Any:
    """Return (batch, length, width) of (length, batch, width)."""
    return sequence.transpose(0, 1)


def unroll(module: Any, given: Any, start: Any, out: Any) -> list[dict[str, Any]]:
    """Return every state of every layer of a recurrent module, for the input it was given.

    Parameters
    ----------
    given
        The input: a tensor, padded or not, or a ``PackedSequence``. Packed, the states at a
        sequence's own steps are those of the sentence alone, in both directions; steps after its
        end are 0. A padded tensor is run as torch runs it: backwards, padding comes first.
    start
        The states before the first step, or None.
    out
        The module's output, with which the last layer must agree.

    Returns
    -------
    list
        For each layer a dictionary part → (batch, length, width), both directions side by side.

    Raises
    ------
    ModelError
        The last layer differs from what torch returned, as with dropout in training.
    """
    import torch

    sequence = read_input(module, given)
    values, lengths = sequence.values, sequence.lengths
    steps = torch.arange(len(values), device=values.device)[:, None]
    inside = (steps < lengths)[:, :, None]
    back = torch.where(steps < lengths, lengths - 1 - steps, steps)[:, :, None]
    ways = 2 if module.bidirectional else 1
    states = start if isinstance(start, tuple | list) else (start,)
    layers: list[dict[str, Any]] = []
    for layer in range(module.num_layers):
        sides: list[dict[str, Any]] = []
        for way in range(ways):
            first = [_first(state, layer * ways + way, values) for state in states]
            x = values.gather(0, back.expand_as(values)) if way else values
            side = _one_way(module, f"l{layer}" + "_reverse" * way, x, first)
            if way:
                side = {part: v.gather(0, back.expand_as(v)) for part, v in side.items()}
            sides.append(side)
        both = {part: torch.cat([side[part] for side in sides], dim=2) for part in sides[0]}
        if sequence.packed:
            both = {part: v * inside for part, v in both.items()}
        layers.append(both)
        values = both["hidden"]
    torch_says = read_input(module, out[0]).values
    if sequence.packed:  # unpacked since then, perhaps with steps that are padding everywhere
        torch_says = torch_says[: len(values)]
    if torch_says.shape != values.shape or not _near(torch_says, values):
        raise ModelError(
            f"the states of the {type(module).__name__} differ from its output; put the model in "
            "evaluation mode (model.eval()), where no unit is dropped"
        )
    layers[-1]["hidden"] = torch_says
    return [{part: batch_first(v) for part, v in each.items()} for each in layers]


def _first(state: Any, index: int, values: Any) -> Any:
    """Return one direction's state before the first step, or None for zeros."""
    if state is None:
        return None
    return (state[:, None] if state.dim() == 2 else state)[index].to(values.dtype)


def _near(a: Any, b: Any) -> bool:
    import torch

    exact = a.dtype in (torch.float32, torch.float64)
    # Halves round at every step; a GPU's recurrent layers may multiply in fewer bits than float32.
    loose = (1e-3 if a.device.type == "cpu" else 1e-2) if exact else 5e-2
    a, b = a.detach().float(), b.detach().float()
    return bool((a - b).abs().max() <= loose * max(1.0, float(a.abs().max())))


def _one_way(module: Any, suffix: str, values: Any, start: list[Any]) -> dict[str, Any]:
    """Run one layer in one direction; return part → (length, batch, width)."""
    import torch

    w_in, w_back = getattr(module, f"weight_ih_{suffix}"), getattr(module, f"weight_hh_{suffix}")
    b_in = getattr(module, f"bias_ih_{suffix}") if module.bias else None
    b_back = getattr(module, f"bias_hh_{suffix}") if module.bias else None
    fold = getattr(module, f"weight_hr_{suffix}") if module.proj_size else None
    given = torch.nn.functional.linear(values, w_in, b_in)
    batch = values.shape[1]
    hidden = values.new_zeros((batch, module.proj_size or module.hidden_size))
    if start[0] is not None:
        hidden = start[0]
    cell = values.new_zeros((batch, module.hidden_size))
    if len(start) > 1 and start[1] is not None:
        cell = start[1]
    kept: list[tuple[Any, ...]] = []
    for now in given:
        again = torch.nn.functional.linear(hidden, w_back, b_back)
        if module.mode == "LSTM":
            i, f, g, o = (now + again).chunk(4, dim=1)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            cell = f * cell + i * g
            hidden = o * cell.tanh()
            if fold is not None:
                hidden = hidden @ fold.T
            kept.append((hidden, cell, i, f, g, o))
        elif module.mode == "GRU":
            (now_r, now_z, now_n), (r, z, n) = now.chunk(3, dim=1), again.chunk(3, dim=1)
            r, z = (now_r + r).sigmoid(), (now_z + z).sigmoid()
            n = (now_n + r * n).tanh()
            hidden = (1 - z) * n + z * hidden
            kept.append((hidden, r, z, n))
        else:
            summed = now + again
            hidden = summed.tanh() if module.mode == "RNN_TANH" else summed.relu()
            kept.append((hidden,))
    return {
        p: torch.stack(v) for p, v in zip(parts_of(module), zip(*kept, strict=True), strict=True)
    }
