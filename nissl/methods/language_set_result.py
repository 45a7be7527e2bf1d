"""Language neurons, what switching them off does to every language, and how it is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError, did_you_mean
from nissl.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LanguageNeurons"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageNeurons(Result):
    """Neurons of low entropy over languages (LAPE), and their causal check.

    Attributes
    ----------
    neurons
        Rows ``neuron, site, layer, entropy`` (nats), ``languages`` (joined by a blank; empty:
        picked and of none), and ``p: …`` for each language, lowest entropy first.
    matrix
        Rows ``off`` (the language whose neurons are at 0), ``neurons`` (how many), ``language``
        (of the text), ``base`` and ``value`` (loss, nats a subword), ``perplexity`` and
        ``perplexity_off``, ``change`` with ``low`` and ``high``, 95 % paired over texts,
        ``random``, ``sd``, ``beyond`` with ``beyond_low`` and ``beyond_high`` (change less that of
        random sets), ``p`` and ``draws``. Empty without a check.
    probability
        (d, languages), float32: neurons of sites side by side.
    tokens
        (languages,): of how many subwords.
    """

    kind: ClassVar[str] = "language neurons"
    model: str
    languages: tuple[str, ...]
    rule: str
    sites: tuple[str, ...]
    widths: tuple[int, ...]
    neurons: pl.DataFrame
    matrix: pl.DataFrame
    probability: np.ndarray
    tokens: np.ndarray
    eligible: int
    filter_bar: float
    assign_bar: float

    def frame(self) -> pl.DataFrame:
        """The table of neurons."""
        return self.neurons

    def of(self, language: str) -> list[str]:
        """Return the ids of a language's neurons, lowest entropy first.

        Raises
        ------
        SettingError
            There is no such language.
        """
        if language not in self.languages:
            raise SettingError(
                f'no language "{language}"; there are {", ".join(self.languages)}.'
                f"{did_you_mean(language, self.languages)}"
            )
        return [
            str(row["neuron"])
            for row in self.neurons.iter_rows(named=True)
            if language in row["languages"].split(" ")
        ]

    def at(self, off: str, language: str) -> dict[str, Any]:
        """Return one row of the matrix.

        Raises
        ------
        SettingError
            There is none.
        """
        rows = self.matrix.filter((pl.col("off") == off) & (pl.col("language") == language))
        if rows.height != 1:
            raise SettingError(f"no check of {language} without the neurons of {off}")
        return rows.row(0, named=True)

    def changes(self) -> np.ndarray:
        """Change of the loss, nats a subword: languages switched off × languages of text."""
        return np.array(
            [
                [
                    self.at(off, language)["change"] if self._checked(off) else np.nan
                    for language in self.languages
                ]
                for off in self.languages
            ]
        )

    def _checked(self, off: str) -> bool:
        return self.matrix.height > 0 and off in set(self.matrix["off"])

    def summary(self) -> tuple[str, ...]:
        """How many neurons each language has, and what it is without them."""
        if not self.neurons.height:
            return (
                f"No neuron is picked: none is activated more often than the filter's "
                f"{self.filter_bar:.3f} in any language; give a lower filter_quantile.",
                self.rule,
            )
        counts = ", ".join(f"{len(self.of(each)):,} {each}" for each in self.languages)
        none = int((self.neurons["languages"] == "").sum())
        rest = f", {none:,} of none" if none else ""
        lines = [
            f"Of {sum(self.widths):,} MLP units {self.neurons.height:,} are picked for their low "
            f"entropy over {len(self.languages)} languages ({self.eligible:,} are active enough): "
            f"{counts}{rest}; one can be of several."
        ]
        lines += [self._said(each) for each in self.languages if self._checked(each)]
        checked = [each for each in self.languages if self._checked(each)]
        if len(checked) > 1:
            table = self.changes()
            index = [self.languages.index(each) for each in checked]
            own = sum(int(np.nanargmax(table[i]) == i) for i in index)
            lines.append(
                f"{own} of {len(checked)} sets raise the loss of their own language the most."
            )
        lines.append(self.rule)
        return tuple(lines)

    def _said(self, off: str) -> str:
        own = self.at(off, off)
        others = [self.at(off, each) for each in self.languages if each != off]
        worst = max(others, key=lambda row: row["change"])
        told = own["beyond_low"] > 0
        as_much = round(own["p"] * (own["draws"] + 1)) - 1
        end = "not told apart from random sets"
        if own["beyond_high"] < 0:
            end = "less than random sets"
        elif told:
            end = "more than every random set"
            if as_much:
                end = f"{as_much} of {own['draws']} random sets do as much"
        return (
            f"Without the {own['neurons']:,} neurons of {off} its loss changes by "
            f"{own['change']:+.3f} nats a subword [{own['low']:+.3f}, {own['high']:+.3f}] "
            f"(perplexity {own['perplexity']:.1f} → {own['perplexity_off']:.1f}), that of "
            f"{worst['language']}, which changes most beside, by {worst['change']:+.3f}; random "
            f"neurons of the same layers {own['random']:+.3f} ± {own['sd']:.3f}: {end}."
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Rise of each language's loss without each language's neurons; else counts."""
        from nissl.plotting import bars, heatmap, new_axes

        ax = new_axes(ax)
        if not self.matrix.height:
            sizes = np.array([float(len(self.of(each))) for each in self.languages])
            bars(ax, self.languages, sizes, None, None)
            ax.set_xlabel("neurons")
            return ax
        rows = [f"without {each}" for each in self.languages]
        heatmap(ax, np.maximum(self.changes(), 0.0), rows, list(self.languages))
        ax.set_xlabel("loss of text in, nats more a subword")
        return ax
