"""Sites: the places of a network where neurons live, found by structure and confirmed by shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nissl.errors import ModelError, SettingError, did_you_mean
from nissl.model.blocks import ANY, Stack, find_stacks
from nissl.model.inner import find_heads, find_units
from nissl.model.recurrent import recurrent_modules, recurrent_sites
from nissl.site import Site

__all__ = ["KINDS", "all_sites", "called_before_last_block", "find_sites", "torch_module"]

KINDS = ("hidden", "mlp", "head", "state")


def torch_module(model: Any) -> Any:
    """Return the torch module of a :class:`~nissl.model.LoadedModel`, or the module given."""
    return model.model if hasattr(model, "tokenizer") and hasattr(model, "model") else model


def find_sites(model: Any, kinds: Sequence[str] = ("hidden",)) -> tuple[Site, ...]:
    """Find the sites of a model, by kind, then stack (encoder first), then layer.

    The blocks are an outermost list of modules through which a tiny forward pass sends one stream
    of constant width. What enters the first block is ``hidden.0``, what leaves block i is
    ``hidden.i``: captured by module, so the last one is *before* a final norm, where GPT-2 and
    Llama have one. The pass also records the order and the shapes of the linear maps inside each
    block: ``mlp`` is the input of the last map, which leads back to the stream's width, so for
    gated MLPs it is the product; ``head`` is the input of the map before the MLP's first, which
    mixes the attention heads. Where weights are shared, layers are calls of one module.

    An encoder-decoder has two stacks, ``encoder`` and ``decoder``; the decoder's ``head`` is
    self-attention (cross-attention can be named, see :func:`~nissl.model.resolve_sites`).

    In a mixture of experts with fused weights, ``mlp`` holds the units of all experts side by
    side, expert × inner wide; units of experts that a token is not routed to are 0. Shared experts
    are not part of it.

    A model of torch's LSTM, GRU or RNN layers has ``hidden`` and ``state``: the latter has a part
    for the hidden state, the cell and every gate, such as ``state.forget_gate.1``. Layers are
    counted through all such modules in the order they are registered.

    Parameters
    ----------
    model
        A :class:`~nissl.model.LoadedModel` or a torch module.
    kinds
        Some of ``hidden``, ``mlp``, ``head``, ``state``.

    Raises
    ------
    ModelError
        No list of blocks, or a kind that this architecture does not have; says what was tried.
    SettingError
        An unknown kind.
    """
    module = torch_module(model)
    for kind in kinds:
        if kind not in KINDS:
            raise SettingError(
                f'no kind of site "{kind}"; there are {", ".join(KINDS)}.'
                f"{did_you_mean(kind, KINDS)}"
            )
    stacks = _stacks(module)
    return tuple(site for kind in KINDS if kind in kinds for site in _of_kind(module, stacks, kind))


def all_sites(model: Any) -> tuple[tuple[Site, ...], dict[str, str]]:
    """Find the sites of every kind, and for each kind that a model lacks, say why.

    Raises
    ------
    ModelError
        The model has neither blocks nor recurrent layers.
    """
    module = torch_module(model)
    stacks = _stacks(module)
    sites: list[Site] = []
    why: dict[str, str] = {}
    for kind in KINDS:
        try:
            sites += _of_kind(module, stacks, kind)
        except ModelError as error:
            why[kind] = error.message
    return tuple(sites), why


def _stacks(module: Any) -> tuple[Stack, ...]:
    """Return a model's stacks of blocks; none for a model of recurrent layers."""
    try:
        return find_stacks(module)
    except ModelError:
        if recurrent_modules(module):
            return ()
        raise


def _of_kind(module: Any, stacks: Sequence[Stack], kind: str) -> Sequence[Site]:
    """Return a model's sites of one kind; recurrent layers may sit on top of blocks."""
    if stacks and (kind != "state" or not recurrent_modules(module)):
        return _of_stacks(stacks, kind)
    return _of_layers(module, kind)


def _of_layers(module: Any, kind: str) -> tuple[Site, ...]:
    found = recurrent_sites(module, kind)
    if not found:
        named = ", ".join(path or type(m).__name__ for path, m in recurrent_modules(module))
        raise ModelError(
            f"found no {kind} site: this model has recurrent layers ({named}), whose kinds are "
            f"hidden and state; {ANY}"
        )
    return found


def _of_stacks(stacks: Sequence[Stack], kind: str) -> list[Site]:
    if kind == "state":
        raise ModelError(
            "found no state site: only recurrent layers (torch's LSTM, GRU, RNN) have states, and "
            f"this model is a stack of blocks at {', '.join(stack.path for stack in stacks)}"
        )
    sites: list[Site] = []
    for stack in stacks:
        first = stack.runs[0]
        width = first.left[-1]
        if kind == "hidden":
            sites.append(
                Site("hidden", 0, first.module, "input", width, stack.name, call=first.number)
            )
        for i, run in enumerate(stack.runs):
            if kind == "hidden":
                sites.append(
                    Site("hidden", i + 1, run.module, "output", width, stack.name, call=run.number)
                )
                continue
            cross = stack.name == "decoder"
            found = find_units(run) if kind == "mlp" else find_heads(run, cross=cross)
            if found is None:
                tried = ", ".join(f"{c.module} ({c.wide_in}→{c.wide_out})" for c in run.calls)
                why = ""
                if kind == "mlp" and any(call.beside for call in run.calls):
                    why = "its experts are modules of their own, given the tokens routed to them; "
                elif kind == "mlp" and any(call.experts for call in run.calls):
                    why = "its fused experts are called in a way that is not known; "
                raise ModelError(
                    f"found no {kind} site in block {run.module}; {why}its linear maps in order: "
                    f"{tried or 'none'}; {ANY}"
                )
            sites.append(
                Site(
                    kind,
                    i + 1,
                    found.module,
                    "input",
                    found.wide_in,
                    stack.name,
                    call=found.number,
                )
            )
    return sites


def called_before_last_block(module: Any) -> set[str]:
    """Return the paths of all modules that start before the last block has finished.

    Raises
    ------
    ModelError
        No list of blocks.
    """
    from nissl.model.trial import trial

    last = find_stacks(module)[-1].runs[-1]
    seen: set[str] = set()
    finished = 0

    def start(name: str) -> Any:
        def hook(mod: Any, args: tuple[Any, ...]) -> None:
            if finished <= last.number:
                seen.add(name)

        return hook

    def stop(mod: Any, args: tuple[Any, ...], out: Any) -> None:
        nonlocal finished
        finished += 1

    handles = [part.register_forward_pre_hook(start(name)) for name, part in module.named_modules()]
    handles.append(module.get_submodule(last.module).register_forward_hook(stop))
    try:
        trial(module)
    finally:
        for handle in handles:
            handle.remove()
    return seen
