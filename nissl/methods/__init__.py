"""The methods: one verb a file, a plain function that returns a frozen result."""

from nissl.methods.ablate import Ablation, ablate, default_sizes
from nissl.methods.agreement import NOT_TRUTH
from nissl.methods.baselines import Baselines, baselines
from nissl.methods.causal_ablate import ablation_curves
from nissl.methods.causal_ablation import CausalAblation
from nissl.methods.causal_scan import scan_neurons
from nissl.methods.causal_sets import neuron_means
from nissl.methods.causal_steer import DoseResponse, class_difference, steer
from nissl.methods.compare import DEFAULT_METHODS, compare
from nissl.methods.compare_targets import DEFAULT_TARGET_METHODS, compare_targets
from nissl.methods.comparison import Comparison
from nissl.methods.concepts import Concepts, concepts_from_masks, make_concepts
from nissl.methods.contexts import NeuronView, show_neuron
from nissl.methods.control import Selectivity, control_task, selectivity
from nissl.methods.copy_paste import copy_paste
from nissl.methods.copy_paste_result import CopyPaste
from nissl.methods.deactivate import deactivate
from nissl.methods.deactivation import Deactivation
from nissl.methods.encoded_used import EncodedVsUsed, encoded_vs_used
from nissl.methods.explain import explain
from nissl.methods.explain_examples import explanation_examples
from nissl.methods.explain_masks import explain_masks
from nissl.methods.explain_stability import ExplanationStability, explanation_stability
from nissl.methods.explain_versus import ExplainedVersus, explained_versus
from nissl.methods.explanation import Explanation
from nissl.methods.language_neurons import language_neurons
from nissl.methods.language_overlap_result import LanguageOverlap
from nissl.methods.language_set_result import LanguageNeurons
from nissl.methods.languages import DEFAULT_LANGUAGE_RANKINGS, compare_languages
from nissl.methods.layers import LayerProfile, layer_profile
from nissl.methods.localise import Localisation, localise
from nissl.methods.minimal import MinimalSet, minimal_set
from nissl.methods.minimal_equals import EqualSets
from nissl.methods.minimal_stability import SetStability, set_stability
from nissl.methods.minimal_swaps import equal_sets
from nissl.methods.neuron_scan import NeuronScan
from nissl.methods.neuron_sets import NeuronSet, PermutationPValues
from nissl.methods.pair_concepts import Pair, pair_concepts
from nissl.methods.probe import ProbeResult, fit_probe
from nissl.methods.rank import Ranking, Scorer, rank_lca, rank_order, rank_scores, rank_weights
from nissl.methods.rankings import (
    RANKINGS,
    TARGET_RANKINGS,
    RankingMethod,
    method_table,
    parse_method,
    rank,
    register_ranking,
)
from nissl.methods.redundancy import Redundancy, redundancy
from nissl.methods.regularise import DEFAULT_GRID, LambdaSearch, search_lambda
from nissl.methods.share import Sharing, share_labels, share_properties, share_sets
from nissl.methods.sharing import sharing
from nissl.methods.sharing_result import LanguageSharing
from nissl.methods.significance import knockoff_set, permutation_pvalues, stable_set
from nissl.methods.target import Target, make_target
from nissl.methods.target_comparison import TargetComparison
from nissl.methods.task import Part, Task, make_task

# Importing these files registers their methods.
from nissl.methods import rankers_weights as rankers_weights  # isort: skip
from nissl.methods import rankers_statistics as rankers_statistics  # isort: skip
from nissl.methods import rankers_search as rankers_search  # isort: skip
from nissl.methods import rankers_numbers as rankers_numbers  # isort: skip

__all__ = [
    "DEFAULT_GRID",
    "DEFAULT_LANGUAGE_RANKINGS",
    "DEFAULT_METHODS",
    "DEFAULT_TARGET_METHODS",
    "NOT_TRUTH",
    "RANKINGS",
    "TARGET_RANKINGS",
    "Ablation",
    "Baselines",
    "CausalAblation",
    "Comparison",
    "Concepts",
    "CopyPaste",
    "Deactivation",
    "DoseResponse",
    "EncodedVsUsed",
    "EqualSets",
    "ExplainedVersus",
    "Explanation",
    "ExplanationStability",
    "LambdaSearch",
    "LanguageNeurons",
    "LanguageOverlap",
    "LanguageSharing",
    "LayerProfile",
    "Localisation",
    "MinimalSet",
    "NeuronScan",
    "NeuronSet",
    "NeuronView",
    "Pair",
    "Part",
    "PermutationPValues",
    "ProbeResult",
    "Ranking",
    "RankingMethod",
    "Redundancy",
    "Scorer",
    "Selectivity",
    "SetStability",
    "Sharing",
    "Target",
    "TargetComparison",
    "Task",
    "ablate",
    "ablation_curves",
    "baselines",
    "class_difference",
    "compare",
    "compare_languages",
    "compare_targets",
    "concepts_from_masks",
    "control_task",
    "copy_paste",
    "deactivate",
    "default_sizes",
    "encoded_vs_used",
    "equal_sets",
    "explain",
    "explain_masks",
    "explained_versus",
    "explanation_examples",
    "explanation_stability",
    "fit_probe",
    "knockoff_set",
    "language_neurons",
    "layer_profile",
    "localise",
    "make_concepts",
    "make_target",
    "make_task",
    "method_table",
    "minimal_set",
    "neuron_means",
    "pair_concepts",
    "parse_method",
    "permutation_pvalues",
    "rank",
    "rank_lca",
    "rank_order",
    "rank_scores",
    "rank_weights",
    "redundancy",
    "register_ranking",
    "scan_neurons",
    "search_lambda",
    "selectivity",
    "set_stability",
    "share_labels",
    "share_properties",
    "share_sets",
    "sharing",
    "show_neuron",
    "stable_set",
    "steer",
]
