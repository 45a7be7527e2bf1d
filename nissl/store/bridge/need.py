"""Libraries that only a bridge needs: imported when it is crossed."""

from __future__ import annotations

import importlib
from types import ModuleType

from nissl.errors import StoreError

__all__ = ["need"]


def need(name: str) -> ModuleType:
    """Import a library of the ``bridge`` extra.

    Raises
    ------
    StoreError
        It is not installed, or cannot be imported; says what installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StoreError(
            f'{name} cannot be imported ({error}); pip install "nissl[bridge]"'
        ) from None
