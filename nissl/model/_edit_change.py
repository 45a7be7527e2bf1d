"""What an edit does to the values of one site while the model runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from nissl.errors import SettingError
from nissl.model._edit_where import At, Where
from nissl.model.shapes import to_batch
from nissl.site import Site

__all__ = ["Change", "Edits", "Operation", "Rule"]


class Change(Protocol):
    """What is done at sites: to a whole tensor as the model has it, or to one recurrent step."""

    def tensor(self, site: Site, raw: Any, moment: Any) -> Any:
        """Return what flows on instead of ``raw``; ``moment`` tells batch, length, columns."""
        ...

    def step(self, site: Site, value: Any, at: At) -> Any:
        """Return what a recurrent layer keeps instead of ``value``, (batch, 1, width)."""
        ...


class Operation(Protocol):
    """Changes some neurons of (batch, length, width), in place."""

    def __call__(self, values: Any, at: At) -> None: ...


@dataclass(eq=False)
class Rule:
    """One edit at one site.

    Attributes
    ----------
    how
        ``set`` (also zero, mean, patch), ``scale``, ``translate``, ``clamp`` or ``resample``.
    units
        (k,) indices of the neurons.
    values
        (k,) or (1 or batch, length, k); for ``resample`` the pool (rows, k).
    high
        (k,), the upper bound of ``clamp``; ``values`` is the lower.
    seed
        Of ``resample``.
    """

    how: str
    units: np.ndarray
    values: Any
    where: Where
    high: Any = None
    seed: int = 0
    _ready: dict[Any, Any] = field(default_factory=dict)

    def __call__(self, values: Any, at: At) -> None:
        """Change values (batch, length, width) in place, with one indexed read and write."""
        import torch

        units, given, high = self._on(values)
        old = values.index_select(-1, units)
        here = self.where.rows(at)
        if self.how == "scale":
            new = old * given
        elif self.how == "translate":
            new = old + given
        elif self.how == "clamp":
            new = torch.maximum(torch.minimum(old, high), given)
        elif self.how == "resample":
            new = given[self._draws(at, len(given)).to(given.device)]
        elif given.dim() == 1:
            new = given.expand_as(old)
        else:
            new, known = self._by_column(given, at, here)
            here = known if here is None else here & known
        if here is not None:
            new = torch.where(here[..., None], new, old)
        # Under autocast a product may come out in another type than the stream's.
        values.index_copy_(-1, units, new.to(values.dtype))

    def _on(self, values: Any) -> tuple[Any, Any, Any]:
        """Return units and numbers where the values are, and of their type; moved once."""
        import torch

        key = (values.device, values.dtype)
        if key not in self._ready:
            place = {"device": values.device, "dtype": values.dtype}
            self._ready[key] = (
                torch.as_tensor(self.units, device=values.device),
                None if self.values is None else self.values.to(**place),
                None if self.high is None else self.high.to(**place),
            )
        return self._ready[key]

    def _by_column(self, given: Any, at: At, here: Any) -> tuple[Any, Any]:
        """Return values given for every column, and which tokens have one."""
        rows, length = given.shape[:2]
        if rows not in (1, at.batch):
            raise SettingError(
                f"values of {rows} rows meet a batch of {at.batch}; give as many, or one row"
            )
        known = (at.columns < length).expand(at.batch, -1)
        short = ~known if here is None else here & ~known
        if not at.goes_on and bool(short.any()):
            raise SettingError(
                f"values are given for {length} positions and wanted up to position "
                f"{int(at.columns.max())}; edit fewer positions, or give an input of one length"
            )
        index = at.columns.clamp(max=length - 1).expand(at.batch, -1)
        table = given.expand(at.batch, -1, -1)
        return table.gather(1, index[..., None].expand(-1, -1, table.shape[-1])), known

    def _draws(self, at: At, rows: int) -> Any:
        """Return a row of the pool for every token, by seed, row and column alone.

        So a token draws the same whether it is part of a long pass or added to a cache.
        """
        import torch

        until = int(at.columns.max()) + 1
        drawn = np.random.default_rng(self.seed).integers(0, rows, size=(until, at.batch))
        columns = at.columns.expand(at.batch, -1).cpu()
        return torch.as_tensor(drawn.T.copy()).gather(1, columns)


class Edits:
    """Several operations a site, done in their order."""

    def __init__(self, operations: dict[Site, Sequence[Operation]]) -> None:
        self.operations = operations
        self.reached: set[Site] = set()

    def tensor(self, site: Site, raw: Any, moment: Any) -> Any:
        """Return a changed copy; the model's own tensor may be in use elsewhere."""
        import torch

        new = raw.clone(memory_format=torch.contiguous_format)
        # Of a contiguous tensor these are views: what is changed there is changed in the copy.
        values = to_batch(moment.shape, site, new)
        if values.dim() == 2:
            values = values[None]
        at = moment.at(site, values)
        for operation in self.operations[site]:
            operation(values, at)
        self.reached.add(site)
        return new

    def step(self, site: Site, value: Any, at: At) -> Any:
        """Return the changed copy of one step's values, (batch, 1, width)."""
        new = value.clone()
        for operation in self.operations[site]:
            operation(new, at)
        self.reached.add(site)
        return new
