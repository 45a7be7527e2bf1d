"""Hooks that change what passes through sites, and that are gone whatever happens."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

from nissl.errors import ModelError
from nissl.model._edit_change import Change
from nissl.model._edit_flow import enter, follow, leave
from nissl.model._edit_moment import Moment
from nissl.model._edit_recurrent import rerun
from nissl.model.experts import is_experts
from nissl.model.recurrent import layers_before
from nissl.site import Site

__all__ = ["changed", "check_editable", "paused", "root_of"]

_PAUSED: ContextVar[bool] = ContextVar("nissl_edits_paused", default=False)


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Let passes through unedited, such as trial passes that look for sites."""
    token = _PAUSED.set(True)
    try:
        yield
    finally:
        _PAUSED.reset(token)


def root_of(module: Any) -> Any:
    """Return the module, or raise ModelError where it or a part is compiled: no hook would run."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"a {type(module).__name__} is no torch module; give the model itself")
    for path, part in module.named_modules():
        where = f"its part {path}" if path else "the model"
        if isinstance(part, torch.jit.ScriptModule):
            raise ModelError(
                f"{where} is a TorchScript module, whose inside no hook can reach; edit the "
                "module that it was made of"
            )
        if hasattr(part, "_orig_mod"):
            raise ModelError(
                f"{where} was compiled with torch.compile, and hooks do not run inside a compiled "
                "graph; edit the original module (model._orig_mod) and run that one"
            )
        if getattr(part, "_compiled_call_impl", None) is not None:
            raise ModelError(
                f"{where} was compiled in place with .compile(), and hooks do not run inside a "
                "compiled graph; load the model again and leave .compile() out"
            )
    return module


def check_editable(root: Any, site: Site) -> Any:
    """Return the site's module, after seeing that what flows on there can be changed.

    Raises
    ------
    ModelError
        No such module, or what is seen at the site is not what the model goes on with.
    """
    import torch

    try:
        module = root.get_submodule(site.module)
    except AttributeError:
        raise ModelError(
            f"site {site.name} is at {site.module}, which this model lacks; see find_sites"
        ) from None
    if site.kind == "mlp" and is_experts(module):
        raise ModelError(
            f"the units of {site.name} are computed inside fused experts ({site.module}) and never "
            "pass through a module, so they cannot be edited; edit hidden or head sites"
        )
    if isinstance(module, torch.nn.RNNBase) and site.kind == "module" and site.point == "output":
        raise ModelError(
            f"{site.name} is the output of recurrent layers, whose final states would stay as they "
            "are; edit hidden or state sites, which are changed inside the recurrence"
        )
    return module


@contextlib.contextmanager
def changed(
    root: Any, sites: Sequence[Site], change: Change, *, everywhere: bool = True
) -> Iterator[Moment]:
    """Have a change made at sites in every pass of the block.

    Parameters
    ----------
    everywhere
        Whether it does not matter which token is which; else the length of the prompt is noted
        when text is generated.

    Raises
    ------
    ModelError
        A site cannot be edited; see :func:`check_editable`. While the model runs: what comes is
        not what the site says.
    """
    moment = Moment(root)
    groups: dict[str, list[Site]] = defaultdict(list)
    for site in dict.fromkeys(sites):
        groups[site.module].append(site)
    for site in sites:
        check_editable(root, site)
    modules = {path: root.get_submodule(path) for path in groups}
    with contextlib.ExitStack() as stack:

        def hold(handle: Any) -> None:
            stack.callback(handle.remove)

        if not everywhere:
            stack.enter_context(moment.generation())
        for path, holder in _holders(root, groups):
            hold(holder.register_forward_pre_hook(_begin(moment, path), with_kwargs=True))
        for path, wanted in groups.items():
            module = modules[path]
            layers, entering, leaving = _sort(module, wanted)
            if layers:
                hook = _on_layers(
                    moment, path, layers, change, layers_before(root, path), everywhere
                )
                hold(module.register_forward_hook(hook, with_kwargs=True))
            if entering:
                hook = _on_input(moment, path, entering, change)
                hold(module.register_forward_pre_hook(hook, with_kwargs=True))
            if leaving:
                hook = _on_output(moment, path, leaving, change)
                hold(module.register_forward_hook(hook))
        # After the others: a pass ends when all is changed, also where the root is a site itself.
        for path, holder in _holders(root, groups):
            hold(holder.register_forward_hook(_end(moment, path), always_call=True))
        yield moment


def _holders(root: Any, paths: Any) -> list[tuple[str, Any]]:
    """Return the root and all modules that hold a site: a pass may begin at any of them."""
    found = {""}
    for path in paths:
        parts = path.split(".")
        found |= {".".join(parts[:i]) for i in range(1, len(parts))}
    return [(path, root.get_submodule(path)) for path in sorted(found)]


def _sort(module: Any, sites: Sequence[Site]) -> tuple[list[Site], list[Site], list[Site]]:
    """Return a module's sites: inside recurrent layers, at its input, at its output."""
    import torch

    recurrent = isinstance(module, torch.nn.RNNBase)
    layers = [s for s in sites if recurrent and s.kind in ("hidden", "state") and s.layer > 0]
    rest = [s for s in sites if s not in layers]
    return (
        layers,
        [s for s in rest if s.point == "input"],
        [s for s in rest if s.point == "output"],
    )


def _begin(moment: Moment, path: str) -> Any:
    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not _PAUSED.get():
            moment.begin(path, args, kwargs)

    return hook


def _end(moment: Moment, path: str) -> Any:
    def hook(module: Any, args: tuple[Any, ...], out: Any) -> None:
        if not _PAUSED.get():
            moment.end(path)

    return hook


def _on_input(moment: Moment, path: str, wanted: Sequence[Site], change: Change) -> Any:
    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _PAUSED.get():
            return None
        for site in moment.due(path, "input", wanted):
            raw = enter(path, args, kwargs)
            args, kwargs = follow(args, kwargs, change.tensor(site, _fit(site, raw), moment))
        return args, kwargs

    return hook


def _on_output(moment: Moment, path: str, wanted: Sequence[Site], change: Change) -> Any:
    def hook(module: Any, args: tuple[Any, ...], out: Any) -> Any:
        if _PAUSED.get():
            return None
        for site in moment.due(path, "output", wanted):
            out = leave(path, out, lambda raw, s=site: change.tensor(s, _fit(s, raw), moment))
        return out

    return hook


def _on_layers(
    moment: Moment,
    path: str,
    wanted: Sequence[Site],
    change: Change,
    below: int,
    everywhere: bool,
) -> Any:
    places: dict[tuple[int, str], list[Site]] = defaultdict(list)
    for site in wanted:
        places[site.layer - below - 1, site.part or "hidden"].append(site)

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        if _PAUSED.get():
            return None
        moment.due(path, "layers", wanted)
        given = args[0] if args else kwargs["input"]
        start = args[1] if len(args) > 1 else kwargs.get("hx")
        again = moment.calls[path, "layers"] > 1
        if again and not everywhere:
            raise ModelError(
                f"{path} runs several times in one pass, as a decoder that is called step by step "
                "does, and its positions are not known; edit it everywhere"
            )

        def touch(layer: int, part: str, value: Any, columns: Any, length: int, last: Any) -> Any:
            for site in places.get((layer, part), ()):
                at = moment.at_step(site, len(value), columns, length, last)
                value = change.step(site, value, at)
            return value

        return rerun(module, given, start, out, touch, frozenset(places))

    return hook


def _fit(site: Site, raw: Any) -> Any:
    """Return the tensor, after seeing that it is as wide as the site."""
    if raw.shape[-1:] != (site.width,):
        raise ModelError(
            f"site {site.name} is {site.width} wide, {site.module} has {tuple(raw.shape)}; see "
            "find_sites"
        )
    return raw
