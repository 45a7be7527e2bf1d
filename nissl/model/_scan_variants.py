"""Many variants of one batch in one pass, each with another neuron changed."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nissl.model._edit_change import Edits
from nissl.model._edit_flow import enter, follow, leave
from nissl.model._edit_hooks import changed
from nissl.model._edit_moment import Moment
from nissl.model._edit_where import At
from nissl.model._scan_record import Call, Prefix, map_tensors, replaced
from nissl.site import Site

__all__ = ["OneEach", "repeat", "resumed", "whole"]


@dataclass(eq=False)
class OneEach:
    """An operation that sets neuron ``units[v]`` to ``targets[v]`` in all rows of variant v.

    Rows are variant by variant: row v × batch + b is row b of variant v.
    """

    units: np.ndarray
    targets: np.ndarray

    def __call__(self, values: Any, at: At) -> None:
        """Change values (variants × batch, length, width) in place."""
        import torch

        each = len(values) // len(self.units)
        rows = torch.arange(len(values), device=values.device)
        units = torch.as_tensor(np.repeat(self.units, each), device=values.device)
        new = torch.as_tensor(np.repeat(self.targets, each)).to(values)
        values[rows, :, units] = new[:, None].expand(-1, values.shape[1])


def repeat(out: Any, variants: int, sizes: frozenset[int]) -> Any:
    """Return an output with every tensor repeated whose first axis runs over the batch.

    Parameters
    ----------
    sizes
        Sizes of a first axis that are the batch's: its rows, or all its tokens in a row.
    """

    def change(tensor: Any) -> Any:
        if not tensor.dim() or tensor.shape[0] not in sizes:
            return tensor
        return tensor.repeat(variants, *(1,) * (tensor.dim() - 1))

    return map_tensors(out, change)


@contextlib.contextmanager
def whole(root: Any, site: Site, each: OneEach) -> Iterator[None]:
    """Change the variants' neurons by hooks, in passes that run every module."""
    with changed(root, [site], Edits({site: (each,)})):
        yield


@contextlib.contextmanager
def resumed(
    root: Any, site: Site, each: OneEach, prefix: Prefix, sizes: frozenset[int]
) -> Iterator[None]:
    """Change the variants' neurons in passes that begin at the site.

    Modules that were over before it give what they gave then, repeated. Where the site is the
    input of a linear map, its output is not computed anew but corrected by the change of one
    neuron times its weights.
    """
    variants = len(each.units)
    kept: dict[str, dict[int, Call]] = defaultdict(dict)
    for call in prefix.calls:
        kept[call.path][call.number] = call
    inner = {id(call): call.within() for call in prefix.calls}
    count: Counter[str] = Counter()
    moment = Moment(root)
    edit = Edits({site: (each,)})
    weights = _columns(root.get_submodule(site.module), each) if site.point == "input" else None

    def begin(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        count.clear()
        moment.begin("", args, kwargs)

    def at_site(forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        def change(raw: Any) -> Any:
            return edit.tensor(site, raw, moment)

        if site.point == "output":
            return leave(site.module, repeat(prefix.out, variants, sizes), change)
        if weights is not None and prefix.given is not None:
            return _corrected(prefix, each, weights)
        args, kwargs = follow(args, kwargs, change(enter(site.module, args, kwargs)))
        return forward(*args, **kwargs)

    def make(path: str, module: Any, forward: Any) -> Any:
        calls = kept.get(path, {})
        if not calls and path != site.module:
            return None

        @functools.wraps(forward)
        def stub(*args: Any, **kwargs: Any) -> Any:
            number = count[path]
            count[path] += 1
            here = path == site.module and number == site.call
            if number in calls:
                # What runs inside is not called now, but counts.
                count.update(inner[id(calls[number])])
            if here:
                return at_site(forward, args, kwargs)
            if number in calls:
                return repeat(calls[number].out, variants, sizes)
            return forward(*args, **kwargs)

        return stub

    handle = root.register_forward_pre_hook(begin, with_kwargs=True)
    try:
        with replaced(root, make):
            yield
    finally:
        handle.remove()


def _columns(module: Any, each: OneEach) -> Any:
    """Return the weights that lead out of each variant's neuron, (variants, out), or None.

    None where the module is no plain linear map, or does not compute in the weights' type.
    """
    import torch

    weight: Any = getattr(module, "weight", None)
    kind = type(module)
    conv = kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"
    if not conv and kind is not torch.nn.Linear:
        return None
    # Half precision would round the correction in another way than the product.
    if "forward" in module.__dict__ or weight.dtype not in (torch.float32, torch.float64):
        return None
    if weight.is_meta or torch.is_autocast_enabled(weight.device.type):
        return None
    units = torch.as_tensor(each.units, device=weight.device)
    return weight.detach()[units] if conv else weight.detach()[:, units].T


def _corrected(prefix: Prefix, each: OneEach, weights: Any) -> Any:
    """Return the map's output for each variant: the old one, and the neuron's change led on."""
    import torch

    given, out = prefix.given, prefix.out
    units = torch.as_tensor(each.units, device=given.device)
    targets = torch.as_tensor(each.targets).to(given)
    shift = (targets - given.index_select(-1, units)).movedim(-1, 0)
    lead = (1,) * (given.dim() - 1)
    new = weights.reshape(len(units), *lead, -1) * shift[..., None]
    new += out
    return new.reshape(len(units) * out.shape[0], *out.shape[1:])
