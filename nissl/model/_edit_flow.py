"""Another tensor put in place of the one that a module was given, or gave."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from nissl.errors import ModelError
from nissl.model.trace import block_input

__all__ = ["enter", "follow", "leave"]

NAMES = ("hidden_states", "x", "input", "inputs")


def enter(path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the tensor that a module was given.

    Raises
    ------
    ModelError
        It was given none, or a packed sequence.
    """
    from torch.nn.utils.rnn import PackedSequence

    first = args[0] if args else kwargs.get("input")
    if isinstance(first, PackedSequence):
        raise ModelError(
            f"{path} is given a packed sequence, whose tokens cannot be told apart here; run the "
            "model with nissl.model.run, which packs after edits are made"
        )
    return block_input(args, kwargs)


def follow(
    args: tuple[Any, ...], kwargs: dict[str, Any], new: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a module's arguments with another tensor, where :func:`enter` found the first."""
    import torch

    if args and isinstance(args[0], torch.Tensor):
        return (new, *args[1:]), kwargs
    name = next(key for key in NAMES if isinstance(kwargs.get(key), torch.Tensor))
    return args, {**kwargs, name: new}


def leave(path: str, out: Any, change: Callable[[Any], Any]) -> Any:
    """Return a module's output with its first tensor changed, in an output of the same kind.

    Raises
    ------
    ModelError
        There is no tensor in it.
    """
    if hasattr(out, "shape"):
        return change(out)
    if isinstance(out, dict) and out:
        new: Any = copy.copy(out)
        key = next(iter(out))
        new[key] = leave(path, out[key], change)
        return new
    if isinstance(out, tuple | list) and out:
        parts = [leave(path, out[0], change), *out[1:]]
        if hasattr(out, "_fields"):
            return type(out)(*parts)
        return type(out)(parts)
    raise ModelError(f"{path} gives no tensor but {type(out).__name__}")
