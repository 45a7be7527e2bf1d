"""Effects: what a model does, measured item by item, so that edits can be told by it."""

from nissl.effects._encode import start_token
from nissl.effects.answer_effects import AnswerAccuracy, answer_accuracy
from nissl.effects.effect import Effect, LogProbEffect
from nissl.effects.formula import Formula, parse_formula
from nissl.effects.generate import generate, side_by_side
from nissl.effects.items import Pairs, make_pairs
from nissl.effects.pair_effects import pair_effect, suite_effect
from nissl.effects.parallel_inputs import ParallelInputs, make_parallel, parallel_texts
from nissl.effects.read_items import read_agreement, read_blimp, read_items, read_texts
from nissl.effects.read_parallel import read_aligned, read_parallel
from nissl.effects.readouts import class_accuracy, readout
from nissl.effects.suites import Suite, read_suite
from nissl.effects.text_effects import (
    divergence,
    hidden_words,
    loss_effect,
    perplexity,
    word_effect,
)

__all__ = [
    "AnswerAccuracy",
    "Effect",
    "Formula",
    "LogProbEffect",
    "Pairs",
    "ParallelInputs",
    "Suite",
    "answer_accuracy",
    "class_accuracy",
    "divergence",
    "generate",
    "hidden_words",
    "loss_effect",
    "make_pairs",
    "make_parallel",
    "pair_effect",
    "parallel_texts",
    "parse_formula",
    "perplexity",
    "read_agreement",
    "read_aligned",
    "read_blimp",
    "read_items",
    "read_parallel",
    "read_suite",
    "read_texts",
    "readout",
    "side_by_side",
    "start_token",
    "suite_effect",
    "word_effect",
]
