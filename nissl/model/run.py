"""Run a model on text, with whatever arguments its architecture needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from nissl.errors import ModelError
from nissl.model.hooks import Enough, capture
from nissl.model.recurrent import recurrent_modules
from nissl.model.sites import find_sites, torch_module
from nissl.model.trial import arguments_of, main_input, place_of, start_token
from nissl.site import Site

__all__ = ["mixes_padding", "offset", "run", "run_inputs"]


def run(model: Any, ids: Any, mask: Any) -> Any:
    """Run a model on a batch of token ids, padded on the right.

    An encoder-decoder's decoder is given its start token and then the same ids, one position more
    than the encoder: at position i + 1 it has just read token i (:func:`offset`), whether or not
    the tokenizer adds a final special token. torch's recurrent layers are given packed sequences,
    so that padding does not run through them backwards. Values at real tokens do not depend on
    the padding, for any architecture.

    Parameters
    ----------
    model
        A :class:`~nissl.model.LoadedModel`; a Hugging Face module; or any module that takes
        ids first, or as ``input_ids``, and, where it has parameters so named, ``attention_mask``,
        ``mask`` (1 at tokens) or ``lengths``.
    ids, mask
        (batch, length), whole numbers; the mask is 1 at tokens and 0 at padding.

    Returns
    -------
    Any
        What the model returns; None when :func:`~nissl.model.capture` ended the pass early.

    Raises
    ------
    ModelError
        The model's main input is not text.
    """
    import torch

    module = torch_module(model)
    if main_input(module) != "input_ids":
        raise ModelError(
            f"{type(module).__name__} takes {main_input(module)}, not text; give its inputs to "
            "run_inputs"
        )
    place = place_of(module)
    ids, mask = ids.to(place), mask.to(place)
    takes = arguments_of(module)
    named: dict[str, Any] = {}
    for name in takes:
        if name in ("attention_mask", "mask"):
            named[name] = mask
        elif name in ("lengths", "length"):
            named[name] = mask.sum(dim=1).cpu()
    if _has_decoder(module):
        start = start_token(module.config)
        named["decoder_input_ids"] = torch.cat([torch.full_like(ids[:, :1], start), ids], dim=1)
        named["decoder_attention_mask"] = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
    with packed(module, mask):
        if "input_ids" in takes:
            return run_inputs(module, {"input_ids": ids, **named})
        with contextlib.suppress(Enough):
            return module(ids, **named)
    return None


def run_inputs(model: Any, inputs: Mapping[str, Any]) -> Any:
    """Run a model on inputs of any kind, by name, such as ``input_values`` of speech.

    A decoder that is given nothing is given its start token.

    Returns
    -------
    Any
        What the model returns; None when :func:`~nissl.model.capture` ended the pass early.
    """
    import torch

    module = torch_module(model)
    given = dict(inputs)
    if _has_decoder(module) and not any(name.startswith("decoder_input") for name in given):
        main = given[main_input(module)]
        start = start_token(module.config)
        given["decoder_input_ids"] = torch.full((len(main), 1), start, device=main.device)
    if "use_cache" in arguments_of(module):
        # Nothing is generated: keys and values would be kept for no one.
        given.setdefault("use_cache", False)
    with contextlib.suppress(Enough):
        return module(**given)
    return None


def mixes_padding(model: Any) -> bool:
    """Whether values at real tokens depend on the padding after them; two short passes tell.

    So it is where a layer takes no mask, as in FNet (Fourier transforms), ConvBERT (convolutions)
    and Nyströmformer (landmarks): run such models on sentences of one length at a time.

    Raises
    ------
    ModelError
        The model's main input is not text, or it has no sites.
    """
    import torch

    sites = find_sites(model, ["hidden"])
    seen: list[list[Any]] = []
    for length in (3, 8):
        ids = torch.arange(length)[None] % 3 + 4
        ids[:, 3:] = 0
        with torch.inference_mode(), capture(model, sites, keep=_first_three) as values:
            run(model, ids, (torch.arange(length) < 3).long()[None])
            seen.append([values[site.name] for site in sites])
    for a, b in zip(*seen, strict=True):
        # Above roundings, and below what padding does that is mixed in.
        loose = 1e-4 if a.dtype in (torch.float32, torch.float64) else 3e-2
        if float((a - b).abs().max()) > loose * max(1.0, float(a.abs().max())):
            return True
    return False


def _first_three(site: Site, tensor: Any) -> Any:
    return tensor[0, offset(site) : offset(site) + 3].clone()


def offset(site: Site) -> int:
    """Return how many positions after a token a site has read it: 1 in a decoder of two stacks.

    Such a decoder reads its start token first (:func:`run`), so that its state at position i + 1
    is the first that has read token i.
    """
    return int(site.stack == "decoder")


@contextlib.contextmanager
def packed(module: Any, mask: Any) -> Iterator[None]:
    """Have every recurrent layer that is given a padded batch run it packed."""
    from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

    lengths = mask.sum(dim=1).cpu()
    shape = tuple(mask.shape)
    padded: set[int] = set()
    handles: list[Any] = []

    def pack(layers: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given: Any = args[0] if args else kwargs.get("input")
        if isinstance(given, PackedSequence) or given.dim() != 3:
            return None
        lead = tuple(given.shape[:2])
        if (lead if layers.batch_first else lead[::-1]) != shape:
            return None
        short = pack_padded_sequence(
            given, lengths, batch_first=layers.batch_first, enforce_sorted=False
        )
        padded.add(id(layers))
        return (short, *args[1:]), {k: v for k, v in kwargs.items() if k != "input"}

    def unpack(layers: Any, args: tuple[Any, ...], out: Any) -> Any:
        if id(layers) not in padded:
            return None
        padded.remove(id(layers))
        whole, _ = pad_packed_sequence(
            out[0], batch_first=layers.batch_first, total_length=shape[1]
        )
        return (whole, *out[1:])

    try:
        if bool((lengths < shape[1]).any()):
            for _, layers in recurrent_modules(module):
                handles.append(layers.register_forward_pre_hook(pack, with_kwargs=True))
                # First, so that other hooks see what the model itself goes on with.
                handles.append(layers.register_forward_hook(unpack, prepend=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _has_decoder(module: Any) -> bool:
    config = getattr(module, "config", None)
    return bool(getattr(config, "is_encoder_decoder", False)) and (
        "decoder_input_ids" in arguments_of(module)
    )
