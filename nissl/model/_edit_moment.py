"""Where in a pass, and in a text that is being generated, the model is when a hook runs."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from nissl.errors import ModelError
from nissl.model._edit_where import At
from nissl.model.blocks import time_major
from nissl.model.shapes import Pass, shape_of_pass
from nissl.model.trial import main_input
from nissl.site import Site

__all__ = ["Moment", "one_text"]

_TEXT: ContextVar[object | None] = ContextVar("nissl_text", default=None)


@contextlib.contextmanager
def one_text() -> Iterator[None]:
    """Have the passes of the block write one text: the first is its prompt, later ones go on.

    What ``generate`` of a Hugging Face model does for edits, for loops of one's own.
    """
    token = _TEXT.set(object())
    try:
        yield
    finally:
        _TEXT.reset(token)


class Moment:
    """The pass that runs now.

    Columns are counted through the whole sequence: where keys and values are kept in a cache, the
    first token of a pass is the one after those. The columns of the first pass are the prompt's.
    """

    def __init__(self, root: Any) -> None:
        # Asked before any pass, for it may try the model.
        swapped = main_input(root) == "input_ids" and time_major(root)
        self.root = root
        self.shape = Pass(root, swapped)
        self.calls: dict[tuple[str, str], int] = defaultdict(int)
        self.finished = 0
        self._active: set[str] = set()
        self._number = 0
        self._kwargs: dict[str, Any] = {}
        self._start = 0
        self._generates = False
        self._text: object | None = None
        self._first: dict[str, int] = {}
        self._prompts: dict[str, tuple[int, Any]] = {}

    @contextlib.contextmanager
    def generation(self) -> Iterator[None]:
        """Note when ``generate`` begins: the first pass in it is the prompt, cache or not."""
        model = self.root
        plain = getattr(model, "generate", None)
        if plain is None:
            yield
            return
        before = model.__dict__.get("generate")

        def generate(*args: Any, **kwargs: Any) -> Any:
            self._generates = True
            self._first.clear()
            try:
                return plain(*args, **kwargs)
            finally:
                self._generates = False

        model.__dict__["generate"] = generate
        try:
            yield
        finally:
            if before is None:
                model.__dict__.pop("generate", None)
            else:
                model.__dict__["generate"] = before

    def begin(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A module that holds sites was entered; a pass begins with the outermost one."""
        # A module is not entered inside itself: it was left without a word, by an interruption.
        if path == "" or path in self._active:
            self._active.clear()
        if not self._active:
            self.calls.clear()
            self._number += 1
            if (text := _TEXT.get()) is not self._text:
                self._text = text
                self._first.clear()
            self._kwargs = kwargs
            self._start = _cached(kwargs)
            if path == "":
                shape_of_pass(self.shape, args, kwargs)
            else:
                self.shape.batch, self.shape.lengths = None, {}
        self._active.add(path)

    def end(self, path: str) -> None:
        """The module was left."""
        self._active.discard(path)
        self.finished += path == ""

    def due(self, path: str, point: str, wanted: Sequence[Site]) -> list[Site]:
        """Count a call of a module and return the sites that it is."""
        if not self._active:  # the module itself was called, and none that holds it
            self.begin(path, (), {})
            self._active.clear()
        number = self.calls[path, point]
        self.calls[path, point] += 1
        return [site for site in wanted if site.call == number]

    def at(self, site: Site, values: Any) -> At:
        """Return the tokens of values (batch, length, width) at a site."""
        import torch

        if values.dim() != 3:
            raise ModelError(
                f"site {site.name} has shape {tuple(values.shape)}, not batch × length × width; "
                "edit another site"
            )
        batch, length = values.shape[:2]
        start = 0 if site.stack == "encoder" else self._start
        columns = torch.arange(start, start + length, device=values.device)[None]
        return self._note(site, batch, columns, length)

    def at_step(self, site: Site, batch: int, columns: Any, length: int, last: Any = None) -> At:
        """Return the tokens of one step of a recurrent layer, at columns (batch,) of a length."""
        # A model may take its steps one by one, each a call of the layers.
        calls = max(1, self.calls[site.module, "layers"])
        if last is None:
            return self._note(site, batch, columns[:, None] + (calls - 1) * length, length)
        # Packed sequences have no steps that are padding in the whole batch; the input may.
        at = self._note(site, batch, columns[:, None], self.shape.lengths.get("") or length)
        return replace(at, last=last)

    def _note(self, site: Site, batch: int, columns: Any, length: int) -> At:
        stack = site.stack
        first = self._first.get(stack)
        writes = self._generates or self._text is not None
        goes_on = writes and first is not None and first != self._number
        goes_on = goes_on or (self._start > 0 and stack != "encoder")
        if not goes_on:
            if first != self._number:
                self._first[stack] = self._number
                self._prompts[stack] = (length, self._last(stack, batch, length))
            prompt, last = length, self._prompts[stack][1]
        else:
            prompt, last = self._prompts.get(stack, (self._start, None))
        return At(batch, columns, prompt, last, goes_on)

    def _last(self, stack: str, batch: int, length: int) -> Any:
        """Return the column of each row's last real token, or None where no mask says it."""
        import torch

        names = ("decoder_attention_mask",) if stack == "decoder" else ("attention_mask", "mask")
        for name in names:
            mask = self._kwargs.get(name)
            if isinstance(mask, torch.Tensor) and tuple(mask.shape) == (batch, length):
                columns = torch.arange(length, device=mask.device)
                return torch.where(mask > 0, columns, -1).max(dim=1).values
        return None


def _cached(kwargs: dict[str, Any]) -> int:
    """Return how many tokens a cache already holds."""
    past = kwargs.get("past_key_values")
    if past is None:
        return 0
    if hasattr(past, "get_seq_length"):
        return int(past.get_seq_length())
    return int(past[0][0].shape[-2]) if len(past) and past[0] else 0
