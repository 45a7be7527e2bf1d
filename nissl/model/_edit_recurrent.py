"""torch's recurrent layers run step by step, with states and gates changed as they come about.

torch runs a stack of recurrent layers as one fused operation, into which no hook can reach. Here
it is run again from its own weights, and what an edit makes of a state is what the next step, the
next layer and the output go on with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nissl.errors import ModelError
from nissl.model.recurrent import read_input

__all__ = ["rerun"]

Touch = Callable[[int, str, Any, Any, int, Any], Any]
"""(layer, part, values (batch, 1, width), columns (batch,), length, last) → values.

``last`` is the last column of each sequence of its own (batch,), or None where they are not packed.
"""


def rerun(
    module: Any, given: Any, start: Any, out: Any, touch: Touch, wanted: frozenset[tuple[int, str]]
) -> Any:
    """Return what recurrent layers give when some of their states are changed as they run.

    Parameters
    ----------
    given, start
        The input, a tensor or a ``PackedSequence``, and the states before the first step or None.
    out
        What torch returned, whose form the result has.
    touch
        Called with each wanted layer (from 0) and part at every step; both directions' units lie
        side by side in the width, and those of the other direction are 0 and not looked at again.
    wanted
        Layers and parts.

    Raises
    ------
    ModelError
        The layers drop units, so that running them again would be another run.
    """
    import torch

    if module.training and module.dropout and module.num_layers > 1:
        raise ModelError(
            f"the {type(module).__name__} drops units at random between its layers; put the model "
            "in evaluation mode (model.eval())"
        )
    sequence = read_input(module, given)
    values, lengths = sequence.values, sequence.lengths
    steps = torch.arange(len(values), device=values.device)[:, None]
    inside = steps < lengths
    # Backwards a sequence begins with its own last step.
    back = torch.where(inside, lengths - 1 - steps, steps)
    last = lengths - 1 if sequence.packed else None
    ways = 2 if module.bidirectional else 1
    states = start if isinstance(start, tuple | list) else (start,)
    lasts: list[tuple[Any, ...]] = []
    for layer in range(module.num_layers):
        sides = []
        for way in range(ways):
            order = back if way else steps.expand_as(back)
            x = values.gather(0, order[..., None].expand_as(values))
            first = [_first(state, layer * ways + way, values) for state in states]

            side = _Side(touch, wanted, layer, way, ways, order, len(steps), last)
            kept = _one_way(module, f"l{layer}" + "_reverse" * way, x, first, side)
            ends = (lengths - 1)[None, :, None]
            lasts.append(tuple(v.gather(0, ends.expand(1, -1, v.shape[2]))[0] for v in kept))
            sides.append(kept[0].gather(0, order[..., None].expand_as(kept[0])))
        values = torch.cat(sides, dim=2)
        if sequence.packed:
            values = values * inside[..., None]
    ends = [torch.stack(each) for each in zip(*lasts, strict=True)]
    first = _like(module, values, out[0])
    single = out[0].dim() == 2 if isinstance(out[0], torch.Tensor) else False
    ends = [end[:, 0] if single else end for end in ends]
    return first, (tuple(ends) if module.mode == "LSTM" else ends[0])


def _first(state: Any, index: int, values: Any) -> Any:
    """Return one direction's state before the first step, or None for zeros."""
    if state is None:
        return None
    return (state[:, None] if state.dim() == 2 else state)[index].to(values.dtype)


@dataclass(frozen=True, eq=False)
class _Side:
    """One direction of one layer, whose values are changed as their part of both directions'."""

    touch: Touch
    wanted: frozenset[tuple[int, str]]
    layer: int
    way: int
    ways: int
    order: Any
    length: int
    last: Any

    def __call__(self, part: str, value: Any, step: int) -> Any:
        """Return values (batch, width) of a part, changed where it is wanted."""
        import torch

        if (self.layer, part) not in self.wanted:
            return value
        width = value.shape[1]
        first = width * self.way
        whole = torch.nn.functional.pad(value, (first, (self.ways - 1) * width - first))
        columns = self.order[step]
        new = self.touch(self.layer, part, whole[:, None], columns, self.length, self.last)
        return new[:, 0, first : first + width]


def _one_way(
    module: Any, suffix: str, values: Any, start: list[Any], change: Callable[[str, Any, int], Any]
) -> tuple[Any, ...]:
    """Run one layer in one direction; return the hidden states, and an LSTM's cells.

    Each (length, batch, width), in the order of the steps.
    """
    import torch
    from torch.nn.functional import linear

    w_in, w_back = getattr(module, f"weight_ih_{suffix}"), getattr(module, f"weight_hh_{suffix}")
    b_in = getattr(module, f"bias_ih_{suffix}") if module.bias else None
    b_back = getattr(module, f"bias_hh_{suffix}") if module.bias else None
    fold = getattr(module, f"weight_hr_{suffix}") if module.proj_size else None
    batch = values.shape[1]
    hidden = values.new_zeros((batch, module.proj_size or module.hidden_size))
    cell = values.new_zeros((batch, module.hidden_size))
    if start[0] is not None:
        hidden = start[0]
    if len(start) > 1 and start[1] is not None:
        cell = start[1]
    kept: list[tuple[Any, ...]] = []
    for step, now in enumerate(linear(values, w_in, b_in)):
        again = linear(hidden, w_back, b_back)
        if module.mode == "LSTM":
            i, f, g, o = (now + again).chunk(4, dim=1)
            i = change("input_gate", i.sigmoid(), step)
            f = change("forget_gate", f.sigmoid(), step)
            g = change("cell_gate", g.tanh(), step)
            o = change("output_gate", o.sigmoid(), step)
            cell = change("cell", f * cell + i * g, step)
            hidden = o * cell.tanh()
            hidden = hidden if fold is None else hidden @ fold.T
        elif module.mode == "GRU":
            (now_r, now_z, now_n), (r, z, n) = now.chunk(3, dim=1), again.chunk(3, dim=1)
            r = change("reset_gate", (now_r + r).sigmoid(), step)
            z = change("update_gate", (now_z + z).sigmoid(), step)
            n = change("new_gate", (now_n + r * n).tanh(), step)
            hidden = (1 - z) * n + z * hidden
        else:
            summed = now + again
            hidden = summed.tanh() if module.mode == "RNN_TANH" else summed.relu()
        hidden = change("hidden", hidden, step)
        kept.append((hidden, cell) if module.mode == "LSTM" else (hidden,))
    return tuple(torch.stack(each) for each in zip(*kept, strict=True))


def _like(module: Any, values: Any, plain: Any) -> Any:
    """Return outputs (length, batch, width) in the form that torch's own had."""
    import torch
    from torch.nn.utils.rnn import PackedSequence

    if isinstance(plain, PackedSequence):
        order = plain.sorted_indices
        rows = values if order is None else values.index_select(1, order)
        sizes = plain.batch_sizes.tolist()
        data = torch.cat([rows[step, :size] for step, size in enumerate(sizes)])
        return PackedSequence(data, plain.batch_sizes, plain.sorted_indices, plain.unsorted_indices)
    if plain.dim() == 2:
        return values[:, 0]
    # Unpacked since then, perhaps with steps that are padding in the whole batch.
    total = plain.shape[1 if module.batch_first else 0]
    values = torch.nn.functional.pad(values, (0, 0, 0, 0, 0, total - len(values)))
    return values.transpose(0, 1) if module.batch_first else values
