"""Record what passes through sites while a model runs."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nissl.errors import ModelError
from nissl.model.blocks import time_major
from nissl.model.experts import expert_units, is_experts
from nissl.model.recurrent import batch_first, layers_before, read_input, unroll
from nissl.model.shapes import Pass, shape_of_pass, to_batch
from nissl.model.sites import torch_module
from nissl.model.trace import block_input, first_tensor
from nissl.model.trial import main_input
from nissl.site import Site

__all__ = ["Enough", "capture"]


class Enough(BaseException):
    """All wanted sites were seen: ends a pass early, through whatever the model catches."""


@contextlib.contextmanager
def capture(
    model: Any,
    sites: Sequence[Site],
    *,
    keep: Callable[[Site, Any], Any] | None = None,
    stop: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield a dictionary that holds, after each forward pass, site name → (batch, length, width).

    Modules that flatten their tokens, or have length before batch, are brought to that shape where
    the pass shows batch and length; a ``module`` site of another shape stays as it is. All hooks
    are gone when the block ends, however it ends.

    Parameters
    ----------
    keep
        What to keep of each tensor, called with its site while the model runs; use it to pick the
        rows that are wanted. By default the tensor of the pass itself, not a copy: read it before
        the next pass, and not at all if the model goes on to change it in place.
    stop
        Whether to end a pass as soon as every site was seen; run the model through
        :func:`~nissl.model.run` or :func:`~nissl.model.run_inputs` then, which return None for a
        pass that was ended. Not done where accelerate moves weights about, for they would stay
        where they are.

    Raises
    ------
    ModelError
        The model has no such module, or a site's tensor is not batch × length × width.
    """
    root = torch_module(model)
    choose = keep or (lambda site, tensor: tensor)
    sites = list(dict.fromkeys(sites))
    early = stop and not _moves_weights(root)
    seen: dict[str, Any] = {}
    calls: dict[tuple[str, str], int] = defaultdict(int)
    state = Pass(root, _swapped(root, sites))
    handles: list[Any] = []

    def begin(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.clear()
        calls.clear()
        shape_of_pass(state, args, kwargs)

    def take(site: Site, tensor: Any) -> None:
        if tensor.shape[-1:] != (site.width,):
            raise ModelError(
                f"site {site.name} is {site.width} wide, {site.module} gives "
                f"{tuple(tensor.shape)}; find the sites of this model with find_sites"
            )
        seen[site.name] = choose(site, tensor)
        if early and len(seen) == len(sites):
            raise Enough

    def due(path: str, point: str, wanted: Sequence[Site]) -> list[Site]:
        """Count a call and return the sites that it is."""
        number = calls[path, point]
        calls[path, point] += 1
        return [site for site in wanted if site.call == number]

    def on_input(path: str, wanted: Sequence[Site]) -> Any:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            for site in due(path, "input", wanted):
                mixture = site.kind == "mlp" and is_experts(module)
                found = expert_units(module, args, kwargs) if mixture else block_input(args, kwargs)
                take(site, to_batch(state, site, found))

        return hook

    def on_output(path: str, wanted: Sequence[Site]) -> Any:
        def hook(module: Any, args: tuple[Any, ...], out: Any) -> None:
            for site in due(path, "output", wanted):
                found = first_tensor(out)
                if not hasattr(found, "shape"):
                    raise ModelError(f"{path} gives no tensor but {type(found).__name__}")
                take(site, to_batch(state, site, found))

        return hook

    def on_layers(path: str, wanted: Sequence[Site]) -> Any:
        below = layers_before(root, path)

        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            if calls[path, "layers"]:
                raise ModelError(
                    f"{path} runs several times in one pass, as a decoder that is called step by "
                    "step does; give it the whole sentence at once"
                )
            chosen = due(path, "layers", wanted)
            given = args[0] if args else kwargs["input"]
            start = args[1] if len(args) > 1 else kwargs.get("hx")
            top = below + module.num_layers
            layers = None
            for site in chosen:
                if site.point == "input":
                    found = batch_first(read_input(module, given).values)
                elif site.kind == "hidden" and site.layer == top:
                    found = batch_first(read_input(module, out[0]).values)
                else:
                    layers = layers or unroll(module, given, start, out)
                    found = layers[site.layer - below - 1][site.part or "hidden"]
                take(site, state.lengthened(found))

        return hook

    try:
        handles.append(root.register_forward_pre_hook(begin, with_kwargs=True))
        for path, wanted in _by_module(sites).items():
            try:
                module = root.get_submodule(path)
            except AttributeError:
                raise ModelError(
                    f"site {wanted[0].name} is at {path}, which {type(root).__name__} lacks; "
                    "find the sites of this model with find_sites"
                ) from None
            layers, entering, leaving = _sort(module, wanted)
            if layers:
                handles.append(
                    module.register_forward_hook(on_layers(path, layers), with_kwargs=True)
                )
            if entering:
                handles.append(
                    module.register_forward_pre_hook(on_input(path, entering), with_kwargs=True)
                )
            if leaving:
                handles.append(module.register_forward_hook(on_output(path, leaving)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        seen.clear()


def _by_module(sites: Sequence[Site]) -> dict[str, list[Site]]:
    groups: dict[str, list[Site]] = defaultdict(list)
    for site in sites:
        groups[site.module].append(site)
    return dict(groups)


def _sort(module: Any, sites: Sequence[Site]) -> tuple[list[Site], list[Site], list[Site]]:
    """Return a module's sites: of recurrent layers, of its input, of its output."""
    import torch

    recurrent = isinstance(module, torch.nn.RNNBase)
    layers = [s for s in sites if recurrent and s.kind in ("hidden", "state")]
    rest = [s for s in sites if s not in layers]
    return (
        layers,
        [s for s in rest if s.point == "input"],
        [s for s in rest if s.point == "output"],
    )


def _swapped(root: Any, sites: Sequence[Site]) -> bool:
    """Whether length comes before batch in what is seen; asked before any pass, for it may try."""
    if all(site.kind == "state" for site in sites) or main_input(root) != "input_ids":
        return False
    return time_major(root)


def _moves_weights(root: Any) -> bool:
    """Whether accelerate brings weights in and out around each module."""
    places = getattr(root, "hf_device_map", None) or {}
    return any(place in ("cpu", "disk") for place in places.values())
