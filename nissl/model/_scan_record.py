"""What a model computes before it comes to a site: kept once, and not computed again."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nissl.site import Site

__all__ = ["Call", "Prefix", "map_tensors", "recorded", "replaced"]


@dataclass(eq=False)
class Call:
    """One call of a module: its path, which call of it this was, what it gave, what ran inside."""

    path: str
    number: int
    out: Any = None
    over: bool = False
    inside: list[Call] = field(default_factory=list)

    def within(self) -> Counter[str]:
        """Count the calls of modules inside this one."""
        total: Counter[str] = Counter()
        for call in self.inside:
            total[call.path] += 1
            total += call.within()
        return total


@dataclass(eq=False)
class Prefix:
    """All that was over when a pass came to a site.

    Attributes
    ----------
    calls
        The outermost calls that were over, whose outputs can be repeated.
    given, out
        What the site's module was given first, and what it gave.
    """

    calls: list[Call]
    given: Any
    out: Any


@contextlib.contextmanager
def replaced(root: Any, make: Callable[[str, Any, Any], Any]) -> Iterator[None]:
    """Have ``make(path, module, forward)`` stand for the forward of modules, where not None.

    The forward alone: hooks of a module run as before. All is put back when the block ends.
    """
    before: list[tuple[Any, Any]] = []
    try:
        for path, module in root.named_modules():
            new = make(path, module, module.forward) if path else None
            if new is not None:
                before.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = new
        yield
    finally:
        for module, old in reversed(before):
            if old is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = old


def recorded(root: Any, site: Site, run: Callable[[], Any]) -> tuple[Any, Prefix | None]:
    """Run a model once; return its output, and what was over when it came to a site.

    Returns
    -------
    output, prefix
        No prefix where the pass never came to the site.
    """
    top = Call("", 0)
    open_calls = [top]
    count: Counter[str] = Counter()
    found: list[Prefix] = []

    def arrive(given: Any, out: Any) -> None:
        found.append(Prefix(list(_over(top)), _copy(given), _copy(out)))

    def make(path: str, module: Any, forward: Any) -> Any:
        @functools.wraps(forward)
        def watched(*args: Any, **kwargs: Any) -> Any:
            number = count[path]
            count[path] += 1
            here = path == site.module and number == site.call
            if found and not here:
                return forward(*args, **kwargs)
            call = Call(path, number)
            open_calls[-1].inside.append(call)
            open_calls.append(call)
            given = args[0] if args else None
            if here and site.point == "input":
                arrive(given, None)
            try:
                out = forward(*args, **kwargs)
            finally:
                open_calls.pop()
            if here and site.point == "input":
                found[0].out = _copy(out)
            elif not found:
                call.out, call.over = _copy(out), True
            if here and site.point == "output":
                arrive(given, out)
            return out

        return watched

    with replaced(root, make):
        out = run()
    return out, found[0] if found else None


def _over(call: Call) -> Iterator[Call]:
    """Go through the outermost calls that are over and whose output is only tensors."""
    for inner in call.inside:
        if inner.over and _plain(inner.out):
            yield inner
        else:
            yield from _over(inner)


def _plain(out: Any) -> bool:
    """Whether an output is made of tensors, numbers and texts alone, and holds a tensor."""
    import torch

    if isinstance(out, torch.Tensor):
        return True
    if isinstance(out, dict):
        return bool(out) and all(v is None or _plain(v) for v in out.values())
    if isinstance(out, tuple | list):
        return bool(out) and all(v is None or _plain(v) for v in out)
    return False


def _copy(out: Any) -> Any:
    """Return an output with copies of its tensors: a model may change its own in place."""
    return map_tensors(out, lambda tensor: tensor.clone())


def map_tensors(out: Any, change: Callable[[Any], Any]) -> Any:
    """Return an output of the same kind, each tensor changed."""
    import copy

    import torch

    if isinstance(out, torch.Tensor):
        return change(out)
    if isinstance(out, dict):
        new = copy.copy(out)
        for key, value in out.items():
            new[key] = map_tensors(value, change)
        return new
    if isinstance(out, tuple | list):
        parts = [map_tensors(value, change) for value in out]
        return type(out)(*parts) if hasattr(out, "_fields") else type(out)(parts)
    return out
