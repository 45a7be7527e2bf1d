"""Which neurons an edit is of, and the values that it is given for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nissl.errors import SettingError, did_you_mean
from nissl.site import Site, format_neuron, parse_neuron

__all__ = ["Neurons", "Target", "read_captured", "read_neurons", "read_pool", "read_values"]

Neurons = str | tuple[str | Site, Any] | Sequence[str | tuple[str | Site, Any]]
"""An id such as ``mlp.3:117``, a pair (site, units), or several of either."""


@dataclass(frozen=True, eq=False)
class Target:
    """Neurons of one site: their indices in it, and which of the edit's values are theirs."""

    site: str | Site
    units: np.ndarray
    places: np.ndarray

    @property
    def name(self) -> str:
        """The site's name."""
        return self.site if isinstance(self.site, str) else self.site.name


def read_neurons(neurons: Neurons) -> tuple[Target, ...]:
    """Return what is meant, site by site; values belong to neurons in the order given.

    Raises
    ------
    SettingError
        Something that is no neuron, or a neuron that is named twice.
    """
    items: Sequence[Any] = [neurons] if _is_one(neurons) else list(neurons)
    sites: dict[str, str | Site] = {}
    units: dict[str, list[int]] = {}
    places: dict[str, list[int]] = {}
    count = 0
    for item in items:
        site, numbers = _read_item(item)
        name = site if isinstance(site, str) else site.name
        # A site says more than its name: where both are given, it is kept.
        if isinstance(sites.get(name, ""), str):
            sites[name] = site
        units.setdefault(name, []).extend(numbers)
        places.setdefault(name, []).extend(range(count, count + len(numbers)))
        count += len(numbers)
    targets = []
    for name, site in sites.items():
        found = np.asarray(units[name], dtype=np.int64)
        kept, counts = np.unique(found, return_counts=True)
        if (counts > 1).any():
            twice = format_neuron(name, int(kept[counts > 1][0]))
            raise SettingError(f"neuron {twice} is named twice in one edit; name each once")
        targets.append(Target(site, found, np.asarray(places[name], dtype=np.int64)))
    return tuple(targets)


def _is_one(neurons: Any) -> bool:
    """Whether this is one id, or one pair of a site and its units."""
    if isinstance(neurons, str):
        return True
    if not isinstance(neurons, tuple) or len(neurons) != 2:
        return False
    return isinstance(neurons[0], str | Site) and not isinstance(neurons[1], str | tuple)


def _read_item(item: Any) -> tuple[str | Site, list[int]]:
    if isinstance(item, str):
        name, unit = parse_neuron(item)
        return name, [unit]
    if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str | Site):
        raise SettingError(
            f"{item!r} is neither a neuron id such as mlp.3:117 nor a pair (site, units)"
        )
    site, given = item
    many = np.atleast_1d(np.asarray(list(given) if isinstance(given, Iterable) else given))
    name = site if isinstance(site, str) else site.name
    if many.size == 0:
        return site, []
    if many.ndim != 1 or many.dtype.kind not in "iu":
        raise SettingError(f"the units of {name} are no list of whole numbers")
    width = None if isinstance(site, str) else site.width
    check_range(name, many, width)
    return site, [int(unit) for unit in many]


def check_range(name: str, units: np.ndarray, width: int | None) -> None:
    """See that a site has such units.

    Raises
    ------
    SettingError
        One is negative, or not below the site's width.
    """
    low, high = (int(units.min()), int(units.max())) if units.size else (0, 0)
    if low < 0 or (width is not None and units.size and high >= width):
        wrong = low if low < 0 else high
        size = "" if width is None else f" of {width} neurons"
        raise SettingError(f"site {name}{size} has no neuron {wrong}; they count from 0")


def read_values(values: Any, count: int, what: str) -> Any:
    """Return values as a tensor (count,), or (1, length, count) where given by position.

    Raises
    ------
    SettingError
        Another shape, or values that are not finite numbers.
    """
    found = _numbers(values, what)
    if found.dim() == 0:
        return found.expand(count).clone()
    if found.dim() > 2 or found.shape[-1] != count:
        raise SettingError(
            f"{what} of {count} neurons have shape {tuple(found.shape)}; give one number, one a "
            f"neuron ({count},) or one a position and neuron (length, {count})"
        )
    return found if found.dim() == 1 else found[None]


def read_pool(pool: Any, count: int) -> Any:
    """Return a pool of rows, (rows, count).

    Raises
    ------
    SettingError
        Another shape, no row, or values that are not finite numbers.
    """
    found = _numbers(pool, "the pool's values")
    if found.dim() != 2 or found.shape[1] != count or not len(found):
        raise SettingError(
            f"a pool for {count} neurons has shape {tuple(found.shape)}; give rows × {count}, at "
            "least one row"
        )
    return found


def read_captured(targets: Sequence[Target], captured: Mapping[str, Any]) -> Any:
    """Return the values of neurons in another pass, (batch, length, count), copied.

    Raises
    ------
    SettingError
        A site that was not captured or has another shape.
    """
    import torch

    count = sum(target.units.size for target in targets)
    whole: Any = None
    for target in targets:
        if target.name not in captured:
            raise SettingError(
                f"the other input's values lack site {target.name}."
                f"{did_you_mean(target.name, captured)}"
            )
        found = _numbers(captured[target.name], f"the other input's values of {target.name}")
        if found.dim() != 3:
            raise SettingError(
                f"the other input's values of {target.name} have shape {tuple(found.shape)}; "
                "capture gives batch × length × width"
            )
        check_range(target.name, target.units, found.shape[-1])
        if whole is None:
            whole = found.new_zeros((*found.shape[:2], count))
        if whole.shape[:2] != found.shape[:2]:
            raise SettingError(
                f"the other input's values of {target.name} are of {tuple(found.shape[:2])} "
                f"tokens, those of {targets[0].name} of {tuple(whole.shape[:2])}; patch them in "
                "two edits"
            )
        whole[..., torch.as_tensor(target.places, device=whole.device)] = found[
            ..., torch.as_tensor(target.units, device=found.device)
        ].to(whole)
    return torch.zeros((1, 1, 0)) if whole is None else whole


def _numbers(values: Any, what: str) -> Any:
    """Return values as a floating-point tensor of its own, all finite."""
    import torch

    try:
        # Python's numbers are double; torch would round them before the model's type is known.
        given = values if isinstance(values, torch.Tensor) else np.asarray(values)
        found = torch.as_tensor(given).detach().clone()
    except (TypeError, ValueError, RuntimeError):
        raise SettingError(f"{what} are no numbers") from None
    if found.dtype in (torch.bool, torch.complex64, torch.complex128):
        raise SettingError(f"{what} are no numbers")
    if not found.is_floating_point():
        found = found.to(torch.float64)
    if not bool(torch.isfinite(found).all()):
        raise SettingError(f"{what} hold infinities or not-a-numbers; leave those rows out")
    return found
