"""Nissl: find, weigh and test the individual neurons of neural language models.

The public names load what they need on first use, so that ``import nissl`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nissl.corpus import Corpus, read_corpus
    from nissl.errors import NisslError
    from nissl.estimators import Probe, ProbeCV, ProbePath
    from nissl.extraction import extract
    from nissl.methods import (
        Comparison,
        Ranking,
        Target,
        TargetComparison,
        Task,
        ablate,
        ablation_curves,
        baselines,
        class_difference,
        compare,
        compare_targets,
        control_task,
        encoded_vs_used,
        equal_sets,
        fit_probe,
        knockoff_set,
        layer_profile,
        localise,
        make_target,
        make_task,
        method_table,
        minimal_set,
        neuron_means,
        permutation_pvalues,
        rank,
        rank_lca,
        rank_order,
        rank_scores,
        redundancy,
        register_ranking,
        scan_neurons,
        search_lambda,
        selectivity,
        set_stability,
        share_labels,
        share_properties,
        share_sets,
        show_neuron,
        stable_set,
        steer,
    )
    from nissl.mlp import MLPProbe
    from nissl.model import (
        Edit,
        LoadedModel,
        edited,
        find_sites,
        known_models,
        load_model,
        scan,
        screen,
        wrap_model,
    )
    from nissl.parallel import set_threads
    from nissl.regressor import ProbeRegressor
    from nissl.report import write_report
    from nissl.results import Result, load_result
    from nissl.store import Activations, merge_stores, verify_store
    from nissl.study import (
        CrossConfig,
        StudyConfig,
        load_config,
        load_cross,
        load_cross_config,
        load_study,
        make_config,
        run_cross,
        run_study,
    )
    from nissl.study.corpora import load_corpus

_HOME = {
    "nissl.corpus": ("Corpus", "read_corpus"),
    "nissl.errors": ("NisslError",),
    "nissl.estimators": ("Probe", "ProbeCV", "ProbePath"),
    "nissl.extraction": ("extract",),
    "nissl.methods": (
        "Comparison",
        "Ranking",
        "Target",
        "TargetComparison",
        "Task",
        "ablate",
        "ablation_curves",
        "baselines",
        "class_difference",
        "compare",
        "compare_targets",
        "control_task",
        "encoded_vs_used",
        "equal_sets",
        "fit_probe",
        "knockoff_set",
        "layer_profile",
        "localise",
        "make_target",
        "make_task",
        "method_table",
        "minimal_set",
        "neuron_means",
        "permutation_pvalues",
        "rank",
        "rank_lca",
        "rank_order",
        "rank_scores",
        "redundancy",
        "register_ranking",
        "scan_neurons",
        "search_lambda",
        "selectivity",
        "set_stability",
        "share_labels",
        "share_properties",
        "share_sets",
        "show_neuron",
        "stable_set",
        "steer",
    ),
    "nissl.mlp": ("MLPProbe",),
    "nissl.model": (
        "Edit",
        "LoadedModel",
        "edited",
        "find_sites",
        "known_models",
        "load_model",
        "scan",
        "screen",
        "wrap_model",
    ),
    "nissl.parallel": ("set_threads",),
    "nissl.regressor": ("ProbeRegressor",),
    "nissl.report": ("write_report",),
    "nissl.results": ("Result", "load_result"),
    "nissl.store": ("Activations", "merge_stores", "verify_store"),
    "nissl.study": (
        "CrossConfig",
        "StudyConfig",
        "load_config",
        "load_cross",
        "load_cross_config",
        "load_study",
        "make_config",
        "run_cross",
        "run_study",
    ),
    "nissl.study.corpora": ("load_corpus",),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Activations",
    "Comparison",
    "Corpus",
    "CrossConfig",
    "Edit",
    "LoadedModel",
    "MLPProbe",
    "NisslError",
    "Probe",
    "ProbeCV",
    "ProbePath",
    "ProbeRegressor",
    "Ranking",
    "Result",
    "StudyConfig",
    "Target",
    "TargetComparison",
    "Task",
    "__version__",
    "ablate",
    "ablation_curves",
    "baselines",
    "class_difference",
    "compare",
    "compare_targets",
    "control_task",
    "edited",
    "encoded_vs_used",
    "equal_sets",
    "extract",
    "find_sites",
    "fit_probe",
    "knockoff_set",
    "known_models",
    "layer_profile",
    "load_config",
    "load_corpus",
    "load_cross",
    "load_cross_config",
    "load_model",
    "load_result",
    "load_study",
    "localise",
    "make_config",
    "make_target",
    "make_task",
    "merge_stores",
    "method_table",
    "minimal_set",
    "neuron_means",
    "permutation_pvalues",
    "rank",
    "rank_lca",
    "rank_order",
    "rank_scores",
    "read_corpus",
    "redundancy",
    "register_ranking",
    "run_cross",
    "run_study",
    "scan",
    "scan_neurons",
    "screen",
    "search_lambda",
    "selectivity",
    "set_stability",
    "set_threads",
    "share_labels",
    "share_properties",
    "share_sets",
    "show_neuron",
    "stable_set",
    "steer",
    "verify_store",
    "wrap_model",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        from nissl.errors import did_you_mean

        raise AttributeError(f"module 'nissl' has no {name!r}.{did_you_mean(name, _WHERE)}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
