"""The error that these tools report in one sentence."""

from __future__ import annotations

__all__ = ["PrepareError"]


class PrepareError(Exception):
    """A package, file or folder that cannot be used as it is; the message says what to do."""
