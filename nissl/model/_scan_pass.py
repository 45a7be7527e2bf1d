"""A batch that a model is run on, once or in many variants, and what is measured of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nissl.errors import ModelError, SettingError
from nissl.model._edit_flow import leave
from nissl.model._scan_variants import repeat
from nissl.model.run import run, run_inputs
from nissl.model.trial import arguments_of, place_of

__all__ = ["Batch", "Inputs", "Measure", "read_batch"]

Inputs = Mapping[str, Any] | tuple[Any, Any]
Measure = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs by name, or ids and mask, of some rows; and the positions that are looked at."""

    root: Any
    inputs: Inputs
    rows: int
    sizes: frozenset[int]
    positions: tuple[int, ...] | None

    def run(self, variants: int = 1) -> Any:
        """Run the model on the batch, repeated; return its output at the wanted positions."""
        import torch

        given = self.inputs if variants == 1 else repeat(self.inputs, variants, self.sizes)
        keeps = self.positions is not None and "logits_to_keep" in arguments_of(self.root)
        if isinstance(given, tuple):
            out = run(self.root, *given)
        elif keeps:
            # As a number (1) the head would be given a slice, which torch multiplies row by row.
            wanted = torch.tensor(self.positions)
            out = run_inputs(self.root, {**given, "logits_to_keep": wanted})
        else:
            out = run_inputs(self.root, given)
        if self.positions is None or (keeps and not isinstance(given, tuple)):
            return out
        return leave("the model", out, self._pick)

    def _pick(self, tensor: Any) -> Any:
        import torch

        if tensor.dim() < 3:
            raise ModelError(
                f"the model gives {tuple(tensor.shape)}, no positions; leave positions out"
            )
        places = [p % tensor.shape[1] for p in self.positions or ()]
        return tensor.index_select(1, torch.tensor(places, device=tensor.device))

    def measured(self, measure: Measure, out: Any, variants: int) -> tuple[Any, bool]:
        """Return what is measured, (variants, rows, …) or (variants, …), and whether by row.

        Raises
        ------
        SettingError
            The measure gives neither one number a row nor one a variant.
        """
        import torch

        found = measure(out)
        if not isinstance(found, torch.Tensor):
            found = torch.as_tensor(np.asarray(found))
        if not found.is_floating_point():
            found = found.to(torch.float32)
        if found.dim() == 0:
            found = found[None]
        if len(found) == variants * self.rows and self.rows > 1:
            return found.reshape(variants, self.rows, *found.shape[1:]), True
        if len(found) == variants:
            return found, False
        raise SettingError(
            f"the measure gives {len(found)} numbers for {variants} variants of {self.rows} rows; "
            "give one a row or one a variant"
        )


def read_batch(root: Any, inputs: Inputs, positions: int | Sequence[int] | None) -> Batch:
    """Return a batch, its rows counted.

    Raises
    ------
    SettingError
        No tensor among the inputs, or positions that are none.
    """
    import torch

    if isinstance(inputs, tuple):
        ids, mask = inputs
        takes = arguments_of(root)
        both = getattr(getattr(root, "config", None), "is_encoder_decoder", False)
        if "input_ids" in takes and "attention_mask" in takes and not both:
            inputs = {"input_ids": ids, "attention_mask": mask}
    inputs = _moved(inputs, place_of(root))
    tensors = [
        value
        for value in (inputs if isinstance(inputs, tuple) else inputs.values())
        if isinstance(value, torch.Tensor) and value.dim()
    ]
    if not tensors:
        raise SettingError("the inputs hold no tensor; give input_ids, or (ids, mask)")
    rows = len(tensors[0])
    sizes = {rows}
    if rows > 1:
        # Some modules have all tokens in a row. Of a single row a length would be no batch.
        sizes |= {rows * value.shape[1] for value in tensors if value.dim() > 1}
    wanted = None
    if positions is not None:
        wanted = (positions,) if isinstance(positions, int) else tuple(int(p) for p in positions)
        if not wanted:
            raise SettingError("name at least one position, such as -1 for the last")
    return Batch(root, inputs, rows, frozenset(sizes), wanted)


def _moved(inputs: Inputs, place: Any) -> Inputs:
    """Return inputs whose tensors are where the model reads them."""
    import torch

    def move(value: Any) -> Any:
        return value.to(place) if isinstance(value, torch.Tensor) else value

    if isinstance(inputs, tuple):
        return move(inputs[0]), move(inputs[1])
    return {name: move(value) for name, value in inputs.items()}
