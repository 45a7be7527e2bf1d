"""Whether a neuron's formula would be found again in other sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import polars as pl

from nissl.errors import InputError, SettingError
from nissl.kernels.formula_stability import formula_stability
from nissl.kernels.formulas import pack
from nissl.kernels.unit_masks import unit_masks
from nissl.methods._explain_block import search_of, thresholds_of
from nissl.methods._explain_run import chosen, prepare
from nissl.methods._explain_settings import ExplainSettings
from nissl.methods.concepts import Concepts
from nissl.methods.explanation import Explanation
from nissl.results import Provenance, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nissl.store import Activations

__all__ = ["ExplanationStability", "explanation_stability"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplanationStability(Result):
    """How often the search finds a neuron's formula again in redrawn training sentences.

    Attributes
    ----------
    table
        One row a mask: ``neuron, side, formula, same`` (share of draws that give the same formula)
        and ``jaccard`` (mean overlap of the tokens that both formulas cover: near 1 where another
        formula says the same).
    draws
        Redrawn texts.
    """

    kind: ClassVar[str] = "explanation stability"
    table: pl.DataFrame
    draws: int

    def frame(self) -> pl.DataFrame:
        """One row a mask of a neuron."""
        return self.table

    def summary(self) -> tuple[str, ...]:
        """Means over masks."""
        same, jaccard = (cast("float", self.table[name].mean()) for name in ("same", "jaccard"))
        return (
            f"In {self.draws} texts of redrawn sentences the search finds the same formula in "
            f"{same:.0%} of cases, over {self.table.height} masks; what both formulas cover "
            f"overlaps by {jaccard:.2f} on average.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Mean overlap of the formulas of redrawn texts, a bar a mask."""
        from nissl.plotting import bars, new_axes

        t = self.table
        ax = new_axes(ax, size=(5.0, 0.25 * t.height + 0.8)) if ax is None else ax
        names = [f"{a} ({b})" for a, b in zip(t["neuron"], t["side"], strict=True)]
        bars(ax, names, t["jaccard"].to_numpy(), None, None)
        ax.set_xlabel("overlap with formulas of redrawn sentences")
        return ax


def explanation_stability(
    acts: Activations,
    concepts: Concepts,
    explanation: Explanation,
    neurons: Sequence[str],
    *,
    draws: int = 10,
    seed: int = 0,
) -> ExplanationStability:
    """Search the formulas of some neurons again in texts of redrawn training sentences.

    Each draw costs as much as the search did for these neurons.

    Parameters
    ----------
    acts, concepts, explanation
        The store, its concepts, and what ``explain`` made of them; its settings are used.
    neurons
        Ids.
    draws, seed
        Number of redrawn texts, and the seed of the draws.

    Raises
    ------
    InputError
        The store or the concepts are others, or no neuron has a mask.
    SettingError
        No such neuron, or no draws.
    """
    inputs = explanation.provenance.inputs
    if concepts.fingerprint != inputs.get("concepts"):
        raise InputError("these are not the concepts that the neurons were explained with")
    if acts.fingerprint != inputs.get("activations"):
        raise InputError("this is not the store that the neurons were explained in")
    if not neurons:
        raise SettingError("name one neuron or more")
    names = [field.name for field in dataclasses.fields(ExplainSettings)]
    given: dict[str, Any] = {name: explanation.provenance.settings[name] for name in names}
    # What was tried for all neurons of the explanation is tried for these few.
    tried = explanation.provenance.settings["tried_all"]
    settings = ExplainSettings(**{**given, "exhaustive": "always" if tried else "never"})
    table = chosen(acts, None, neurons)
    material = prepare(acts, concepts, settings, table.height)
    X = acts.matrix(neurons=table["neuron"].to_list(), rows=material.train)
    bounds = thresholds_of(X, settings)
    if not len(bounds):
        raise InputError("none of these neurons has a mask")
    masks = pack(unit_masks(X, bounds))
    search, how = search_of(material)
    found = search(material.concepts_train, masks, **how)
    sentence = acts.tokens["sentence"].to_numpy()[material.train]
    stable = formula_stability(
        found,
        material.concepts_train,
        masks,
        sentence,
        draws=draws,
        seed=seed,
        search=search,
        **how,
    )
    ids = table["neuron"].to_list()
    texts = ["" if f is None else f.text(material.names) for f in found.formulas]
    return ExplanationStability(
        provenance=Provenance(
            method="explanation stability",
            settings={**settings.as_dict(), "draws": draws},
            inputs=dict(inputs),
            seed=seed,
        ),
        table=pl.DataFrame(
            {
                "neuron": [ids[u] for u in bounds.unit.tolist()],
                "side": list(bounds.side),
                "formula": texts,
                "same": stable.same,
                "jaccard": stable.jaccard,
            }
        ),
        draws=draws,
    )
