"""The methods: one verb a file, a plain function that returns a frozen result."""

from nissl.methods.ablate import Ablation, ablate, default_sizes
from nissl.methods.baselines import Baselines, baselines
from nissl.methods.contexts import NeuronView, show_neuron
from nissl.methods.control import Selectivity, control_task, selectivity
from nissl.methods.layers import LayerProfile, layer_profile
from nissl.methods.localise import Localisation, localise
from nissl.methods.minimal import MinimalSet, minimal_set
from nissl.methods.probe import ProbeResult, fit_probe
from nissl.methods.rank import RANKINGS, Ranking, Scorer, rank, rank_lca, rank_scores
from nissl.methods.redundancy import Redundancy, redundancy
from nissl.methods.regularise import DEFAULT_GRID, LambdaSearch, search_lambda
from nissl.methods.share import Sharing, share_labels, share_properties, share_sets
from nissl.methods.task import Part, Task, make_task

__all__ = [
    "DEFAULT_GRID",
    "RANKINGS",
    "Ablation",
    "Baselines",
    "LambdaSearch",
    "LayerProfile",
    "Localisation",
    "MinimalSet",
    "NeuronView",
    "Part",
    "ProbeResult",
    "Ranking",
    "Redundancy",
    "Scorer",
    "Selectivity",
    "Sharing",
    "Task",
    "ablate",
    "baselines",
    "control_task",
    "default_sizes",
    "fit_probe",
    "layer_profile",
    "localise",
    "make_task",
    "minimal_set",
    "rank",
    "rank_lca",
    "rank_scores",
    "redundancy",
    "search_lambda",
    "selectivity",
    "share_labels",
    "share_properties",
    "share_sets",
    "show_neuron",
]
