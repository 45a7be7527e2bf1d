"""Safe loading of models: safetensors only, no remote code, everything recorded."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nissl.errors import ModelError, SettingError, did_you_mean
from nissl.model.heads import (
    auto_class,
    check_head,
    head_fingerprint,
    refuse_missing,
    set_padding,
)
from nissl.model.identity import fingerprint, max_length
from nissl.model.known import KNOWN
from nissl.model.loaded import NOT_FAST, LoadedModel, LoadSpec
from nissl.model.random import random_model
from nissl.model.sites import called_before_last_block
from nissl.model.spread import check_spread, spread_options
from nissl.model.trial import place_of

if TYPE_CHECKING:
    import torch

__all__ = ["load_model", "load_spec"]

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")


def load_spec(spec: LoadSpec) -> LoadedModel:
    """Load the model that a specification describes; see :func:`load_model`."""
    return load_model(**asdict(spec))


def load_model(
    name: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "cpu",
    random_init: bool = False,
    seed: int = 0,
    local_files_only: bool | None = None,
    device_map: str | dict[str, Any] | None = None,
    quantize: str | None = None,
    head: str = "none",
) -> LoadedModel:
    """Load a Hugging Face model and its fast tokenizer.

    Weights come from safetensors files only, and code that lies beside them is never run. The
    caller's torch random state is left as it was.

    Parameters
    ----------
    name
        An alias of :func:`known_models`, a folder, or a hub name.
    revision
        Branch, tag or commit of a hub name.
    dtype
        ``auto`` (as stored), ``float32``, ``float16`` or ``bfloat16``; of a quantised model, what
        it computes in.
    device
        Where it runs, as torch names it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    random_init
        Build the architecture from its configuration with fresh random weights (a baseline).
    seed
        Seed of the random weights.
    local_files_only
        Whether to stay away from the network; by default the environment decides
        (``HF_HUB_OFFLINE``).
    device_map
        Spread the model over devices with accelerate: ``auto``, ``balanced``, ``sequential``, or
        module → device; ``device`` is ignored then.
    quantize
        ``8bit`` or ``4bit`` weights, by bitsandbytes.
    head
        What the model predicts: ``none`` (its states alone), ``causal-lm`` (the next word),
        ``masked-lm`` (a hidden word) or ``classification`` (a class of the text). Sites have the
        same names with any head.

    Raises
    ------
    ModelError
        No such model, no weights, pickled weights only, weights missing on which a site depends,
        any weights missing of a model with a head, or no fast tokenizer for a model whose main
        input is text.
    SettingError
        An unknown dtype, device, head or quantisation, a revision of a folder, a package that is
        not installed, or random weights together with quantisation or a device map.
    """
    import torch
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging as hf_logging

    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    wanted = "auto" if dtype == "auto" else _dtype(dtype)
    check_spread(device_map, quantize, random_init)
    check_head(head)
    place = _device(device)
    label = str(name)
    folder = KNOWN[label].folder() if label in KNOWN else Path(name).expanduser()
    local = folder.is_dir()
    if local:
        _check_folder(folder, need_weights=not random_init)
        if revision is not None:
            raise SettingError(f'"{label}" is a folder, which has no revision; leave revision out')
    elif folder.exists():
        raise ModelError("is a file; name the folder with config.json", where=label)
    elif label.startswith((".", "/", "~")) or label.count("/") > 1:
        near = [item.name for item in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise ModelError(f"no such model folder.{did_you_mean(folder.name, near)}", where=label)
    target = str(folder) if local else label
    common: dict[str, Any] = {"trust_remote_code": False}
    if not local:
        common |= {"revision": revision}
        if local_files_only is not None:
            common["local_files_only"] = local_files_only
    missing: list[str] = []
    part = "configuration"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Whatever goes wrong inside the libraries, the user hears one sentence about the model.
        try:
            config = AutoConfig.from_pretrained(target, **common)
            # Building a model notes its dtype in the configuration: read what was stored first.
            stored = getattr(config, "dtype", None) or torch.float32
            text = _takes_text(config)
            part = "tokenizer"
            tokenizer = None
            with contextlib.nullcontext() if text else contextlib.suppress(Exception):
                tokenizer = AutoTokenizer.from_pretrained(target, use_fast=True, **common)
            part = "model"
            if random_init:
                model: Any = random_model(config, auto_class(head))
                model = model.to(stored if wanted == "auto" else wanted)
            else:
                spread = spread_options(
                    device_map, quantize, place, stored if dtype == "auto" else wanted
                )
                model, info = auto_class(head).from_pretrained(
                    target,
                    use_safetensors=True,
                    dtype=wanted,
                    output_loading_info=True,
                    **spread,
                    **common,
                )
                missing = sorted(info["missing_keys"])
        except Exception as error:
            raise ModelError(_why(label, part, error, local)) from error
    if not _is_usable(tokenizer):
        if text:
            raise ModelError(NOT_FAST.format(label))
        tokenizer = None
    if device_map is None and quantize is None:
        model = model.to(place)
    model = model.eval().requires_grad_(False)
    set_padding(model, head)
    if head != "none":
        refuse_missing(label, head, missing)
    elif missing:
        missing = _missing(label, model, missing)
    identity = head_fingerprint(fingerprint(model, config, missing), head)
    # Nothing is generated: a decoder would only fill a cache of keys and values that no one reads.
    for each in model.modules():
        settings: Any = getattr(each, "config", None)
        if getattr(settings, "use_cache", False):
            settings.use_cache = False
    limit = None
    if tokenizer is not None:
        tokenizer.padding_side = "right"
        limit = max_length(model, tokenizer, config) if text else None
    # Quantised weights are whole numbers; what is computed has the dtype of the other parameters.
    found = next(p.dtype for p in model.parameters() if p.is_floating_point())
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=label,
        revision=revision or getattr(config, "_commit_hash", None),
        fingerprint=identity,
        dtype=str(found).removeprefix("torch."),
        device=str(place_of(model)) if device_map is not None else str(place),
        max_length=limit,
        random_init=random_init,
        missing=tuple(missing),
        head=head,
        spec=LoadSpec(
            # Another process may have another working folder.
            name=str(folder.resolve()) if local and label not in KNOWN else label,
            revision=revision,
            dtype=dtype,
            device=device,
            random_init=random_init,
            seed=seed,
            local_files_only=local_files_only,
            device_map=device_map,
            quantize=quantize,
            head=head,
        ),
    )


def _is_usable(tokenizer: Any) -> bool:
    """Whether a tokenizer is fast and has words: where there is none the library makes one up."""
    if not getattr(tokenizer, "is_fast", False):
        return False
    return len(tokenizer) > len(tokenizer.all_special_tokens) + 2


def _takes_text(config: Any) -> bool:
    """Whether the main input of a configuration's model is token ids."""
    from transformers import MODEL_MAPPING

    try:
        found = MODEL_MAPPING[type(config)]
    except KeyError:
        return True
    first = found[0] if isinstance(found, tuple | list) else found
    return getattr(first, "main_input_name", "input_ids") == "input_ids"


def _dtype(name: str) -> torch.dtype:
    import torch

    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in known:
        raise SettingError(
            f'dtype "{name}" is none of auto, {", ".join(known)}.{did_you_mean(name, known)}'
        )
    return known[name]


def _device(name: str) -> torch.device:
    import torch

    try:
        place = torch.device(name)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).strip().splitlines()[0]
        raise SettingError(f'device "{name}" cannot be used here: {first}') from None
    return place


def _why(label: str, part: str, error: Exception, local: bool) -> str:
    """Say in one sentence why a model cannot be loaded."""
    text = str(error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    if local:
        return f'the {part} of model "{label}" cannot be loaded: {first}'
    choice = (
        f"give a folder with config.json, safetensors and tokenizer.json, the name of a model on "
        f"the hub, or one of {', '.join(KNOWN)}.{did_you_mean(label, KNOWN)}"
    )
    if "connect" in first or "offline" in first.lower():
        return (
            f'model "{label}" is no folder, is not in the cache of this machine, and the hub '
            f"cannot be reached; {choice}"
        )
    return f'the {part} of model "{label}" cannot be loaded: {first.rstrip(".")}; {choice}'


def _check_folder(folder: Path, *, need_weights: bool) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError("has no config.json; is it a model folder?", where=str(folder))
    if not need_weights or any(folder.glob("*.safetensors")):
        return
    pickled = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLED)
    if pickled:
        raise ModelError(
            f"has only pickled weights ({pickled[0]}), which can run code when loaded; convert "
            "them to model.safetensors once, in a sandbox, with the safetensors library",
            where=str(folder),
        )
    raise ModelError("has no weights (no *.safetensors)", where=str(folder))


def _missing(label: str, model: Any, keys: list[str]) -> list[str]:
    """Return the missing parameters of a model; fail if a site needs one.

    What ran before the last block had finished may matter to a site; what ran later cannot.
    """
    owners: dict[int, set[str]] = {}
    for each in (model.named_parameters, model.named_buffers):
        for path, value in each(remove_duplicate=False):
            owners.setdefault(id(value), set()).add(path.rpartition(".")[0])
    before = called_before_last_block(model)
    kept, needed = [], []
    for key in keys:
        path, _, last = key.rpartition(".")
        found = owners.get(id(getattr(model.get_submodule(path), last, None)), set())
        (needed if found & before else kept).append(key)
    if needed:
        more = f" and {len(needed) - 3} more" if len(needed) > 3 else ""
        raise ModelError(
            f'the weights of model "{label}" lack {", ".join(needed[:3])}{more}, which would be '
            "random; the checkpoint does not fit its config.json"
        )
    return kept
