"""Sites: the places of a network where neurons live, found by structure and confirmed by shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nissl.errors import ModelError, SettingError, did_you_mean
from nissl.site import Site

__all__ = ["KINDS", "find_sites"]

KINDS = ("hidden", "mlp", "head")


def find_sites(model: Any, kinds: Sequence[str] = ("hidden",)) -> tuple[Site, ...]:
    """Find the sites of a transformer.

    The blocks are the longest list of modules of one class that is not inside another. What enters
    the first block is ``hidden.0``, what leaves block i is ``hidden.i``: captured by module, so the
    last one is *before* a final norm, where GPT-2 and Llama have one. A tiny forward pass records
    the order, inputs and shapes of the linear maps inside each block: ``mlp`` is the input of the
    last map, which leads back to the model's width, so for gated MLPs it is the product; ``head``
    is the input of the map before the MLP's first, which mixes the attention heads.

    Parameters
    ----------
    model
        A :class:`~nissl.model.load.LoadedModel` or a torch module that takes ``input_ids``.

    Raises
    ------
    ModelError
        No list of blocks, or a kind that this architecture does not have; says what was tried.
    """
    module = getattr(model, "model", model) if hasattr(model, "tokenizer") else model
    for kind in kinds:
        if kind not in KINDS:
            raise SettingError(
                f'no kind of site "{kind}"; there are {", ".join(KINDS)}.'
                f"{did_you_mean(kind, KINDS)}"
            )
    path, blocks = _blocks(module)
    calls, widths = _trace(module, path, len(blocks))
    sites: list[Site] = []
    for kind in KINDS:
        if kind not in kinds:
            continue
        if kind == "hidden":
            sites.append(Site("hidden", 0, f"{path}.0", "input", widths[0]))
            sites += [
                Site("hidden", i + 1, f"{path}.{i}", "output", widths[i + 1])
                for i in range(len(blocks))
            ]
            continue
        for i in range(len(blocks)):
            found = _inner(calls[i], widths[i + 1], kind)
            if found is None:
                tried = ", ".join(f"{c.module} ({c.wide_in}→{c.wide_out})" for c in calls[i])
                raise ModelError(
                    f"found no {kind} site in block {path}.{i}; its linear maps in order: "
                    f"{tried or 'none'}"
                )
            name, width = found
            sites.append(Site(kind, i + 1, name, "input", width))
    return tuple(sites)


def _blocks(module: Any) -> tuple[str, Any]:
    import torch

    lists: list[tuple[str, Any]] = [
        (path, found)
        for path, found in module.named_modules()
        if isinstance(found, torch.nn.ModuleList)
        and len(found) >= 1
        and len({type(item) for item in found}) == 1
        # Blocks hold several maps; lists of single layers or experts do not count.
        and sum(1 for _ in found[0].modules()) > 4
    ]
    if not lists:
        raise ModelError(
            f"{type(module).__name__} has no list of blocks (a ModuleList of one class); "
            "this architecture is not known"
        )
    # Lists inside blocks (experts, sublayers) may be longer than the stack: only outermost count.
    outer = [
        (path, found)
        for path, found in lists
        if not any(path.startswith(other + ".") for other, _ in lists)
    ]
    return max(outer, key=lambda item: len(item[1]))


@dataclass(frozen=True)
class _Call:
    """One run of a linear map: its module, the tensor it got, and both widths."""

    module: str
    given: Any
    wide_in: int
    wide_out: int


def _trace(module: Any, path: str, n_blocks: int) -> tuple[list[list[_Call]], list[int]]:
    """Run two tokens; return for each block its linear maps in order, and the stream's widths."""
    import torch

    calls: list[list[_Call]] = [[] for _ in range(n_blocks)]
    widths: dict[int, int] = {}

    def watch_linear(block: int, name: str) -> Any:
        def hook(mod: Any, args: tuple[Any, ...], out: Any) -> None:
            if args and isinstance(out, torch.Tensor) and isinstance(args[0], torch.Tensor):
                calls[block].append(_Call(name, args[0], args[0].shape[-1], out.shape[-1]))

        return hook

    def watch_block(block: int) -> Any:
        def hook(mod: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            if block == 0:
                widths[0] = block_input(args, kwargs).shape[-1]
            widths[block + 1] = first_tensor(out).shape[-1]

        return hook

    handles: list[Any] = []
    try:
        for i in range(n_blocks):
            prefix = f"{path}.{i}"
            block = module.get_submodule(prefix)
            handles.append(block.register_forward_hook(watch_block(i), with_kwargs=True))
            for name, inner in block.named_modules():
                weight = getattr(inner, "weight", None)
                if (
                    next(inner.children(), None) is None
                    and isinstance(weight, torch.Tensor)
                    and weight.dim() == 2
                    and not isinstance(inner, torch.nn.Embedding)
                ):
                    handles.append(inner.register_forward_hook(watch_linear(i, f"{prefix}.{name}")))
        _trial(module)
    finally:
        for handle in handles:
            handle.remove()
    missing = [i for i in range(n_blocks + 1) if i not in widths]
    if missing:
        raise ModelError(
            f"block {path}.{max(0, missing[0] - 1)} did not run in a trial forward pass"
        )
    return calls, [widths[i] for i in range(n_blocks + 1)]


def _trial(module: Any) -> None:
    """Run two tokens through the model."""
    import torch

    device = next(module.parameters()).device
    with torch.inference_mode():
        module(input_ids=torch.zeros((1, 2), dtype=torch.long, device=device))


def called_before_last_block(module: Any) -> set[str]:
    """Return the paths of all modules that start before the last block has finished.

    Raises
    ------
    ModelError
        No list of blocks.
    """
    path, blocks = _blocks(module)
    seen: set[str] = set()
    finished = False

    def start(name: str) -> Any:
        def hook(mod: Any, args: tuple[Any, ...]) -> None:
            if not finished:
                seen.add(name)

        return hook

    def stop(mod: Any, args: tuple[Any, ...], out: Any) -> None:
        nonlocal finished
        finished = True

    handles = [part.register_forward_pre_hook(start(name)) for name, part in module.named_modules()]
    handles.append(module.get_submodule(f"{path}.{len(blocks) - 1}").register_forward_hook(stop))
    try:
        _trial(module)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _inner(calls: list[_Call], width: int, kind: str) -> tuple[str, int] | None:
    """Return module and width of the block's MLP units or head outputs.

    A block's maps end with …, attention output, map(s) up, map down. Two maps up that are given
    the very same tensor are gate and value; one map up of twice the width is both in one.
    """
    down = next((i for i in reversed(range(len(calls))) if calls[i].wide_out == width), None)
    if down is None or down == 0:
        return None
    inner = calls[down].wide_in
    up = down - 1
    if calls[up].wide_in != width or calls[up].wide_out not in (inner, 2 * inner):
        return None
    if kind == "mlp":
        return calls[down].module, inner
    while up > 0 and calls[up - 1].given is calls[up].given:
        up -= 1
    if up == 0 or calls[up - 1].wide_out != width:
        return None
    return calls[up - 1].module, calls[up - 1].wide_in


def block_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the hidden states that a block was called with."""
    if args:
        return args[0]
    for key in ("hidden_states", "x", "inputs"):
        if key in kwargs:
            return kwargs[key]
    raise ModelError(f"a block is called without hidden states; its arguments are {sorted(kwargs)}")


def first_tensor(out: Any) -> Any:
    """Return a module's output, or the first part of it when it is a tuple."""
    return out[0] if isinstance(out, tuple | list) else out
