"""One GPU a worker: processes of one machine share out its devices through lock files."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from nissl.errors import EngineError

__all__ = ["claim_gpu"]

_HELD: list[Any] = []


def claim_gpu(spec: Any, *, count: int | None = None, folder: Path | None = None) -> Any:
    """Return the model's specification with a device of this process's own.

    A device that is numbered (``cuda:1``) or no GPU at all is left as it is. Dask's and Ray's GPU
    workers see only their own device, so that they take the first; processes of one machine take
    the first whose lock nobody holds. The lock ends with the process.

    Parameters
    ----------
    count, folder
        Number of devices and folder of the locks, for tests.

    Raises
    ------
    EngineError
        There are more workers than GPUs.
    """
    if spec.device != "cuda":
        return spec
    from filelock import FileLock, Timeout

    if count is None:
        import torch

        count = torch.cuda.device_count()
    place = folder or Path(tempfile.gettempdir())
    for number in range(count):
        lock = FileLock(place / f"nissl-gpu-{_visible(number)}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _HELD.append(lock)
        return replace(spec, device=f"cuda:{number}")
    raise EngineError(
        f"this machine has {count} GPU(s) and each is taken by a worker; use at most {count} --jobs"
    )


def _visible(number: int) -> str:
    """Name the device behind a number: two processes may number different devices 0."""
    import os

    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in shown.split(",") if name.strip()]
    name = names[number] if number < len(names) else str(number)
    return "".join(c if c.isalnum() or c == "-" else "-" for c in name)
