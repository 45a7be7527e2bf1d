"""A tiny trial forward pass: small inputs that any model we know can take."""

from __future__ import annotations

import inspect
from typing import Any
from weakref import WeakKeyDictionary

from nissl.errors import ModelError

__all__ = [
    "BATCH",
    "DECODER_LENGTH",
    "LENGTH",
    "arguments_of",
    "main_input",
    "place_of",
    "start_token",
    "trial",
]

BATCH, LENGTH, DECODER_LENGTH = 2, 3, 5
"""All different, so that an axis is known by its size."""
SAMPLES, FRAMES = 4000, 64

_ARGUMENTS: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def trial(module: Any) -> None:
    """Run a few tokens, or a moment of silence, through a model.

    Raises
    ------
    ModelError
        None of the inputs that were tried is one that the model takes.
    """
    import torch

    failed: Exception | None = None
    for args, kwargs in _inputs(module):
        try:
            with torch.inference_mode():
                module(*args, **kwargs)
            return
        except Exception as error:
            # The first failure is of the likeliest input: it says most about the model.
            failed = failed or error
    text = str(failed).strip().splitlines()
    raise ModelError(
        f"a trial forward pass of {type(module).__name__} failed "
        f"({text[0] if text else type(failed).__name__}); its main input is {main_input(module)}"
    ) from failed


def main_input(module: Any) -> str:
    """Return the name of a model's main input: ``input_ids`` for text, ``input_values``…"""
    name = getattr(module, "main_input_name", None)
    return name if isinstance(name, str) else "input_ids"


def arguments_of(module: Any) -> dict[str, Any]:
    """Return the parameters of a module's forward pass by name; looked up once a function."""
    forward = module.forward
    function = getattr(forward, "__func__", None)
    if function is None:
        return dict(inspect.signature(forward).parameters)
    if function not in _ARGUMENTS:
        _ARGUMENTS[function] = dict(inspect.signature(forward).parameters)
    return _ARGUMENTS[function]


def start_token(config: Any) -> int:
    """Return the id that a decoder reads first."""
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        value = getattr(config, name, None)
        if isinstance(value, int):
            return value
    return 0


def place_of(module: Any) -> Any:
    """Return the device that a model's inputs belong on."""
    import torch

    first = next(module.parameters(), None)
    place = torch.device("cpu") if first is None else first.device
    # Offloaded weights are on no device; accelerate moves the inputs itself.
    return torch.device("cpu") if place.type == "meta" else place


def _inputs(module: Any) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the arguments to try, likeliest first."""
    import torch

    place = place_of(module)
    config = getattr(module, "config", None)
    takes = arguments_of(module)

    def ids(length: int, value: int = 0) -> torch.Tensor:
        return torch.full((BATCH, length), value, dtype=torch.long, device=place)

    def floats(*shape: int) -> torch.Tensor:
        kind = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
        return torch.zeros(shape, dtype=kind, device=place)

    name = main_input(module)
    extra: dict[str, Any] = {}
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in takes:
        extra["decoder_input_ids"] = ids(DECODER_LENGTH, start_token(config))
    if "use_cache" in takes:
        extra["use_cache"] = False
    if name == "input_values":
        shapes: list[tuple[int, ...]] = [(BATCH, SAMPLES)]
        if bins := getattr(config, "num_mel_bins", None):
            shapes.append((BATCH, getattr(config, "max_length", FRAMES), bins))
        return [((), {name: floats(*shape), **extra}) for shape in shapes]
    if name == "input_features":
        bins = getattr(config, "num_mel_bins", None) or 80
        shapes = []
        if positions := getattr(config, "max_source_positions", None):
            # Whisper halves its frames once and takes no other length.
            shapes.append((BATCH, bins, 2 * positions))
        for key in ("feature_projection_input_dim", "input_feat_per_channel", "num_mel_bins"):
            if width := getattr(config, key, None):
                shapes.append((BATCH, FRAMES, width))
        return [((), {name: floats(*shape), **extra}) for shape in shapes]
    if isinstance(module, torch.nn.RNNBase):
        first = (BATCH, LENGTH) if module.batch_first else (LENGTH, BATCH)
        return [((floats(*first, module.input_size),), {})]
    if "input_ids" in takes:
        return [((), {"input_ids": ids(LENGTH), **extra})]
    return [((ids(LENGTH), *rest), {}) for rest in _second(takes, place)]


def _second(takes: dict[str, Any], place: Any) -> list[tuple[Any, ...]]:
    """Return what to pass after the ids of a user's own module."""
    import torch

    plain = [p for p in takes.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p.name for p in plain[1:] if p.default is p.empty]
    if not needed:
        return [()]
    lengths = torch.full((BATCH,), LENGTH, dtype=torch.long)
    mask = torch.ones((BATCH, LENGTH), dtype=torch.long, device=place)
    return [(lengths,), (mask,)] if "length" in needed[0] else [(mask,), (lengths,)]
