"""X as the torch engine reads it: on the device, or streamed there by blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

HOST_BYTES = 4 << 30
"""A processor converts X once if the copy is no larger; else block by block, each time."""


def device_budget(device: Any) -> int:
    """Return how many bytes X may take on a torch device."""
    import torch

    if device.type == "cuda":
        return int(0.6 * torch.cuda.mem_get_info(device)[0])
    return HOST_BYTES


class Rows:
    """X on the device if it fits, else on its way there a block of rows at a time.

    Parameters
    ----------
    X
        Torch tensor (n, d) of floats, anywhere.
    rows
        Stacked classes K, which decide how many tokens a block may have.
    block
        Tokens a block; chosen from the device's memory by default.
    """

    def __init__(self, X: Any, device: Any, dtype: Any, *, rows: int, block: int | None) -> None:
        self.n, self.d = X.shape
        self.device = device
        budget = device_budget(device)
        if X.device == device and X.dtype == dtype:
            self.X = X
        elif X.numel() * dtype.itemsize <= budget:
            self.X = X.to(device=device, dtype=dtype)
        elif X.numel() * X.element_size() <= budget:
            self.X = X.to(device)
        else:
            self.X = X
        self._rms: np.ndarray | None = None
        if block is None:
            # On a processor the logits of a block should stay in cache; on an accelerator fill it.
            fits = budget // 8 // (8 * self.d + 24 * rows)
            block = 2048 if device.type == "cpu" else min(fits, 1 << 17)
        self.block = max(1, min(block, self.n))

    def rms(self) -> np.ndarray:
        """Root mean square of each neuron, float64 (d,)."""
        import torch

        if self._rms is None:
            total = torch.zeros(self.d, dtype=torch.float64, device=self.device)
            for _, _, X in self(torch.float64):
                total += (X * X).sum(dim=0)
            self._rms = (total / self.n).sqrt().cpu().numpy()
        return np.asarray(self._rms)

    def __call__(self, dtype: Any) -> Iterator[tuple[int, int, Any]]:
        """Yield first row, past the last row, and the rows (r, d) on the device in ``dtype``."""
        for start in range(0, self.n, self.block):
            stop = min(start + self.block, self.n)
            yield start, stop, self.X[start:stop].to(device=self.device, dtype=dtype)
