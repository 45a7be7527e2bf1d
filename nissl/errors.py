"""One documented family of errors: each says where, what is wrong and what to do.

Every error that a user's input can cause is a :class:`NisslError`. The command line prints its one
sentence and exits with :data:`EXIT_CODE`; a notebook sees an ordinary exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "EXIT_CODE",
    "EngineError",
    "InputError",
    "LabelError",
    "ModelError",
    "NisslError",
    "NotConverged",
    "SettingError",
    "StoreError",
    "did_you_mean",
]

EXIT_CODE = 2
"""Exit status of the command line when the input, not the program, is at fault."""


class NisslError(ValueError):
    """Something about the input keeps the work from being done.

    Parameters
    ----------
    message
        One sentence that says what is wrong and what to do.
    where
        The place, usually ``file:line``; printed before the message.
    """

    def __init__(self, message: str, *, where: str | None = None) -> None:
        self.message = message
        self.where = where
        super().__init__(f"{where}: {message}" if where else message)


class InputError(NisslError):
    """A file, row, sentence or word that cannot be used as it is."""


class LabelError(NisslError):
    """A label column or class that is missing, empty or unusable."""


class ModelError(NisslError):
    """A model that cannot be found, is unsafe to load, or has no such site."""


class StoreError(NisslError):
    """An activation store that is damaged, foreign or made from something else."""


class EngineError(NisslError):
    """Workers that cannot be reached, are not installed, or died again and again."""


class SettingError(NisslError):
    """An option whose value is impossible or contradicts another."""


class NotConverged(UserWarning):
    """A fit that stopped before its tolerance; what it reached is in its certificate."""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return ``' Did you mean "x"?'`` for the closest option, or ``''`` when none is close."""
    close = difflib.get_close_matches(word, list(options), n=1, cutoff=0.6)
    return f' Did you mean "{close[0]}"?' if close else ""
