"""What a trial forward pass shows: which blocks ran, in which order, with which linear maps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nissl.errors import ModelError
from nissl.model.experts import fused_weights, is_experts
from nissl.model.trial import trial

__all__ = ["Call", "Run", "block_input", "find_input", "first_tensor", "trace"]


@dataclass(frozen=True)
class Call:
    """One run of a linear map, or of fused experts.

    Attributes
    ----------
    module, number
        Its path, and which call of it this is.
    lead
        Shape of what it was given, without the last axis.
    wide_in, wide_out
        Both widths.
    same
        Whether it was given the very tensor that the map before it was given.
    experts
        Whether these are fused experts; ``wide_in`` is then their number of units, 0 if unknown.
    beside
        Where it belongs to one of several experts that are modules of their own, each given only
        the tokens routed to it: the path of the module that holds them, else empty.
    """

    module: str
    number: int
    lead: tuple[int, ...]
    wide_in: int
    wide_out: int
    same: bool = False
    experts: bool = False
    beside: str = ""


@dataclass
class Run:
    """One run of a block: shapes of what entered and left it, and its linear maps in order.

    ``follows`` says whether what entered is what left the run before, of the same list.
    """

    module: str
    number: int
    entered: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    follows: bool = False
    calls: list[Call] = field(default_factory=list)


def trace(module: Any, lists: Sequence[tuple[str, Any]]) -> dict[str, list[Run]]:
    """Run a few tokens; return for each list of blocks the runs of its blocks, in order.

    Nothing is kept but shapes: the encoder of a speech model has long inputs.
    """
    import torch

    runs: dict[str, list[Run]] = {path: [] for path, _ in lists}
    active: list[Run] = []
    count: dict[str, int] = defaultdict(int)
    before: list[Any] = [None]  # what the map before was given
    last: dict[str, Any] = {}  # what left the last run of each list

    def number(path: str) -> int:
        count[path] += 1
        return count[path] - 1

    def reset(mod: Any, args: tuple[Any, ...]) -> None:
        # A trial may be made of several attempts.
        active.clear()
        last.clear()
        count.clear()
        for each in runs.values():
            each.clear()

    def enter(path: str, within: str) -> Any:
        def hook(mod: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            run = Run(path, number(path))
            given = find_input(args, kwargs)
            if given is not None:
                run.entered = tuple(given.shape)
                run.follows = within in last and _same(given, last[within])
            runs[within].append(run)
            active.append(run)

        return hook

    def leave(within: str) -> Any:
        def hook(mod: Any, args: tuple[Any, ...], out: Any) -> None:
            run, first = active.pop(), first_tensor(out)
            if isinstance(first, torch.Tensor):
                run.left = tuple(first.shape)
                last[within] = first

        return hook

    def watch_map(path: str) -> Any:
        def hook(mod: Any, args: tuple[Any, ...], out: Any) -> None:
            this = number(path)
            if not args or not all(isinstance(x, torch.Tensor) for x in (args[0], out)):
                return
            shape = tuple(args[0].shape)
            same = args[0] is before[0]
            before[0] = args[0]
            call = Call(path, this, shape[:-1], shape[-1], out.shape[-1], same)
            for run in active:
                run.calls.append(call)

        return hook

    def watch_experts(path: str) -> Any:
        def hook(mod: Any, args: tuple[Any, ...], out: Any) -> None:
            shape = tuple(first_tensor(out).shape)
            units = is_experts(mod)
            call = Call(path, number(path), shape[:-1], units, shape[-1], experts=True)
            for run in active:
                run.calls.append(call)

        return hook

    handles: list[Any] = [module.register_forward_pre_hook(reset)]
    try:
        for path, found in lists:
            for name, block in found.named_children():
                inside = f"{path}.{name}" if path else name
                handles.append(
                    block.register_forward_pre_hook(enter(inside, path), with_kwargs=True)
                )
                # Of two hooks on one module the later is called later: leave in reverse order.
                handles.append(block.register_forward_hook(leave(path), prepend=True))
        for path, inner in module.named_modules():
            weight = getattr(inner, "weight", None)
            if fused_weights(inner):
                handles.append(inner.register_forward_hook(watch_experts(path)))
            elif (
                next(inner.children(), None) is None
                and isinstance(weight, torch.Tensor)
                # Quantised weights are packed: they are known by their class.
                and (weight.dim() == 2 or isinstance(inner, torch.nn.Linear))
                and not isinstance(inner, torch.nn.Embedding)
            ):
                handles.append(inner.register_forward_hook(watch_map(path)))
        trial(module)
    finally:
        for handle in handles:
            handle.remove()
    for path in _routed(module, runs):
        beside = path.rpartition(".")[0]
        for run in (run for each in runs.values() for run in each):
            run.calls = [
                replace(call, beside=beside) if call.module.startswith(f"{path}.") else call
                for call in run.calls
            ]
    return runs


def _same(a: Any, b: Any) -> bool:
    """Whether two tensors are one, or hold the same values, not-a-numbers included."""
    import torch

    if a is b:
        return True
    return a.shape == b.shape and bool(torch.isclose(a, b, equal_nan=True).all())


def _routed(module: Any, runs: dict[str, list[Run]]) -> list[str]:
    """Return the paths of lists of experts: alike, but given different tokens, or none."""
    import torch

    leads: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for call in (call for each in runs.values() for run in each for call in run.calls):
        parts = call.module.split(".")
        for i in range(1, len(parts)):
            leads[".".join(parts[:i])].add(call.lead)
    found = []
    for path, holder in module.named_modules():
        if path in runs and len({run.module for run in runs[path]}) == len(holder):
            continue  # blocks, not experts: they all ran, one after the other
        children = list(holder.named_children())
        if isinstance(holder, torch.nn.ModuleList | torch.nn.ModuleDict) and len(children) > 1:
            alike = len({type(child) for _, child in children}) == 1
            given = {frozenset(leads.get(f"{path}.{name}", ())) for name, _ in children}
            if alike and len(given) > 1:
                found.append(path)
    return found


def find_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the hidden states that a block was called with, or None."""
    import torch

    for value in (
        *args[:1],
        *(kwargs.get(key) for key in ("hidden_states", "x", "input", "inputs")),
    ):
        if isinstance(value, torch.Tensor):
            return value
    return None


def block_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the hidden states that a block was called with.

    Raises
    ------
    ModelError
        There are none.
    """
    found = find_input(args, kwargs)
    if found is None:
        raise ModelError(
            f"a block is called without hidden states; its arguments are {sorted(kwargs)}"
        )
    return found


def first_tensor(out: Any) -> Any:
    """Return a module's output, or the first part of it when it is a tuple or a record."""
    while not hasattr(out, "shape"):
        if isinstance(out, dict):
            out = next(iter(out.values()), None)
        elif isinstance(out, tuple | list) and out:
            out = out[0]
        else:
            return out
    return out
