"""A probe at many penalties: how many neurons it takes, and what is lost with fewer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sklearn.base import clone

from nissl.estimators._grid import Grid, make_grid
from nissl.estimators._rows import check_inputs, prepare
from nissl.estimators._settings import check_settings, quiet_kernel, warn_early
from nissl.kernels.many import path_many
from nissl.kernels.problem import Problem

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

    from nissl.estimators.linear import Probe

__all__ = ["ProbePath", "fit_path"]


@dataclass(frozen=True, eq=False)
class ProbePath:
    """Fitted probes over a grid of penalties, in the grid's order; see :meth:`Probe.path`.

    Attributes
    ----------
    probes
        One fitted :class:`Probe` a pair of penalties.
    """

    probes: tuple[Probe, ...]

    def __len__(self) -> int:
        return len(self.probes)

    def __iter__(self) -> Iterator[Probe]:
        return iter(self.probes)

    def __getitem__(self, index: int) -> Probe:
        return self.probes[index]

    @property
    def grid(self) -> tuple[tuple[float, float], ...]:
        """Pairs (λ₁, λ₂)."""
        return tuple((probe.l1, probe.l2) for probe in self.probes)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> np.ndarray:
        """Return the accuracy of each probe on X (n, d) and y (n,), 0 to 1, (len(path),)."""
        return np.array([probe.score(X, y, sample_weight) for probe in self.probes])

    def frame(self) -> pl.DataFrame:
        """Return one row a pair of penalties.

        Columns: ``l1, l2``; ``neurons``, with a weight for some class; ``weights``, not 0;
        ``objective, gap, kkt, converged``; ``gradients`` and CPU ``seconds`` of the fit alone.
        """
        import polars as pl

        return pl.DataFrame(
            [
                {
                    "l1": float(probe.l1),
                    "l2": float(probe.l2),
                    "neurons": int((probe.coef_ != 0).any(axis=0).sum()),
                    "weights": int((probe.coef_ != 0).sum()),
                    "objective": float(probe.objective_),
                    "gap": float(probe.gap_),
                    "kkt": float(probe.kkt_),
                    "converged": bool(probe.converged_),
                    "gradients": float(probe.n_gradients_),
                    "seconds": float(probe.seconds_),
                }
                for probe in self.probes
            ]
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the number of neurons with a weight against λ₁, on ``ax`` or in a new figure."""
        from nissl.plotting import curve, new_axes

        ax = new_axes(ax)
        table = self.frame().sort("l1")
        curve(ax, table["l1"].to_numpy(), table["neurons"].to_numpy(), None, None, "neurons", "all")
        # λ₁ = 0 has a place on this scale, which a logarithm would not give it.
        above = table["l1"].to_numpy()[table["l1"].to_numpy() > 0]
        ax.set_xscale("symlog", linthresh=float(above.min()) if len(above) else 1.0)
        ax.set_xlabel("λ₁")
        ax.set_ylabel("neurons with a weight")
        return ax


def fit_path(probe: Probe, X: Any, y: Any, *, grid: Grid, sample_weight: Any) -> ProbePath:
    """Fit ``probe`` at every pair of ``grid``; the body of :meth:`Probe.path`."""
    check_settings(probe)
    made = _another(probe)
    data = check_inputs(made, X, y, sample_weight)
    rows = prepare(data, scale=probe.standardise)
    n_classes = len(data.classes)
    pairs = make_grid(grid, lambda: rows, n_classes)
    problem = Problem(rows.code, n_classes, *pairs[0], weight=rows.weight)
    with quiet_kernel():
        (fits,) = path_many(
            rows.Z,
            [problem],
            pairs,
            tol=probe.tol,
            max_iter=probe.max_iter,
            time_limit=probe.time_limit,
        )
    warn_early(fits, probe.tol, calls=2)
    # What scikit-learn noted about X (number and names of neurons) holds for every probe.
    seen = {name: value for name, value in vars(made).items() if name.endswith("_in_")}
    probes = []
    for (l1, l2), fit in zip(pairs, fits, strict=True):
        one = _another(probe).set_params(l1=l1, l2=l2)
        vars(one).update(seen)
        probes.append(one._adopt(fit, rows, data.classes))
    return ProbePath(tuple(probes))


def _another(probe: Probe) -> Probe:
    """An unfitted probe with the same settings."""
    return cast("Probe", clone(probe))
