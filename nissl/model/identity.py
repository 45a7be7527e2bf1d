"""What a model is: the hash of its configuration and weights, and how long its input may be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from nissl.errors import ModelError
from nissl.model.trial import arguments_of

__all__ = ["fingerprint", "max_length"]

UNBOUNDED = 1_000_000


def fingerprint(model: Any, config: Any, missing: Sequence[str]) -> str:
    """Hash the configuration and the parameters, but for those that are random by omission."""
    digest = hashlib.sha256()
    if config is None:
        # A user's own module: its printed form names its parts and their settings.
        digest.update(f"{type(model).__qualname__} {model}".encode())
    else:
        # The version is that of the library in use, not of the model.
        passing = ("_name_or_path", "transformers_version")
        settings = {k: v for k, v in config.to_dict().items() if k not in passing}
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, value in sorted(model.named_parameters(), key=lambda item: item[0]):
        if any(key == name or key.endswith("." + name) for key in missing):
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(_bytes(model, name, value))
    return digest.hexdigest()


def _bytes(model: Any, name: str, value: Any) -> bytes:
    """Return the bytes of a parameter, fetched from where accelerate keeps it."""
    import torch

    path, _, last = name.rpartition(".")
    module = model.get_submodule(path)
    if value.device.type == "meta":
        from accelerate.utils.modeling import align_module_device

        with align_module_device(module, torch.device("cpu")):
            value = getattr(module, last).detach().clone()
        if value.device.type == "meta":
            raise ModelError(f"{name} has no values; load the model's weights first")
    return b"".join(_raw(part) for part in (value, *_scales(module, value)))


def _raw(value: Any) -> bytes:
    import torch

    flat = value.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
    return flat.numpy().tobytes()


def _scales(module: Any, value: Any) -> list[Any]:
    """Return what bitsandbytes multiplies whole-number weights by; it is no parameter."""
    holders = (value, getattr(value, "quant_state", None), getattr(module, "state", None))
    found = (getattr(holder, name, None) for holder in holders for name in ("SCB", "absmax"))
    # One of them moves from the weight to its module in the first pass: it counts once.
    return [scale for scale in found if scale is not None][:1]


def max_length(model: Any, tokenizer: Any, config: Any) -> int | None:
    """Return the largest number of subwords, with special tokens, that a model takes, or None.

    A decoder of two stacks reads its start token as well, so that with a table of positions one
    subword less fits.
    """
    import torch

    limits = []
    if 0 < tokenizer.model_max_length < UNBOUNDED:
        limits.append(int(tokenizer.model_max_length))
    table = next(
        (
            module
            for path, module in model.named_modules()
            if isinstance(module, torch.nn.Embedding)
            and path.endswith(("position_embeddings", "wpe"))
        ),
        None,
    )
    positions = getattr(config, "max_position_embeddings", None)
    if table is not None:
        # RoBERTa-like models number positions from padding_idx + 1.
        taken = table.padding_idx + 1 if table.padding_idx is not None else 0
        positions = table.num_embeddings - taken
    if isinstance(positions, int) and positions > 0:
        two = getattr(config, "is_encoder_decoder", False)
        start = bool(two) and "decoder_input_ids" in arguments_of(model)
        limits.append(positions - start)
    return min(limits) if limits else None
