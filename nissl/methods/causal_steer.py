"""Steering: push a property's neurons by a multiple of its class difference, and what it costs.

Antverg and Belinkov (2022), "On the Pitfalls of Analyzing Individual Neurons in Language Models",
section 5: x + β (mean of one class − mean of the other).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from nissl.effects import Effect, generate
from nissl.errors import LabelError, SettingError, did_you_mean
from nissl.methods._paired import paired_change
from nissl.methods.causal_ablation import said
from nissl.methods.causal_sets import order_of, random_like
from nissl.methods.rank import Ranking
from nissl.methods.task import Task
from nissl.model import LoadedModel
from nissl.model.edit import Edit, edited
from nissl.progress import bar
from nissl.results import Provenance, Result
from nissl.site import parse_neuron

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DoseResponse", "class_difference", "steer"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DoseResponse(Result):
    """What pushing neurons does, dose by dose.

    Attributes
    ----------
    table
        Rows ``measure`` (name of the effect or of the fluency), ``kind`` (ranked, random),
        ``dose``, ``base``, ``value``, ``change``, ``low``, ``high`` (95 %, paired), ``sd``
        (between draws), ``draws``.
    effects
        Rows ``effect, unit, scale, better``: the effect, then the fluency.
    texts
        Rows ``prompt, dose, text``: what the model writes; dose 0 is the model as it is.
    """

    kind: ClassVar[str] = "dose response"
    model: str
    ranking: str
    neurons: tuple[str, ...]
    table: pl.DataFrame
    effects: pl.DataFrame
    texts: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The table of changes."""
        return self.table

    def at(self, measure: str, kind: str, dose: float) -> dict[str, Any]:
        """Return one row of the table.

        Raises
        ------
        SettingError
            There is none.
        """
        rows = self.table.filter(
            (pl.col("measure") == measure) & (pl.col("kind") == kind) & (pl.col("dose") == dose)
        )
        if rows.height != 1:
            raise SettingError(f"no result for {measure}, {kind}, dose {dose:g}")
        return rows.row(0, named=True)

    def summary(self) -> tuple[str, ...]:
        """For every dose, how the effect moves, what it costs, and what random neurons do."""
        lines = []
        effect, fluency = self.effects.iter_rows(named=True)
        digits = 1 if effect["scale"] == 100 else 3
        for dose in self.table["dose"].unique().sort().to_list():
            row, rand = (self.at(effect["effect"], kind, dose) for kind in ("ranked", "random"))
            cost = self.at(fluency["effect"], "ranked", dose)
            apart = "beyond them" if _beyond(row, rand) else "not beyond them"
            ends = f" [{row['low']:+.{digits}f}, {row['high']:+.{digits}f}]"
            if math.isnan(row["low"]):
                apart, ends = "a single group of items gives no interval", ""
            lines.append(
                f"Dose {dose:+g} on {len(self.neurons)} neurons of {self.ranking} moves "
                f"{effect['effect']} by {row['change']:+.{digits}f}{ends} (random neurons "
                f"{rand['change']:+.{digits}f} ± {rand['sd']:.{digits}f}: {apart}) and "
                f"{said(cost, fluency, interval=True)}."
            )
        return tuple(lines)

    def plot(self, ax: Axes | None = None, *, measure: str | None = None) -> Axes:
        """The effect against the dose, for ranked and random neurons."""
        from nissl.plotting import curve, new_axes

        ax = new_axes(ax)
        name = self.effects["effect"][0] if measure is None else measure
        for kind, role in (("ranked", "top"), ("random", "random")):
            rows = self.table.filter((pl.col("measure") == name) & (pl.col("kind") == kind)).sort(
                "dose"
            )
            base = rows["base"].to_numpy()
            low, high = (base + rows[end].to_numpy() for end in ("low", "high"))
            curve(
                ax,
                rows["dose"].to_numpy(),
                rows["value"].to_numpy(),
                low,
                high,
                f"{kind} neurons",
                role,
            )
        ax.axhline(base[0], linestyle=":", linewidth=1, color="grey", label="unedited")
        ax.set_xlabel("dose, class differences")
        here = self.effects.filter(pl.col("effect") == name).row(0, named=True)
        ax.set_ylabel(f"{name}, {'%' if here['scale'] == 100 else here['unit']}")
        ax.legend()
        return ax


def _beyond(row: dict[str, Any], rand: dict[str, Any]) -> bool:
    """Whether a change lies outside the interval over random sets, and its own outside theirs."""
    return row["low"] > rand["high"] or row["high"] < rand["low"]


def class_difference(task: Task, positive: str, negative: str | None = None) -> dict[str, float]:
    """Return neuron id → mean of one class less that of another, in the model's own units.

    Parameters
    ----------
    positive, negative
        Classes of the task; by default all others together.

    Raises
    ------
    LabelError
        No such class, or one without training tokens.
    """
    y = task.train.y
    rows = {}
    for label in (positive, negative):
        if label is None:
            continue
        if label not in task.classes:
            raise LabelError(
                f'{task.name} has no class "{label}"; it has {", ".join(task.classes)}.'
                f"{did_you_mean(label, task.classes)}"
            )
        rows[label] = y == list(task.classes).index(label)
    one = rows[positive]
    other = ~one if negative is None else rows[negative]
    if not one.any() or not other.any() or positive == negative:
        raise LabelError(f"{task.name} needs training tokens of two different classes to compare")
    X = task.train.X
    difference = (X[one].mean(axis=0) - X[other].mean(axis=0)) * task.sd
    return dict(zip(task.neurons["neuron"].to_list(), difference.tolist(), strict=True))


def steer(
    model: LoadedModel,
    ranking: Ranking | Sequence[str],
    difference: dict[str, float],
    effect: Effect,
    fluency: Effect,
    *,
    k: int,
    doses: Sequence[float] = (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0),
    prompts: Sequence[str] = (),
    tokens: int = 20,
    draws: int = 10,
    seed: int = 0,
    n_boot: int = 1000,
    name: str | None = None,
) -> DoseResponse:
    """Push the k best neurons of an order by doses of their class difference.

    Random neurons stand beside them: as many of each site, pushed by the same amounts.

    Parameters
    ----------
    difference
        Neuron id → class difference, such as :func:`class_difference` gives.
    effect
        What should move.
    fluency
        What should not, such as :func:`~nissl.effects.loss_effect` on unrelated text.
    k
        How many neurons are pushed.
    doses
        Multiples of the class difference; negative ones suppress.
    prompts, tokens
        What the model is to go on with, before and at each dose, and for how many tokens; needs a
        causal-lm head.
    draws, seed, n_boot
        Random sets, seed, and bootstrap replicates.

    Raises
    ------
    SettingError
        k outside the order, no dose, a neuron without a difference, or fewer than 2 draws.
    """
    order = order_of(ranking)
    if not 1 <= k <= len(order):
        raise SettingError(f"k must lie between 1 and {len(order)}, the neurons of the order")
    levels = sorted({float(dose) for dose in doses} - {0.0})
    if not levels:
        raise SettingError("give at least one dose other than 0")
    if draws < 2 or effect.name == fluency.name:
        raise SettingError("at least 2 random draws, and two effects of different names")
    top = order[:k]
    missing = next((each for each in top if each not in difference), None)
    if missing is not None:
        raise SettingError(f"there is no class difference for neuron {missing}")
    both = (effect, fluency)
    base = [each.measure(model) for each in both]
    weights = [each.weights(model) for each in both]
    # Site by site in the order in which random sets name them, so that amounts fit.
    sites = list(dict.fromkeys(parse_neuron(each)[0] for each in top))
    arranged = [each for site in sites for each in top if parse_neuron(each)[0] == site]
    amounts = np.array([difference[each] for each in arranged])
    sets = {"ranked": [arranged], "random": list(random_like(model, arranged, draws, seed=seed))}
    rows: list[dict[str, Any]] = []
    texts = [{"prompt": p, "dose": 0.0, "text": t} for p, t in _written(model, prompts, tokens)]
    with bar(len(levels) * (1 + draws), "doses", unit="sets") as advance:
        for dose in levels:
            for kind, each in sets.items():
                found: list[list[np.ndarray]] = []
                for neurons in each:
                    with edited(model, Edit.translate(neurons, amounts, dose)):
                        found.append([e.measure(model) for e in both])
                        if kind == "ranked":
                            written = _written(model, prompts, tokens)
                            texts += [{"prompt": p, "dose": dose, "text": t} for p, t in written]
                    advance(1)
                for e, what in enumerate(both):
                    d = what.scale * np.stack([values[e] - base[e] for values in found])
                    change = paired_change(d, weights[e], what.clusters, n_boot=n_boot, seed=seed)
                    start = what.scale * float(np.average(base[e], weights=weights[e]))
                    rows.append(
                        {
                            "measure": what.name,
                            "kind": kind,
                            "dose": dose,
                            "base": start,
                            "value": start + change.change,
                            "change": change.change,
                            "low": change.low,
                            "high": change.high,
                            "sd": change.sd,
                            "draws": len(d),
                        }
                    )
    title = name or (ranking.method if isinstance(ranking, Ranking) else "the order")
    return DoseResponse(
        provenance=Provenance(
            "steering",
            {
                "k": k,
                "doses": levels,
                "draws": draws,
                "n_boot": n_boot,
                "ranking": title,
                "start": model.start,
            },
            {"model": model.fingerprint},
            seed,
        ),
        model=model.name,
        ranking=title,
        neurons=tuple(top),
        table=pl.DataFrame(rows),
        effects=pl.DataFrame(
            {
                "effect": [each.name for each in both],
                "unit": [each.unit for each in both],
                "scale": [each.scale for each in both],
                "better": [each.better for each in both],
            }
        ),
        texts=pl.DataFrame(
            texts, schema={"prompt": pl.String, "dose": pl.Float64, "text": pl.String}
        ),
    )


def _written(model: LoadedModel, prompts: Sequence[str], tokens: int) -> list[tuple[str, str]]:
    if not prompts:
        return []
    return list(zip(prompts, generate(model, prompts, tokens=tokens), strict=True))
