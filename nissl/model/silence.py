"""Switch off other neurons in every row of a batch: masks that a caller sets before each pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nissl.errors import ModelError
from nissl.model._edit_change import Edits, Operation
from nissl.model._edit_hooks import changed, root_of
from nissl.model._edit_where import At
from nissl.model.edit import site_of
from nissl.model.sites import torch_module
from nissl.site import Site

__all__ = ["Silencer", "silenced"]


@dataclass(eq=False)
class Silencer:
    """What the next pass has switched off.

    Attributes
    ----------
    off
        Site name → boolean tensor (rows of the batch, width): which neurons are 0 in which row.
        A site that is not there is left as it is.
    start
        First column of each row that is changed, (rows,); None for all.
    """

    off: dict[str, Any] = field(default_factory=dict)
    start: Any = None


@dataclass(eq=False)
class _Mask:
    site: Site
    silencer: Silencer

    def __call__(self, values: Any, at: At) -> None:
        """Set neurons of (batch, length, width) to 0, in place."""
        off = self.silencer.off.get(self.site.name)
        if off is None:
            return
        if len(off) != len(values):
            raise ModelError(f"masks of {len(off)} rows meet a batch of {len(values)}")
        here = off.to(values.device)[:, None, :]
        if self.silencer.start is not None:
            columns = at.columns.expand(len(values), -1)
            here = here & (columns >= self.silencer.start.to(values.device)[:, None])[..., None]
        values.masked_fill_(here, 0.0)


@contextlib.contextmanager
def silenced(model: Any, sites: Sequence[str | Site]) -> Iterator[Silencer]:
    """Yield a :class:`Silencer`: passes in the block have its neurons at 0, row by row.

    :func:`~nissl.model.edited` does the same edit in all rows that it touches; here every row has
    a set of its own, so that inputs with sets of their own can share a batch. No weight is
    touched, and all hooks are gone when the block ends.

    Raises
    ------
    SettingError, ModelError
        As :func:`~nissl.model.edited`; in a pass, masks of another number of rows.
    """
    found = [site_of(model, site) for site in sites]
    silencer = Silencer()
    operations: dict[Site, Sequence[Operation]] = {site: (_Mask(site, silencer),) for site in found}
    with changed(root_of(torch_module(model)), found, Edits(operations)):
        yield silencer
