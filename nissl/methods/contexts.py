"""What one neuron responds to: top words and top contexts, for both signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from nissl.errors import SettingError, did_you_mean
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nissl.store import Activations

__all__ = ["NeuronView", "show_neuron"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronView(Result):
    """Words and contexts of one neuron, activations as z-scores over the whole corpus.

    Attributes
    ----------
    words
        ``sign, word, mean_z, count``: word types of the largest and smallest mean.
    contexts
        ``sign, z, word, sentence, left, right``: single tokens.
    """

    kind: ClassVar[str] = "neuron"
    neuron: str
    mean: float
    sd: float
    words: pl.DataFrame
    contexts: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The table of words."""
        return self.words

    def summary(self) -> tuple[str, ...]:
        """Top words for both signs."""
        high, low = (
            ", ".join(self.words.filter(pl.col("sign") == sign)["word"].head(8))
            for sign in ("+", "-")
        )
        return (f"{self.neuron} is high on {high}; low on {low}.",)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Mean z of the top words, both signs."""
        from nissl.plotting import bars, new_axes

        ax = new_axes(ax, size=(5.0, 0.22 * self.words.height + 0.8))
        bars(ax, self.words["word"].to_list(), self.words["mean_z"].to_numpy(), None, None)
        ax.set_xlabel(f"mean z of {self.neuron}")
        return ax


def show_neuron(
    acts: Activations, neuron: str, *, n: int = 10, min_count: int = 2, width: int = 6
) -> NeuronView:
    """Find the words and contexts that move one neuron most, up and down.

    Parameters
    ----------
    neuron
        Its id, such as ``hidden.3:117``.
    n
        Words and contexts for each sign.
    min_count
        Word types seen less often are not listed among the top words.
    width
        Words of context on each side.
    """
    known = acts.neurons["neuron"].to_list()
    if neuron not in set(known):
        site = neuron.partition(":")[0]
        sites = acts.neurons["site"].unique(maintain_order=True).to_list()
        hint = did_you_mean(site, sites) if site not in sites else ""
        raise SettingError(
            f'no neuron "{neuron}" in this store: ids look like "{known[0]}" and run to '
            f'"{known[-1]}".{hint}'
        )
    raw = acts.matrix(neurons=[neuron])[:, 0].astype(np.float64)
    mean, sd = float(raw.mean()), float(raw.std())
    z = (raw - mean) / (sd if sd > 0 else 1.0)
    tokens = acts.tokens.select("sentence", "position", "form").with_columns(pl.Series("z", z))
    by_word = (
        tokens.group_by("form")
        .agg(pl.col("z").mean().alias("mean_z"), pl.len().alias("count"))
        .filter(pl.col("count") >= min_count)
        .sort(["mean_z", "form"], descending=[True, False])
        .rename({"form": "word"})
    )
    high = by_word.head(n).with_columns(sign=pl.lit("+"))
    low = by_word.reverse().head(n).with_columns(sign=pl.lit("-"))
    order = np.argsort(-z, kind="stable")
    forms = acts.tokens["form"].to_list()
    sentence = acts.tokens["sentence"].to_numpy()
    rows = []
    for sign, picked in (("+", order[:n]), ("-", order[::-1][:n])):
        for i in picked.tolist():
            inside = np.flatnonzero(sentence == sentence[i])
            first, last = int(inside[0]), int(inside[-1])
            rows.append(
                {
                    "sign": sign,
                    "z": float(z[i]),
                    "left": " ".join(forms[max(first, i - width) : i]),
                    "word": forms[i],
                    "right": " ".join(forms[i + 1 : min(last, i + width) + 1]),
                    "sentence": int(sentence[i]),
                }
            )
    return NeuronView(
        provenance=Provenance(
            method="neuron",
            settings={"n": n, "min_count": min_count},
            inputs={"activations": acts.fingerprint},
        ),
        neuron=neuron,
        mean=mean,
        sd=sd,
        words=pl.concat([high, low]).select("sign", "word", "mean_z", "count"),
        contexts=pl.DataFrame(rows),
    )
