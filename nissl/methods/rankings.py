"""The registry of ranking methods: each a name, one sentence, settings, and one small function."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import polars as pl

from nissl.errors import SettingError, did_you_mean
from nissl.methods.rank import Ranking
from nissl.methods.target import Target
from nissl.methods.task import Task

__all__ = [
    "RANKINGS",
    "TARGET_RANKINGS",
    "RankingMethod",
    "method_table",
    "parse_method",
    "rank",
    "register_ranking",
]


@dataclass(frozen=True)
class RankingMethod:
    """A way to rank neurons, callable as ``(task, seed=0, **settings) -> Ranking``.

    A method for targets of numbers takes a :class:`~nissl.methods.Target` instead of a task.

    Attributes
    ----------
    name
        What it is called by, such as ``lca``.
    about
        What it ranks by, in a few words.
    run
        The function; its keyword-only parameters are the settings.
    seeded
        Whether another seed may give another order.
    slow
        Whether it takes more than a few CPU seconds on a model's neurons.
    """

    name: str
    about: str
    run: Callable[..., Ranking]
    seeded: bool = False
    slow: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """Settings and their defaults."""
        found = inspect.signature(self.run).parameters.values()
        return {p.name: p.default for p in found if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def note(self, name: str) -> str:
        """Return how a setting is annotated, as text."""
        return str(inspect.signature(self.run).parameters[name].annotation)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse a setting that the method does not have, and one of the wrong kind.

        A setting whose default is a number or true/false takes a value of that kind; one of whole
        numbers whose default is None, such a number or None.

        Raises
        ------
        SettingError
        """
        known = self.defaults
        for name, value in settings.items():
            if name not in known:
                there = f"it has {', '.join(known)}" if known else "it has none"
                raise SettingError(
                    f'{self.name} has no setting "{name}"; {there}.{did_you_mean(name, known)}'
                )
            kind = _wrong_kind(value, known[name], self.note(name))
            if kind:
                raise SettingError(f"{self.name}: {name} must be {kind}, not {_shown(value)}")

    def __call__(self, task: Task | Target, seed: int = 0, **settings: Any) -> Ranking:
        """Rank the neurons of a task."""
        self.check(settings)
        return self.run(task, seed, **settings)


RANKINGS: dict[str, RankingMethod] = {}
"""All methods that rank for classes, by name."""

TARGET_RANKINGS: dict[str, RankingMethod] = {}
"""All methods that rank for a target of numbers, by name; one name may be in both."""


def register_ranking(
    name: str, about: str, *, seeded: bool = False, slow: bool = False, targets: bool = False
) -> Callable[[Callable[..., Ranking]], Callable[..., Ranking]]:
    """Register the decorated function ``(task, seed, *, settings…) -> Ranking`` under a name.

    A plug-in does the same, and its method is then known to :func:`rank` and to
    :func:`~nissl.methods.compare`.

    Parameters
    ----------
    seeded, slow
        As in :class:`RankingMethod`.
    targets
        Whether the function ranks for a :class:`~nissl.methods.Target` instead of a task. The same
        name may stand for a method of either kind, with settings of its own.

    Raises
    ------
    SettingError
        The name is taken, or has a character that separates methods and settings.
    """
    registry = TARGET_RANKINGS if targets else RANKINGS
    if name in registry:
        raise SettingError(f'there is a ranking "{name}" already; choose another name')
    if not name or set(name) & set(":,= "):
        raise SettingError(f'a ranking cannot be called "{name}": no colon, comma, space or =')

    def add(run: Callable[..., Ranking]) -> Callable[..., Ranking]:
        registry[name] = RankingMethod(name, about, run, seeded, slow)
        return run

    return add


def rank(
    task: Task | Target, method: str | None = None, *, seed: int = 0, **settings: Any
) -> Ranking:
    """Rank the neurons of a task by a named method (see :data:`RANKINGS`).

    Parameters
    ----------
    task
        A task, or a target of numbers (see :data:`TARGET_RANKINGS`).
    method
        A name, which may carry settings: ``lca``, ``weights:over=max``. By default ``lca`` for a
        task and ``weights`` for a target.
    settings
        Settings of the method; they go before those that the name carries.

    Raises
    ------
    SettingError
        An unknown method or setting (the closest known name is suggested), or a method that does
        not rank for numbers.
    """
    targets = isinstance(task, Target)
    chosen, carried = parse_method(method or ("weights" if targets else "lca"), targets=targets)
    return chosen(task, seed=seed, **{**carried, **settings})


def parse_method(text: str, *, targets: bool = False) -> tuple[RankingMethod, dict[str, Any]]:
    """Split ``name:setting=value:setting=value`` into the method and its settings.

    A value is read as a number, as numbers where they are joined by ``+`` (``27+134``), as
    ``true``, ``false`` or ``none`` where it is one of these, else as text. ``targets`` says that
    the method is to rank for a target of numbers.

    Raises
    ------
    SettingError
        An unknown method or setting, or a setting without a value.
    """
    name, *rest = text.strip().split(":")
    registry = TARGET_RANKINGS if targets else RANKINGS
    other = RANKINGS if targets else TARGET_RANKINGS
    if name not in registry:
        known = ", ".join(registry)
        if name in other:
            kind = "a number; those that do" if targets else "classes; those that do"
            raise SettingError(f"{name} does not rank for {kind} are {known}")
        raise SettingError(f'no ranking "{name}"; there are {known}.{did_you_mean(name, registry)}')
    settings: dict[str, Any] = {}
    for item in rest:
        key, sign, value = item.partition("=")
        if not sign or not key or not value:
            raise SettingError(f'"{text}": write settings as {name}:setting=value')
        # A setting of words may have "none" among them; one of words or numbers takes numbers.
        words = isinstance(registry[name].defaults.get(key), str)
        settings[key] = value if words else _value(value)
        if words and "float" in registry[name].note(key):
            with contextlib.suppress(ValueError):
                settings[key] = float(value)
    registry[name].check(settings)
    return registry[name], settings


def method_table(*, targets: bool = False) -> pl.DataFrame:
    """Return one row a ranking method: ``method, about, settings, seeded, slow, numbers``.

    ``numbers`` says whether a method of that name ranks for targets of numbers too; with
    ``targets`` the table is that of those.
    """
    return pl.DataFrame(
        [
            {
                "method": method.name,
                "about": method.about,
                "settings": ", ".join(f"{k}={_shown(v)}" for k, v in method.defaults.items()),
                "seeded": method.seeded,
                "slow": method.slow,
                "numbers": method.name in TARGET_RANKINGS,
            }
            for method in (TARGET_RANKINGS if targets else RANKINGS).values()
        ]
    )


def _wrong_kind(value: Any, default: Any, note: str) -> str | None:
    """Say what a value should be where it cannot stand for the default, else None."""
    truth = isinstance(value, bool | np.bool_)
    if default is None and note == "int | None":
        fine = value is None or (isinstance(value, Integral) and not truth)
        return None if fine else "a whole number or none"
    if isinstance(default, bool):
        return None if truth else "true or false"
    if isinstance(default, int) and "float" not in note:
        return None if isinstance(value, Integral) and not truth else "a whole number"
    if isinstance(default, int | float):
        return None if isinstance(value, Real) and not truth else "a number"
    return None


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    if "+" in text:
        with contextlib.suppress(ValueError):
            return tuple(int(part) for part in text.split("+"))
    return text


def _shown(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else f"{value}"
