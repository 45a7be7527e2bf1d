"""Studies: the whole analysis of several properties, resumable, saved in one folder."""

from nissl.study.config import StudyConfig, load_config, make_config
from nissl.study.cross import CrossOutcome, load_cross, run_cross
from nissl.study.cross_config import CrossConfig, load_cross_config, make_cross_config
from nissl.study.outcome import PropertyFindings, StudyOutcome, TextView
from nissl.study.portrait import CrossFindings
from nissl.study.run import run_study
from nissl.study.saved import load_study

__all__ = [
    "CrossConfig",
    "CrossFindings",
    "CrossOutcome",
    "PropertyFindings",
    "StudyConfig",
    "StudyOutcome",
    "TextView",
    "load_config",
    "load_cross",
    "load_cross_config",
    "load_study",
    "make_config",
    "make_cross_config",
    "run_cross",
    "run_study",
]
