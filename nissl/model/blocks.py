"""Stacks of blocks: lists of modules through which one stream runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from nissl.errors import ModelError
from nissl.model.recurrent import recurrent_modules
from nissl.model.trace import Run, trace
from nissl.model.trial import BATCH, DECODER_LENGTH, LENGTH

__all__ = ["Stack", "find_stacks", "time_major"]

ANY = "any module can be named instead: --site module.PATH"


@dataclass(frozen=True)
class Stack:
    """A stack of blocks: ``encoder``, ``decoder`` or nameless; its path, and its blocks' runs."""

    name: str
    path: str
    runs: list[Run]

    @property
    def lead(self) -> tuple[int, ...]:
        """Shape of the stream without its width."""
        return self.runs[0].left[:-1]


def find_stacks(module: Any) -> tuple[Stack, ...]:
    """Find the stacks of blocks of a model, the encoder's first.

    A stack is an outermost list of modules that a trial pass runs in a row, and whose every block
    is given and gives one stream: (batch, length, width), the width the same throughout, and what
    enters a block is what left the one before. The decoder of an encoder-decoder is the one whose
    stream is as long as the decoder's input.

    Raises
    ------
    ModelError
        There is none; says which lists were tried and why they are not one.
    """
    lists = candidates(module)
    kind = type(module).__name__
    if not lists:
        raise ModelError(
            f"{kind} has no list of blocks (a ModuleList or Sequential whose parts hold several "
            f"modules) and no torch recurrent layers; {ANY}"
        )
    runs = trace(module, lists)
    tried: list[str] = []
    good: list[Stack] = []
    for path, found in lists:
        why = _why_not(runs[path], found)
        if why:
            tried.append(f"{path} ({len(found)} × {type(found[0]).__name__}: {why})")
        # Lists inside blocks (experts, sublayers) may be longer than the stack: outermost count.
        elif not any(path.startswith(f"{other.path}.") or not other.path for other in good):
            good.append(Stack("", path, runs[path]))
    if not good:
        raise ModelError(
            f"{kind} has no list of blocks that a trial pass confirms; tried {'; '.join(tried)}; "
            f"{ANY}"
        )
    _TIME_MAJOR[module] = good[0].lead == (LENGTH, BATCH)
    if not getattr(getattr(module, "config", None), "is_encoder_decoder", False):
        return (_longest(good),)
    late = [stack for stack in good if DECODER_LENGTH in stack.lead]
    early = [stack for stack in good if DECODER_LENGTH not in stack.lead]
    if not late or not early:  # an encoder by itself still has the configuration of the whole
        return (_longest(good),)
    first, second = _longest(early), _longest(late)
    return (
        Stack("encoder", first.path, first.runs),
        Stack("decoder", second.path, second.runs),
    )


_TIME_MAJOR: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def time_major(module: Any) -> bool:
    """Whether a model's stream has length before batch, as XLNet's has; tried once a model."""
    if module not in _TIME_MAJOR:
        layers = recurrent_modules(module)
        _TIME_MAJOR[module] = bool(layers) and not layers[0][1].batch_first
        with contextlib.suppress(ModelError):
            find_stacks(module)  # which notes it
    return _TIME_MAJOR[module]


def candidates(module: Any) -> list[tuple[str, Any]]:
    """Return paths and modules of all lists whose parts hold several modules, outermost first."""
    import torch

    return [
        (path, found)
        for path, found in module.named_modules()
        if isinstance(found, torch.nn.ModuleList | torch.nn.Sequential)
        and len(found) >= 1
        # Blocks hold several maps; lists of single layers do not count.
        and all(sum(1 for _ in item.modules()) > 4 for item in found)
    ]


def _why_not(runs: list[Run], found: Any) -> str:
    """Say why a list is no stack of blocks, or nothing when it is one."""
    if len({run.module for run in runs}) < len(found):
        return "not all of them ran"
    for run in runs:
        if len(run.entered) != 3 or len(run.left) != 3:
            return f"from {_shape(run.entered)} to {_shape(run.left)}, no batch × length × width"
    widths = {shape[-1] for run in runs for shape in (run.entered, run.left)}
    if len(widths) > 1:
        return f"its stream has widths {', '.join(map(str, sorted(widths)))}"
    # A module between two blocks, such as DeBERTa's convolution after the first, is allowed for.
    apart = sum(not run.follows for run in runs[1:])
    if 2 * apart > len(runs) - 1:
        return "what enters one is not what left the one before"
    if not any(run.calls for run in runs):
        return "it holds no linear map"
    return ""


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "nothing"


def _longest(stacks: list[Stack]) -> Stack:
    return max(stacks, key=lambda stack: len(stack.runs))
