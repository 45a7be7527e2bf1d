"""Which neurons a model shares between the languages of parallel inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import polars as pl

from nissl.effects._encode import Texts
from nissl.effects.answer_effects import answer_accuracy
from nissl.effects.parallel_inputs import ParallelInputs
from nissl.methods._sharing_patterns import Position, Rule, find_patterns
from nissl.methods._sharing_tables import class_table, language_table, score_table, tally
from nissl.methods._text_values import Read
from nissl.methods.sharing_result import LanguageSharing
from nissl.model import LoadedModel
from nissl.results import Provenance
from nissl.site import Site

__all__ = ["sharing"]

NO_SCORES = pl.DataFrame(
    schema={
        "site": pl.String,
        "layer": pl.Int64,
        "class": pl.String,
        "contribution": pl.Float64,
        "effective": pl.Float64,
    }
)


def sharing(
    model: LoadedModel,
    parallel: ParallelInputs,
    *,
    sites: str | Site | Sequence[str | Site] = "mlp",
    threshold: float = 0.0,
    position: Position = "last",
    read: Read = "activation",
    null: Texts | None = None,
    null_quantile: float | None = None,
    null_tokens: int = 1024,
    scores: bool = True,
    joint: str = " ",
    n_boot: int = 1000,
    seed: int = 0,
) -> LanguageSharing:
    """Sort the neurons that each parallel input activates into shared, partial, specific and none.

    Wang et al. (2024), "Sharing Matters": the class of a neuron is that over one input in all
    languages, so it may differ from input to input; shares are means over inputs.

    Parameters
    ----------
    model
        With a head, or without one: then there are no effective scores.
    parallel
        Inputs with or without answers.
    sites
        MLP sites: a kind, a stack, or names.
    threshold, position, read, null_quantile
        When a neuron counts as activated; see :class:`~nissl.methods._sharing_patterns.Rule`. With
        ReLU 0 is where a neuron is off; of other non-linearities it is a choice.
    null, null_tokens
        Unrelated text that thresholds are taken from, and at most how many of its subwords.
    scores
        Whether to tell what each class adds to the stream and, with answers and a causal-lm head,
        to the logit of the answer's first subword (a second pass over the inputs). Fused experts
        have no value vectors: give False.
    joint
        What stands between input and answer. Where it is more than a blank, the input's last
        subword does not predict the answer, and there are no effective scores.
    n_boot, seed
        Bootstrap over inputs, and the seed of everything.

    Raises
    ------
    SettingError
        An unknown rule, a site of another kind.
    InputError
        An input that the model cannot read; with its place.
    ModelError
        Experts, where scores are wanted, or a value that is not finite.
    """
    rule = Rule(threshold, position, read, null_quantile)
    patterns, encoded = find_patterns(
        model, parallel, sites, rule, null, null_tokens=null_tokens, seed=seed
    )
    sizes, uses, times = tally(patterns)
    answers = None
    # After anything but a blank it is not the input's last subword that predicts the answer.
    if parallel.answered and model.head == "causal-lm" and joint in ("", " "):
        answers = answer_accuracy(parallel, joint=joint).first_tokens(model)
    table = None
    if scores:
        table = score_table(model, patterns, encoded, position, answers)
    return LanguageSharing(
        provenance=Provenance(
            "language sharing",
            {
                **asdict(rule),
                "null_tokens": null_tokens,
                "n_boot": n_boot,
                "joint": joint,
                "read_at": [site.name for site in patterns.reads],
                "start": model.start,
            },
            {"model": model.fingerprint},
            seed,
        ),
        model=model.name,
        name=parallel.name,
        languages=parallel.languages,
        rule=rule.said(),
        inputs=patterns.groups,
        sites=tuple(site.name for site in patterns.sites),
        widths=tuple(site.width for site in patterns.sites),
        table=class_table(parallel, patterns, sizes, n_boot=n_boot, seed=seed),
        by_language=language_table(parallel, patterns, uses),
        scores=NO_SCORES if table is None else table,
        times=times,
        left_out=dict(parallel.left_out),
    )
