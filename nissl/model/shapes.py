"""Batch and length of a forward pass, and tensors brought to batch × length × width."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nissl.errors import ModelError
from nissl.model.trial import main_input
from nissl.site import Site

__all__ = ["Pass", "shape_of_pass", "to_batch"]


@dataclass
class Pass:
    """What a forward pass was given: batch and length, each None where unknown, of each stack."""

    model: Any
    time_major: bool = False
    batch: int | None = None
    lengths: dict[str, int | None] = field(default_factory=dict)

    def lengthened(self, tensor: Any) -> Any:
        """Return (batch, length, width) with steps of 0 up to the length of the pass.

        Unpacking a packed sequence leaves no steps that are padding in the whole batch.
        """
        import torch

        length = self.lengths.get("")
        if length is None or tensor.shape[0] != self.batch or tensor.shape[1] >= length:
            return tensor
        return torch.nn.functional.pad(tensor, (0, 0, 0, length - tensor.shape[1]))


def shape_of_pass(state: Pass, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Note batch and length of a pass from what the model was called with."""
    import torch

    name = main_input(state.model)
    first = kwargs.get(name, kwargs.get("inputs_embeds", args[0] if args else None))
    state.batch, state.lengths = None, {}
    if not isinstance(first, torch.Tensor) or first.dim() < 2:
        return
    text = not first.is_floating_point() and first.dim() == 2
    length = first.shape[1] if text or "inputs_embeds" in kwargs else None
    if length is None and name == "input_ids":
        return  # a user's own module of floats: nothing says which axis is which
    second = kwargs.get("decoder_input_ids", kwargs.get("decoder_inputs_embeds"))
    state.batch = first.shape[0]
    state.lengths = {
        "": length,
        "encoder": length,
        "decoder": second.shape[1] if isinstance(second, torch.Tensor) else None,
    }


def to_batch(state: Pass, site: Site, tensor: Any) -> Any:
    """Return a site's tensor as (batch, length, width) where the pass says what these are.

    Raises
    ------
    ModelError
        The tensor has another shape, and the site is not just any module.
    """
    batch, length = state.batch, state.lengths.get(site.stack)
    if batch is None:
        return tensor
    if length is None:
        many = tensor.dim() == 2 and tensor.shape[0] > batch and tensor.shape[0] % batch == 0
        return tensor.reshape(batch, -1, tensor.shape[-1]) if many else tensor
    lead = tuple(tensor.shape[:2])
    # Where both are one number only the model can say which axis is which.
    swapped = batch > 1 and length > 1 and state.time_major
    if tensor.dim() == 2 and len(tensor) == batch * length:
        if swapped:
            return tensor.reshape(length, batch, -1).transpose(0, 1)
        return tensor.reshape(batch, length, -1)
    if tensor.dim() == 3 and lead in ((batch, length), (length, batch)):
        turn = swapped if batch == length else lead != (batch, length)
        return tensor.transpose(0, 1) if turn else tensor
    window = getattr(getattr(state.model, "config", None), "attention_window", None)
    if window and tensor.dim() == 3 and lead[0] == batch and lead[1] > length:
        # Longformer pads its input on the right to a whole number of windows.
        return tensor[:, :length]
    if site.kind == "module":
        return tensor
    raise ModelError(
        f"site {site.name} has shape {tuple(tensor.shape)} in a pass of {batch} × {length} tokens; "
        "run the model with an attention that keeps padding (attn_implementation sdpa or eager)"
    )
