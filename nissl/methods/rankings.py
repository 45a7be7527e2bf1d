"""The registry of ranking methods: each a name, one sentence, settings, and one small function."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from nissl.errors import SettingError, did_you_mean
from nissl.methods.rank import Ranking
from nissl.methods.task import Task

__all__ = [
    "RANKINGS",
    "RankingMethod",
    "method_table",
    "parse_method",
    "rank",
    "register_ranking",
]


@dataclass(frozen=True)
class RankingMethod:
    """A way to rank neurons, callable as ``(task, seed=0, **settings) -> Ranking``.

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

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse a setting that the method does not have.

        Raises
        ------
        SettingError
        """
        known = self.defaults
        for name in settings:
            if name not in known:
                there = f"it has {', '.join(known)}" if known else "it has none"
                raise SettingError(
                    f'{self.name} has no setting "{name}"; {there}.{did_you_mean(name, known)}'
                )

    def __call__(self, task: Task, seed: int = 0, **settings: Any) -> Ranking:
        """Rank the neurons of a task."""
        self.check(settings)
        return self.run(task, seed, **settings)


RANKINGS: dict[str, RankingMethod] = {}
"""All ranking methods by name."""


def register_ranking(
    name: str, about: str, *, seeded: bool = False, slow: bool = False
) -> Callable[[Callable[..., Ranking]], Callable[..., Ranking]]:
    """Register the decorated function ``(task, seed, *, settings…) -> Ranking`` under a name.

    A plug-in does the same, and its method is then known to :func:`rank` and to
    :func:`~nissl.methods.compare`.

    Raises
    ------
    SettingError
        The name is taken, or has a character that separates methods and settings.
    """
    if name in RANKINGS:
        raise SettingError(f'there is a ranking "{name}" already; choose another name')
    if not name or set(name) & set(":,= "):
        raise SettingError(f'a ranking cannot be called "{name}": no colon, comma, space or =')

    def add(run: Callable[..., Ranking]) -> Callable[..., Ranking]:
        RANKINGS[name] = RankingMethod(name, about, run, seeded, slow)
        return run

    return add


def rank(task: Task, method: str = "lca", *, seed: int = 0, **settings: Any) -> Ranking:
    """Rank the neurons of a task by a named method (see :data:`RANKINGS`).

    Parameters
    ----------
    method
        A name, which may carry settings: ``lca``, ``weights:over=max``.
    settings
        Settings of the method; they go before those that the name carries.

    Raises
    ------
    SettingError
        An unknown method or setting; the closest known name is suggested.
    """
    chosen, carried = parse_method(method)
    return chosen(task, seed=seed, **{**carried, **settings})


def parse_method(text: str) -> tuple[RankingMethod, dict[str, Any]]:
    """Split ``name:setting=value:setting=value`` into the method and its settings.

    A value is read as a number, as numbers where they are joined by ``+`` (``27+134``), as
    ``true``, ``false`` or ``none`` where it is one of these, else as text.

    Raises
    ------
    SettingError
        An unknown method or setting, or a setting without a value.
    """
    name, *rest = text.strip().split(":")
    if name not in RANKINGS:
        raise SettingError(
            f'no ranking "{name}"; there are {", ".join(RANKINGS)}.{did_you_mean(name, RANKINGS)}'
        )
    settings: dict[str, Any] = {}
    for item in rest:
        key, sign, value = item.partition("=")
        if not sign or not key or not value:
            raise SettingError(f'"{text}": write settings as {name}:setting=value')
        settings[key] = _value(value)
    RANKINGS[name].check(settings)
    return RANKINGS[name], settings


def method_table() -> pl.DataFrame:
    """Return one row a ranking method: ``method, about, settings, seeded, slow``."""
    return pl.DataFrame(
        [
            {
                "method": method.name,
                "about": method.about,
                "settings": ", ".join(f"{k}={_shown(v)}" for k, v in method.defaults.items()),
                "seeded": method.seeded,
                "slow": method.slow,
            }
            for method in RANKINGS.values()
        ]
    )


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
