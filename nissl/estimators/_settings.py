"""Settings that all probes share, and the one warning when a fit stops early."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from nissl.errors import NotConverged, SettingError
from nissl.kernels.fit import Fit

__all__ = ["check_settings", "quiet_kernel", "warn_early"]


def check_settings(probe: Any) -> None:
    """Refuse an impossible ``tol``, ``max_iter`` or ``time_limit``.

    Raises
    ------
    SettingError
    """
    if not (np.isfinite(probe.tol) and probe.tol > 0):
        raise SettingError(f"tol must be above 0, not {probe.tol}")
    if probe.max_iter < 1:
        raise SettingError(f"max_iter must be 1 or more, not {probe.max_iter}")
    if probe.time_limit is not None and not probe.time_limit > 0:
        raise SettingError(f"time_limit must be above 0 seconds, or None, not {probe.time_limit}")


@contextmanager
def quiet_kernel() -> Iterator[None]:
    """Leave it to the estimator to say that fits stopped early: once, not once a fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        yield


def warn_early(fits: Sequence[Fit], tol: float, *, calls: int = 1) -> None:
    """Warn (:class:`~nissl.errors.NotConverged`) if a fit stopped before its tolerance.

    ``calls`` is the number of our own functions between this one and the user's line.
    """
    early = [fit for fit in fits if not fit.converged]
    if not early:
        return
    worst = max(fit.gap for fit in early)
    what = "the fit" if len(fits) == 1 else f"{len(early)} of {len(fits)} fits"
    warnings.warn(
        f"{what} stopped at a relative duality gap of up to {worst:.1e} instead of {tol:.1e}; give "
        "a larger time_limit or max_iter, or a larger tol",
        NotConverged,
        stacklevel=2 + calls,
    )
