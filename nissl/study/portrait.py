"""Models beside each other: how few neurons, where, localised or not, shared or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import polars as pl

from nissl.errors import SettingError, did_you_mean
from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nissl.study.verdicts import Answer

__all__ = ["CrossFindings"]

FIGURES = ("sets", "layers", "labels")


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossFindings(Result):
    """Models × properties, in tables; accuracies are of test tokens unless said otherwise.

    Attributes
    ----------
    models, properties
        Names, in the order of the configuration.
    mass
        Share of a label's absolute weight that its neurons hold.
    overview
        One row a model and property. ``level`` of the property; ``neurons`` and ``layers`` of the
        model, ``classes``, ``train_tokens``; the probe's ``accuracy, low, high``, ``majority``, and
        ``random_weights*`` of the same architecture with random weights; the minimal set at the
        widest tolerance, ``delta`` points: ``k, k_low, k_high``, the same in per cent of the
        neurons (``percent*``), its test accuracy ``set_*`` and that of as many random neurons,
        ``random_set*``; ``selectivity``; neurons that hold ``mass`` of a label's weight, median
        over labels with an interval over labels and their own intervals, ``label_neurons*``, and
        in per cent, ``label_percent*``; ``gini`` of the absolute weight over neurons (0 all alike,
        near 1 few hold it); ``layer_entropy``, mean over labels, as a share of that of an even
        spread; ``pairs`` of labels, ``pairs_shared`` that share more of their best neurons than
        chance (exact, Holm), mean ``pair_share*`` with its bootstrap over labels, and
        ``pair_expected`` by chance.
    sets
        One row a model, property and tolerance: the columns of ``MinimalSet.sets``.
    layers
        One row a model, property and site: relative ``depth`` (0 embedding, 1 last), ``accuracy,
        low, high`` of the site alone, ``selected`` neurons of the minimal set and ``expected``.
    labels
        One row a model, property and label: ``train_tokens, neurons, low, high, percent``.
    overlaps
        One row a model and pair of properties: ``overlap, share`` of the smaller set beside
        ``expected, expected_share``, and ``p_holm``. Empty with one property.
    """

    kind: ClassVar[str] = "cross"
    models: tuple[str, ...]
    properties: tuple[str, ...]
    mass: float
    overview: pl.DataFrame
    sets: pl.DataFrame
    layers: pl.DataFrame
    labels: pl.DataFrame
    overlaps: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """One row a model and property."""
        return self.overview

    def frames(self) -> dict[str, pl.DataFrame]:
        """Return every table by name."""
        names = ("overview", "sets", "layers", "labels", "overlaps")
        return {name: getattr(self, name) for name in names}

    def answers(self) -> tuple[Answer, ...]:
        """Return the four questions of Durrani et al. (2020), answered from the tables."""
        from nissl.study.answers import answer

        return answer(self)

    def summary(self) -> tuple[str, ...]:
        """One paragraph a question."""
        return tuple(found.paragraph() for found in self.answers())

    def plot(
        self,
        ax: Axes | None = None,
        *,
        what: Literal["sets", "layers", "labels"] = "sets",
        property: str | None = None,
    ) -> Axes:
        """Draw the models beside each other.

        Parameters
        ----------
        ax
            Where to draw; a new figure when ``None``.
        what
            ``sets``: sizes of minimal sets by property; ``layers``: accuracy of each layer alone
            against relative depth; ``labels``: neurons a label.
        property
            The property of ``layers``; one panel a property, and the first panel's axes
            returned, when ``None`` and there is no ``ax``.
        """
        from nissl.study import portrait_plots

        if what not in FIGURES:
            raise SettingError(
                f'"{what}" is none of {", ".join(FIGURES)}.{did_you_mean(what, FIGURES)}'
            )
        if property is not None and property not in self.properties:
            raise SettingError(
                f'there is no property "{property}"; there are {", ".join(self.properties)}.'
                f"{did_you_mean(property, self.properties)}"
            )
        if what == "sets":
            return portrait_plots.sets(self, ax)
        if what == "labels":
            return portrait_plots.labels(self, ax)
        chosen = self.properties if property is None else (property,)
        return portrait_plots.layers(self, ax, chosen)
