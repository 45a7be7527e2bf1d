"""The section of one property: blocks of sentences, figures and tables, in analysis order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from nissl.methods.share import Sharing
from nissl.plotting import new_axes
from nissl.report.figures import Picture, picture
from nissl.report.tables import (
    Column,
    Table,
    count,
    interval,
    make_table,
    number,
    percent,
    points,
    share,
    small,
    text,
)
from nissl.study.outcome import PropertyFindings

__all__ = ["Block", "blocks", "sharing_block"]

ALPHA = 0.05
MOST_PAIRS = 200
MOST_NAMES = 60
CERTIFICATE = (
    small("gap", "relative gap"),
    count("iterations", "iterations"),
    number("gradients", "full gradients", 1),
    number("cpu_seconds", "CPU s"),
    Column("converged", lambda row: "yes" if row["converged"] else "no", False),
)
"""How good a fit is, and what it cost."""
KINDS = {"top": "best", "random": "random", "bottom": "worst", "all": "all"}


@dataclass(frozen=True)
class Block:
    """One step of the analysis: what it found, a caveat, figures, tables and what was left out."""

    title: str
    sentences: tuple[str, ...] = ()
    caveat: str = ""
    figures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def blocks(findings: PropertyFindings) -> list[Block]:
    """Return the blocks of one property."""
    steps: tuple[Callable[[PropertyFindings], Block | None], ...] = (
        _data,
        _search,
        _probe,
        _ranking,
        _ablation,
        _minimal,
        _selectivity,
        _layers,
        _localisation,
        _sharing,
        _redundancy,
    )
    return [block for step in steps if (block := step(findings)) is not None]


def _data(findings: PropertyFindings) -> Block:
    counts = findings.classes
    totals = {split: int(counts[split].sum()) for split in ("train", "dev", "test")}
    table = make_table(
        counts.sort(["train", "class"], descending=[True, False]),
        "Classes and their tokens",
        (text("class", "class"), *(count(split, split) for split in totals)),
    )
    said = ", ".join(f"{n:,} {split}" for split, n in totals.items())
    return Block(
        title="Data",
        sentences=(f"{counts.height:,} classes on {said} tokens of {findings.corpus}.",),
        tables=(table,),
        left_out=findings.left_out,
    )


def _search(findings: PropertyFindings) -> Block:
    search = findings.search
    table = make_table(
        search.table,
        "Regularisation grid (dev)",
        (
            small("l1", "λ₁"),
            small("l2", "λ₂"),
            share("accuracy", "all neurons"),
            share("top", f"best {search.fraction:.0%}"),
            share("bottom", f"worst {search.fraction:.0%}"),
            number("score", "score", 3),
            count("neurons", "non-zero"),
            *CERTIFICATE,
        ),
    )
    figure = picture(
        lambda: search.plot(new_axes(None)),
        alt=f"{findings.name}: dev accuracy of all, best and worst neurons against lambda 1",
        caption="Dev accuracy against λ₁: all neurons, and only the best or worst kept.",
    )
    return Block("Regularisation", search.summary(), figures=(figure,), tables=(table,))


def _probe(findings: PropertyFindings) -> Block:
    probe, base = findings.probe, findings.baselines
    per_class = make_table(
        probe.per_class.sort(["tokens", "class"], descending=[True, False]),
        "Test results of each class",
        (
            text("class", "class"),
            count("train_tokens", "train tokens"),
            count("tokens", "test tokens"),
            share("precision", "precision"),
            share("recall", "recall"),
            number("f1", "F₁", 3),
            count("neurons", "neurons"),
        ),
    )
    baselines = make_table(
        base.table,
        "Probe and baselines (test)",
        (text("name", "who"), interval("accuracy", "accuracy [95% interval]")),
    )
    certificate = make_table(
        pl.DataFrame(
            {
                "objective": [probe.objective],
                "kkt": [probe.kkt],
                "gap": [probe.gap],
                "iterations": [probe.iterations],
                "gradients": [probe.gradients],
                "cpu_seconds": [probe.seconds],
                "converged": [probe.converged],
            }
        ),
        "Certificate of the probe",
        (small("objective", "objective", 6), small("kkt", "optimality violation"), *CERTIFICATE),
    )
    figures = (
        picture(
            base.plot,
            alt=f"{findings.name}: test accuracy of the probe beside its baselines",
            caption="The probe beside what it must beat, with 95% sentence-bootstrap intervals.",
        ),
        picture(
            probe.plot,
            alt=f"{findings.name}: recall of each class on test tokens",
            caption="Recall of the most frequent classes, in order of their frequency.",
        ),
    )
    return Block(
        title="Probe and baselines",
        sentences=(*probe.summary(), *base.summary()),
        caveat="A probe shows what can be read from the neurons, not what the model uses.",
        figures=figures,
        tables=(baselines, certificate, per_class),
    )


def _ranking(findings: PropertyFindings) -> Block:
    ranking = findings.ranking
    figure = picture(
        lambda: ranking.plot(new_axes(None)),
        alt=f"{findings.name}: score of the best neurons by rank",
        caption="Largest score over labels, by rank; it rises again where the next neurons of "
        "another label enter.",
    )
    return Block(
        title="Ranking",
        sentences=ranking.summary(),
        caveat="Neurons were standardised first, so that a score does not depend on their scale. "
        "Other rankings may order neurons differently; that two agree does not make them true.",
        figures=(figure,),
    )


def _ablation(findings: PropertyFindings) -> Block:
    ablation = findings.ablation
    modes = {
        "retrain": "a new probe is trained on the kept neurons",
        "mask": "all others are set to their mean",
    }
    present = set(ablation.table["how"].to_list())
    figures = tuple(
        picture(
            lambda how=how: ablation.plot(new_axes(None), how=how),
            alt=f"{findings.name}: test accuracy of best, random and worst k neurons ({how})",
            caption=f"Accuracy when only k neurons are kept and {what}.",
        )
        for how, what in modes.items()
        if how in present
    )
    table = make_table(
        ablation.table.sort("how", "k", maintain_order=True, descending=[True, False]),
        "Accuracy of kept neurons (test)",
        (
            text("how", "how"),
            Column("neurons", lambda row: KINDS[row["kind"]], False),
            count("k", "k"),
            Column("%", lambda row: f"{row['percent']:.{2 if row['percent'] < 1 else 1}f}"),
            interval("accuracy", "accuracy [95% interval]"),
            count("draws", "draws"),
        ),
    )
    return Block(
        title="Best, random and worst neurons",
        sentences=ablation.summary(),
        caveat="Random neurons are a strong baseline when k is large: a good ranking shows in its "
        "distance from them, and in how little the worst neurons give.",
        figures=figures,
        tables=(table,),
    )


def _minimal(findings: PropertyFindings) -> Block:
    minimal = findings.minimal
    figure = picture(
        lambda: minimal.plot(new_axes(None)),
        alt=f"{findings.name}: dev accuracy of probes retrained on the best k neurons",
        caption="Dev accuracy of the best k neurons, and where it comes within δ points of all.",
    )
    table = make_table(
        minimal.sets,
        "Minimal sets",
        (
            small("delta", "δ (points)"),
            count("k", "k"),
            number("percent", "%", 1),
            share("dev_accuracy", "dev"),
            interval("accuracy", "test [95% interval]"),
            interval(
                "random_accuracy", "random neurons, test", low="random_low", high="random_high"
            ),
        ),
    )
    return Block(
        title="Minimal set",
        sentences=minimal.summary(),
        caveat="Dev accuracy is noisy in k: the size is that of a crossing, not a proven minimum, "
        "and other sets of that size may do as well.",
        figures=(figure,),
        tables=(table,),
    )


def _selectivity(findings: PropertyFindings) -> Block | None:
    selectivity = findings.selectivity
    if selectivity is None:
        return None
    figure = picture(
        lambda: selectivity.plot(new_axes(None)),
        alt=f"{findings.name}: test accuracy on the property and on its control task",
        caption="Accuracy on the property and on its control task.",
    )
    table = make_table(
        selectivity.table,
        "Selectivity (test)",
        (
            text("neurons", "neurons"),
            count("k", "k"),
            interval("accuracy", "property [95% interval]"),
            interval("control", "control [95% interval]", low="control_low", high="control_high"),
            points("selectivity", "selectivity (points)"),
        ),
    )
    return Block("Control task", selectivity.summary(), figures=(figure,), tables=(table,))


def _layers(findings: PropertyFindings) -> Block:
    layers = findings.layers
    figure = picture(
        lambda: layers.plot(new_axes(None)),
        alt=f"{findings.name}: selected neurons in each layer and accuracy of each layer alone",
        caption="Selected neurons a layer (bars; dash: by chance) and accuracy of the layer alone.",
    )
    table = make_table(
        layers.table,
        "Layers",
        (
            text("site", "layer"),
            count("neurons", "neurons"),
            interval("accuracy", "alone [95% interval]"),
            count("selected", "selected"),
            number("expected", "by chance", 1),
            small("p", "p"),
            small("p_holm", "p (Holm)"),
        ),
    )
    return Block("Layers", layers.summary(), figures=(figure,), tables=(table,))


def _localisation(findings: PropertyFindings) -> Block:
    found = findings.localisation
    figure = picture(
        lambda: found.plot(new_axes(None)),
        alt=f"{findings.name}: neurons that hold the weight of each class against its frequency",
        caption="Neurons a class needs, against its training tokens, with bootstrap intervals.",
    )
    table = make_table(
        found.table,
        "Localisation of each class",
        (
            text("class", "class"),
            count("train_tokens", "train tokens"),
            Column(
                f"neurons with {found.mass:.0%} of the weight [95%]",
                lambda row: f"{row['neurons']} [{row['low']:.0f}, {row['high']:.0f}]",
            ),
            count("used", "non-zero"),
            number("layer_entropy", "layer entropy (bits)"),
        ),
    )
    return Block(
        title="Localised or distributed",
        sentences=found.summary(),
        caveat=f"Intervals come from {found.resamples:,} resamples of the training sentences. "
        "A rare class has few trained weights and may look more local or more spread than it is.",
        figures=(figure,),
        tables=(table,),
    )


def _sharing(findings: PropertyFindings) -> Block | None:
    if findings.sharing is None:
        return None
    return sharing_block(findings.sharing, "Shared neurons between labels", findings.name)


def sharing_block(sharing: Sharing, title: str, name: str) -> Block:
    """Return the block of an overlap: heat map and the pairs that chance does not explain."""
    table = sharing.frame()
    found = table.filter(pl.col("p_holm") < ALPHA)
    pairs = make_table(
        found,
        f"Pairs that share more than chance (Holm-corrected p < {ALPHA:g})"
        if found.height
        else "No pair shares more than chance",
        (
            text("a", "set"),
            text("b", "and"),
            count("size_a", "size"),
            count("size_b", "size"),
            count("overlap", "shared"),
            number("expected", "by chance", 1),
            share("share", "share of the smaller"),
            small("p_holm", "p (Holm)"),
        ),
        limit=MOST_PAIRS,
    )
    figures = ()
    if len(sharing.names) <= MOST_NAMES:
        figures = (
            picture(
                sharing.plot,
                alt=f"{name}: share of neurons in common for each pair of sets",
                caption="Neurons in common, as a share of the smaller set.",
            ),
        )
    caveat = "Sets overlap by construction where a neuron has weight for several labels; the test "
    caveat += "is against sets drawn at random from all neurons."
    return Block(title, sharing.summary(), caveat, figures, (pairs,))


def _redundancy(findings: PropertyFindings) -> Block | None:
    found = findings.redundancy
    if found is None:
        return None
    figure = picture(
        lambda: found.plot(new_axes(None)),
        alt=f"{findings.name}: neurons and correlation groups in each layer",
        caption="Neurons a layer, and the groups of correlated neurons they form.",
    )
    accuracy = make_table(
        found.table,
        "One neuron of each group (test)",
        (
            text("neurons", "neurons"),
            count("k", "k"),
            Column("%", lambda row: percent(row["k"] / max(1, len(found.labels)))),
            interval("accuracy", "accuracy [95% interval]"),
        ),
    )
    return Block("Redundancy", found.summary(), figures=(figure,), tables=(accuracy,))
