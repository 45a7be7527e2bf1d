"""At which tokens an edit acts: everywhere, at positions, under a mask, in some sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nissl.errors import SettingError

__all__ = ["At", "Where", "read_where"]


@dataclass(frozen=True, eq=False)
class At:
    """The tokens whose values a hook has in its hands.

    Attributes
    ----------
    batch
        Number of rows.
    columns
        (1 or batch, length) whole numbers: the column of every token in its whole sequence, those
        that a cache already holds included.
    prompt
        Number of columns of the prompt: of the pass itself unless it goes on from another.
    last
        (batch,) column of the last real token of each row's prompt, or None: the last column.
    goes_on
        Whether the pass continues one before it, so that columns after the prompt are new tokens.
    """

    batch: int
    columns: Any
    prompt: int
    last: Any = None
    goes_on: bool = False


@dataclass(frozen=True, eq=False)
class Where:
    """Tokens that are edited: those that all of positions, mask and sentences allow."""

    positions: tuple[int, ...] | None = None
    mask: Any = None
    sentences: tuple[int, ...] | None = None

    @property
    def everywhere(self) -> bool:
        """Whether nothing is restricted."""
        return self.positions is None and self.mask is None and self.sentences is None

    @property
    def nowhere(self) -> bool:
        """Whether no token at all can be meant."""
        empty = self.positions == () or self.sentences == ()
        return empty or (self.mask is not None and not bool(self.mask.any()))

    def rows(self, at: At) -> Any:
        """Return a boolean mask (batch, length) of the tokens meant; None for all of them.

        Raises
        ------
        SettingError
            The mask is of another shape than the pass, or a position or sentence is outside it.
        """
        import torch

        if self.everywhere:
            return None
        columns = at.columns
        wanted = torch.ones((at.batch, columns.shape[1]), dtype=torch.bool, device=columns.device)
        if self.sentences is not None:
            if max(self.sentences) >= at.batch:
                raise SettingError(
                    f"sentence {max(self.sentences)} is not in a batch of {at.batch} rows; "
                    "sentences are rows of the batch, counted from 0"
                )
            chosen = torch.zeros(at.batch, dtype=torch.bool, device=columns.device)
            chosen[list(self.sentences)] = True
            wanted &= chosen[:, None]
        if self.positions is not None:
            wanted &= self._at_positions(at)
        if self.mask is not None:
            wanted &= self._under_mask(at)
        return wanted

    def _at_positions(self, at: At) -> Any:
        import torch

        columns = at.columns
        found = torch.zeros((at.batch, columns.shape[1]), dtype=torch.bool, device=columns.device)
        for position in self.positions or ():
            if not -at.prompt <= position < at.prompt:
                raise SettingError(
                    f"position {position} is outside the {at.prompt} positions of the input; "
                    "positions are those of the prompt's tokens"
                )
            if position >= 0:
                found |= columns == position
                continue
            last = columns.new_tensor([at.prompt - 1]) if at.last is None else at.last
            found |= columns == (last.to(columns.device) + 1 + position)[:, None]
        return found

    def _under_mask(self, at: At) -> Any:
        mask = self.mask.to(at.columns.device)
        rows, length = mask.shape
        if rows not in (1, at.batch):
            raise SettingError(
                f"a mask of {rows} rows meets a batch of {at.batch}; give it a row for each (in "
                "beam search, for each beam), or a single one"
            )
        if length != at.prompt and not at.goes_on:
            raise SettingError(
                f"a mask of {length} columns meets an input of {at.prompt} positions; masks are "
                "batch × length of the input"
            )
        inside = at.columns < length
        columns = at.columns.clamp(max=length - 1).expand(at.batch, -1)
        return mask.expand(at.batch, -1).gather(1, columns) & inside


def read_where(positions: Any, mask: Any, sentences: Any) -> Where:
    """Return the tokens that are meant by positions, a mask (batch × length), sentences.

    Raises
    ------
    SettingError
        Positions or sentences that are no whole numbers, or a mask that is not boolean and 2-D.
    """
    import torch

    where = _whole(positions, "positions")
    rows = _whole(sentences, "sentences")
    if rows and min(rows) < 0:
        raise SettingError(f"sentence {min(rows)} is negative; sentences are counted from 0")
    if mask is not None:
        mask = torch.as_tensor(mask).detach().clone()
        if mask.dim() != 2 or mask.dtype != torch.bool:
            raise SettingError(
                f"a mask is boolean, batch × length; this one is {mask.dtype} of shape "
                f"{tuple(mask.shape)}"
            )
    return Where(where, mask, rows)


def _whole(values: Any, what: str) -> tuple[int, ...] | None:
    if values is None:
        return None
    found = np.atleast_1d(np.asarray(values))
    if found.size == 0:
        return ()
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise SettingError(f"{what} are whole numbers, not {values!r}")
    return tuple(dict.fromkeys(int(value) for value in found))
