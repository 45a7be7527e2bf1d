"""A model ready to run, and what loads it again elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nissl.errors import ModelError
from nissl.model.heads import check_head, head_fingerprint
from nissl.model.identity import fingerprint
from nissl.model.trial import place_of

__all__ = ["NOT_FAST", "LoadSpec", "LoadedModel", "wrap_model"]

NOT_FAST = (
    'model "{}" has no fast tokenizer, and words are aligned by its character offsets; add a '
    "tokenizer.json"
)


@dataclass(frozen=True)
class LoadSpec:
    """What :func:`load_model` was called with: enough to load the same model elsewhere."""

    name: str
    revision: str | None = None
    dtype: str = "auto"
    device: str = "cpu"
    random_init: bool = False
    seed: int = 0
    local_files_only: bool | None = None
    device_map: str | dict[str, Any] | None = None
    quantize: str | None = None
    head: str = "none"


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to run, with its tokenizer and its identity.

    Attributes
    ----------
    model
        The torch module, in evaluation mode, gradients off. Of an encoder-decoder, both stacks.
    tokenizer
        The fast tokenizer; None for a model whose main input is not text, if it has none.
    fingerprint
        SHA-256 of the configuration and of every parameter, so that a copy in another folder is
        the same model and another seed is another one.
    dtype
        That of the activations: for a quantised model, the one it computes in.
    max_length
        Largest number of subwords with special tokens, or None when there is no limit.
    missing
        Parameters that the checkpoint lacks and that are random therefore; no site depends on
        them (a pooler, say), else loading would have failed.
    spec
        What loads the same model in another process, or None for a module of one's own.
    head
        What it predicts: ``none``, ``causal-lm``, ``masked-lm`` or ``classification``.
    start
        What a causal model reads before a text that is scored: ``auto`` (see
        :func:`nissl.effects.start_token`), ``none``, or a token; ``dataclasses.replace`` sets it.
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
    spec: LoadSpec | None = None
    head: str = "none"
    start: str = "auto"

    def __repr__(self) -> str:
        kind = type(self.model).__name__
        weights = ", random weights" if self.random_init else ""
        return f"LoadedModel({self.name!r}: {kind}, {self.dtype} on {self.device}{weights})"


def wrap_model(
    module: Any,
    tokenizer: Any,
    *,
    name: str,
    max_length: int | None = None,
    head: str = "none",
) -> LoadedModel:
    """Make a :class:`LoadedModel` of a torch module of one's own.

    The module is put in evaluation mode, with gradients off, and the tokenizer pads on the right.

    Parameters
    ----------
    module
        A Hugging Face model, or any module that :func:`~nissl.model.run` can call.
    tokenizer
        A fast tokenizer of the transformers library, or None when its inputs are not text.
    name
        What it is called in stores and reports.
    max_length
        Largest number of subwords, with special tokens, that it takes.
    head
        What its output is, if effects are to be measured on it: ``causal-lm``, ``masked-lm`` or
        ``classification``; logits first, or as ``.logits``.

    Raises
    ------
    SettingError
        An unknown head.
    ModelError
        The tokenizer is not a fast one, or the module has no parameters.
    """
    check_head(head)
    if tokenizer is not None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(NOT_FAST.format(name))
        tokenizer.padding_side = "right"
    module = module.eval().requires_grad_(False)
    first = next((p for p in module.parameters() if p.is_floating_point()), None)
    if first is None:
        raise ModelError(f'model "{name}" has no parameters')
    return LoadedModel(
        model=module,
        tokenizer=tokenizer,
        name=name,
        revision=None,
        fingerprint=head_fingerprint(
            fingerprint(module, getattr(module, "config", None), ()), head
        ),
        dtype=str(first.dtype).removeprefix("torch."),
        device=str(place_of(module)),
        max_length=max_length,
        random_init=False,
        head=head,
    )
