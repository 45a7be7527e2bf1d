"""Fresh random weights: an architecture from its configuration and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["random_model"]

FILL = "fill_uninitialized_memory"  # torch makes this attribute where type checkers do not see it


def random_model(config: Any, auto: Any = None) -> Any:
    """Build a model with random weights; none is what happened to be in memory.

    Parameters
    ----------
    config
        Its configuration.
    auto
        The library's class that builds it, for a model with a head; by default ``AutoModel``.
    """
    import torch
    from transformers import AutoModel

    auto = auto or AutoModel
    with _uninitialised_is_nan():
        model: Any = auto.from_config(config, trust_remote_code=False, dtype=torch.float32)
    for value in model.parameters():
        # An architecture may forget to initialise a parameter.
        if value.is_floating_point() and bool(torch.isnan(value).any()):
            torch.nn.init.normal_(value, std=getattr(config, "initializer_range", None) or 0.02)
    return model


@contextlib.contextmanager
def _uninitialised_is_nan() -> Iterator[None]:
    """Have torch fill new memory with NaN, so that what is never set can be told."""
    import torch
    import torch.utils.deterministic as memory

    strict = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = getattr(memory, FILL)
    torch.use_deterministic_algorithms(True, warn_only=True)
    setattr(memory, FILL, True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=lenient)
        setattr(memory, FILL, fill)
