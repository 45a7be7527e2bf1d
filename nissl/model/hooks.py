"""Record what passes through sites while a model runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nissl.errors import ModelError
from nissl.model.sites import block_input, first_tensor
from nissl.site import Site

__all__ = ["capture"]


@contextlib.contextmanager
def capture(
    model: Any, sites: Sequence[Site], *, keep: Callable[[Any], Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a dictionary that holds, after each forward pass, site name → (batch, length, width).

    All hooks are gone when the block ends, however it ends.

    Parameters
    ----------
    keep
        What to keep of each tensor, called while the model runs; use it to pick the rows that are
        wanted. By default the tensor of the pass itself, not a copy: read it before the next pass,
        and not at all if the model goes on to change it in place.

    Raises
    ------
    ModelError
        The model has no such module.
    """
    choose = keep or (lambda tensor: tensor)
    seen: dict[str, Any] = {}
    handles = []

    def on_input(name: str) -> Any:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen[name] = choose(block_input(args, kwargs))

        return hook

    def on_output(name: str) -> Any:
        def hook(module: Any, args: tuple[Any, ...], out: Any) -> None:
            seen[name] = choose(first_tensor(out))

        return hook

    try:
        for site in sites:
            try:
                module = model.get_submodule(site.module)
            except AttributeError:
                raise ModelError(
                    f"site {site.name} is at {site.module}, which {type(model).__name__} lacks; "
                    "find the sites of this model with find_sites"
                ) from None
            if site.point == "input":
                handles.append(
                    module.register_forward_pre_hook(on_input(site.name), with_kwargs=True)
                )
            else:
                handles.append(module.register_forward_hook(on_output(site.name)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        seen.clear()
